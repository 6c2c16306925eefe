"""Mail is on disk until the server has taken it: what is to be sent survives a restart and a server that is away.

Whoever sends a message claims it first, so that two (a version that hands over, and the one that takes over) do not both
send it. It may go out twice when the process dies between the server's yes and its note of it; it has one Message-ID both
times. What cannot be sent for a day, or is refused for good, is given up, which is told. Where there was nobody to write to,
a row is put in all the same, and taken out unsent: who asks cannot tell by the time that it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from rustcare_sdk.context import Database, Logger, Queries
from rustcare_sdk.errors import RustCareError

from .smtp import MailRefused, SmtpServer
from .templates import Mail

__all__ = ["MailQueue"]

_GIVE_UP = 86400.0
_FIRST_WAIT, _LONGEST_WAIT = 15.0, 3600.0
_BATCH = 20
#: Seconds for which a message that is being sent is nobody else's.
_LEASE = 300.0


class MailQueue:
    """The queue, and the task that empties it.

    Args:
        server: where mail goes; None: nowhere, and nothing is put in.
        password: of the user at the server, read anew for each message.
        house: what a tenant calls itself.
        lost: told the tenant of a message that was given up, and why.
    """

    def __init__(
        self,
        db: Database,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        log: Logger,
        *,
        server: SmtpServer | None,
        password: Callable[[], Awaitable[str]],
        house: Callable[[str], str],
        lost: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._db = db
        self._now = now
        self._random = random
        self._log = log
        self._server = server
        self._password = password
        self._house = house
        self._lost = lost
        self._wake = asyncio.Event()
        self._sending = asyncio.Lock()
        # A thread of its own: a server that does not answer keeps nothing else waiting.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rustcare-mail")

    @property
    def available(self) -> bool:
        """Whether mail can be sent at all."""
        return self._server is not None

    async def put(self, tenant: str, recipient: str, mail: Mail, tx: Queries | None = None) -> None:
        """Put a message in; it is certain to be tried when this (or the transaction) is done. `recipient` empty: to nobody.

        Call `wake` after a transaction.
        """
        now = self._now()
        await (tx or self._db).execute(
            "INSERT INTO mails (id, tenant, recipient, subject, body, attempts, due, created) VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
            (self._random(16).hex(), tenant, recipient, mail.subject, mail.body, now, now),
        )
        if tx is None:
            self.wake()

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Send what is due, for ever: a database or a log that is away for a while only makes it later."""
        while True:
            self._wake.clear()
            try:
                await self.flush()
                wait = await self._until_due()
            except RustCareError as error:
                self._log.error("the queue of mails could not be worked off", code=error.code)
                wait = _FIRST_WAIT
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _until_due(self) -> float | None:
        """Seconds until there is something to send; None: nothing is there."""
        row = await self._db.fetch_one("SELECT MIN(due) AS due FROM mails")
        due = row["due"] if row is not None else None
        return None if due is None else min(max(1.0, float(due) - self._now()), _LONGEST_WAIT)

    async def flush(self) -> int:
        """Try everything that is due, oldest first; how many messages the server took."""
        taken = 0
        async with self._sending:
            while True:
                rows = await self._db.fetch(
                    "SELECT * FROM mails WHERE due <= ? ORDER BY created, id LIMIT ?", (self._now(), _BATCH)
                )
                for row in rows:
                    taken += await self._try(dict(row))
                if not rows:
                    return taken

    async def _try(self, row: dict[str, object]) -> int:
        id, tenant, recipient = str(row["id"]), str(row["tenant"]), str(row["recipient"])
        claimed = await self._db.execute(
            "UPDATE mails SET due = ?, attempts = attempts + 1 WHERE id = ? AND due = ?",
            (self._now() + _LEASE, id, row["due"]),
        )
        if not claimed:
            return 0
        if not recipient or self._server is None:
            await self._done(id)
            return 0
        created = datetime.fromtimestamp(float(str(row["created"])), UTC)
        password = await self._password() if self._server.user else ""
        loop = asyncio.get_running_loop()
        try:
            message = self._server.message(
                id, recipient, str(row["subject"]), str(row["body"]), created, self._house(tenant)
            )
            await loop.run_in_executor(self._thread, self._server.send, message, recipient, password)
        except MailRefused as refused:
            await self._later(id, tenant, int(str(row["attempts"])), float(str(row["created"])), refused)
            return 0
        await self._done(id)
        return 1

    async def _later(self, id: str, tenant: str, attempts: int, created: float, refused: MailRefused) -> None:
        now = self._now()
        self._log.warning("mail was not taken", mail=id, reason=refused.kind, attempts=attempts + 1)
        if refused.final or now - created > _GIVE_UP:
            # Told first: what could not be told is tried again later, and told then.
            await self._lost(tenant, refused.kind)
            await self._done(id)
            return
        due = now + min(_FIRST_WAIT * 2.0 ** min(attempts, 20), _LONGEST_WAIT)
        await self._db.execute("UPDATE mails SET due = ? WHERE id = ?", (due, id))

    async def _done(self, id: str) -> None:
        await self._db.execute("DELETE FROM mails WHERE id = ?", (id,))

    def close(self) -> None:
        """End the thread; a message that is under way may go out."""
        self._thread.shutdown(wait=False, cancel_futures=True)
