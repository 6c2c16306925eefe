"""A worker's subscription as the primary's bus sees it: a queue like any other, emptied over the link.

Bounds, overflow, groups and order are the bus's own. What was sent and is not acknowledged still counts as waiting, and at
most a window of it is under way; in the worker it goes through the plugin's own subscription, with its rights and lanes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler

from rustcare_kernel.bus import Bus
from rustcare_kernel.errors import WorkerLost
from rustcare_kernel.subscription import Confirmation, Entry, Subscription

from ._link import Link

__all__ = ["RemoteSubscription"]


async def _never(message: Message[Any]) -> None:
    raise AssertionError("a remote subscription handles nothing itself")


class RemoteSubscription(Subscription):
    """The subscribers behind one wire of a worker.

    Args:
        deliver: sends a message and gives the number under which it is acknowledged (see `handled`), or raises
            InvalidPayload for one that cannot cross.
    """

    WINDOW = 64  # messages under way

    __slots__ = ("_deliver", "_flying", "_free", "_link", "_seen")

    def __init__(
        self, bus: Bus, handler: Handler, owner: str, link: Link, deliver: Callable[[Message[Any]], int]
    ) -> None:
        self._deliver = deliver
        self._flying: dict[int, Entry] = {}
        self._free: asyncio.Future[None] | None = None
        self._link = link
        self._seen: dict[Confirmation, float] = {}
        super().__init__(bus, handler, _never, None, owner)

    def rewire(self, handler: Handler) -> None:
        """Another bound, another policy for a full queue."""
        self.handler = handler
        self.bound = handler.queue
        self._admit()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while self._queue and not self.paused:
                if len(self._flying) >= min(self.WINDOW, self.bound):
                    self._free = loop.create_future()
                    await self._free
                    continue
                if self._link.full:
                    await self._link.room()
                    continue
                entry = self._queue.popleft()
                self._running += 1
                message = entry.message if type(entry) is Confirmation else entry
                try:
                    number = self._deliver(message)
                except RustCareError as error:  # it cannot cross; whoever comes next can
                    self._fail(entry, message, error)
                else:
                    self._flying[number] = entry
            self._settled()
            if not self._queue or self.paused:
                self._wake = loop.create_future()
                await self._wake

    async def _run_lanes(self) -> None:
        await self._run()  # lanes are the worker's business

    def _fail(self, entry: Entry, message: Message[Any], error: RustCareError) -> None:
        self._through(entry, error.code)
        self._bus.report(self.owner, message.subject, error)

    def handled(self, number: int, code: str) -> None:
        """The worker is through with a message; `code` is that of a failure."""
        entry = self._flying.pop(number, None)
        if entry is None:
            return
        self._through(entry, code)
        if self._free is not None and not self._free.done():
            self._free.set_result(None)
        self._settled()

    def _through(self, entry: Entry, code: str) -> None:
        self._running -= 1
        self.size -= 1
        if type(entry) is Confirmation:
            entry.done(code)
        if self._publishers:
            self._admit()

    def overdue(self, now: float, patience: float) -> bool:
        """Whether some publisher has waited for this worker for so many seconds of the clock that says `now`."""
        waiting = [*self._flying.values(), *self._queue, *(entry for _, entry in self._publishers)]
        seen = self._seen
        # The entries themselves, not their ids: those of one that is through are another's a moment later.
        self._seen = {entry: seen.get(entry, now) for entry in waiting if type(entry) is Confirmation}
        return any(now - since > patience for since in self._seen.values())

    def abandon(self) -> list[Entry]:
        """The worker is dead. What was under way there is told; what waited for it is returned, and nobody's now."""
        flying, self._flying = self._flying, {}
        if flying and self.handler.group:
            # It was this member's turn, and whether they were handled is not known.
            lost = WorkerLost(f"{len(flying)} events were under way in a worker that has ended")
            self._bus.report(self.owner, self.handler.subject, lost)
        for entry in flying.values():
            if type(entry) is Confirmation:
                if self.handler.group:
                    entry.done(WorkerLost.code)
                else:
                    entry.withdraw()  # a worker that has ended is no receiver
        return self._take_waiting()
