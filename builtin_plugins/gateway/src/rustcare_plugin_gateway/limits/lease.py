"""Limits that workers share: each takes shares of an allowance in batches from the primary, never one for each request.

A worker counts with its own table, as if it were alone, but what a key may do here is bounded by what has been leased for it.
The first share of a key a worker gives itself, and tells the primary with its next batch; from then on it asks for more when
half of a share is used. So one key can exceed its limit by at most one first share for each further worker.

| service | request | answer |
|---|---|---|
| `gateway.lease` | `LeaseRequest` | `LeaseReply` |
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from rustcare_sdk.errors import RustCareError

from .classes import Class, Limit, Limits, Verdict, refused, who

__all__ = ["SERVICE", "LeaseReply", "LeaseRequest", "LeaseRow", "Lessee", "Lessor"]

SERVICE = "gateway.lease"
PAUSE = 0.02  # seconds in which wishes are collected before they are sent


@dataclass(frozen=True)
class LeaseRow:
    """`key` of a limit with `step` and `depth` (see `gcra.Gcra`): `taken` already, without asking, and `wanted` more."""

    key: str
    step: float
    depth: float
    taken: int
    wanted: int


@dataclass(frozen=True)
class LeaseRequest:
    """What one worker took and wants."""

    rows: list[LeaseRow] = field(default_factory=list)


@dataclass(frozen=True)
class LeaseReply:
    """`granted`: for each row, how many of those wanted it gets; `waits`: seconds until there will be one, if it gets none."""

    granted: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


class Lessor:
    """The primary's side: shares come out of the same table that its own requests are counted in."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self._table = limits.table
        self._now = now

    def lease(self, request: LeaseRequest) -> LeaseReply:
        """Grant as much of what is wanted as the limits allow now. What was taken already is counted in any case."""
        now = self._now()
        granted: list[int] = []
        waits: list[float] = []
        for row in request.rows:
            step, depth = max(row.step, 1e-9), row.depth
            arrival = max(self._table.get(row.key), now) + step * max(0, row.taken)
            room = int((depth - (arrival - now)) / step + 1e-9)
            share = max(0, min(row.wanted, room))
            arrival += step * share
            # What is over the limit is owed, but never for longer than the limit's own depth.
            self._table.put(row.key, min(arrival, now + 2 * depth))
            granted.append(share)
            waits.append(0.0 if share else max(0.0, arrival + step - depth - now))
        return LeaseReply(granted, waits)


class _Share:
    __slots__ = ("alone", "asked", "blocked", "key", "left", "limit", "size", "taken", "waiting")

    def __init__(self, key: str, limit: Limit) -> None:
        self.key = key
        self.limit = limit
        self.size = max(1, limit.burst // 8)
        self.left = self.size
        self.taken = self.size  # of these the primary does not know yet
        self.asked = False
        self.alone = 0.0  # until when the primary need not be missed
        self.blocked = 0.0  # until when the primary has none to give
        self.waiting: list[asyncio.Future[None]] = []


class Lessee:
    """The worker's side.

    Args:
        ask: `ctx.request` of `gateway.lease`.
        spawn: starts a background task.
        size: how many keys have shares at once; the one that was used longest ago gives way.
    """

    def __init__(
        self,
        ask: Callable[[LeaseRequest], Awaitable[LeaseReply]],
        spawn: Callable[..., None],
        now: Callable[[], float],
        size: int,
    ) -> None:
        self._ask = ask
        self._spawn = spawn
        self._now = now
        self._size = size
        self._shares: dict[str, _Share] = {}
        self._wishes: list[_Share] = []
        self._sending = False
        self.requests = 0

    def take(self, of: Class, tenant: str, principal: str, address: str) -> Verdict | list[_Share] | None:
        """Count one request with what is leased. A list: shares that are used up; `wait` for them, then try again."""
        shares = [self._share(limit, limit.prefix + who(limit.by, tenant, principal, address)) for limit in of.limits]
        now = self._now()
        empty = [share for share in shares if share.left <= 0]
        for share in empty:
            if share.blocked > now:
                until = share.blocked - now
                return refused(share.limit, now + share.limit.gcra.depth, now, until)
        if empty:
            return empty
        tightest: Verdict | None = None
        for share in shares:
            share.left -= 1
            if share.left <= share.size // 2:
                self._wish(share)
            if tightest is None or share.left < tightest.left:
                tightest = Verdict(True, share.limit.name, share.left, share.limit.window)
        return tightest

    async def take_or_wait(self, of: Class, tenant: str, principal: str, address: str) -> Verdict | None:
        """Count one request, and wait for the primary if nothing is left of a share."""
        found = self.take(of, tenant, principal, address)
        for _ in range(3):
            if not isinstance(found, list):
                return found
            await self.wait(found)
            found = self.take(of, tenant, principal, address)
        if not isinstance(found, list):
            return found
        limit = found[0].limit  # others were faster each time
        return refused(limit, self._now() + limit.gcra.depth, self._now(), limit.gcra.step)

    async def wait(self, shares: list[_Share]) -> None:
        """Until the primary has said what it gives. Requests that wait for the same share wait for one answer."""
        loop = asyncio.get_running_loop()
        for share in shares:
            if share.left <= 0 and share.blocked <= self._now():
                future: asyncio.Future[None] = loop.create_future()
                share.waiting.append(future)
                self._wish(share)
                await future

    def _share(self, limit: Limit, key: str) -> _Share:
        found = self._shares.pop(key, None)
        if found is None:
            if len(self._shares) >= self._size:
                del self._shares[next(iter(self._shares))]
            found = _Share(key, limit)
        self._shares[key] = found
        return found

    def _wish(self, share: _Share) -> None:
        if share.asked:
            return
        share.asked = True
        self._wishes.append(share)
        if not self._sending:
            self._sending = True
            self._spawn(self._send(), name="leases")

    async def _send(self) -> None:
        try:
            while self._wishes:
                if not any(share.waiting for share in self._wishes):
                    await asyncio.sleep(PAUSE)
                wishes, self._wishes = self._wishes, []
                await self._exchange(wishes)
        finally:
            self._sending = False

    async def _exchange(self, wishes: list[_Share]) -> None:
        rows = [
            LeaseRow(share.key, *share.limit.gcra, share.taken, share.size - min(0, share.left)) for share in wishes
        ]
        self.requests += 1
        reply: LeaseReply | None = None
        try:
            with contextlib.suppress(RustCareError):
                reply = await self._ask(LeaseRequest(rows))
        finally:  # whatever becomes of this, nobody waits for it for ever
            self._settle(wishes, reply)

    def _settle(self, wishes: list[_Share], reply: LeaseReply | None) -> None:
        now = self._now()
        for index, share in enumerate(wishes):
            share.asked = False
            if reply is not None:
                share.taken = 0
                share.left += reply.granted[index]
                share.blocked = now + reply.waits[index] if share.left <= 0 else 0.0
            elif share.left <= 0 and share.alone <= now:
                # The primary is away: this worker goes on by itself, at the limit's own pace.
                share.left = share.size
                share.blocked = 0.0
                share.alone = now + share.size * share.limit.gcra.step
            elif share.left <= 0:
                share.blocked = share.alone
            waiting, share.waiting = share.waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
