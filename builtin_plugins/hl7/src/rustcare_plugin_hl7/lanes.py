"""In which order messages may be published: one at a time for each patient, the oldest first, patients side by side.

Pure: no clock, no tasks. An item that names several patients (a merge) waits until it is the first in all their lanes.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import Generic, Protocol, TypeVar

__all__ = ["Lanes", "Queued"]


class Queued(Protocol):
    """What can be queued: `id` gives the order, `keys` are its lanes (at least one, each once)."""

    @property
    def id(self) -> int: ...
    @property
    def keys(self) -> tuple[str, ...]: ...


Q = TypeVar("Q", bound=Queued)


class Lanes(Generic[Q]):
    """Items in their lanes; `take` gives the oldest that may go now."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[Q]] = {}
        self._ready: list[tuple[int, Q]] = []

    def add(self, item: Q) -> bool:
        """Queue an item; whether it may go at once."""
        for key in item.keys:
            self._lanes.setdefault(key, deque()).append(item)
        first = self._is_first(item)
        if first:
            self.ready(item)
        return first

    def ready(self, item: Q) -> None:
        """An item that is first in its lanes may be taken (again)."""
        heapq.heappush(self._ready, (item.id, item))

    def take(self) -> Q | None:
        """The oldest item that may go. It stays first in its lanes until `release`."""
        return heapq.heappop(self._ready)[1] if self._ready else None

    def release(self, item: Q) -> None:
        """An item is settled: those behind it may go."""
        for key in item.keys:
            lane = self._lanes[key]
            lane.popleft()
            if not lane:
                del self._lanes[key]
        lanes = [self._lanes[key] for key in item.keys if key in self._lanes]
        followers = {lane[0].id: lane[0] for lane in lanes}
        for follower in followers.values():
            if self._is_first(follower):
                self.ready(follower)

    def clear(self) -> None:
        """Forget everything."""
        self._lanes.clear()
        self._ready.clear()

    @property
    def waiting(self) -> int:
        """How many may be taken now."""
        return len(self._ready)

    def _is_first(self, item: Q) -> bool:
        return all(self._lanes[key][0] is item for key in item.keys)
