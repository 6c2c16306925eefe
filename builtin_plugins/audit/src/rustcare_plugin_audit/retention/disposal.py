"""Disposing: of a prefix of the log by pruning, of one subject by destroying its key.

A disposal is begun on record with a statement that is durable before anything is gone. When it is done a second statement
names the heads before and after. What a crash leaves undone in between is finished at the next start or the next disposal.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from rustcare_sdk.contracts import crypto
from rustcare_sdk.contracts.compliance import ApplyReply, RetentionPlan

from rustcare_plugin_audit.bundle import Trust
from rustcare_plugin_audit.entry import Draft, Entry, What, Which, Who, decode
from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.reports.compose import instant

from .errors import DisposalRefused
from .holds import MARK, HoldBook, LegalHold
from .plan import Planner
from .policies import RetentionPolicy
from .statement import PRUNE, SHRED, envelope, payload_of

__all__ = ["BEGUN", "PRUNED", "SHREDDED", "Asker", "Disposal"]

#: Facts: a disposal is decided (with its statement), pruned, a subject shredded.
BEGUN = "audit.prune"
PRUNED = "audit.pruned"
SHREDDED = "audit.shredded"
BATCH = 256  # entries read at once: others have their turn after each
_MARKS = (MARK, b'"audit.prune')


@dataclass(frozen=True)
class Asker:
    """Who asks for a disposal: plugin, principal, trace."""

    plugin: str
    principal: str
    trace: str = ""

    @property
    def name(self) -> str:
        """For a statement."""
        return self.principal or self.plugin or "operator"


class Disposal:
    """Plans and disposes. One disposal, hold or release at a time (`lock`)."""

    def __init__(self, trust: Trust, policies: Sequence[RetentionPolicy]) -> None:
        self._trust = trust
        self.policies = tuple(policies)
        self.lock = asyncio.Lock()

    # reading the log

    async def _entries(self, *, only: Sequence[bytes] = ()) -> AsyncIterator[tuple[int, Entry | None]]:
        """Every entry that is there, in order; `only` those in whose bytes one of these is. None: it cannot be read.

        Raises LogCorrupt where one is missing: nothing is disposed of in a log that is not whole.
        """
        log = self._trust.log
        place, size = log.first, log.size
        while place < size:
            for data in await log.entries(place, min(BATCH, size - place)):
                if not only or (data is not None and any(mark in data for mark in only)):
                    yield place, _decoded(data)
                place += 1

    async def holds(self) -> HoldBook:
        """The holds that the log states, read from the log itself."""
        book = HoldBook()
        async for place, entry in self._entries(only=(MARK,)):
            if entry is not None:
                book.feed(place, entry)
        return book

    async def _planned(self, at: int, in_force: Sequence[LegalHold]) -> Planner:
        log = self._trust.log
        planner = Planner(self.policies, in_force, at, log.first, log.size)
        async for place, entry in self._entries():
            planner.feed(place, entry)
        return planner

    async def plan(self, at: int) -> RetentionPlan:
        """What may be disposed of at a moment (µs)."""
        book = await self.holds()
        return (await self._planned(at, book.in_force())).close()

    # disposing

    async def prune(self, before: int, reason: str, asker: Asker, at: int) -> ApplyReply:
        """Dispose of the entries below `before`, as far as whole bundles of 256 go.

        Raises:
            DisposalRefused: an entry below the line must be kept; the message says which, and why.
        """
        # Whoever asks may lose patience in the middle: what is begun is ended, or a start has to do it.
        return await asyncio.shield(asyncio.ensure_future(self._prune(before, reason, asker, at)))

    async def _prune(self, before: int, reason: str, asker: Asker, at: int) -> ApplyReply:
        log = self._trust.log
        async with self.lock:
            await self._resume(asker)
            if before > log.size:
                raise InvalidRequest(
                    f"expected a line within the log of {log.size} entries, got {before}",
                    hint="what is not there yet cannot be disposed of",
                    address="audit.retention.apply:before",
                )
            line = before // 256 * 256
            if line <= log.first:
                raise InvalidRequest(
                    f"expected a line of {log.first + 256} or more, got {before}",
                    hint="entries are disposed of in whole bundles of 256",
                    address="audit.retention.apply:before",
                )
            plan = (await self._planned(at, (await self.holds()).in_force())).close()
            if line > plan.prune_before:
                raise DisposalRefused(
                    f"expected a line up to {plan.prune_before}, got {before}: {plan.blocked_by}",
                    hint="audit.retention.plan says what may be disposed of",
                    address="audit.retention.apply:before",
                )
            said = {
                "origin": log.origin,
                "before": line,
                "first": log.first,
                **_head(log.size, log.root),
                "policies": plan.policies,
                "reason": reason,
                "by": asker.name,
                "time": instant(at),
            }
            await self._state(BEGUN, asker, await envelope(self._trust.ctx, PRUNE, said))
            return await self._finish(said, asker)

    async def _finish(self, said: dict[str, Any], asker: Asker) -> ApplyReply:
        """Delete what a durable statement says, and state that it is done."""
        trust = self._trust
        line, first = int(said["before"]), int(said["first"])
        await trust.log.prune(line)
        await trust.ctx.db.scrub()
        log = trust.log
        done = {**said, "done": True, "after": _head(log.size, log.root)}
        signed = await envelope(trust.ctx, PRUNE, done)
        place = await self._state(PRUNED, asker, signed)
        return ApplyReply(json.dumps(signed), place, line - first, line)

    async def resume(self) -> None:
        """Finish what a crash left undone."""
        async with self.lock:
            await self._resume(Asker("rustcare.audit", ""))

    async def _resume(self, asker: Asker) -> None:
        pending: dict[int, dict[str, Any]] = {}
        async for _, entry in self._entries(only=_MARKS):
            action = entry.what.action if entry is not None and entry.what is not None else ""
            if entry is None or entry.kind != "fact" or action not in (BEGUN, PRUNED):
                continue
            said = payload_of(entry.details["statement"])
            if action == BEGUN:
                pending[int(said["before"])] = said
            else:
                pending.pop(int(said["before"]), None)
        for _, said in sorted(pending.items()):
            await self._finish(said, asker)

    async def shred(self, subject: str, tenant: str, reason: str, asker: Asker, at: int) -> ApplyReply:
        """Dispose of what is personal in all entries of a subject, by destroying its key. The tree and its proofs stay.

        Raises:
            DisposalRefused: an entry of the subject must be kept, or the subject has none that are known.
        """
        trust = self._trust
        async with self.lock:
            pseudonym = await trust.crypto.pseudonym(subject, tenant)
            planner = await self._planned(at, (await self.holds()).in_force())
            if not pseudonym or not planner.disposable(pseudonym):
                raise DisposalRefused(
                    "expected a subject all of whose entries may be disposed of"
                    + ("" if pseudonym else ": it has no key, or none any more"),
                    hint="a hold covers it, or a policy keeps one of its entries; see audit.retention.plan",
                    address="audit.retention.apply:subject",
                )
            asked = crypto.ShredRequest(subject, reason, tenant)
            log = trust.log
            said = {
                "origin": log.origin,
                "pseudonym": pseudonym,
                **_head(log.size, log.root),
                "policies": [policy.id for policy in self.policies],
                "reason": reason,
                "by": asker.name,
                "time": instant(at),
            }
            await self._state("audit.shred", asker, await envelope(trust.ctx, SHRED, said), tenant)
            reply: crypto.ShredReply = await trust.ctx.request(crypto.SUBJECT_SHRED, asked, type=crypto.ShredReply)
            done = {**said, "done": True, "after": _head(log.size, log.root), "destroyed_at": reply.destroyed_at}
            signed = await envelope(trust.ctx, SHRED, {**done, "certificate": reply.certificate})
            return ApplyReply(json.dumps(signed), await self._state(SHREDDED, asker, signed, tenant))

    async def _state(self, action: str, asker: Asker, signed: dict[str, Any], tenant: str = "default") -> int:
        """Put a statement on record; its place, when it is durable."""
        return await self.record(action, asker, {"statement": signed}, tenant)

    async def record(self, action: str, asker: Asker, details: dict[str, Any], tenant: str = "default") -> int:
        """State a fact in the name of who asked for it; its place, when it is durable."""
        ctx = self._trust.ctx
        entry = Entry(
            v=1,
            id=ctx.random(16).hex(),
            time=int(ctx.now().timestamp() * 1_000_000),
            kind="fact",
            who=Who(plugin=asker.plugin, principal=asker.principal),
            what=What(action),
            which=Which(tenant),
            trace=asker.trace,
            details=details,
        )
        return (await self._trust.recorder.write([Draft(entry)]))[0]

    async def statements(self) -> list[dict[str, Any]]:
        """The envelopes of all disposals that are done, in order."""
        found = []
        async for _, entry in self._entries(only=(b'"audit.pruned"', b'"audit.shredded"')):
            if entry is not None and entry.kind == "fact" and "statement" in entry.details:
                found.append(entry.details["statement"])
        return found


def _head(size: int, root: bytes) -> dict[str, Any]:
    return {"size": size, "root": b64encode(root).decode()}


def _decoded(data: bytes | None) -> Entry | None:
    if data is None:
        return None
    try:
        return decode(data)
    except msgspec.DecodeError:
        return None
