"""How a figure is taken and shown. A figure without its floor, taken in the same run, says nothing: machines drift.

A benchmark module `bench_<room>.py` has `rows()`, which yields `Row`s. `python -m tests.benchmarks [room …]` prints them.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

__all__ = ["Row", "paired", "paired_async"]


@dataclass(frozen=True)
class Row:
    """One figure. `ratio` is ours divided by the floor's, for `cost` (less is better) or for `rate` (more is better)."""

    name: str
    ours: float
    floor: float | None
    unit: str
    kind: str = "cost"
    aim: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours over the floor."""
        return self.ours / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the aim was met; None when there is none. Without a floor the aim is on the figure itself."""
        if self.aim is None:
            return None
        value = self.ratio if self.ratio is not None else self.ours
        return value <= self.aim if self.kind == "cost" else value >= self.aim

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def paired(ours: Callable[[], Any], floor: Callable[[], Any], rounds: int = 7) -> tuple[float, float]:
    """The median seconds of each, taken in turn, so that both see the same machine."""
    mine, theirs = [], []
    for _ in range(rounds):
        for work, times in ((ours, mine), (floor, theirs)):
            started = time.perf_counter()
            work()
            times.append(time.perf_counter() - started)
    return median(mine), median(theirs)


async def paired_async(
    ours: Callable[[], Awaitable[Any]], floor: Callable[[], Awaitable[Any]], rounds: int = 7
) -> tuple[float, float]:
    """`paired` for coroutine functions."""
    mine, theirs = [], []
    for _ in range(rounds):
        for work, times in ((ours, mine), (floor, theirs)):
            started = time.perf_counter()
            await work()
            times.append(time.perf_counter() - started)
    return median(mine), median(theirs)
