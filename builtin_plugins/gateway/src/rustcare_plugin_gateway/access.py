"""Who asked for what, for the audit log: rows of answered requests, published in batches for each tenant.

`http.access` is published with `confirm=True`, and where the audit policy names it, the kernel has it on record before that
returns. Until then rows are kept, at most `bound` of them, and those of requests that were under way then. When the log cannot
be written for so long that there is no more room, requests are refused, or go on, as the configuration says; rows of the former
that no plugin saw, or of all of the latter, are counted alone (`lost`).

A batch costs an entry of the log, whether it has one row or hundreds. So with many tenants at once theirs take turns, each
within `PATIENCE`: what a request costs does not grow with the number of tenants, its row only waits somewhat longer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any

from rustcare_sdk.contracts.http import ACCESS, AccessBatch
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import Call

__all__ = ["BATCH_BYTES", "FEW", "PATIENCE", "AccessLog"]

BATCH_BYTES = 46 * 1024  # of one batch's rows as JSON; what is recorded of one use is bounded by 48 KiB
FEW = 64  # tenants whose rows are published at each interval, all of them
PATIENCE = 10.0  # seconds within which every tenant has its turn, when there are more
AT_ONCE = 32  # batches of as many tenants that are under way together: they share a commit of the log

Publish = Callable[..., Awaitable[Any]]


class AccessLog:
    """Rows that wait to be recorded.

    Args:
        publish: `ctx.publish`.
        bound: rows that may wait, of all tenants together.
        interval: seconds that a row waits at most while the log can be written and there are few tenants.
        many: rows of one tenant that are published at once.
        refuse: whether requests are refused when there is no room.
    """

    def __init__(self, publish: Publish, *, bound: int, interval: float, many: int, refuse: bool) -> None:
        self._publish = publish
        self._bound = bound
        self._interval = interval
        self._many = many
        self._refuse = refuse
        self._rows: dict[str, list[str]] = {}  # by tenant, in the order in which their first rows came
        self._full: set[str] = set()  # tenants that have enough for a batch
        self._due = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._lanes = asyncio.Semaphore(AT_ONCE)
        self.waiting = 0
        self.lost = 0
        self.recorded = 0
        self.failing = ""

    @property
    def full(self) -> bool:
        """Whether requests have to be refused now."""
        return self._refuse and self.waiting >= self._bound

    def add(self, tenant: str, row: str) -> None:
        """One answered request, as `AccessBatch.rows` says. One text costs the garbage collector nothing."""
        if self.waiting >= self._bound and not self._refuse:
            self.lost += 1
            return
        rows = self._rows.get(tenant)
        if rows is None:
            rows = self._rows[tenant] = []
        rows.append(row)
        self.waiting += 1
        if len(rows) == self._many:
            self._full.add(tenant)
            self._due.set()

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            timely = False
            try:
                async with asyncio.timeout(self._interval):
                    await self._due.wait()
            except TimeoutError:
                timely = True
            self._due.clear()
            await self._publish_these(self._turn() if timely else list(self._full))
            if self.failing:
                await asyncio.sleep(self._interval)

    def _turn(self) -> list[str]:
        """The tenants whose turn it is: all of a few; of many those that waited longest, and those with enough for a batch."""
        if len(self._rows) <= FEW:
            return list(self._rows)
        count = max(FEW, math.ceil(len(self._rows) * self._interval / PATIENCE))
        return list(dict.fromkeys([*islice(self._rows, count), *self._full]))

    async def flush(self) -> bool:
        """Publish all rows. Whether all of them are on record; those that are not are kept, in their order."""
        return await self._publish_these(None)

    async def _publish_these(self, tenants: list[str] | None) -> bool:
        async with self._flushing:
            self.failing = ""
            wanted = list(self._rows) if tenants is None else tenants
            # While this waited for its turn, another may have published what some of them had.
            taken = [(tenant, self._rows.pop(tenant)) for tenant in wanted if tenant in self._rows]
            self._full.difference_update(tenant for tenant, _ in taken)
            await asyncio.gather(*(self._record(tenant, rows) for tenant, rows in taken))
            return not self.failing

    async def _record(self, tenant: str, rows: list[str]) -> None:
        async with self._lanes:
            done = 0
            try:
                while done < len(rows) and not self.failing:
                    batch = rows[done : done + _fitting(rows, done)]
                    await self._publish(ACCESS, AccessBatch(tenant, batch), confirm=True, call=Call(tenant=tenant))
                    done += len(batch)
            except RustCareError as error:
                self.failing = error.code
            finally:  # also when this is cancelled
                self.waiting -= done
                self.recorded += done
                if done < len(rows):
                    self._rows[tenant] = rows[done:] + self._rows.get(tenant, [])


def _fitting(rows: list[str], start: int) -> int:
    """How many rows, from one on, make a batch that is not too large: at least one."""
    left = BATCH_BYTES
    for count, row in enumerate(islice(rows, start, None)):
        left -= len(row.encode()) + 3  # quotes and a comma
        if left < 0:
            return max(1, count)
    return len(rows) - start
