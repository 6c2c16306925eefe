"""What each plugin used: calls, errors, time, fuel, bytes and host calls, per tenant; and the uses of each capability.

Counters are plain attributes that the hot path adds to; nothing here locks or allocates after the first use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rustcare_sdk.contracts.plugin import AccountingRow

__all__ = ["Accounting", "Counted", "Stat", "Use"]

#: Plugin, tenant, and what its handlers did: calls, errors, wall, fuel, bytes in, bytes out, host calls.
Counted = tuple[str, str, int, int, float, int, int, int, int]


class Stat:
    """What the handlers of one plugin did for one tenant. `wall` is in seconds, bytes are payload bytes."""

    __slots__ = ("bytes_in", "bytes_out", "calls", "errors", "fuel", "host_calls", "wall")

    def __init__(self) -> None:
        self.calls = 0
        self.errors = 0
        self.wall = 0.0
        self.fuel = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.host_calls = 0


class Use:
    """How often one plugin used one capability for one tenant; `limit` is its rate limiter, if the grant has one."""

    __slots__ = ("capability", "count", "denied", "limit")

    def __init__(self, capability: str) -> None:
        self.capability = capability
        self.count = 0
        self.denied = 0
        self.limit: Any = None


class Accounting:
    """All counters of one kernel."""

    def __init__(self) -> None:
        self._stats: dict[tuple[str, str], Stat] = {}
        self._uses: dict[tuple[str, str, str], Use] = {}

    def stat(self, plugin: str, tenant: str) -> Stat:
        """The counter of a plugin's handlers for a tenant."""
        found = self._stats.get((plugin, tenant))
        if found is None:
            found = self._stats[plugin, tenant] = Stat()
        return found

    def use(self, plugin: str, tenant: str, capability: str) -> Use:
        """The counter of one capability."""
        key = (plugin, tenant, capability)
        found = self._uses.get(key)
        if found is None:
            found = self._uses[key] = Use(capability)
        return found

    def rows(self, plugin: str | None = None) -> Iterator[AccountingRow]:
        """One row for each plugin and tenant (`capability` empty), and one for each capability used."""
        for (name, tenant), stat in sorted(self._stats.items()):
            if plugin in (None, name):
                yield AccountingRow(
                    plugin=name,
                    tenant=tenant,
                    capability="",
                    calls=stat.calls,
                    errors=stat.errors,
                    wall_s=stat.wall,
                    fuel=stat.fuel,
                    bytes_in=stat.bytes_in,
                    bytes_out=stat.bytes_out,
                    host_calls=stat.host_calls,
                )
        for (name, tenant, capability), use in sorted(self._uses.items()):
            if plugin in (None, name) and (use.count or use.denied):
                yield AccountingRow(
                    plugin=name,
                    tenant=tenant,
                    capability=capability,
                    calls=use.count,
                    errors=use.denied,
                    wall_s=0.0,
                    fuel=0,
                    bytes_in=0,
                    bytes_out=0,
                    host_calls=0,
                )

    def uses(self) -> Iterator[tuple[tuple[str, str, str], int, int]]:
        """Plugin, tenant and capability of each use, how often it was made and how often denied; in no order."""
        return ((key, use.count, use.denied) for key, use in self._uses.items())

    # what other processes counted

    def add(self, counted: Counted) -> None:
        """Add what another process counted of a plugin's handlers."""
        plugin, tenant, calls, errors, wall, fuel, bytes_in, bytes_out, host_calls = counted
        stat = self.stat(plugin, tenant)
        stat.calls += calls
        stat.errors += errors
        stat.wall += wall
        stat.fuel += fuel
        stat.bytes_in += bytes_in
        stat.bytes_out += bytes_out
        stat.host_calls += host_calls

    def stats_since(self, told: dict[tuple[str, str], Counted]) -> list[Counted]:
        """What was counted of handlers beyond `told`, which is brought up to date."""
        found: list[Counted] = []
        for (plugin, tenant), stat in self._stats.items():
            before = told.get((plugin, tenant), ("", "", 0, 0, 0.0, 0, 0, 0, 0))
            _, _, calls, errors, wall, fuel, bytes_in, bytes_out, host_calls = before
            now = (
                plugin,
                tenant,
                stat.calls - calls,
                stat.errors - errors,
                stat.wall - wall,
                stat.fuel - fuel,
                stat.bytes_in - bytes_in,
                stat.bytes_out - bytes_out,
                stat.host_calls - host_calls,
            )
            if any(now[2:]):
                told[plugin, tenant] = (
                    plugin,
                    tenant,
                    stat.calls,
                    stat.errors,
                    stat.wall,
                    stat.fuel,
                    stat.bytes_in,
                    stat.bytes_out,
                    stat.host_calls,
                )
                found.append(now)
        return found

    def uses_since(self, told: dict[tuple[str, str, str], tuple[int, int]]) -> list[tuple[str, str, str, int, int]]:
        """The uses beyond `told`, which is brought up to date: plugin, tenant, capability, uses, denied."""
        found = []
        for key, use in self._uses.items():
            count, denied = told.get(key, (0, 0))
            if use.count != count or use.denied != denied:
                told[key] = (use.count, use.denied)
                found.append((*key, use.count - count, use.denied - denied))
        return found

    def capability_uses(self) -> int:
        """How often any capability was used since the kernel started."""
        return sum(use.count for use in self._uses.values())

    def forget(self, plugin: str) -> None:
        """Drop a removed plugin's counters."""
        for key in [key for key in self._stats if key[0] == plugin]:
            del self._stats[key]
        for use_key in [key for key in self._uses if key[0] == plugin]:
            del self._uses[use_key]
