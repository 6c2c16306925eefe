"""One subscriber's bounded queue and the task that empties it in order.

`parallel` 1 (the default) handles one message at a time, in the order of arrival. With more, messages of one lane (the
partition key if the publisher gave one, else the subject) keep their order and different lanes run side by side.

Pausing keeps what arrives in the queue, which is how an upgrade loses nothing: the handler is swapped while paused.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, final

from rustcare_sdk.context import Delivery
from rustcare_sdk.errors import BusClosed, HandlerFailed, RustCareError
from rustcare_sdk.message import PARTITION_KEY, Message
from rustcare_sdk.plugin import Handler
from rustcare_sdk.subjects import pattern_matches

from .accounting import Stat, Use
from .calls import current_message, finish
from .grants import Rights

if TYPE_CHECKING:
    from .bus import Bus

__all__ = ["Confirmation", "Subscription", "is_cancelled"]

_monotonic = time.monotonic
# After so many messages without a pause the task lets the event loop serve others.
_STRETCH = 128


@final
class Confirmation:
    """A message whose publisher waits until every receiver has handled it."""

    __slots__ = ("_failures", "_future", "_handled", "_left", "_receivers", "message")

    def __init__(self, message: Message[Any], receivers: int) -> None:
        self.message = message
        self._receivers = self._left = receivers
        self._handled = 0
        self._failures: list[str] = []
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def done(self, failure: str = "") -> None:
        """One receiver is through with it; `failure` is an error's code."""
        self._left -= 1
        if failure:
            self._failures.append(failure)
        else:
            self._handled += 1
        self._told()

    def withdraw(self) -> None:
        """One receiver turned out to be none: it was about to be replaced by another, which has the message too."""
        self._receivers -= 1
        self._left -= 1
        self._told()

    def _told(self) -> None:
        if not self._left and not self._future.done():
            self._future.set_result(None)

    def then(self, told: Callable[[Delivery], None]) -> None:
        """Have a function told of the outcome, soon after the last receiver is through."""
        self._future.add_done_callback(lambda _: told(Delivery(self._receivers, self._handled, tuple(self._failures))))

    async def wait(self) -> Delivery:
        """The outcome, when the last receiver is through."""
        if self._left:
            await self._future
        return Delivery(self._receivers, self._handled, tuple(self._failures))


Entry = Message[Any] | Confirmation
Place = tuple["asyncio.Future[None]", Entry]


class Subscription:
    """A subscriber on the bus. `size` counts what waits or runs; `bound` is the declared limit of what waits."""

    __slots__ = (
        "_bus",
        "_idle",
        "_lanes",
        "_publishers",
        "_queue",
        "_running",
        "_space",
        "_stats",
        "_task",
        "_wake",
        "append",
        "blocked",
        "bound",
        "closed",
        "dropped",
        "handler",
        "invoke",
        "limit",
        "owner",
        "paused",
        "rights",
        "size",
    )

    def __init__(
        self,
        bus: Bus,
        handler: Handler,
        invoke: Callable[[Message[Any]], Coroutine[Any, Any, Any]],
        rights: Rights | None,
        owner: str,
        paused: bool = False,
    ) -> None:
        self.handler = handler
        self.invoke = invoke
        self.rights = rights
        self.owner = owner
        self.bound = handler.queue
        self.limit = float("inf")  # seconds that handling one message may take
        self.size = 0
        self.dropped = 0
        self.blocked = 0  # publishers that wait for room; newcomers queue up behind them
        self.paused = paused
        self.closed = False
        self._bus = bus
        self._queue: deque[Entry] = deque()
        self.append = self._queue.append
        self._publishers: deque[Place] = deque()
        self._stats: dict[str, Stat] = {}
        self._running = 0
        self._lanes: dict[str, deque[Entry]] = {}
        self._space: asyncio.Future[None] | None = None
        self._idle: list[asyncio.Future[None]] = []
        self._wake: asyncio.Future[None] | None = None
        run = self._run() if handler.parallel == 1 else self._run_lanes()
        self._task = asyncio.get_running_loop().create_task(run, name=f"subscription {handler.subject} of {owner}")

    # the publisher's side

    def put(self, entry: Entry) -> None:
        """Queue an entry; the caller has seen that there is room."""
        self.size += 1
        self.append(entry)
        if self._wake is not None:
            self.wake()

    def wake(self) -> None:
        """Let the subscriber's task see that there is something to do."""
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def line_up(self, entry: Entry) -> Place | None:
        """Deal with an entry that finds no room by the declared policy: what the publisher has to wait for, if anything.

        The entry waits in line with its publisher, so that it keeps its place whatever happens to the queue meanwhile.
        """
        if self.closed:
            self._give_up(entry)
            return None
        overflow = self.handler.overflow
        if overflow == "drop-oldest":
            self._drop_oldest()
            self.put(entry)
            return None
        if overflow == "disconnect":
            self._give_up(entry, "bus.disconnected")
            self._bus.drop_slow(self)
            return None
        place = (asyncio.get_running_loop().create_future(), entry)
        self._publishers.append(place)
        self.blocked += 1
        return place

    def leave(self, place: Place) -> None:
        """A publisher that was cancelled while it waited for room has not published here."""
        if place in self._publishers:
            self._publishers.remove(place)
            self.blocked -= 1

    def _drop_oldest(self) -> None:
        # What lanes hold came before what the queue holds. What is being handled cannot be dropped any more.
        lane = max(self._lanes.values(), key=len, default=None)
        if lane:
            self._running -= 1
        waiting = lane or self._queue
        if waiting:
            self.dropped += 1
            self.size -= 1
            self._give_up(waiting.popleft(), "bus.dropped")

    def _admit(self) -> None:
        """Let waiting publishers in, first come first served, as far as there is room."""
        while self._publishers and self.size < self.bound:
            room, entry = self._publishers.popleft()
            self.blocked -= 1
            if not room.done():
                self.put(entry)
                room.set_result(None)

    def _take_waiting(self) -> list[Entry]:
        """Everything that waits, in order, blocked publishers last; they go on and nothing waits here any more."""
        entries = [*self._queue]
        self.size -= len(entries)
        self._queue.clear()
        for room, entry in self._publishers:
            if not room.done():
                entries.append(entry)
                room.set_result(None)
        self._publishers.clear()
        self.blocked = 0
        return entries

    @staticmethod
    def _give_up(entry: Entry, code: str = BusClosed.code) -> None:
        if type(entry) is Confirmation:
            entry.done(code)

    # the subscriber's side

    async def _run(self) -> None:
        """One at a time. Plain messages are handled here, without a further call in between: this is the hot path."""
        queue, popleft, enter = self._queue, self._queue.popleft, current_message.set
        loop = asyncio.get_running_loop()
        stretch = 0
        tenant: str | None = None
        stat, use, epoch, known = Stat(), Use(""), -1, self.rights
        while True:
            started = _monotonic()
            while queue and not self.paused:
                entry = popleft()
                self._running = 1
                if type(entry) is Confirmation:
                    await self._handle(entry)
                    started = _monotonic()
                else:
                    rights = self.rights
                    enter(entry)
                    try:
                        if (
                            entry.call.tenant is not tenant
                            or rights is not known
                            or (rights is not None and rights._grants.epoch != epoch)
                        ):
                            known, use = rights, Use("")
                            tenant = entry.call.tenant
                            stat = self._stat(tenant)
                            epoch = -1
                            if rights is not None:
                                use = rights.check("bus", "subscribe", self.handler.subject, tenant, count=False)
                                if rights.steady("bus", "subscribe", self.handler.subject, tenant):
                                    epoch = rights._grants.epoch
                        stat.calls += 1
                        use.count += 1
                        coroutine = self.invoke(entry)
                        try:
                            pending = coroutine.send(None)
                        except StopIteration:
                            pass
                        else:
                            await finish(coroutine, pending, _monotonic() + self.limit, entry.subject)
                    except (Exception, asyncio.CancelledError) as error:
                        if is_cancelled(error):
                            raise
                        stat.errors += 1
                        self._bus.report(self.owner, entry.subject, error)
                    now = _monotonic()
                    stat.wall += now - started
                    started = now
                self._running = 0
                self.size -= 1
                if self._publishers:
                    self._admit()
                stretch += 1
                if stretch >= _STRETCH:
                    stretch = 0
                    await asyncio.sleep(0)
                    started = _monotonic()
            self._settled()
            if not queue or self.paused:
                self._wake = loop.create_future()
                await self._wake
                stretch = 0

    def _stat(self, tenant: str) -> Stat:
        stat = self._stats.get(tenant)
        if stat is None:
            stat = self._stats[tenant] = self._bus.accounting.stat(self.owner, tenant)
        return stat

    async def _run_lanes(self) -> None:
        loop = asyncio.get_running_loop()
        limit = self.handler.parallel
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                while self._queue and not self.paused:
                    entry = self._queue[0]
                    message = entry.message if type(entry) is Confirmation else entry
                    key = message.headers.get(PARTITION_KEY) or message.subject
                    lane = self._lanes.get(key)
                    if lane is None and len(self._lanes) >= limit:
                        self._space = loop.create_future()
                        await self._space
                        continue
                    self._queue.popleft()
                    self._running += 1
                    if lane is not None:
                        lane.append(entry)
                    else:
                        self._lanes[key] = lane = deque((entry,))
                        task = loop.create_task(self._lane(key, lane))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                self._settled()
                if not self._queue or self.paused:
                    self._wake = loop.create_future()
                    await self._wake
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _lane(self, key: str, lane: deque[Entry]) -> None:
        try:
            while lane and not self.paused:
                entry = lane.popleft()
                try:
                    await self._handle(entry)
                finally:
                    self._running -= 1
                    self.size -= 1
                    if self._publishers:
                        self._admit()
        finally:
            del self._lanes[key]
            # What a pause (or the end) left in the lane goes back to the head of the queue, before newer ones of its key.
            self._running -= len(lane)
            self._queue.extendleft(reversed(lane))
            if self._space is not None and not self._space.done():
                self._space.set_result(None)
            self._settled()

    async def _handle(self, entry: Entry) -> None:
        confirmation: Confirmation | None
        if type(entry) is Confirmation:
            confirmation, message = entry, entry.message
        else:
            confirmation, message = None, entry
        tenant = message.call.tenant
        failure = ""
        started = _monotonic()
        stat = self._stat(tenant)
        stat.calls += 1
        current_message.set(message)
        try:
            if self.rights is not None:
                self._permit(tenant, self.rights)
            coroutine = self.invoke(message)
            try:
                pending = coroutine.send(None)
            except StopIteration:
                pass
            else:
                await finish(coroutine, pending, started + self.limit, message.subject)
        except RustCareError as error:
            failure = error.code
            stat.errors += 1
            self._bus.report(self.owner, message.subject, error)
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                failure = BusClosed.code
                raise
            failure = HandlerFailed.code
            stat.errors += 1
            self._bus.report(self.owner, message.subject, error)
        finally:
            stat.wall += _monotonic() - started
            if confirmation is not None:
                confirmation.done(failure)

    def _permit(self, tenant: str, rights: Rights) -> None:
        """A subscription's right is checked for each message: revoking it stops the very next one."""
        if rights.epoch != rights._grants.epoch:
            rights.fresh()
        use: Use | None = rights.subscribe.get((tenant, self.handler.subject))
        if use is not None:
            use.count += 1
            return
        rights.check_bus(rights.subscribe, "subscribe", self.handler.subject, tenant)

    # pausing, swapping, closing

    def _settled(self) -> None:
        """Nothing is running (and, unless paused, nothing waits): tell those who wait for that."""
        if self._running or (self._queue and not self.paused):
            return
        waiting, self._idle = self._idle, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def pause(self) -> None:
        """Keep what arrives in the queue; return when nothing is being handled any more."""
        self.paused = True
        await self._quiet(lambda: self._running == 0)

    async def drain(self) -> None:
        """Return when the queue is empty and nothing is being handled."""
        await self._quiet(lambda: self._running == 0 and not self._queue and not self.blocked)

    async def _quiet(self, reached: Callable[[], bool]) -> None:
        while not reached() and not self.closed:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle.append(future)
            await future

    def resume(
        self,
        handler: Handler | None = None,
        invoke: Callable[[Message[Any]], Coroutine[Any, Any, Any]] | None = None,
        rights: Rights | None = None,
    ) -> None:
        """Go on, with another handler if one is given (of the same subject, group and parallelism)."""
        if handler is not None and invoke is not None:
            self.handler, self.invoke, self.rights = handler, invoke, rights
            self.bound = handler.queue
        self.paused = False
        self.wake()
        self._admit()

    def inherit(self, before: Subscription) -> None:
        """Take over what waits at another subscription, ahead of what waits here."""
        entries = before._take_waiting()
        self.size += len(entries)
        self._queue.extendleft(reversed(entries))
        self.wake()

    def take_back(self, held: Subscription, pattern: str = ">") -> None:
        """Queue what waits at another subscription behind what waits here; only what fits the pattern."""
        entries = self._take_waiting()
        for entry in held._take_waiting():
            message = entry.message if type(entry) is Confirmation else entry
            if pattern_matches(pattern, message.subject):
                entries.append(entry)
            else:
                self._withdraw(entry)
        self.size += len(entries)
        self._queue.extend(entries)
        self.wake()

    def waiting(self) -> int:
        """How many messages wait: in the queue, or with a publisher in line for it."""
        return len(self._queue) + self.blocked

    @staticmethod
    def _withdraw(entry: Entry) -> None:
        if type(entry) is Confirmation:
            entry.withdraw()

    async def close(self, *, withdraw: bool = False) -> None:
        """Stop; what was queued is given up and reported to those who confirm.

        With `withdraw` it is as if it never had been subscribed: another subscription has the same messages.
        """
        if self.closed:
            return
        self.closed = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for entry in self._take_waiting():
            if withdraw:
                self._withdraw(entry)
            else:
                self._give_up(entry)
        for future in self._idle:
            if not future.done():
                future.set_result(None)
        self._idle.clear()


def is_cancelled(error: BaseException) -> bool:
    """Whether this task was cancelled, rather than that a handler let out the cancellation of something it awaited."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
