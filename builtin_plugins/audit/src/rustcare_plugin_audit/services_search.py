"""The services that read: search, one entry, what comes next, the index made again."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from rustcare_sdk import Message, Plugin, serve, subscribe
from rustcare_sdk.contracts import audit, crypto
from rustcare_sdk.errors import RustCareError

from .bundle import Trust
from .errors import EntryNotFound, InvalidRequest
from .search import Reader, check_limit, only_asking

__all__ = ["Searching", "tenant_of"]

MAX_WAIT = 60.0


def tenant_of(message: Message[Any], asked: str = "") -> str:
    """Whose entries a message may see: its own tenant's; the system itself (tenant `default`, and no principal or the
    operator, who asks through no plugin) those of the tenant it names, or (empty) everybody's. Raises InvalidRequest."""
    call = message.call
    operator = call.principal == "operator" or call.principal.startswith("unix:")
    by_kernel = "." not in message.source  # the ids of plugins have a dot, the kernel's own name has none
    if call.tenant == "default" and (not call.principal or (operator and by_kernel)):
        return asked
    if asked not in ("", call.tenant):
        raise InvalidRequest("expected the caller's own tenant, got another one", address=f"{message.subject}:tenant")
    return call.tenant


class Searching(Plugin):
    """Reading the log."""

    trust: Trust
    reader: Reader

    @serve(audit.SEARCH)
    async def search(self, message: Message[audit.SearchRequest]) -> audit.SearchReply:
        """One page of the entries that fit."""
        return await self.reader.search(message.data, tenant_of(message, message.data.tenant))

    async def row_at(self, message: Message[Any], index: int) -> audit.EntryRow:
        """The entry at a place, for the sender of a message. Raises EntryNotFound."""
        rows = await self.reader.rows([index], tenant_of(message)) if index >= 0 else []
        if rows:
            return rows[0]
        if index < self.trust.log.first and index >= 0:
            return audit.EntryRow(index, pruned=True)
        raise EntryNotFound(
            f"expected the place of an entry, 0 to {self.trust.log.size - 1}, got {index}", address=message.subject
        )

    @serve(audit.TAIL)
    async def tail(self, message: Message[audit.TailRequest]) -> audit.SearchReply:
        """What comes after a place; when there is nothing yet, wait.

        Entries that only tell of the asking (`only_asking`) do not end the wait, else every answer would be news to the next
        question, for ever: they come with the next other entry, or when the time is over.
        """
        asked = message.data
        limit = check_limit(asked.limit, "audit.tail:limit")
        tenant = tenant_of(message, asked.tenant)
        if not 0 <= asked.wait <= MAX_WAIT:
            raise InvalidRequest(f"expected 0 to {MAX_WAIT:g} seconds, got {asked.wait:g}", address="audit.tail:wait")
        after = self.trust.log.size - 1 if asked.after < -1 else asked.after
        loop = asyncio.get_running_loop()
        end = loop.time() + asked.wait
        while True:
            written = self.trust.recorder.written
            size = await self.trust.index.catch_up()
            rows = await self.reader.after(after, limit, tenant, size)
            left = end - loop.time()
            if (rows and left <= 0) or len(rows) == limit or not all(map(only_asking, rows)):
                return audit.SearchReply(rows, str(rows[-1].index if len(rows) == limit else size - 1), size)
            if left <= 0:
                return audit.SearchReply([], str(size - 1), size)
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await written.wait()

    @serve(audit.REINDEX)
    async def reindex(self, message: Message[audit.ReindexRequest]) -> audit.ReindexReply:
        """Drop the index and make it again from the log."""
        return audit.ReindexReply(await self.trust.index.rebuild())

    @subscribe(crypto.SHREDDED)
    async def shredded(self, message: Message[crypto.ShredReply]) -> None:
        """A subject's key is destroyed: nothing in the index may lead to their resources any more."""
        await self.trust.index.forget(message.data.pseudonym)
        try:
            await self.ctx.db.scrub()
        except RustCareError as error:  # a reader is busy: the database's own log keeps the tokens until it is emptied
            self.ctx.log.warning("scrub failed", code=error.code)
