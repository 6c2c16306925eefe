"""What is limited: each route belongs to a class, and a class has limits by principal, by tenant, by address or for all of it.

Classes come from the configuration (`limits`); a tenant's settings may have classes of the same names instead. A limit is
`{"by": "principal", "rate": 600, "per": 60, "burst": 100}`. By principal: who is not known counts by their address.
The header fields are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from rustcare_plugin_gateway.errors import InvalidSettings

from .gcra import Gcra, Table

__all__ = ["DEFAULTS", "Class", "Limit", "Limits", "Verdict", "refused", "who"]

BY = ("principal", "tenant", "address", "all")

#: The classes when the configuration says nothing. `failures` is counted by the gateway itself: credentials that were refused.
DEFAULTS: dict[str, list[dict[str, Any]]] = {
    "default": [{"by": "principal", "rate": 1200, "per": 60, "burst": 300}],
    "read": [{"by": "principal", "rate": 3000, "per": 60, "burst": 600}],
    "write": [{"by": "principal", "rate": 600, "per": 60, "burst": 150}],
    "login": [{"by": "address", "rate": 60, "per": 60, "burst": 30}],
    "bulk": [{"by": "principal", "rate": 30, "per": 60, "burst": 10}],
    "none": [],
    "failures": [{"by": "address", "rate": 60, "per": 60, "burst": 60}],
}


class Limit(NamedTuple):
    """One limit. `prefix` begins its keys; `by` is what follows."""

    name: str
    prefix: str
    by: str
    gcra: Gcra
    burst: int
    window: int


class Class(NamedTuple):
    """The limits of one class, and the value of `RateLimit-Policy` for it; `line` is that field as it goes out."""

    limits: tuple[Limit, ...]
    policy: bytes
    line: str


class Verdict(NamedTuple):
    """`allowed`, or else `retry` seconds until it would be. `left` requests and `reset` seconds of the tightest limit."""

    allowed: bool
    name: str
    left: int
    reset: int
    retry: int = 0

    def field(self) -> bytes:
        """The value of `RateLimit`."""
        return f'"{self.name}";r={self.left};t={self.reset}'.encode()


_made = tuple.__new__  # what the class itself does, without asking it: one is made for each request


class Limits:
    """The limiter.

    Args:
        classes: of the configuration; those of `DEFAULTS` fill it up.
        size: of the table of keys.

    Raises:
        InvalidSettings: a class is not well formed.
    """

    def __init__(self, classes: Mapping[str, Any], size: int) -> None:
        self.table = Table(size)
        self.classes = {name: _class(name, rows, "", "config.limits") for name, rows in {**DEFAULTS, **classes}.items()}

    def of_tenant(self, tenant: str, settings: Mapping[str, Any]) -> dict[str, Class]:
        """The classes of a tenant whose settings have some of their own. Raises InvalidSettings."""
        own = {name: _class(name, rows, f"{tenant}/", "settings.limits") for name, rows in settings.items()}
        return {**self.classes, **own} if own else self.classes

    def take(self, of: Class, tenant: str, principal: str, address: str, now: float, cost: int = 1) -> Verdict | None:
        """Count one request. None: the class has no limits. A request that one limit refuses counts for none of them."""
        limits = of.limits
        table = self.table
        if len(limits) == 1:  # as most classes
            limit = limits[0]
            by = limit.by
            if by == "principal":
                key = limit.prefix + (principal or address)
            else:
                key = limit.prefix + (address if by == "address" else tenant if by == "tenant" else "")
            step, depth = limit.gcra
            young = table.young
            known = young.get(key)
            arrival = table.get(key) if known is None else known
            ahead = (arrival - now if arrival > now else 0.0) + step * cost
            if ahead > depth + 1e-9:
                return refused(limit, arrival, now, ahead - depth)
            if known is None:
                table.put(key, now + ahead)
            else:
                young[key] = now + ahead
            return _made(Verdict, (True, limit.name, int((depth - ahead) / step + 1e-9), int(ahead) + 1, 0))
        return self._take_all(limits, tenant, principal, address, now, cost) if limits else None

    def _take_all(
        self, limits: tuple[Limit, ...], tenant: str, principal: str, address: str, now: float, cost: int
    ) -> Verdict:
        table = self.table
        found: list[tuple[str, float]] = []
        tightest: Verdict | None = None
        for limit in limits:
            key = limit.prefix + who(limit.by, tenant, principal, address)
            arrival = table.get(key)
            after = limit.gcra.next(arrival, now, cost)
            if after - now > limit.gcra.depth + 1e-9:
                return refused(limit, arrival, now, after - now - limit.gcra.depth)
            found.append((key, after))
            left = limit.gcra.left(after, now)
            if tightest is None or left < tightest.left:
                tightest = Verdict(True, limit.name, left, int(after - now) + 1)
        for key, after in found:
            table.put(key, after)
        assert tightest is not None
        return tightest

    def exhausted(self, of: Class, tenant: str, principal: str, address: str, now: float) -> Verdict | None:
        """Whether one more request would be refused; it is not counted."""
        for limit in of.limits:
            arrival = self.table.get(limit.prefix + who(limit.by, tenant, principal, address))
            if arrival - now > limit.gcra.depth - limit.gcra.step + 1e-9:
                return refused(limit, arrival, now, arrival - now + limit.gcra.step - limit.gcra.depth)
        return None


def who(by: str, tenant: str, principal: str, address: str) -> str:
    """What follows a limit's prefix in a key."""
    if by == "principal":
        return principal or address
    return address if by == "address" else tenant if by == "tenant" else ""


def refused(limit: Limit, arrival: float, now: float, over: float) -> Verdict:
    """The verdict for a key that is `over` seconds beyond its limit."""
    reset = max(1, math.ceil(arrival - now))
    return Verdict(False, limit.name, limit.gcra.left(arrival, now), reset, max(1, math.ceil(over)))


def _class(name: str, rows: Any, owner: str, address: str) -> Class:
    if not isinstance(rows, list):
        raise InvalidSettings("expected a list of limits", address=f"{address}.{name}")
    limits = tuple(_limit(name, row, owner, f"{address}.{name}[{index}]", index) for index, row in enumerate(rows))
    policy = ", ".join(f'"{limit.name}";q={limit.burst};w={limit.window}' for limit in limits)
    return Class(limits, policy.encode(), f"ratelimit-policy: {policy}\r\n")


def _limit(name: str, row: Any, owner: str, address: str, index: int) -> Limit:
    try:
        by, rate, per = str(row["by"]), float(row["rate"]), float(row.get("per", 60))
        burst = int(row.get("burst", max(1, rate)))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidSettings('expected {"by": …, "rate": …, "per": …, "burst": …}', address=address) from None
    if by not in BY or not 0 < rate < 1e9 or not 0 < per < 1e7 or not 0 < burst < 1e9:
        raise InvalidSettings(f"expected by one of {', '.join(BY)} and numbers above 0, got {row}", address=address)
    gcra = Gcra.of(rate, per, burst)
    label = name if index == 0 else f"{name}-{by}"
    return Limit(label, f"{owner}{name}.{index}:", by, gcra, burst, max(1, math.ceil(gcra.depth)))
