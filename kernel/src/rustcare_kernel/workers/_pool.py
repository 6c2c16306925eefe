"""The primary's side of all workers: start them, watch them, replace them, and tell them what is wanted.

What is wanted is what the primary runs itself: its serving plugins of which each process has one, with their grants, and
what the audit policy names. It is told as a whole, with a revision; a worker puts grants and policy in force before it
does anything else, and says so. Whoever changed something is answered when every worker has said so or is dead.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.message import Message

from rustcare_kernel.accounting import Accounting
from rustcare_kernel.audit.gate import Gate
from rustcare_kernel.bus import Bus
from rustcare_kernel.context import PluginContext
from rustcare_kernel.fleet import Fleet
from rustcare_kernel.grants import Grants
from rustcare_kernel.logs import Logs

from . import _frames as frames
from ._attendant import Attendant

__all__ = ["WorkerPool", "WorkerStatus"]


class WorkerStatus(Struct, frozen=True):
    """One worker as it is now. `state`: `starting`, `serving` what the primary serves, `changing` to do so, or `down`;
    `since` in Unix seconds; `missing`: the plugins that would not start there, whose services the primary answers."""

    number: int
    pid: int
    state: str
    restarts: int
    since: float
    missing: tuple[str, ...] = ()


class WorkerPool:
    """The workers of one kernel.

    Args:
        count: how many.
        config: configuration that is laid over the catalog's, as in the primary.
        patience: seconds that a worker has to confirm what it must: a change of grants, an event whose publisher waits.
        observed: told of uses seen for the first time, and of denials: plugin, capability, tenant, allowed.
    """

    BACKOFF = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds before a worker that ended is replaced
    STEADY = 30.0  # seconds after which its end is no repetition of the last one
    TICK = 0.2  # seconds between looks at who is overdue
    HUNG = 10.0  # seconds of silence after which a worker is taken for hung; it speaks once a second
    START = 30.0  # seconds until its first word
    STOP = 10.0  # seconds to end, beyond what its plugins may take to drain

    def __init__(
        self,
        count: int,
        *,
        name: str,
        data_dir: Path,
        bus: Bus,
        gate: Gate,
        grants: Grants,
        accounting: Accounting,
        fleet: Fleet,
        logs: Logs,
        config: Mapping[str, Mapping[str, Any]],
        patience: float,
        observed: Callable[[str, str, str, bool], None],
    ) -> None:
        #: Seconds during which this process looked after its workers.
        self.clock = 0.0
        self._count = count
        self._name = name
        self._data_dir = data_dir
        self._bus = bus
        self._gate = gate
        self.grants = grants
        self._accounting = accounting
        self._fleet = fleet
        self._logs = logs
        self._log = logs.of("kernel")
        self._config = {plugin: dict(values) for plugin, values in config.items()}
        self._patience = patience
        self._observed = observed
        self._attendants: dict[int, Attendant] = {}
        self._converging: list[asyncio.Future[None]] = []
        self._restarts = [0] * count
        self._since = [time.time()] * count
        self._starts: dict[str, int] = {}
        self._desired = frames.Desired(0, [], [], "", [])
        self._last: tuple[Message[Any], bytes] | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._watcher: asyncio.Task[None] | None = None
        self._telling = False
        self._loop = asyncio.get_running_loop()
        self._endings: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    # opening and closing

    async def open(self) -> None:
        """Start all workers; return when each runs what is wanted, or has failed to (which is logged, and tried again)."""
        self._tell()
        loop = asyncio.get_running_loop()
        self._watcher = loop.create_task(self._watch(), name="watch workers")
        self._keepers = [
            loop.create_task(self._keep(index), name=f"worker {index + 1}") for index in range(self._count)
        ]
        try:
            async with asyncio.timeout(self.START):
                await self.converged()
        except TimeoutError:
            self._log.error("workers did not start in time", seconds=self.START)

    async def close(self) -> None:
        """Let all workers finish what they have, then end them. Call while everything they need still runs."""
        self._closing.set()
        for attendant in list(self._attendants.values()):
            attendant.link.send(frames.Stop())
        drain = max((manifest.lifecycle.drain for manifest in self._fleet.manifests.values()), default=0.0)
        if self._keepers:
            _, late = await asyncio.wait(self._keepers, timeout=drain + self.STOP)
            for attendant in list(self._attendants.values()):
                self._log.error("a worker did not end in time and is killed", worker=attendant.number)
                self._kill(attendant)
            if late:
                await asyncio.wait(late, timeout=self.STOP)
        for task in [*self._keepers, *([self._watcher] if self._watcher else [])]:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*self._endings, return_exceptions=True)

    # one worker after the other

    async def _keep(self, index: int) -> None:
        """Have a worker in this place; when it ends, another."""
        failures = 0
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                attendant = await self._spawn(index)
            except OSError as error:
                self._log.error("a worker could not be started", worker=index + 1, error=type(error).__name__)
            else:
                await attendant.ended.wait()
            if self._closing.is_set():
                return
            failures = 0 if time.monotonic() - began > self.STEADY else failures + 1
            self._restarts[index] += 1
            pause = self.BACKOFF[min(failures - 1, len(self.BACKOFF) - 1)] if failures else 0.0
            try:
                async with asyncio.timeout(pause):
                    await self._closing.wait()
            except TimeoutError:
                continue

    async def _spawn(self, index: int) -> Attendant:
        """Start a process; it inherits its end of the link, and of the way by which descriptors come."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        try:
            doors, their_doors = socket.socketpair(type=socket.SOCK_DGRAM)
        except OSError:
            ours.close()
            theirs.close()
            raise
        # It counts from here on: as soon as it speaks, whoever changes something must wait for it.
        attendant = self._attendants[index] = Attendant(self, index + 1, self._bus, doors)
        self._since[index] = time.time()
        try:
            ours.setblocking(False)
            await loop.create_unix_connection(lambda: attendant.link, sock=ours)
            handles = (theirs.fileno(), their_doors.fileno())
            uvloop = "uvloop" if type(loop).__module__.partition(".")[0] == "uvloop" else "asyncio"
            attendant.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-m", "rustcare_kernel.workers"),
                *map(str, (os.getpid(), *handles)),
                uvloop,
                pass_fds=handles,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=2,  # standard output is the operator's
            )
        except BaseException:
            del self._attendants[index]
            attendant.link.abort()
            ours.close()
            doors.close()
            raise
        finally:
            theirs.close()
            their_doors.close()
        if self._closing.is_set():
            attendant.link.send(frames.Stop())
        return attendant

    def ready(self, attendant: Attendant) -> None:
        """A worker said hello: from now on it must confirm what it is told."""
        welcome = frames.Welcome(
            attendant.number, self._name, str(self._data_dir.absolute()), self._config, self._bus.timeout
        )
        attendant.link.send(welcome)
        attendant.want(self._desired)

    def lost(self, attendant: Attendant, error: BaseException | None) -> None:
        """Its link is gone: it is ended, and buried when it has ended. Until then nobody is told that it is no more."""
        task = asyncio.get_running_loop().create_task(self._end(attendant), name=f"end of worker {attendant.number}")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    async def _end(self, attendant: Attendant) -> None:
        process = attendant.process
        assert process is not None
        self._kill(attendant)
        status = await process.wait()
        attendant.close()
        if self._attendants.get(attendant.number - 1) is attendant:
            del self._attendants[attendant.number - 1]
        attendant.bury()
        if not self._closing.is_set():
            self._log.warning("a worker has ended", worker=attendant.number, pid=process.pid, status=status)

    @staticmethod
    def _kill(attendant: Attendant) -> None:
        # Not `Process.kill`: that looks whether the process has ended, and takes its status from whoever waits for it.
        if attendant.process is not None and attendant.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(attendant.process.pid, signal.SIGKILL)

    async def _watch(self) -> None:
        """Kill who does not confirm in time. A process that hangs keeps its connections, and what it knew of rights."""
        last = time.monotonic()
        while True:
            await asyncio.sleep(self.TICK)
            now = time.monotonic()
            # When this process itself was held up, what workers said meanwhile lies unread: that is not their fault.
            self.clock += min(now - last, 2 * self.TICK)
            last = now
            for attendant in list(self._attendants.values()):
                why = attendant.overdue(self._patience)
                if not why and self.clock - attendant.heard > (self.HUNG if attendant.ready else self.START):
                    why = "it has been silent"
                if why:
                    self._log.error("a worker is killed", worker=attendant.number, pid=attendant.pid, reason=why)
                    attendant.heard = self.clock
                    self._kill(attendant)

    # what is wanted

    def dress(self, context: PluginContext, manifest: Manifest) -> None:
        """A version is loaded here: where each process runs one, the workers accept its connections."""
        if manifest.lifecycle.scale == "each":
            context.accepts = False

    def stepped(self, plugin: str, started: bool) -> None:
        """A plugin's state has changed."""
        if started:
            self._starts[plugin] = self._starts.get(plugin, 0) + 1
        self.changed()

    def changed(self) -> None:
        """What is wanted may be something else now: it is told soon. May be called from any thread."""
        if not self._telling and not self._closing.is_set():
            self._telling = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._telling = False
        if self._closing.is_set():
            return
        desired = self._describe()
        if msgspec.structs.replace(desired, revision=0) == msgspec.structs.replace(self._desired, revision=0):
            return
        self._desired = replace(desired, revision=self._desired.revision + 1)
        for attendant in self._attendants.values():
            if attendant.ready:
                attendant.want(self._desired)

    def _describe(self) -> frames.Desired:
        wanted = [
            frames.Wanted(replace(running.entry, previous=(), changed=0.0), self._starts.get(running.entry.id, 0))
            for running in self._fleet.serving()
            if running.manifest.lifecycle.scale == "each"
        ]
        rights = []
        for plugin, manifest in self._fleet.manifests.items():
            if manifest.lifecycle.scale == "each":
                grants = [
                    # That grants above it hold, this process sees to: where one falls, this one is not told any more.
                    replace(grant, parent=None)
                    for digest in self.grants.digests(plugin)
                    for grant in self.grants.of(plugin, digest)
                ]
                rights.append(frames.Held(plugin, grants, self.grants.tenants(plugin)))
        return frames.Desired(0, wanted, rights, self._gate.recorder, self._gate.must())

    async def confirmed(self) -> None:
        """Return when the grants and the policy that are in force here are in force in every worker that lives."""
        self._tell()
        revision = self._desired.revision
        await asyncio.gather(
            *(attendant.has_applied(revision) for attendant in self._attendants.values() if attendant.ready)
        )

    async def converged(self) -> None:
        """Return when every worker is there and runs what is wanted now."""
        self._tell()
        revision = self._desired.revision
        while len(self._attendants) < self._count or any(
            attendant.converged < revision for attendant in self._attendants.values()
        ):
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._converging.append(future)
            await future

    async def drained(self, plugin: str) -> None:
        """Return when no worker runs a plugin that has stopped here, or has had the time to drain it."""
        manifest = self._fleet.manifests.get(plugin)
        if manifest is not None and manifest.lifecycle.scale == "each":
            with suppress(TimeoutError):
                async with asyncio.timeout(manifest.lifecycle.drain + self.STOP):
                    await self.converged()

    def has_converged(self) -> None:
        """Some worker runs what it was told."""
        converging, self._converging = self._converging, []
        for future in converging:
            if not future.done():
                future.set_result(None)

    def status(self) -> list[WorkerStatus]:
        """All workers, by number."""
        found = []
        for index in range(self._count):
            attendant = self._attendants.get(index)
            restarts, since = self._restarts[index], self._since[index]
            if attendant is None:
                found.append(WorkerStatus(index + 1, 0, "down", restarts, since))
                continue
            if attendant.ready and attendant.converged >= self._desired.revision:
                state = "serving"
            else:
                state = "changing" if attendant.converged else "starting"
            missing = tuple(attendant.missing)
            found.append(WorkerStatus(index + 1, attendant.pid, state, restarts, since, missing))
        return found

    # what workers ask and tell

    def payload(self, message: Message[Any]) -> bytes:
        """A message's data as it crosses, written once for all workers."""
        if self._last is None or self._last[0] is not message:
            self._last = (message, frames.payload_of(message.data, f"data of {message.subject}"))
        return self._last[1]

    def listening(self, plugin: str, host: str, port: int) -> socket.socket | None:
        """A duplicate of the socket on which a plugin listens here."""
        running = self._fleet[plugin].running if plugin in self._fleet else None
        return None if running is None else running.context.listening(host, port)

    def log(self, number: int, frame: frames.Log) -> None:
        """A worker's log entry."""
        fields = msgspec.json.decode(frame.fields, type=dict[str, Any])
        self._logs.write(frame.plugin, frame.level, frame.event, {**fields, "worker": number})

    def trapped(self, frame: frames.Trap) -> None:
        """A plugin's code crashed in a worker."""
        if frame.plugin in self._fleet:
            supervisor = self._fleet[frame.plugin]
            running = supervisor.running
            if running is not None and running.entry.digest == frame.digest:
                supervisor.trapped(running, frame.reason)

    def count(self, frame: frames.Counts) -> None:
        """Add what a worker counted. What a plugin did that is removed by now is nobody's."""
        for counted in frame.stats:
            if counted[0] in self._fleet:
                self._accounting.add(counted)
        for plugin, tenant, capability, count, denied in frame.uses:
            if plugin in self._fleet:
                use = self._accounting.use(plugin, tenant, capability)
                use.count += count
                use.denied += denied
        for plugin, capability, tenant, allowed in frame.seen:
            self._observed(plugin, capability, tenant, allowed)

    async def collect(self) -> None:
        """Have all that workers counted so far in the accounts."""
        await asyncio.gather(*(attendant.collect() for attendant in list(self._attendants.values())))
