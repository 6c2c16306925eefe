"""Whether two kinds of requests can be told apart by the time that they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """`z`: how far the ranks of the second sample are from chance, in standard deviations (Mann-Whitney U). `difference`:
    of the medians, in seconds, second less first; `median` of both together."""

    z: float
    difference: float
    median: float

    def apart(self, least: float = 0.001) -> bool:
        """Whether chance does not explain it (one in 15,000), and the difference is one that could be used: more than a
        twentieth of the time, and more than `least` seconds."""
        return abs(self.z) > 4 and abs(self.difference) > max(least, self.median / 20)


def compare(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compare two samples of seconds."""
    both = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks = 0.0
    position = 0
    while position < len(both):
        end = position
        while end < len(both) and both[end][0] == both[position][0]:
            end += 1
        middle = (position + 1 + end) / 2  # equal values share the middle of their ranks
        ranks += middle * sum(which for _, which in both[position:end])
        position = end
    n, m = len(first), len(second)
    u = ranks - m * (m + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return Comparison(z, median(second) - median(first), median([*first, *second]))
