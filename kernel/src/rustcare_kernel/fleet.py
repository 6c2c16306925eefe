"""All plugins of one kernel: who is there, who waits for whom, bringing up, exchanging, stopping.

Every plugin has one `Supervisor`, which knows only its own life; what concerns several plugins at once is here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import msgspec
from rustcare_sdk.contracts.plugin import PluginState
from rustcare_sdk.manifest import Manifest

from .bus import Bus
from .catalog import Catalog, Entry
from .dependencies import resolve
from .errors import PluginUnknown, UpgradeFailed
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
    ) -> None:
        self.manifests: dict[str, Manifest] = {}
        self._catalog = catalog
        self._bus = bus
        self._grants = grants
        self._loader = loader
        self._logs = logs
        self._stepped = stepped
        self._supervisors: dict[str, Supervisor] = {}

    def __getitem__(self, plugin_id: str) -> Supervisor:
        return self._supervisors[plugin_id]

    async def open(self, only: Collection[str] | None = None) -> None:
        """Know every plugin of the catalog, and start those that are enabled (and in `only`), providers first."""
        for entry in self._catalog.entries():
            await self._adopt(entry)
        await self._start_all(only)

    async def close(self) -> None:
        """Stop all plugins, the ones that need others first; each keeps its state."""
        for plugin_id in reversed(self._started_order()):
            await self.stop(plugin_id, "the kernel stops")

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

    def _started_order(self) -> list[str]:
        order, failed = resolve({name: m for name, m in self.manifests.items() if name in self._supervisors})
        return [*order, *(name for name in self._supervisors if name in failed or name not in self.manifests)]

    async def _adopt(self, entry: Entry) -> None:
        """Know a plugin of the catalog: its manifest is read and its package verified."""
        supervisor = self._supervisors[entry.id] = self._supervise(entry.id)
        try:
            package = await self._loader.package(entry.digest)
        except Exception as error:
            supervisor.machine.to(State.FAILED, describe(error).get("reason", type(error).__name__))
            self._logs.of(entry.id).error("the installed package is damaged", **describe(error))
            return
        self.manifests[entry.id] = package.manifest

    def _supervise(self, plugin_id: str) -> Supervisor:
        async def load(entry: Entry, before: Running | None) -> Running:
            return await self._loader.load(entry, before, self._on_trap)

        async def commit(entry: Entry, snapshot: Snapshot | None) -> None:
            if snapshot is not None:
                text = msgspec.json.encode(snapshot.state).decode()
                await asyncio.to_thread(self._catalog.save_snapshot, plugin_id, entry.digest, snapshot.version, text)
            await asyncio.to_thread(self._catalog.put, entry, self._grants.of(plugin_id, entry.digest))

        async def quarantined(why: str) -> None:
            entry = msgspec.structs.replace(self._catalog.get(plugin_id), quarantine=why)
            await asyncio.to_thread(self._catalog.put, entry)

        return Supervisor(
            plugin_id,
            self._bus,
            self._logs,
            load,
            commit,
            lambda old, new, reason: self._on_step(plugin_id, old, new, reason),
            quarantined,
        )

    async def _start_all(self, only: Collection[str] | None) -> None:
        enabled = {}
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
                enabled[entry.id] = self.manifests[entry.id]
        order, failed = resolve(enabled)
        for plugin_id, error in failed.items():
            self._supervisors[plugin_id].machine.reason = error.message
            self._logs.of(plugin_id).warning("cannot be resolved", **describe(error))
        for plugin_id in order:
            await self._bring_up(plugin_id, self._catalog.get(plugin_id))

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
            await supervisor.start(entry)
        if supervisor.machine.serving:
            await self._restore_state(supervisor)
            await self.wake_waiting()

    async def wake_waiting(self) -> None:
        """Start what waited for a provider that is there now."""
        waiting = [name for name, item in self._supervisors.items() if item.machine.state is State.VERIFIED]
        if not waiting:
            return
        enabled = {
            name: self.manifests[name]
            for name, item in self._supervisors.items()
            if item.machine.serving or item.machine.state is State.VERIFIED
        }
        order, failed = resolve(enabled)
        for name in waiting:
            if name in failed:
                self._supervisors[name].machine.reason = failed[name].message
        for name in order:
            if name in waiting and self._supervisors[name].machine.state is State.VERIFIED:
                await self._bring_up(name, self._catalog.get(name))

    # state between stops

    async def _save_state(self, supervisor: Supervisor) -> None:
        """Keep what a plugin exports when it stops cleanly, so that a restart is a hand-over to itself."""
        running = supervisor.running
        if running is None or not supervisor.machine.serving:
            return
        try:
            async with asyncio.timeout(running.manifest.lifecycle.drain):
                state = await running.instance.export_state()
            if state is not None:
                await asyncio.to_thread(
                    self._catalog.save_snapshot,
                    running.entry.id,
                    running.entry.digest,
                    running.manifest.lifecycle.state_version,
                    msgspec.json.encode(state).decode(),
                )
        except Exception as error:
            self._logs.of(running.entry.id).warning("its state could not be saved", **describe(error))

    async def _restore_state(self, supervisor: Supervisor) -> None:
        running = supervisor.running
        kept = self._catalog.snapshot(running.entry.id) if running is not None else None
        if running is None or kept is None or kept[0] != running.entry.digest:
            return
        try:
            async with asyncio.timeout(running.manifest.lifecycle.start_timeout):
                await running.instance.import_state(kept[1], msgspec.json.decode(kept[2]))
        except Exception as error:
            self._logs.of(running.entry.id).warning("its saved state could not be restored", **describe(error))

    def check_dependents(self, plugin_id: str, manifest: Manifest) -> None:
        """An upgrade must go on providing what active plugins require of it."""
        enabled = {name: self.manifests[name] for name, item in self._supervisors.items() if item.machine.serving}
        before = set(resolve(enabled)[1])
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
                await supervisor.stop("upgraded")
                await asyncio.to_thread(self._catalog.put, entry, self._grants.of(entry.id, entry.digest))
                supervisor.machine.to(State.INSTALLED)
                supervisor.machine.to(State.VERIFIED)
            else:
                await supervisor.upgrade(entry, carried)
        self.manifests[entry.id] = (await self._loader.package(entry.digest)).manifest
        await self.wake_waiting()
        return supervisor.running is not None

    def serving_manifests(self) -> dict[str, Manifest]:
        return {name: self.manifests[name] for name, item in self._supervisors.items() if item.machine.serving}

    async def stop(self, plugin_id: str, reason: str) -> None:
        supervisor = self._supervisors[plugin_id]
        async with supervisor.lock:
            await supervisor.settled()
            await self._save_state(supervisor)
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
