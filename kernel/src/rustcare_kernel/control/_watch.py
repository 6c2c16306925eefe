"""The stream of what happens in a kernel, for `events.watch` and `rustcare plugin dev`.

Messages are seen by the bus's observer, only while somebody watches: an idle kernel pays nothing. Their data may be
patient data, so it is left out unless it is asked for. Uses of capabilities are the differences of the accounting's
counters, taken a few times a second, because counting each of them twice would slow the hot path down.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from rustcare_sdk.contracts.plugin import STATE, PluginState
from rustcare_sdk.message import Message
from rustcare_sdk.subjects import check_pattern, pattern_matches

from rustcare_kernel.accounting import Accounting
from rustcare_kernel.bus import Bus

__all__ = ["KINDS", "Stream", "Watch"]

KINDS = ("state", "message", "capability")
_QUEUE = 1000
_PERIOD = 0.2


class Stream:
    """What one watcher has not read yet. When it is too slow, the oldest events are dropped and counted."""

    def __init__(self, kinds: Iterable[str], plugin: str, subject: str, data: bool) -> None:
        self.kinds = frozenset(kinds)
        self.plugin = plugin
        self.subject = subject
        self.data = data
        self._events: deque[dict[str, Any]] = deque()
        self._dropped = 0
        self._ready = asyncio.Event()

    def put(self, event: dict[str, Any]) -> None:
        """Add an event if it is one of those watched."""
        if event["kind"] not in self.kinds or (self.plugin and event["plugin"] != self.plugin):
            return
        if len(self._events) >= _QUEUE:
            self._events.popleft()
            self._dropped += 1
        self._events.append(event)
        self._ready.set()

    def drain(self) -> list[dict[str, Any]]:
        """What there is now, without waiting."""
        events = list(self._events)
        if self._dropped:
            events.insert(0, {"kind": "dropped", "time": time.time(), "plugin": self.plugin, "count": self._dropped})
        self._events.clear()
        self._dropped = 0
        self._ready.clear()
        return events

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            await self._ready.wait()
            for event in self.drain():
                yield event


class Watch:
    """Everybody who watches one kernel."""

    def __init__(self, bus: Bus, accounting: Accounting) -> None:
        self._bus = bus
        self._accounting = accounting
        self._streams: list[Stream] = []
        self._before: Callable[[Message[Any]], None] | None = None
        self._counts: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._task: asyncio.Task[None] | None = None

    def open(self, kinds: Iterable[str] = KINDS, *, plugin: str = "", subject: str = "", data: bool = False) -> Stream:
        """Begin to watch; hand the stream to `close` in the end.

        Args:
            kinds: `state`, `message`, `capability`.
            plugin: only what concerns this plugin: its states, what it sent, what it used.
            subject: a pattern; only messages whose subject matches.
            data: with the messages' data, which may be patient data.
        """
        if subject:
            check_pattern(subject)
        if not self._streams:
            self._before, self._bus.observer = self._bus.observer, self._seen
            self._counts = self._read()
            self._task = asyncio.get_running_loop().create_task(self._poll(), name="control: capability uses")
        stream = Stream(kinds, plugin, subject, data)
        self._streams.append(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Stop watching."""
        if stream in self._streams:
            self._streams.remove(stream)
        if not self._streams and self._task is not None:
            self._bus.observer, self._before = self._before, None
            self._task.cancel()
            self._task = None

    def flush(self) -> None:
        """Report the uses of capabilities up to now."""
        counts = self._read()
        before, self._counts = self._counts, counts
        now = time.time()
        # With many tenants there are many counters, and few of them changed: only those are put in order.
        for key in sorted(key for key, count in counts.items() if count != before.get(key, (0, 0))):
            plugin, tenant, capability = key
            used, denied = counts[key]
            used_before, denied_before = before.get(key, (0, 0))
            self._tell(
                {
                    "kind": "capability",
                    "time": now,
                    "plugin": plugin,
                    "tenant": tenant,
                    "capability": capability,
                    "used": max(0, used - used_before),
                    "denied": max(0, denied - denied_before),
                }
            )

    def _read(self) -> dict[tuple[str, str, str], tuple[int, int]]:
        return {key: (used, denied) for key, used, denied in self._accounting.uses()}

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD)
            self.flush()

    def _tell(self, event: dict[str, Any]) -> None:
        for stream in self._streams:
            stream.put(event)

    def _seen(self, message: Message[Any]) -> None:
        if self._before is not None:
            self._before(message)
        if message.subject == STATE and isinstance(message.data, PluginState):
            self._tell_state(message.time, message.data)
            return
        event = {
            "kind": "message",
            "time": message.time,
            "plugin": message.source,
            "subject": message.subject,
            "id": message.id,
            "tenant": message.tenant,
        }
        for stream in self._streams:
            if not stream.subject or pattern_matches(stream.subject, message.subject):
                stream.put({**event, "data": message.data} if stream.data else event)

    def _tell_state(self, moment: float, state: PluginState) -> None:
        self._tell(
            {
                "kind": "state",
                "time": moment,
                "plugin": state.plugin,
                "version": state.version,
                "from": state.from_state,
                "to": state.to_state,
                "reason": state.reason,
            }
        )
