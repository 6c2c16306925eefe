"""Uses of capabilities that are not on record one by one are counted, and the counts are entries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rustcare_kernel.accounting import Accounting

__all__ = ["Usage"]


class Usage:
    """What was used since the last look.

    Args:
        digest_of: the package digest of a plugin.
    """

    DENIALS = 100  # single denials told in one interval; all of them are in the counts

    def __init__(self, accounting: Accounting, digest_of: Callable[[str], str]) -> None:
        self._accounting = accounting
        self._digest_of = digest_of
        self._known: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._since = time.time_ns() // 1000
        self._denied: set[tuple[str, str, str]] = set()

    def take(self, base: frozenset[str]) -> dict[str, Any] | None:
        """The uses since the last call as a fact's details, or None when there is nothing to tell.

        `rows`: [plugin, digest, tenant, capability, uses, denied]. What the recorder and those that it needs used is told
        too, but is alone no reason to write: that would be a reason to write again.
        """
        rows: list[list[Any]] = []
        totals: dict[tuple[str, str, str], tuple[int, int]] = {}
        worth = False
        for row in self._accounting.rows():
            if not row.capability:
                continue
            key = (row.plugin, row.tenant, row.capability)
            uses, denied = self._known.get(key, (0, 0))
            if row.calls < uses or row.errors < denied:  # removed and installed again meanwhile
                uses, denied = 0, 0
            if row.calls > uses or row.errors > denied:
                digest = self._digest_of(row.plugin)
                rows.append([row.plugin, digest, row.tenant, row.capability, row.calls - uses, row.errors - denied])
                totals[key] = (row.calls, row.errors)
                worth = worth or row.plugin not in base
        if not worth:
            return None
        self._known.update(totals)
        since, self._since = self._since, time.time_ns() // 1000
        self._denied.clear()
        return {"from": since, "to": self._since, "rows": rows}

    def is_news(self, plugin: str, capability: str, tenant: str) -> bool:
        """Whether a denial is to be told by itself: the first of its kind in this interval, and not too many."""
        key = (plugin, capability, tenant)
        if key in self._denied or len(self._denied) >= self.DENIALS:
            return False
        self._denied.add(key)
        return True
