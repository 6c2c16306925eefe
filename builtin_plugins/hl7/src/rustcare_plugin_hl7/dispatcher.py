"""Publishes stored messages, and marks each one when every subscriber has handled it.

Order: the messages of one patient are published one after the other, each after the one before was handled or given up;
different patients side by side, up to a window. A failing message is tried again with growing delays and holds up only
its own patient, until it is marked `failed`. What was not marked when the process ended is published again, in order.

With nothing to publish it uses nothing: uses are counted, and counts are entries of the audit log. The lease is given up,
and what another process may have left in the database is looked for more and more rarely.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rustcare_sdk.context import Context
from rustcare_sdk.contracts.hl7 import Hl7Message, subject_of
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import PARTITION_KEY

from .header import segments_of
from .intake import timestamp
from .lanes import Lanes
from .lease import Lease
from .partition import partition_keys
from .settings import Dispatch
from .store import MessageStore, full_key

__all__ = ["Dispatcher"]

#: Failures that say nothing about the message: tried again until they pass, and not counted.
NOT_ITS_FAULT = frozenset({"audit.unavailable", "bus.closed", "bus.dropped", "bus.disconnected", "capability.denied"})
#: The handler crashed on it: a second attempt, then no more, since each costs the handler some of its trap budget.
CRASHES = frozenset({"runtime.trapped", "runtime.limit-exceeded"})
CRASH_ATTEMPTS = 2

TRACKED = 20_000
BYTES = 64 * 1024 * 1024
TICK = 0.25
RESCAN = 30.0
STAND_BACK = 0.5
#: With nothing to do for so many seconds, the lease is for whoever has something.
IDLE = 5.0
#: What others may have stored is looked for after a tenth of the time without work, but within these seconds.
SOONEST, LATEST = 1.0, 300.0
PATIENCE = 3.0
#: Outcomes are written down together: after so many seconds, or at once when there are so many.
GATHER = 0.02
FULL = 64


@dataclass(slots=True, eq=False)
class _Item:
    """One message on its way. `message` is None when it waits and memory is short: it is read again."""

    id: int
    keys: tuple[str, ...]
    subject: str
    size: int
    message: Hl7Message | None
    row: Mapping[str, Any]
    attempts: int = 0
    tries: int = 0


class Dispatcher:
    """The background work of publishing. `run` and `write` are tasks; everything else is called from the plugin."""

    def __init__(
        self, ctx: Context, store: MessageStore, lease: Lease, settings: Dispatch, salt: bytes, max_message_bytes: int
    ) -> None:
        self._ctx = ctx
        self._store = store
        self.lease = lease
        self._settings = settings
        self._salt = salt
        self._page = max(4, min(256, BYTES // max_message_bytes))
        self._wake = asyncio.Event()
        self._finished_some = asyncio.Event()
        self._quiet = asyncio.Event()
        self._lanes: Lanes[_Item] = Lanes()
        self._tracked: dict[int, _Item] = {}
        self._bytes = 0
        self._cursor = 0
        self._more = True
        self._inflight: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._parked: dict[str, list[_Item]] = {}
        self._seen: dict[str, float] = {}
        self._finished: list[tuple[int, str, int, str]] = []
        self._began = time.monotonic()
        self._scanned = self._looked = self._worked = self._began
        self._stand_back = 0.0
        self._paused = False
        self._stopped = False
        self.starting = True
        self.running = False
        self.last_error = ""

    # called by the plugin

    def stored(self, _count: int) -> None:
        """There are new messages on disk."""
        self._worked = time.monotonic()
        self._more = True
        self._quiet.clear()
        self._wake.set()

    def rescan(self) -> None:
        """Messages before those already seen are to be published again (a replay)."""
        self._cursor = 0
        self.stored(0)

    async def take_over(self) -> None:
        """Take the lease now, if it is free: the version before has just given it up."""
        self._worked = time.monotonic()
        await self._may_publish()
        self._wake.set()

    async def quiet(self) -> None:
        """Return when everything stored so far is settled and written down."""
        await self._quiet.wait()

    @property
    def backlog(self) -> int:
        """How many messages are in memory, waiting or on their way."""
        return len(self._tracked)

    async def hand_over(self, patience: float | None = None) -> None:
        """Finish what is on its way (for at most `patience` seconds), write it down, give up the lease, stand back.

        Cancelled before that (the kernel's own patience ended), it goes on publishing as before.
        """
        self._paused = True
        try:
            await self._landed(patience)
            await self._flush()
            self._forget()
            await self.lease.release()
            self._stand_back = time.monotonic() + STAND_BACK
        finally:
            self._paused = False
            self._wake.set()

    async def stop(self) -> None:
        """As `hand_over`, for good. What is not handled by then is published again by whoever comes next."""
        self._stopped = True
        await self.hand_over(PATIENCE)

    # the tasks

    async def run(self) -> None:
        """Load, publish, look after the lease."""
        self.starting = False
        self.running = True
        ticker = asyncio.get_running_loop().create_task(self._tick())
        try:
            while not self._stopped:
                await self._wake.wait()
                self._wake.clear()
                if self._paused:
                    continue
                if not self._tracked and not await self._waiting():
                    await self._rest()
                    continue
                if not await self._may_publish():
                    continue
                await self._load()
                self._start()
                self._settle_quiet()
        finally:
            self.running = False
            for task in (ticker, *self._inflight):
                task.cancel()
            for timer in self._timers:
                timer.cancel()

    async def write(self) -> None:
        """Write down what became of messages; all that ended meanwhile shares one commit."""
        while True:
            await self._finished_some.wait()
            self._finished_some.clear()
            if len(self._finished) < FULL:
                await asyncio.sleep(GATHER)  # a commit of its own for each would slow down the receiving
            try:
                await self._flush()
            except RustCareError as error:
                self.last_error = error.code
                self._ctx.log.error("outcome of messages not written yet", error=error.code)
                await asyncio.sleep(1.0)  # the disk is full or gone: they stay in memory and are tried again
                self._finished_some.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self._probe(now)
            if now - self._scanned > (RESCAN if self._tracked else 1.0):
                self._scanned = now
                self._cursor = 0  # another node may have stored something before the cursor
            if now - self._looked > min(LATEST, max(SOONEST, (now - self._worked) / 10)):
                self._looked = now
                self._more = True  # the version before, or another node, may have stored something
            self._wake.set()

    async def _waiting(self) -> bool:
        """Whether there may be something to publish. Without the lease that is looked up first, else it were taken in vain."""
        if self._more and not self.lease.held:
            self._more = False  # before the query: what is stored while it runs sets it again
            if await self._store.waiting():
                self._more = True
        return self._more

    async def _rest(self) -> None:
        """Nothing is to be done: after a while another may have the lease."""
        self._quiet.set()
        if self.lease.held and time.monotonic() - self._worked > IDLE:
            try:
                await self.lease.release()
            except RustCareError as error:  # it expires
                self.last_error = error.code

    async def _may_publish(self) -> bool:
        if not self.lease.held and time.monotonic() < self._stand_back:
            return False
        if self.lease.held and not self.lease.due:
            return True
        had = self.lease.held
        try:
            held = await self.lease.acquire()
        except RustCareError as error:
            self.last_error = error.code
            return self.lease.safe
        if had and not held:
            self._ctx.log.warning("another process publishes now")
            await self._landed(None)
            self._forget()
        elif held and not had:
            self._began = time.monotonic()
            self._cursor, self._more = 0, True
        return held

    async def _load(self) -> None:
        target = self._settings.window * 2
        while self._more and self._lanes.waiting < target and len(self._tracked) < TRACKED:
            self._more = False  # before the query: what is stored while it runs sets it again
            rows = await self._store.pending(self._cursor, self._page)
            if len(rows) == self._page:
                self._more = True
            if rows:
                self._worked = time.monotonic()
            for row in rows:
                self._cursor = row["id"]
                if row["id"] not in self._tracked:
                    self._track(row)

    def _track(self, row: Mapping[str, Any]) -> None:
        message, keys = self._read(row, bytes(row["content"]))
        meta = {name: value for name, value in row.items() if name != "content"}
        item = _Item(row["id"], keys, subject_of(row["type"], row["event"]), row["size"], message, meta)
        self._tracked[item.id] = item
        goes = self._lanes.add(item)
        if not goes and self._bytes + item.size > BYTES:
            item.message = None
        else:
            self._bytes += item.size

    def _read(self, row: Mapping[str, Any], content: bytes) -> tuple[Hl7Message, tuple[str, ...]]:
        segments = segments_of(content.decode(row["codec"]))
        message = Hl7Message(
            key=full_key(row),
            type=row["type"],
            event=row["event"],
            control_id=row["control_id"],
            sending_facility=row["sending_facility"],
            version=row["version"],
            received=row["received"],
            text="\r".join(segments) + "\r",
        )
        return message, partition_keys(segments, self._salt)

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while len(self._inflight) < self._settings.window and self.lease.safe:
            item = self._lanes.take()
            if item is None:
                return
            task = loop.create_task(self._publish(item))
            self._inflight.add(task)
            task.add_done_callback(self._left)

    async def _landed(self, patience: float | None) -> None:
        """Return when nothing is on its way any more; what takes longer than `patience` is cancelled."""
        if self._inflight:
            _, late = await asyncio.wait(set(self._inflight), timeout=patience)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._inflight.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.last_error = type(error).__name__
            self._ctx.log.error("message not published", error=self.last_error)

    async def _publish(self, item: _Item) -> None:
        message = item.message
        if message is None:
            message, _ = self._read(item.row, await self._store.content(item.id))
        try:
            delivery = await self._ctx.publish(
                item.subject, message, headers={PARTITION_KEY: item.keys[0]}, confirm=True
            )
        except RustCareError as error:
            self._failed(item, error.code)
            return
        if delivery.receivers == 0:
            self._nobody(item)
            return
        self._seen[item.subject] = time.monotonic()
        if self._parked:
            for other in self._parked.pop(item.subject, ()):
                self._lanes.ready(other)
        if delivery.failures:
            self._failed(item, delivery.failures[0])
        else:
            item.attempts += 1
            self._finish(item, "done", "")

    # what becomes of a message

    def _finish(self, item: _Item, status: str, error: str) -> None:
        self._worked = time.monotonic()
        self._finished.append((item.id, status, item.attempts, error))
        self._finished_some.set()
        self._lanes.release(item)
        if item.message is not None:
            self._bytes -= item.size
            item.message = None

    def _failed(self, item: _Item, code: str) -> None:
        self.last_error = code
        item.tries += 1
        if code not in NOT_ITS_FAULT:
            item.attempts += 1
            if item.attempts >= (CRASH_ATTEMPTS if code in CRASHES else self._settings.attempts):
                self._ctx.log.error("message given up", subject=item.subject, row=item.id, error=code)
                self._finish(item, "failed", code)
                return
        delay = min(self._settings.max_backoff, self._settings.backoff * 2.0 ** min(item.tries - 1, 30))
        loop = asyncio.get_running_loop()

        def again() -> None:
            self._timers.discard(timer)
            if self._tracked.get(item.id) is item:
                self._lanes.ready(item)
                self._wake.set()

        timer = loop.call_later(delay, again)
        self._timers.add(timer)

    def _nobody(self, item: _Item) -> None:
        """No subscriber: one may be starting, so the subject waits for a while before its messages are given up."""
        if self._settled(item.subject, time.monotonic()):
            self._finish(item, "unhandled", "")
        else:
            self._parked.setdefault(item.subject, []).append(item)

    def _settled(self, subject: str, now: float) -> bool:
        return now - max(self._began, self._seen.get(subject, 0.0)) >= self._settings.settle

    def _probe(self, now: float) -> None:
        """Try one message of each waiting subject, or give all of them up when it has waited long enough."""
        for subject, items in list(self._parked.items()):
            if self._settled(subject, now):
                del self._parked[subject]
                for item in items:
                    self._finish(item, "unhandled", "")
            else:
                self._lanes.ready(items.pop(0))
                if not items:
                    del self._parked[subject]

    async def _flush(self) -> None:
        finished, self._finished = self._finished, []
        if not finished:
            return
        try:
            await self._store.finish(finished, timestamp(self._ctx.now()))
        except BaseException:
            self._finished = finished + self._finished
            raise
        for id, _, _, _ in finished:
            self._tracked.pop(id, None)
        self._wake.set()

    def _settle_quiet(self) -> None:
        if not self._tracked and not self._more:
            self._quiet.set()

    def _forget(self) -> None:
        """Drop what is not on its way: whoever publishes next reads it from disk."""
        unwritten = {id for id, _, _, _ in self._finished}
        self._lanes.clear()
        self._parked.clear()
        self._tracked = {id: item for id, item in self._tracked.items() if id in unwritten}
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._bytes = 0
        self._cursor, self._more = 0, True
