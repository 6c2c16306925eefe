"""What happens, as it happens: events of plugins' states, routes and uses, numbered, the latest of them kept.

A reader that lost its connection goes on behind the last event that it has seen. A ring bounds what is kept: who comes too
late is told that something is missing. The numbers outlive an upgrade of this plugin, not a restart of the kernel: then the
name in front of them is another one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, NamedTuple

import msgspec

__all__ = ["KINDS", "Event", "Events", "differences", "sse"]

KINDS = ("state", "routes", "accounting")
HEARTBEAT = b": heartbeat\n\n"


class Event(NamedTuple):
    """`number` grows by one with each event; `data` has `kind` and `time`, and `plugin` where it is about one."""

    number: int
    data: dict[str, Any]


class Events:
    """The ring, and everybody who reads it.

    Args:
        name: of this run; it stands before the numbers in ids.
        kept: how many events are kept.
    """

    def __init__(self, name: str, kept: int) -> None:
        self.name = name
        self.listeners = 0
        self.closed = False
        self._ring: deque[Event] = deque(maxlen=kept)
        self._next = 1
        self._news = asyncio.Event()

    def put(self, data: dict[str, Any]) -> None:
        """Tell an event."""
        self._ring.append(Event(self._next, data))
        self._next += 1
        news, self._news = self._news, asyncio.Event()
        news.set()

    def close(self) -> None:
        """End every stream, once its reader has what there is."""
        self.closed = True
        self._news.set()

    def export(self) -> dict[str, Any]:
        """For the next version of the plugin."""
        return {"name": self.name, "next": self._next, "ring": [list(event) for event in self._ring]}

    def take_over(self, state: Mapping[str, Any]) -> None:
        """Go on where the version before stopped."""
        self.name = str(state["name"])
        self._next = int(state["next"])
        self._ring.extend(Event(int(number), dict(data)) for number, data in state["ring"])

    def place(self, last: str) -> tuple[int, bool]:
        """From which number to go on behind an event's id, and whether something between is missing."""
        if not last:
            return self._next, False
        name, _, number = last.rpartition("-")
        oldest = self._ring[0].number if self._ring else self._next
        if name != self.name or not number.isascii() or not number.isdigit() or len(number) > 18:
            return oldest, True
        wanted = int(number) + 1
        if wanted > self._next:
            return oldest, True  # a number that was never given: not of this run after all
        return max(wanted, oldest), wanted < oldest

    def since(self, number: int) -> list[Event]:
        """The events from a number on."""
        if not self._ring or number >= self._next:
            return []
        first = self._ring[0].number
        return [event for event in self._ring if event.number >= number] if number > first else list(self._ring)

    async def stream(
        self, last: str, *, kinds: Collection[str] = KINDS, plugin: str = "", heartbeat: float, longest: float
    ) -> AsyncIterator[bytes]:
        """Server-sent events (WHATWG HTML, section 9.2) behind an id, until the plugin stops or the time is over.

        Args:
            heartbeat: seconds without an event after which a comment is sent. longest: seconds that the stream lasts.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + longest
        number, gap = self.place(last)
        self.listeners += 1
        try:
            # With the place where it begins: who is cut off before the first event comes back to it.
            yield f"retry: 2000\nid: {self.name}-{number - 1}\n\n".encode()
            if gap:
                yield sse(f"{self.name}-{number - 1}", {"kind": "gap"})
            while True:
                news = self._news
                found = self.since(number)
                if found:
                    if found[0].number > number:
                        yield sse(f"{self.name}-{found[0].number - 1}", {"kind": "gap"})
                    number = found[-1].number + 1
                    told = [
                        sse(f"{self.name}-{event.number}", event.data)
                        for event in found
                        if event.data["kind"] in kinds and plugin in ("", event.data.get("plugin", plugin))
                    ]
                    if told:
                        yield b"".join(told)
                    continue
                left = end - loop.time()
                if self.closed or left <= 0:
                    return
                try:
                    await asyncio.wait_for(news.wait(), min(heartbeat, left))
                except TimeoutError:
                    yield HEARTBEAT
        finally:
            self.listeners -= 1


def sse(id_: str, data: dict[str, Any]) -> bytes:
    """One event: its id, its kind as its name, its data as JSON on one line."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (id_.encode(), data["kind"].encode(), msgspec.json.encode(data))


Counts = dict[tuple[str, str], tuple[int, int, float]]


def differences(before: Counts, now: Counts) -> list[dict[str, Any]]:
    """What was used between two readings, by plugin and capability (empty: messages handled). Tenants are not told apart."""
    found: list[dict[str, Any]] = []
    for (plugin, capability), (calls, errors, wall) in sorted(now.items()):
        calls_before, errors_before, wall_before = before.get((plugin, capability), (0, 0, 0.0))
        if (calls, errors) != (calls_before, errors_before):
            found.append(
                {
                    "plugin": plugin,
                    "capability": capability,
                    "calls": max(0, calls - calls_before),
                    "errors": max(0, errors - errors_before),
                    "wall_s": round(max(0.0, wall - wall_before), 6),
                }
            )
    return found
