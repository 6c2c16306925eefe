"""The primary's end of one worker's link: it does for the worker what only the primary may do.

Requests and events of the worker's plugins run here as those of senders with the plugins' ids and rights, so grants and
the audit gate decide and count as for everybody; `_standing` says in whose name a worker may speak at all. Each runs in a
task of its own that the worker can cancel.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any

import msgspec
from rustcare_sdk.contracts.http import HttpResponse
from rustcare_sdk.errors import DeadlineExceeded, InvalidPayload, RustCareError, ServiceError
from rustcare_sdk.message import NO_HEADERS, Message
from rustcare_sdk.plugin import Handler

from rustcare_kernel.bus import Bus
from rustcare_kernel.errors import LinkBroken, ListenerUnknown, WorkerLost
from rustcare_kernel.subscription import Confirmation, Entry

from . import _frames as frames
from ._link import Link, failed
from ._remote import RemoteSubscription
from ._standing import Standing

if TYPE_CHECKING:
    from ._pool import WorkerPool

__all__ = ["Attendant"]

_Work = Callable[[Any], Coroutine[Any, Any, bytes]]


class Attendant:
    """One worker, seen from the primary.

    Attributes:
        ready: it has said hello, and must confirm what it is told from now on.
        applied: the revision of the wanted state whose grants are in force there.
        converged: the revision that it runs. `missing`: the plugins that would not start there.
    """

    def __init__(self, pool: WorkerPool, number: int, bus: Bus, doors: socket.socket) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.pid = 0
        self.ready = False
        self.applied = 0
        self.converged = 0
        self.missing: list[str] = []
        self.heard = pool.clock
        self.ended = asyncio.Event()
        self.link = Link(frames.FROM_WORKER, self._received, self._lost)
        self._pool = pool
        self._bus = bus
        doors.setblocking(False)  # a worker that does not read must not hold up this process
        self._doors = doors
        self._told: dict[int, float] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._open: dict[int, asyncio.Future[str]] = {}
        self._standing = Standing(number, pool.grants)
        self._wires: dict[int, RemoteSubscription] = {}
        self._sent: dict[int, RemoteSubscription] = {}
        self._number = 0
        self._collecting: dict[int, asyncio.Future[None]] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._does: dict[type, Callable[[Any], None]] = {
            frames.Ask: lambda frame: self._begin(self._ask, frame),
            frames.Tell: lambda frame: self._begin(self._tell, frame),
            frames.Enter: lambda frame: self._run(frame.id, self._hold(frame)),
            frames.Listen: lambda frame: self._begin(self._listen, frame),
            frames.Drop: self._drop,
            frames.Leave: self._leave,
            frames.Wire: self._wire,
            frames.Unwire: self._unwire,
            frames.Handled: self._handled,
            frames.Counts: self._counts,
            frames.Log: self._log,
            frames.Trap: self._trapped,
            frames.Hello: self._hello,
            frames.Applied: self._applied,
            frames.Converged: self._converged,
        }

    def _received(self, frame: Any) -> None:
        self.heard = self._pool.clock
        self._does[type(frame)](frame)

    # what it asks for

    def _begin(self, work: _Work, frame: Any) -> None:
        self._run(frame.id, self._answer(work, frame))

    def _run(self, id: int, work: Coroutine[Any, Any, None]) -> None:
        # A context of its own: it works for the worker's message, not for whatever was handled here just now.
        self._tasks[id] = asyncio.get_running_loop().create_task(work, context=Context())

    async def _answer(self, work: _Work, frame: Any) -> None:
        id: int = frame.id
        reply: frames.Answer | frames.Failed
        try:
            reply = frames.Answer(id, await work(frame))
        except Exception as error:  # whatever came of it, the worker is told: it waits
            reply = failed(id, error)
        finally:
            self._tasks.pop(id, None)
        if self.link.full:
            await self.link.room()
        try:
            self.link.send(reply)
        except RustCareError as error:  # too large
            self.link.send(failed(id, error))
        if not self._tasks:
            self.link.flush()  # nothing else is under way that a batch could be made of

    def _drop(self, frame: frames.Drop) -> None:
        task = self._tasks.pop(frame.id, None)
        if task is not None:
            task.cancel()

    async def _ask(self, frame: frames.Ask) -> bytes:
        sender = self._standing.sender(frame.plugin, frame.digest, frame.call)
        left = frame.deadline - time.monotonic()
        if left <= 0:  # nobody waits for it any more: it must not have an effect
            raise DeadlineExceeded(
                f"the deadline had passed when {frame.service} was to be asked", hint="allow more time"
            )
        answer = await self._bus.request(sender, frame.service, frames.raw_of(frame.data), left, frame.headers)
        if isinstance(answer, HttpResponse) and answer.stream is not None:
            raise InvalidPayload(
                f"expected an answer of {frame.service} that can cross to another process, got a stream",
                hint='have each process run the plugin: [lifecycle] scale = "each"',
                address=frame.service,
            )
        return frames.payload_of(answer, f"the answer of {frame.service}")

    async def _tell(self, frame: frames.Tell) -> bytes:
        delivery = await self._bus.publish(
            self._standing.sender(frame.plugin, frame.digest, frame.call),
            frame.subject,
            frames.raw_of(frame.data),
            frame.headers,
            frame.confirm,
        )
        return frames.payload_of(delivery, f"what became of {frame.subject}")

    async def _hold(self, frame: frames.Enter) -> None:
        """Have a use on record; its effect is had in the worker, and ends when that says so, or is no more."""
        id = frame.id
        gate = self._bus.gate
        answered = gate is None

        async def effect(attempt: str) -> None:
            nonlocal answered
            answered = True
            left = self._open[id] = asyncio.get_running_loop().create_future()
            self._tasks.pop(id, None)
            self.link.send(frames.Answer(id, msgspec.json.encode(attempt)))
            code = await left
            if code:
                raise ServiceError(code, "")

        try:
            if gate is None:  # nothing must be on record any more
                self.link.send(frames.Answer(id, msgspec.json.encode("")))
                return
            sender = self._standing.sender(frame.plugin, frame.digest, frame.call)
            await gate.through(sender, frame.call, frame.key, frame.scope, frames.raw_of(frame.data), effect)
        except Exception as error:  # as above; what the use came to itself, the worker said, and knows
            if not answered:
                self.link.send(failed(id, error))
        finally:
            self._tasks.pop(id, None)
            self._open.pop(id, None)

    def _leave(self, frame: frames.Leave) -> None:
        left = self._open.get(frame.id)
        if left is not None and not left.done():
            left.set_result(frame.code)

    async def _listen(self, frame: frames.Listen) -> bytes:
        self._standing.check_name(frame.plugin)
        handle = self._pool.listening(frame.plugin, frame.host, frame.port)
        if handle is None:
            raise ListenerUnknown(
                f"{frame.plugin} does not listen on {frame.host}:{frame.port} in the primary process",
                hint="a plugin of which each process runs one listens on the same addresses in all of them",
                address=f"{frame.host}:{frame.port}",
            )
        with handle:
            try:
                socket.send_fds(self._doors, [frame.id.to_bytes(8, "little")], [handle.fileno()])
            except BlockingIOError:
                raise LinkBroken(
                    f"worker {self.number} does not take the descriptors that it asked for",
                    hint="its plugin asks for more of them than it waits for",
                ) from None
        return b""

    # events for it

    def _wire(self, frame: frames.Wire) -> None:
        self._standing.check_name(frame.owner)  # else the link is broken: such a process is not to be dealt with
        handler = Handler("subscribe", frame.pattern, "", frame.group, frame.queue, frame.overflow)
        known = self._wires.get(frame.wire)
        if known is not None:
            known.rewire(handler)
            return
        made = RemoteSubscription(
            self._bus, handler, frame.owner, self.link, lambda message: self._deliver(frame.wire, message)
        )
        self._wires[frame.wire] = made
        self._bus.mend(made)

    def _unwire(self, frame: frames.Unwire) -> None:
        gone = self._wires.pop(frame.wire, None)
        if gone is not None:
            self._bus.dismiss(gone)

    def _deliver(self, wire: int, message: Message[Any]) -> int:
        to = self._wires[wire]
        self._standing.check_hearing(to.owner, to.handler.subject, message.call.tenant)
        self._standing.gave(message.call)
        self._number += 1
        number = self._number
        headers = None if message.headers is NO_HEADERS else dict(message.headers)
        payload = self._pool.payload(message)
        self.link.send(
            frames.Deliver(
                number, wire, message.subject, message.source, message.call, message.time, headers, message.uid, payload
            )
        )
        self._sent[number] = to
        return number

    def _handled(self, frame: frames.Handled) -> None:
        subscription = self._sent.pop(frame.number, None)
        if subscription is not None:
            subscription.handled(frame.number, frame.code)

    # what it is told, and tells

    def _hello(self, frame: frames.Hello) -> None:
        self.pid = frame.pid
        self.ready = True
        self._pool.ready(self)

    def want(self, desired: frames.Desired) -> None:
        """Tell it what is wanted; it must say at once that the grants are in force."""
        self._told[desired.revision] = self._pool.clock
        self._standing.told(desired)
        self.link.send(desired)

    def _applied(self, frame: frames.Applied) -> None:
        self.applied = max(self.applied, frame.revision)
        self._told = {revision: since for revision, since in self._told.items() if revision > frame.revision}
        self._tell_waiting()

    def _converged(self, frame: frames.Converged) -> None:
        self.converged, self.missing = frame.revision, frame.missing
        self._pool.has_converged()

    async def has_applied(self, revision: int) -> None:
        """Return when the grants of a wanted state are in force there, or the worker has ended."""
        while self.applied < revision and not self.ended.is_set():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def _tell_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _log(self, frame: frames.Log) -> None:
        if frame.plugin != "kernel":
            self._standing.check_name(frame.plugin)
        self._pool.log(self.number, frame)

    def _trapped(self, frame: frames.Trap) -> None:
        self._standing.check_name(frame.plugin)
        self._pool.trapped(frame)

    def _counts(self, frame: frames.Counts) -> None:
        for plugin in {row[0] for rows in (frame.stats, frame.uses, frame.seen) for row in rows}:
            self._standing.check_name(plugin)
        self._pool.count(frame)
        collected = self._collecting.pop(frame.number, None)
        if collected is not None and not collected.done():
            collected.set_result(None)

    async def collect(self) -> None:
        """Have it send what it counted so far."""
        if self.link.closed or not self.ready:
            return
        self._number += 1
        future = self._collecting[self._number] = asyncio.get_running_loop().create_future()
        self.link.send(frames.Collect(self._number))
        await future

    def overdue(self, patience: float) -> str:
        """Why it must be killed, if it must: what it has not confirmed for so many seconds."""
        if not self.ready:
            return ""
        now = self._pool.clock
        if any(now - since > patience for since in self._told.values()):
            return "it did not confirm a change of grants"
        if any(subscription.overdue(now, patience) for subscription in self._wires.values()):
            return "it did not confirm an event"
        return ""

    # its end

    def _lost(self, error: BaseException | None) -> None:
        self._pool.lost(self, error)

    def close(self) -> None:
        """Close what leads to it."""
        self.link.close()
        self._doors.close()

    def bury(self) -> None:
        """The process has ended: nothing it had under way goes on, and nothing waits for it."""
        self.ready = False
        lost = WorkerLost(f"worker {self.number} has ended")
        for task in list(self._tasks.values()):
            task.cancel()
        self._tasks.clear()
        for left in self._open.values():
            if not left.done():
                left.set_result(lost.code)
        for subscription in self._wires.values():
            self._bus.cut(subscription)
        for subscription in self._wires.values():
            self._pass_on(subscription, subscription.abandon())
            self._bus.dismiss(subscription, withdraw=True)
        self._wires.clear()
        self._sent.clear()
        for future in self._collecting.values():
            if not future.done():
                future.set_result(None)
        self._collecting.clear()
        self.ended.set()
        self._tell_waiting()

    def _pass_on(self, subscription: RemoteSubscription, entries: Iterable[Entry]) -> None:
        """What only waited for it: another member of its group gets it, if there is one."""
        group = subscription.handler.group
        for entry in entries:
            message = entry.message if type(entry) is Confirmation else entry
            heir = self._bus.member(group, message.subject) if group else None
            if heir is not None:
                heir.put(entry)
            elif type(entry) is Confirmation:
                entry.withdraw()
