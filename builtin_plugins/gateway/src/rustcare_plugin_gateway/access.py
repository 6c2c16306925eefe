"""Who asked for what, for the audit log: rows of answered requests, published in batches for each tenant.

`http.access` is published with `confirm=True`, and where the audit policy names it, the kernel has it on record before that
returns. Until then rows are kept, at most `bound` of them. When the log cannot be written for so long that there is no more
room, requests are refused, or go on unrecorded and counted, as the configuration says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from rustcare_sdk.contracts.http import ACCESS, AccessBatch
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import Call

__all__ = ["BATCH_BYTES", "AccessLog"]

BATCH_BYTES = 46 * 1024  # of one batch's rows as JSON; what is recorded of one use is bounded by 48 KiB

Publish = Callable[..., Awaitable[Any]]
Row = tuple[Any, ...]


class AccessLog:
    """Rows that wait to be recorded.

    Args:
        publish: `ctx.publish`.
        bound: rows that may wait, of all tenants together.
        interval: seconds that a row waits at most while the log can be written.
        many: rows of one tenant that are published at once.
        refuse: whether requests are refused when there is no room.
    """

    def __init__(self, publish: Publish, *, bound: int, interval: float, many: int, refuse: bool) -> None:
        self._publish = publish
        self._bound = bound
        self._interval = interval
        self._many = many
        self._refuse = refuse
        self._rows: dict[str, list[Row]] = {}
        self._due = asyncio.Event()
        self._flushing = asyncio.Lock()
        self.waiting = 0
        self.lost = 0
        self.recorded = 0
        self.failing = ""

    @property
    def full(self) -> bool:
        """Whether requests have to be refused now."""
        return self._refuse and self.waiting >= self._bound

    def add(self, tenant: str, row: Row) -> None:
        """One answered request, as `AccessBatch.rows` says. A tuple of plain values costs the garbage collector nothing."""
        if self.waiting >= self._bound and not self._refuse:
            self.lost += 1
            return
        rows = self._rows.get(tenant)
        if rows is None:
            rows = self._rows[tenant] = []
        rows.append(row)
        self.waiting += 1
        if len(rows) == self._many:
            self._due.set()

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), self._interval)
            self._due.clear()
            await self.flush()
            if self.failing:
                await asyncio.sleep(self._interval)

    async def flush(self) -> bool:
        """Publish all rows. Whether all of them are on record; those that are not are kept, in their order."""
        async with self._flushing:
            taken, self._rows = self._rows, {}
            failing = ""
            for tenant, rows in taken.items():
                left = rows
                while left and not failing:
                    batch = left[: _fitting(left)]
                    try:
                        rows_ = [list(row) for row in batch]
                        await self._publish(ACCESS, AccessBatch(tenant, rows_), confirm=True, call=Call(tenant=tenant))
                    except RustCareError as error:
                        failing = error.code
                        break
                    left = left[len(batch) :]
                    self.waiting -= len(batch)
                    self.recorded += len(batch)
                if left:
                    self._rows[tenant] = left + self._rows.get(tenant, [])
            self.failing = failing
            return not failing


def _fitting(rows: list[Row]) -> int:
    """How many rows, from the first on, make a batch that is not too large: at least one."""
    count = len(rows)
    while count > 1 and len(msgspec.json.encode(rows[:count])) > BATCH_BYTES:
        count = max(1, count // 2)
    return count
