"""What happens, as it happens: events of plugins' states, routes and uses, numbered, the latest of them kept.

A reader that lost its connection goes on behind the last event that it has seen. A ring bounds what is kept: who comes too
late is told that something is missing. The numbers outlive an upgrade of this plugin, not a restart of the kernel: then the
name in front of them is another one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import msgspec
from rustcare_sdk.errors import RustCareError

__all__ = [
    "KINDS",
    "Ask",
    "Counts",
    "Event",
    "Events",
    "EventsReply",
    "EventsRequest",
    "differences",
    "sse",
    "stream_of",
]

KINDS = ("state", "routes", "accounting")
HEARTBEAT = b": heartbeat\n\n"
#: Seconds that one look waits for news: short, since a plugin that is to stop waits for the looks that are under way.
WAIT = 1.0


@dataclass(frozen=True)
class EventsRequest:
    """A look for events behind the id `last` (empty: those to come), of some `kinds` (empty: of all), and of one plugin or all.

    `wait`: seconds to wait for one, when there is none yet.
    """

    last: str = ""
    kinds: list[str] = field(default_factory=list)
    plugin: str = ""
    wait: float = 0.0


@dataclass(frozen=True)
class EventsReply:
    """`events`: ids and what happened. `last`: where to look next. `gap`: some that came before are not kept any more.

    `closed`: no more will come from here.
    """

    last: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    gap: bool = False
    closed: bool = False


class Event(NamedTuple):
    """`number` grows by one with each event; `data` has `kind` and `time`, and `plugin` where it is about one."""

    number: int
    data: dict[str, Any]


class Events:
    """The ring, and whoever looks into it.

    Args:
        name: of this run; it stands before the numbers in ids.
        kept: how many events are kept.
    """

    def __init__(self, name: str, kept: int) -> None:
        self.name = name
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
        """Nothing is waited for any more; what there is can still be read."""
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

    async def look(self, asked: EventsRequest) -> EventsReply:
        """The events behind an id, as soon as there is one, or that there was none in time."""
        number, gap = self.place(asked.last)
        if not (gap or self.closed or asked.wait <= 0 or self.since(number)):
            # One at a time: whoever gets news that it did not ask for looks again with the time that is left.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), asked.wait)
        found = self.since(number)
        told = [
            (f"{self.name}-{event.number}", event.data)
            for event in found
            if (not asked.kinds or event.data["kind"] in asked.kinds)
            and asked.plugin in ("", event.data.get("plugin", asked.plugin))
        ]
        last = f"{self.name}-{found[-1].number if found else number - 1}"
        return EventsReply(last, told, gap or bool(found and found[0].number > number), self.closed and not found)


#: Looks for events, wherever they are kept.
Ask = Callable[[EventsRequest], Awaitable[EventsReply]]


async def stream_of(
    ask: Ask, asked: EventsRequest, *, heartbeat: float, longest: float, over: Callable[[], bool] = lambda: False
) -> AsyncIterator[bytes]:
    """Server-sent events (WHATWG HTML, section 9.2), until there will be no more, or the time is over.

    Args:
        ask: looks for events; when it fails there will be no more.
        asked: what to look for.
        heartbeat: seconds without an event after which a comment is sent. longest: seconds that the stream lasts.
        over: whether to end now.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + longest
    told = 0.0
    wait = 0.0  # the first look only finds out where the stream begins
    last = asked.last
    while not over():
        try:
            reply = await ask(replace(asked, last=last, wait=wait))
        except RustCareError:
            return  # its reader comes again, and gets to know what is the matter
        now = loop.time()
        chunk = b""
        if not told:
            # Who is cut off before the first event comes back to where the stream began. Not in the reader's own words:
            # a line break in them would be an event of their making.
            place = reply.last if not reply.events else _before(reply.events[0][0])
            chunk = f"retry: 2000\nid: {place}\n\n".encode()
        if reply.gap:
            chunk += sse(reply.last if not reply.events else _before(reply.events[0][0]), {"kind": "gap"})
        chunk += b"".join(sse(id_, data) for id_, data in reply.events)
        if not chunk and now - told >= heartbeat:
            chunk = HEARTBEAT
        last = reply.last
        if chunk:
            told = now
            yield chunk
        if reply.closed or now >= end:
            return
        wait = max(0.001, min(WAIT, heartbeat, end - loop.time()))


def _before(id_: str) -> str:
    name, _, number = id_.rpartition("-")
    return f"{name}-{int(number) - 1}"


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
