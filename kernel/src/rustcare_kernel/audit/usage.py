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

    ROWS = 150  # of one fact: an entry of the log has a largest size, and a row up to some 400 bytes
    DENIALS = 100  # single denials told in one interval; all of them are in the counts

    def __init__(self, accounting: Accounting, digest_of: Callable[[str], str]) -> None:
        self._accounting = accounting
        self._digest_of = digest_of
        self._known: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._since = time.time_ns() // 1000
        self._denied: set[tuple[str, str, str]] = set()

    def take(self, base: frozenset[str]) -> list[dict[str, Any]]:
        """The uses since the last call as the details of facts, none when there is nothing to tell.

        `rows`: [plugin, digest, tenant, capability, uses, denied]. What the recorder and those that it needs used is told
        too, but is alone no reason to write: that would be a reason to write again.
        """
        rows: list[list[Any]] = []
        totals: dict[tuple[str, str, str], tuple[int, int]] = {}
        worth = False
        # With many tenants there are many counters, and few of them changed: only for those is anything made.
        known = self._known
        digests: dict[str, str] = {}
        for key, count, refused in self._accounting.uses():
            uses, denied = known.get(key, (0, 0))
            if count == uses and refused == denied:
                continue
            plugin, tenant, capability = key
            digest = digests.get(plugin)
            if digest is None:
                digest = digests[plugin] = self._digest_of(plugin)
            rows.append([plugin, digest, tenant, capability, count - uses, refused - denied])
            totals[key] = (count, refused)
            worth = worth or plugin not in base
        if not worth:
            return []
        rows.sort()
        self._known.update(totals)
        since, self._since = self._since, time.time_ns() // 1000
        self._denied.clear()
        return [
            {"from": since, "to": self._since, "rows": rows[start : start + self.ROWS]}
            for start in range(0, len(rows), self.ROWS)
        ]

    def forget(self, plugin: str) -> None:
        """A plugin is removed, and its counters with it: installed again, it begins at nothing."""
        self._known = {key: totals for key, totals in self._known.items() if key[0] != plugin}

    def is_news(self, plugin: str, capability: str, tenant: str) -> bool:
        """Whether a denial is to be told by itself: the first of its kind in this interval, and not too many."""
        key = (plugin, capability, tenant)
        if key in self._denied or len(self._denied) >= self.DENIALS:
            return False
        self._denied.add(key)
        return True
