"""A worker: it brings about what the primary wants, and nothing that it holds outlives it.

What is wanted comes as a whole. Grants and audit policy are in force before this says so; then plugins are started,
replaced by a hand-over inside this process, or stopped, one after the other. One that will not start here is left out (the
primary answers its services) and tried again later.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pluggy
from rustcare_sdk import hookspecs
from rustcare_sdk.errors import InvalidPayload, RustCareError
from rustcare_sdk.manifest import Manifest

from rustcare_kernel.accounting import Accounting, Counted
from rustcare_kernel.calls import FOREVER
from rustcare_kernel.catalog import Entry
from rustcare_kernel.context import PluginContext
from rustcare_kernel.errors import LinkBroken
from rustcare_kernel.grants import Grants
from rustcare_kernel.lifecycle import Snapshot, Supervisor
from rustcare_kernel.loader import Loader
from rustcare_kernel.logs import Logs, describe
from rustcare_kernel.routes import RouteTable
from rustcare_kernel.running import Running
from rustcare_kernel.states import State

from . import _frames as frames
from ._bus import WorkerBus
from ._gate import WorkerGate
from ._link import Link

__all__ = ["Node"]

_encoder = msgspec.json.Encoder(enc_hook=str)


class _Logs(Logs):
    """Every entry goes to the primary, which keeps it and writes it out."""

    def __init__(self, link: Link) -> None:
        super().__init__("silent")
        self._link = link

    def write(self, plugin: str, level: str, event: str, fields: dict[str, Any]) -> None:
        """As `Logs.write`. While the primary does not read, entries are dropped rather than kept."""
        if self._link.full:
            return
        try:
            said = _encoder.encode(fields)
        except Exception:  # an object whose text fails: what it is at least
            said = _encoder.encode({str(name): type(value).__name__ for name, value in fields.items()})
        try:
            self._link.send(frames.Log(plugin, level, event, said))
        except InvalidPayload as error:  # whoever logs is not to fail for it
            self._link.send(
                frames.Log(plugin, level, "a log entry could not be told", _encoder.encode(describe(error)))
            )


class Node:
    """One worker process.

    Args:
        doors: where the descriptors of listening sockets come in.
    """

    COUNT = 1.0  # seconds between reports of what was counted
    AGAIN = (1.0, 2.0, 5.0, 15.0, 30.0)  # seconds until what would not start is tried again

    def __init__(self, doors: socket.socket) -> None:
        self.link = Link(frames.FROM_PRIMARY, self._received, self._lost)
        self.stopped = asyncio.Event()
        doors.setblocking(False)
        self._doors = doors
        self._asked: dict[int, socket.socket | None] = {}  # listening sockets, by the request for each
        self._accounting = Accounting()
        self._grants = Grants(self._accounting)
        self._logs = _Logs(self.link)
        self._log = self._logs.of("kernel")
        self._gate = WorkerGate(self.link)
        self._bus: WorkerBus
        self._loader: Loader
        self._supervisors: dict[str, Supervisor] = {}
        self._running: dict[str, tuple[Entry, int]] = {}
        self._desired = frames.Desired(0, [], [], "", [])
        self._changed = asyncio.Event()
        self._seen: dict[tuple[str, str, str, bool], None] = {}
        self._told: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._told_stats: dict[tuple[str, str], Counted] = {}
        self._leaving = False

    # frames

    def _received(self, frame: Any) -> None:
        kind = type(frame)
        if kind is frames.Deliver:
            self._bus.deliver(frame)
        elif kind is frames.Desired:
            self._want(frame)
        elif kind is frames.Collect:
            self._count(frame.number)
        elif kind is frames.Welcome:
            self._welcome(frame)
        elif kind is frames.Stop:
            self.stopped.set()

    def _lost(self, error: BaseException | None) -> None:
        # Without the primary nothing here may go on: not for one more request.
        os._exit(0 if self._leaving else 70)

    def _welcome(self, welcome: frames.Welcome) -> None:
        self._bus = WorkerBus(self._accounting, self.link, timeout=welcome.timeout)
        self._bus.on_error = lambda owner, subject, error: self._logs.of(owner).error(
            "handler failed", subject=subject, **describe(error)
        )
        self._bus.gate = self._gate
        self._grants.observer = self._observed
        hooks = pluggy.PluginManager("rustcare")
        hooks.add_hookspecs(hookspecs)
        self._loader = Loader(
            Path(welcome.data_dir),
            "sqlite",
            self._bus,
            self._grants,
            self._accounting,
            self._logs,
            hooks,
            welcome.config,
            RouteTable(lambda plugin: None),  # whoever asks for the list asks the primary
        )
        self._loader.dress = self._dress
        self._loader.worker = welcome.number

    def _observed(self, plugin: str, capability: str, tenant: str, allowed: bool) -> None:
        if len(self._seen) < 10_000:
            self._seen[plugin, capability, tenant, allowed] = None

    # what is wanted

    def _want(self, desired: frames.Desired) -> None:
        """Put grants and policy in force now; the rest follows."""
        self._desired = desired
        told = {grant.id: grant for held in desired.rights for grant in held.grants}
        for grant_id in [grant_id for grant_id in self._grants.ids() if grant_id not in told]:
            self._grants.revoke(grant_id)
        for grant in told.values():
            self._grants.add(grant)
        self._grants.replace_tenants({(held.plugin, tenant) for held in desired.rights for tenant in held.tenants})
        self._gate.enforce(desired.recorder, desired.must)
        self.link.send(frames.Applied(desired.revision))
        self._changed.set()

    async def run(self) -> None:
        """Do what is wanted until told to stop; then finish what is under way, and leave."""
        self.link.send(frames.Hello(os.getpid()))
        loop = asyncio.get_running_loop()
        counting = loop.create_task(self._report(), name="report what was counted")
        converging = loop.create_task(self._converge(), name="do what is wanted")
        stopping = loop.create_task(self.stopped.wait(), name="wait for the end")
        await asyncio.wait({converging, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if converging.done():  # it never ends by itself: without it this process would serve what nobody wants any more
            converging.result()
        converging.cancel()
        await asyncio.gather(converging, return_exceptions=True)
        for plugin_id in reversed(list(self._supervisors)):
            await self._stop(plugin_id, "the worker stops")
        counting.cancel()
        await asyncio.gather(counting, return_exceptions=True)
        self._count(0)
        self._leaving = True
        self.link.close()
        await asyncio.Event().wait()  # the process ends when the link is closed

    async def _converge(self) -> None:
        tries = 0
        while True:
            await self._changed.wait()
            self._changed.clear()
            desired = self._desired
            missing = await self._bring_about(desired)
            if desired is not self._desired:
                continue
            self.link.send(frames.Converged(desired.revision, missing))
            if missing:
                asyncio.get_running_loop().call_later(self.AGAIN[min(tries, len(self.AGAIN) - 1)], self._changed.set)
            tries = tries + 1 if missing else 0

    async def _bring_about(self, desired: frames.Desired) -> list[str]:
        """One way through all plugins; those that would not start."""
        wanted = {plugin.entry.id: plugin for plugin in desired.plugins}
        for plugin_id in reversed([plugin_id for plugin_id in self._supervisors if plugin_id not in wanted]):
            await self._stop(plugin_id, "not wanted any more")
        missing = []
        for plugin_id, plugin in wanted.items():
            try:
                await self._bring(plugin.entry, plugin.start)
            except Exception as error:  # whatever is wrong with one plugin, the others run
                self._logs.of(plugin_id).error("cannot run in a worker", **describe(error))
                await self._stop(plugin_id, "it failed")
            if plugin_id not in self._running:
                missing.append(plugin_id)
        return missing

    async def _bring(self, entry: Entry, start: int) -> None:
        supervisor = self._supervisors.get(entry.id)
        known = self._running.get(entry.id)
        if supervisor is not None and known is not None:
            if known == (entry, start):
                return
            if known[1] == start and supervisor.running is not None:
                try:
                    async with supervisor.lock:
                        await supervisor.upgrade(entry)
                    self._running[entry.id] = (entry, start)
                    return
                except RustCareError as error:
                    self._logs.of(entry.id).warning("no hand-over, it is started anew", **describe(error))
            await self._stop(entry.id, "replaced")
        elif supervisor is not None:
            await self._stop(entry.id, "tried again")
        supervisor = self._supervisors[entry.id] = self._supervise(entry.id)
        for state in (State.VERIFIED, State.RESOLVED, State.CONSENTED):
            supervisor.machine.to(state)
        async with supervisor.lock:
            await supervisor.start(entry)
        if supervisor.machine.serving:
            self._running[entry.id] = (entry, start)
        else:
            self._log.error("a plugin does not start in this worker", plugin_id=entry.id, why=supervisor.machine.reason)
            await self._stop(entry.id, "it did not start")

    async def _stop(self, plugin_id: str, reason: str) -> None:
        supervisor = self._supervisors.pop(plugin_id, None)
        self._running.pop(plugin_id, None)
        if supervisor is not None:
            async with supervisor.lock:
                await supervisor.stop(reason)

    def _supervise(self, plugin_id: str) -> Supervisor:
        async def load(entry: Entry, before: Running | None) -> Running:
            return await self._loader.load(entry, before, self._trapped)

        async def commit(entry: Entry, snapshot: Snapshot | None) -> None:
            pass  # the primary has

        async def keep(running: Running) -> None:
            pass  # state is handed from version to version; what a worker knew goes with it

        async def quarantined(why: str) -> None:
            pass  # the primary counts traps, and decides

        def stepped(old: State, new: State, reason: str) -> None:
            self._logs.of(plugin_id).info("state", old=old.value, new=new.value, reason=reason)

        return Supervisor(
            plugin_id,
            self._bus,
            self._logs,
            load,
            commit,
            stepped,
            quarantined,
            restore=keep,
            save=keep,
            up=lambda: None,
        )

    def _trapped(self, running: Running | None, reason: str) -> None:
        if running is not None:
            self._logs.of(running.entry.id).error("trapped", reason=reason)
            self.link.send(frames.Trap(running.entry.id, running.entry.digest, reason))

    # listening sockets

    def _dress(self, context: PluginContext, manifest: Manifest) -> None:
        async def obtain(host: str, port: int) -> socket.socket:
            return await self._obtain(context.plugin.id, host, port)

        context.obtain = obtain

    async def _obtain(self, plugin: str, host: str, port: int) -> socket.socket:
        self._take_doors()  # what was sent for somebody who gave up makes room
        id = self.link.ticket()
        self._asked[id] = None
        try:
            await self.link.answer(frames.Listen(id, plugin, host, port), FOREVER)
            self._take_doors()  # it was sent before the answer
            found = self._asked[id]
            if found is None:
                raise LinkBroken(f"the descriptor of {host}:{port} did not come")
            self._asked[id] = None
            return found
        finally:
            left = self._asked.pop(id)
            if left is not None:
                left.close()

    def _take_doors(self) -> None:
        """Take in all descriptors that have come; those that nobody waits for any more are closed."""
        while True:
            try:
                sent, handles, _, _ = socket.recv_fds(self._doors, 8, 1)
            except BlockingIOError:
                return
            found = socket.socket(fileno=handles[0])
            id = int.from_bytes(sent, "little")
            if id in self._asked:
                self._asked[id] = found
            else:
                found.close()

    # what was counted

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.COUNT)
            self.link.sweep()
            if not self.link.full:
                self._count(0)

    def _count(self, number: int) -> None:
        """Send what was counted since the last time. Also a sign of life."""
        stats = self._accounting.stats_since(self._told_stats)
        uses = self._accounting.uses_since(self._told)
        seen, self._seen = list(self._seen), {}
        self.link.send(frames.Counts(number, stats, uses, seen))
