"""All plugins of one kernel: who is there, who waits for whom, bringing up, exchanging, stopping.

Every plugin has one `Supervisor`, which knows only its own life; what concerns several plugins at once is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec
from rustcare_sdk.contracts.plugin import PluginState
from rustcare_sdk.manifest import Manifest

from .audit.gate import Gate
from .bus import Bus
from .catalog import Catalog, Entry
from .dependencies import resolve
from .errors import CatalogCorrupt, DependencyUnmet, PluginUnknown, UpgradeFailed
from .grants import Grants
from .lifecycle import Snapshot, Supervisor
from .loader import Loader
from .logs import Logs, describe
from .running import Running
from .states import State

__all__ = ["Fleet"]


class Fleet:
    """The plugins of one kernel.

    Args:
        stepped: told of every step of every plugin (`PluginState`).
    """

    def __init__(
        self,
        catalog: Catalog,
        bus: Bus,
        grants: Grants,
        loader: Loader,
        logs: Logs,
        stepped: Callable[[PluginState, State, State], None],
        gate: Gate,
    ) -> None:
        self.manifests: dict[str, Manifest] = {}
        self._catalog = catalog
        self._bus = bus
        self._grants = grants
        self._loader = loader
        self._logs = logs
        self._stepped = stepped
        self._gate = gate
        self._supervisors: dict[str, Supervisor] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __getitem__(self, plugin_id: str) -> Supervisor:
        return self._supervisors[plugin_id]

    def __contains__(self, plugin_id: str) -> bool:
        return plugin_id in self._supervisors

    async def open(self, only: Collection[str] | None = None) -> None:
        """Know every plugin of the catalog, and start those that are enabled (and in `only`), providers first.

        What the audit log needs starts before all others, whatever `only` says: without it they could not work.
        """
        for entry in self._catalog.entries():
            await self._adopt(entry)
        await self._start_all(None if only is None else {*only, *self.base(self._gate.recorder)})

    async def close(self, before_recorder: Callable[[], Awaitable[None]]) -> None:
        """Stop all plugins, the ones that need others first, what the audit log needs last; each keeps its state."""
        base = self.base(self._gate.recorder)
        order = list(reversed(self._base_first(self._started_order(), base)))
        for plugin_id in order:
            if plugin_id in base and plugin_id == next(item for item in order if item in base):
                await before_recorder()
            await self.stop(plugin_id, "the kernel stops")
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def manifest(self, plugin_id: str) -> Manifest:
        """The manifest of an installed package. Raises CatalogCorrupt when the package is damaged."""
        found = self.manifests.get(plugin_id)
        if found is None:
            raise CatalogCorrupt(
                f"the installed package of {plugin_id} cannot be read",
                hint="remove the plugin and install it again",
                address=plugin_id,
            )
        return found

    def add(self, plugin_id: str, manifest: Manifest) -> Supervisor:
        """A supervisor for a plugin that was just installed."""
        self.manifests[plugin_id] = manifest
        supervisor = self._supervisors[plugin_id] = self._supervise(plugin_id)
        return supervisor

    def drop(self, plugin_id: str) -> None:
        """Forget a stopped plugin."""
        supervisor = self._supervisors.pop(plugin_id)
        self.manifests.pop(plugin_id, None)
        supervisor.machine.to(State.REMOVED)

    def base(self, recorder: str) -> frozenset[str]:
        """A plugin and, by their manifests, all that it needs."""
        found: set[str] = set()
        todo = [recorder]
        while todo:
            name = todo.pop()
            if name in found or name not in self.manifests:
                continue
            found.add(name)
            for contract in self.manifests[name].requires:
                todo += [other for other, manifest in self.manifests.items() if contract in manifest.provides]
        return frozenset(found)

    @staticmethod
    def _base_first(order: Sequence[str], base: Collection[str]) -> list[str]:
        return sorted(order, key=lambda name: name not in base)  # stable: dependencies keep their order

    def _started_order(self) -> list[str]:
        order, failed = resolve({name: m for name, m in self.manifests.items() if name in self._supervisors})
        return [*order, *(name for name in self._supervisors if name in failed or name not in self.manifests)]

    async def _adopt(self, entry: Entry) -> None:
        """Know a plugin of the catalog: its manifest is read and its package verified."""
        supervisor = self._supervisors[entry.id] = self._supervise(entry.id)
        try:
            package = await self._loader.package(entry.digest)
        except Exception as error:  # one damaged package must not keep the kernel from starting
            supervisor.machine.to(State.FAILED, describe(error).get("reason", type(error).__name__))
            self._logs.of(entry.id).error("the installed package is damaged", **describe(error))
            return
        self.manifests[entry.id] = package.manifest

    def _supervise(self, plugin_id: str) -> Supervisor:
        async def load(entry: Entry, before: Running | None) -> Running:
            return await self._loader.load(entry, before, self._on_trap)

        async def commit(entry: Entry, snapshot: Snapshot | None) -> None:
            handed_over: tuple[int, str | None] = (0, None)
            if snapshot is not None:
                handed_over = (snapshot.version, msgspec.json.encode(snapshot.state).decode())
            await self._write(entry, handed_over)

        async def quarantined(why: str) -> None:
            await asyncio.to_thread(self._catalog.quarantine, plugin_id, why)

        return Supervisor(
            plugin_id,
            self._bus,
            self._logs,
            load,
            commit,
            lambda old, new, reason: self._on_step(plugin_id, old, new, reason),
            quarantined,
            restore=self._restore_state,
            save=self._save_state,
            up=self._wake_later,
        )

    async def _write(self, entry: Entry, handed_over: tuple[int, str | None] | None = None) -> None:
        """Write an entry with the grants that its package holds now."""
        async with self._catalog.grants_lock:
            grants = list(self._grants.of(entry.id, entry.digest))
            await asyncio.to_thread(self._catalog.put, entry, grants, handed_over)

    async def _start_all(self, only: Collection[str] | None) -> None:
        for entry in self._catalog.entries():
            supervisor = self._supervisors[entry.id]
            if supervisor.machine.state is not State.INSTALLED:
                continue
            if entry.quarantine:
                supervisor.machine.to(State.STOPPED, f"quarantined: {entry.quarantine}")
            elif not entry.enabled:
                supervisor.machine.to(State.STOPPED, "disabled")
            elif only is not None and entry.id not in only:
                supervisor.machine.to(State.STOPPED, "not wanted in this run of the kernel")
            else:
                supervisor.machine.to(State.VERIFIED)
        await self.wake_waiting()

    async def wake_waiting(self) -> None:
        """Start whoever has all that it requires: providers that serve. The others wait, and their reason says for what."""
        waiting = self._waiting()
        if not waiting:
            return
        order, failed = resolve({**self.serving_manifests(), **waiting})
        for name, error in failed.items():
            self._must_wait(name, error)
        for name in self._base_first(order, self.base(self._gate.recorder)):
            if name not in waiting or self._supervisors[name].machine.state is not State.VERIFIED:
                continue
            # Its provider may have failed to start just now.
            unmet = resolve({**self.serving_manifests(), name: waiting[name]})[1].get(name)
            if unmet is None:
                await self._bring_up(name, self._catalog.get(name))
                if self._gate.attaching is not None:  # the others must find the log ready
                    await asyncio.gather(asyncio.shield(self._gate.attaching), return_exceptions=True)
            else:
                self._must_wait(name, unmet)

    def _waiting(self) -> dict[str, Manifest]:
        return {
            name: self.manifests[name]
            for name, item in self._supervisors.items()
            if item.machine.state is State.VERIFIED
        }

    def unmet(self, plugin_id: str) -> DependencyUnmet | None:
        """What a plugin waits for, if it does."""
        waiting = self._waiting()
        if plugin_id not in waiting:
            return None
        failed = resolve({**self.serving_manifests(), **waiting})[1]
        return failed.get(plugin_id) or resolve({**self.serving_manifests(), plugin_id: waiting[plugin_id]})[1].get(
            plugin_id
        )

    def _must_wait(self, plugin_id: str, error: DependencyUnmet) -> None:
        supervisor = self._supervisors[plugin_id]
        if supervisor.machine.state is State.VERIFIED and supervisor.machine.reason != error.message:
            supervisor.machine.reason = error.message
            self._logs.of(plugin_id).warning("cannot be resolved", **describe(error))

    def _wake_later(self) -> None:
        task = asyncio.get_running_loop().create_task(self.wake_waiting(), name="start what waited")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bring_up(self, plugin_id: str, entry: Entry) -> None:
        """From VERIFIED on: resolved, consented, started, with the state it saved when it stopped."""
        supervisor = self._supervisors[plugin_id]
        supervisor.machine.to(State.RESOLVED)
        manifest = self.manifests[plugin_id]
        self._grants.declare(plugin_id, entry.digest, [request.capability for request in manifest.capabilities])
        required = [item.capability for item in manifest.capabilities if item.availability == "required"]
        missing = self._grants.missing(plugin_id, entry.digest, required)
        if missing:
            supervisor.machine.reason = f"not granted: {', '.join(map(str, missing))}"
            return
        supervisor.machine.to(State.CONSENTED)
        async with supervisor.lock:
            if supervisor.machine.state is State.CONSENTED:  # else it was stopped while the lock was awaited
                await supervisor.start(entry)

    # state between stops

    async def _save_state(self, running: Running) -> None:
        """Keep what a plugin exports when it stops cleanly, so that a restart is a hand-over to itself."""
        try:
            async with asyncio.timeout(running.manifest.lifecycle.drain):
                state = await running.instance.export_state()
            await asyncio.to_thread(
                self._catalog.save_snapshot,
                running.entry.id,
                running.entry.digest,
                running.manifest.lifecycle.state_version,
                None if state is None else msgspec.json.encode(state).decode(),
            )
        except Exception as error:  # of the plugin's own code: it stops all the same
            self._logs.of(running.entry.id).warning("its state could not be saved", **describe(error))

    async def _restore_state(self, running: Running) -> None:
        kept = self._catalog.snapshot(running.entry.id)
        if kept is None or kept[0] != running.entry.digest:
            return
        try:
            async with asyncio.timeout(running.manifest.lifecycle.start_timeout):
                await running.instance.import_state(kept[1], msgspec.json.decode(kept[2]))
        except Exception as error:  # of the plugin's own code: it starts all the same, with no state
            self._logs.of(running.entry.id).warning("its saved state could not be restored", **describe(error))

    def check_dependents(self, plugin_id: str, manifest: Manifest) -> None:
        """An upgrade must go on providing what active plugins require of it."""
        enabled = {name: self.manifests[name] for name, item in self._supervisors.items() if item.machine.serving}
        before = set(resolve(enabled)[1])
        if plugin_id not in enabled:
            return  # nobody who runs can depend on it, and what it lacks itself it will wait for
        enabled[plugin_id] = manifest
        for name, error in resolve(enabled)[1].items():
            if name not in before:
                raise UpgradeFailed(
                    f"{plugin_id} {manifest.plugin.version} would leave {name} without what it needs: {error.message}",
                    hint="upgrade the dependent plugin first, or disable it",
                )

    async def exchange(self, entry: Entry, carried: Snapshot | None) -> bool:
        """Make an entry the running version; whether it runs now. UpgradeFailed leaves everything as it was."""
        supervisor = self._supervisors[entry.id]
        async with supervisor.lock:
            await supervisor.settled()
            if supervisor.running is None:
                # Nothing is running that could be handed over: the new version simply becomes the wanted one.
                manifest = (await self._loader.package(entry.digest)).manifest
                await supervisor.stop("upgraded")
                await self._write(entry)
                self.manifests[entry.id] = manifest
                if entry.enabled:
                    supervisor.machine.to(State.INSTALLED)
                    supervisor.machine.to(State.VERIFIED)
            else:
                try:
                    await supervisor.upgrade(entry, carried)
                finally:
                    # Also when this was cancelled after the new version had taken over.
                    if supervisor.running is not None:
                        self.manifests[entry.id] = supervisor.running.manifest
        await self.wake_waiting()
        return supervisor.running is not None

    def serving(self) -> list[Running]:
        """The versions that serve now, providers first."""
        found = []
        for name in self._started_order():
            supervisor = self._supervisors[name]
            if supervisor.machine.serving and supervisor.running is not None:
                found.append(supervisor.running)
        return found

    def serving_manifests(self) -> dict[str, Manifest]:
        return {name: self.manifests[name] for name, item in self._supervisors.items() if item.machine.serving}

    async def stop(self, plugin_id: str, reason: str) -> None:
        supervisor = self._supervisors[plugin_id]
        async with supervisor.lock:
            await supervisor.settled()
            if plugin_id == self._gate.recorder:
                await self._gate.close()  # what is known is on record before it goes
            await supervisor.stop(reason)

    # what supervisors report

    def _on_trap(self, running: Running | None, reason: str) -> None:
        if running is not None and running.entry.id in self._supervisors:
            self._supervisors[running.entry.id].trapped(running, reason)

    def _on_step(self, plugin_id: str, old: State, new: State, reason: str) -> None:
        supervisor = self._supervisors.get(plugin_id)
        running = supervisor.running if supervisor is not None else None
        if running is not None:
            version, digest = running.entry.version, running.entry.digest
        else:
            try:
                entry = self._catalog.get(plugin_id)
                version, digest = entry.version, entry.digest
            except PluginUnknown:
                version, digest = "", ""
        self._stepped(PluginState(plugin_id, version, digest, old.value, new.value, reason), old, new)
