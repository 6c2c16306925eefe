"""Percentiles and bars of latencies. Exact: every latency is there, none is rounded into a bucket before it is counted."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

__all__ = ["PERCENTILES", "bars", "buckets", "percentile", "summary", "time_text"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9, 100.0)
_BLOCKS = " ▏▎▍▌▋▊▉█"


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The nearest rank: the smallest value that at least so many percent of the values do not exceed."""
    if not ordered:
        return 0
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summary(ordered: Sequence[int]) -> dict[str, float]:
    """Microseconds by name: `min`, `mean`, `p50`, …, `max`. The values (nanoseconds) are in order."""
    if not ordered:
        return {}
    found = {"min": ordered[0] / 1000, "mean": sum(ordered) / len(ordered) / 1000}
    for percent in PERCENTILES:
        name = "max" if percent == 100 else f"p{percent:g}"
        found[name] = percentile(ordered, percent) / 1000
    return {name: round(value, 1) for name, value in found.items()}


def buckets(ordered: Sequence[int], most: int = 20) -> list[tuple[int, int]]:
    """Upper bounds (nanoseconds) and counts. Bounds are 1, 1.5, 2, 3, 5 and 7 times powers of ten: latencies spread wide.

    All values are in one of them. When there would be more than `most`, the upper ones become one.
    """
    if not ordered:
        return []
    bounds = [round(step * 10**power) for power in range(3, 12) for step in (1, 1.5, 2, 3, 5, 7)]
    first = next((place for place, bound in enumerate(bounds) if bound >= ordered[0]), len(bounds))
    found: list[tuple[int, int]] = []
    below = 0
    for bound in bounds[first:]:
        count = bisect_right(ordered, bound)
        found.append((bound, count - below))
        below = count
        if count == len(ordered) or len(found) == most - 1:
            break
    if below < len(ordered):
        found.append((ordered[-1], len(ordered) - below))
    return found


def bars(ordered: Sequence[int], width: int = 40, *, ascii_only: bool = False) -> list[str]:
    """The histogram as lines of text: up to which latency, a bar, the count, and the share of all up to there."""
    found = buckets(ordered)
    largest = max((count for _, count in found), default=0)
    lines: list[str] = []
    below = 0
    for bound, count in found:
        below += count
        bar = _bar(count / largest, width, ascii_only)
        lines.append(f"{time_text(bound):>9}  {bar:<{width}}  {count:>9,}  {100 * below / len(ordered):6.2f} %")
    return lines


def _bar(share: float, width: int, ascii_only: bool) -> str:
    if ascii_only:
        return "#" * math.ceil(share * width)
    eighths = math.ceil(share * width * 8)
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_BLOCKS[rest] if rest else "")


def time_text(nanoseconds: float) -> str:
    """A latency in the unit that fits."""
    for unit, length in (("s", 1e9), ("ms", 1e6)):
        if nanoseconds >= length:
            return f"{nanoseconds / length:.3g} {unit}"
    return f"{nanoseconds / 1000:.3g} µs"
