"""The generic cell rate algorithm (ITU-T I.371): one number for each key says when its allowance is whole again.

A key that may make `burst` requests at once and `rate` in `per` seconds has its theoretical arrival time moved on by
`per / rate` with each request; it may not be more than `burst` such steps ahead of now.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Gcra", "Table"]


class Gcra(NamedTuple):
    """`step`: seconds that one request costs. `depth`: how far ahead of now a key may be. Both follow from a limit."""

    step: float
    depth: float

    @classmethod
    def of(cls, rate: float, per: float, burst: int) -> Gcra:
        """For `rate` requests in `per` seconds, `burst` of them at once."""
        step = per / rate
        return cls(step, step * burst)

    def next(self, arrival: float, now: float, cost: int = 1) -> float:
        """The arrival time after `cost` more requests, given the one before."""
        return (arrival if arrival > now else now) + self.step * cost

    def left(self, arrival: float, now: float) -> int:
        """How many requests may come now."""
        ahead = arrival - now
        return int((self.depth - ahead if ahead > 0 else self.depth) / self.step + 1e-9)


class Table:
    """Arrival times by key, at most `size` of them. All operations take the same time, whatever is in it.

    Two generations: what is asked for moves to the young one; when that is half the size, the old one is forgotten. So a key
    is forgotten only after `size / 2` other keys have come since it was last asked for. `young` is for those who know that a
    key is in it.
    """

    __slots__ = ("_half", "_old", "young")

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self.young: dict[str, float] = {}
        self._old: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def get(self, key: str) -> float:
        """The arrival time of a key; 0 for one that is not known."""
        found = self.young.get(key)
        if found is None:
            found = self._old.get(key, 0.0)
        return found

    def put(self, key: str, arrival: float) -> None:
        """Keep a key's arrival time."""
        young = self.young
        if key not in young and len(young) >= self._half:
            self._old = young
            self.young = young = {}
        young[key] = arrival
