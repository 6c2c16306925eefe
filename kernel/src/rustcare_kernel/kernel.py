"""The facade an embedder uses: `async with Kernel(data_dir) as kernel:`.

No network, no global state: two kernels in one process work. What changes the installation is written to the
catalog before it is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pluggy
from rustcare_sdk import hookspecs
from rustcare_sdk.context import Delivery
from rustcare_sdk.contracts.audit import RECORD
from rustcare_sdk.contracts.http import CHANGED, ROUTES, RoutesChanged, RoutesReply, RoutesRequest
from rustcare_sdk.contracts.plugin import (
    ACCOUNTING,
    PLUGINS,
    STATE,
    AccountingReply,
    AccountingRequest,
    PluginRow,
    PluginsReply,
    PluginsRequest,
    PluginState,
)
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.message import Call, Message

from .accounting import Accounting
from .administration import Administration, PluginStatus
from .audit.gate import Gate
from .audit.journal import Journal
from .audit.operations import Operations
from .audit.usage import Usage
from .bus import Bus, Sender
from .catalog import Catalog, Entry
from .context import decode_as
from .data_lock import DataFolderLock
from .errors import PluginUnknown
from .fleet import Fleet
from .grants import Grants
from .installer import Installer
from .loader import Loader
from .logs import Logs, describe
from .routes import RouteTable
from .states import State
from .workers import WorkerPool, WorkerStatus

__all__ = ["Kernel", "PluginStatus"]


class Kernel(Administration):
    """A running kernel on one data folder.

    Args:
        data_dir: everything the kernel keeps; made with mode 0700 if it is not there. One kernel at a time.
        store: `sqlite`, or a `postgresql://` address, for the plugins' data.
        config: configuration by plugin id, laid over what the catalog has.
        name: the kernel's name as a message's source.
        log_level: `debug`, `info`, `warning`, `error` or `silent`.
        log_sink: takes each log line (JSON, ended by a newline) instead of standard error.
        workers: how many further processes run the plugins of which each process has one, and accept their connections;
            0: this process does it all. See the room `workers`.
        patience: seconds that a worker has to confirm what it must; then it is killed and replaced.
        only: start these plugins alone, whatever is enabled (to read one plugin's data, say). Nothing is written.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        store: str = "sqlite",
        config: Mapping[str, Mapping[str, Any]] | None = None,
        name: str = "kernel",
        log_level: str = "info",
        log_sink: Callable[[bytes], Any] | None = None,
        only: Collection[str] | None = None,
        workers: int = 0,
        patience: float = 2.0,
    ) -> None:
        self.data_dir = Path(data_dir)
        self.name = name
        self._logs = Logs(log_level, log_sink)
        self.accounting = Accounting()
        self.grants = Grants(self.accounting)
        self.bus = Bus(self.accounting)
        self.hooks = pluggy.PluginManager("rustcare")
        self.hooks.add_hookspecs(hookspecs)
        self.catalog: Catalog
        self.started_at = 0.0
        self._only = only
        self.routes = RouteTable(self._routes_changed)
        self._loader = Loader(
            self.data_dir,
            store,
            self.bus,
            self.grants,
            self.accounting,
            self._logs,
            self.hooks,
            config or {},
            self.routes,
        )
        self._installer = Installer(self.grants, _build_cache())
        self._fleet: Fleet
        self._config = config or {}
        self._workers = workers
        self._patience = patience
        self._pool: WorkerPool | None = None
        self._lock = asyncio.Lock()
        self._data_lock = DataFolderLock(self.data_dir)
        self._events: set[asyncio.Task[Any]] = set()
        self._system = Sender(name, None)
        self._gate: Gate
        self._operations: Operations
        self._usage = Usage(self.accounting, self._digest_of)
        self._beat: asyncio.Task[None] | None = None
        self._open = False
        self.bus.on_error = self._failed
        self.grants.observer = self._capability_used

    # opening and closing

    async def __aenter__(self) -> Self:
        self._data_lock.__enter__()
        try:
            self.catalog = Catalog(self.data_dir / "kernel.sqlite3")
            for grant in self.catalog.grants():
                self.grants.add(grant)
            for plugin, tenant in self.catalog.tenants_with_a_say():
                self.grants.remember_tenant(plugin, tenant)
            self._gate = Gate(
                self.bus, Journal(self.catalog), self._logs, self.name, self._version_of, self._base, self._effects_of
            )
            self._operations = Operations(self._gate)
            await asyncio.to_thread(self._gate.load)
            self.bus.serve(ACCOUNTING, self._serve_accounting)
            self.bus.serve(PLUGINS, self._serve_plugins)
            self.bus.serve(ROUTES, self._serve_routes)
            self._fleet = Fleet(
                self.catalog, self.bus, self.grants, self._loader, self._logs, self._stepped, self._gate
            )
            self._open = True
            self.started_at = time.time()
            if self._workers:
                self._pool = self._make_pool()
            await self._fleet.open(self._only)
            if self._pool is not None:
                await self._pool.open()
            self._beat = asyncio.get_running_loop().create_task(self._count(), name="counted uses")
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if self._beat is not None:
            self._beat.cancel()
            await asyncio.gather(self._beat, return_exceptions=True)
        if self._pool is not None:
            await self._pool.close()
        if hasattr(self, "_fleet"):
            await self._fleet.close(self._count_uses)
            await self._gate.close()
        for task in list(self._events):
            task.cancel()
        await asyncio.gather(*self._events, return_exceptions=True)
        await self.bus.close()
        await self._loader.close()
        if hasattr(self, "catalog"):
            self.catalog.close()
        self._data_lock.__exit__(kind, error, trace)

    async def have_on_record(self) -> None:
        """Return when all that happened so far is in the audit log: outcomes, facts, and uses of capabilities as counts.

        They get there by themselves within a second or so; this is for whoever wants to hold the log against something.
        """
        if self._pool is not None:
            await self._pool.collect()
        await self._count_uses()
        await self._gate.flush()

    async def converged(self) -> None:
        """Return when every worker runs what this process runs: after an upgrade, say."""
        if self._pool is not None:
            await self._pool.converged()

    def _make_pool(self) -> WorkerPool:
        pool = WorkerPool(
            self._workers,
            name=self.name,
            data_dir=self.data_dir,
            bus=self.bus,
            gate=self._gate,
            grants=self.grants,
            accounting=self.accounting,
            fleet=self._fleet,
            logs=self._logs,
            config=self._config,
            patience=self._patience,
            observed=self._capability_used,
        )
        self._loader.dress = pool.dress
        self._gate.changed = pool.changed
        return pool

    # looking

    def workers(self) -> list[WorkerStatus]:
        """The worker processes, by number; none when this process does it all."""
        return self._pool.status() if self._pool is not None else []

    @property
    def operations(self) -> Operations:
        """How operations come to be on record: for what acts in the operator's name, such as the control socket."""
        return self._operations

    def plugins(self) -> list[PluginStatus]:
        """All installed plugins, by id."""
        # One that is just being installed is in the catalog first; it counts from when it has a life.
        return [self._status(entry) for entry in self.catalog.entries() if entry.id in self._fleet]

    def plugin(self, plugin_id: str) -> PluginStatus:
        """One plugin. Raises PluginUnknown."""
        entry = self.catalog.get(plugin_id)
        if plugin_id not in self._fleet:
            raise PluginUnknown(f"{plugin_id} is just being installed", hint="ask again when that is done")
        return self._status(entry)

    def manifest(self, plugin_id: str) -> Manifest:
        """The manifest of the installed package. Raises PluginUnknown, CatalogCorrupt."""
        self.catalog.get(plugin_id)
        return self._fleet.manifest(plugin_id)

    def _status(self, entry: Entry) -> PluginStatus:
        supervisor = self._fleet[entry.id]
        running = supervisor.running
        manifest = self._fleet.manifests.get(entry.id)
        grants = list(self.grants.of(entry.id, entry.digest))
        return PluginStatus(
            entry.id,
            entry.version,
            entry.digest,
            entry.runtime,
            supervisor.machine.state.value,
            entry.enabled,
            manifest.plugin.summary if manifest is not None else "",
            tuple(sorted(_labelled(g.capability, g.tenant) for g in grants if not g.deny)),
            tuple(sorted(_labelled(g.capability, g.tenant) for g in grants if g.deny)),
            len(running.traps) if running is not None else 0,
            supervisor.machine.reason,
            supervisor.machine.since,
            tuple((version, digest) for version, digest, _ in entry.previous),
            round(supervisor.last_pause * 1000, 2),
        )

    def logs(self, plugin_id: str, tail: int = 100) -> list[dict[str, Any]]:
        """The last log entries of a plugin."""
        return self._logs.tail(plugin_id, tail)

    # speaking on the bus as the operator

    async def publish(
        self,
        subject: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        confirm: bool = False,
        tenant: str = "default",
        principal: str = "operator",
        trace: str = "",
        on_behalf: str = "",
        purpose: str = "",
    ) -> Delivery | None:
        """Publish an event for a tenant, as a principal (for somebody else, for a purpose: see `Call`)."""
        sender = Sender(self.name, None, Call(tenant, principal, trace, on_behalf, purpose))
        return await self.bus.publish(sender, subject, data, headers, confirm)

    async def request(
        self,
        service: str,
        data: Any = None,
        *,
        timeout: float | None = None,
        type: Any = None,
        tenant: str = "default",
        principal: str = "operator",
        trace: str = "",
        on_behalf: str = "",
        purpose: str = "",
    ) -> Any:
        """Ask a service for a tenant, as a principal; with `type` the answer is of that type."""
        sender = Sender(self.name, None, Call(tenant, principal, trace, on_behalf, purpose))
        return decode_as(await self.bus.request(sender, service, data, timeout), type, f"answer of {service}")

    # what the rooms below report

    def _failed(self, owner: str, subject: str, error: BaseException) -> None:
        self._logs.of(owner).error("handler failed", subject=subject, **describe(error))

    def _capability_used(self, plugin: str, capability: str, tenant: str, allowed: bool) -> None:
        self._call_hook("capability_used", plugin_id=plugin, capability=capability, tenant=tenant, allowed=allowed)
        if not allowed:
            if self._open and self._usage.is_news(plugin, capability, tenant):
                self._operations.fact("capability.denied", plugin, {"capability": capability, "tenant": tenant})
            self._logs.of(plugin).warning("capability denied", capability=capability, tenant=tenant)

    def _stepped(self, event: PluginState, old: State, new: State) -> None:
        self._logs.of(event.plugin).info("state", old=old.value, new=new.value, reason=event.reason)
        if new is State.ACTIVE and old is State.STARTING:
            self._call_hook("plugin_started", plugin_id=event.plugin, version=event.version)
        elif new in (State.STOPPED, State.QUARANTINED) and old in (State.DRAINING, State.ACTIVE, State.DEGRADED):
            self._call_hook("plugin_stopped", plugin_id=event.plugin, version=event.version, reason=event.reason)
        said = {"version": event.version, "digest": event.digest, "from": old.value, "to": new.value}
        self._operations.fact("plugin.state", event.plugin, {**said, "reason": event.reason})
        manifest = self._fleet.manifests.get(event.plugin)
        if manifest is not None and RECORD in manifest.provides:
            if new is State.ACTIVE and old is State.STARTING:
                self._gate.recorder_up(event.plugin)
            elif new not in (State.ACTIVE, State.DEGRADED, State.DRAINING):
                self._gate.recorder_down(event.plugin)
        if manifest is not None and new is State.ACTIVE and old is State.STARTING:
            self._gate.provider_up(manifest.provides)
        if self._pool is not None:
            self._pool.stepped(event.plugin, new is State.ACTIVE and old is State.STARTING)
        if self._open:
            self._spawn(self.bus.publish(self._system, STATE, event), f"{event.plugin} is {new.value}")

    def _routes_changed(self, plugin: str) -> None:
        if self._open:
            self._spawn(
                self.bus.publish(self._system, CHANGED, RoutesChanged(self.routes.revision, plugin)), "routes changed"
            )

    # the audit log's view

    def _version_of(self, plugin_id: str) -> str:
        manifest = self._fleet.manifests.get(plugin_id)
        return str(manifest.plugin.version) if manifest is not None else ""

    def _digest_of(self, plugin_id: str) -> str:
        try:
            return self.catalog.get(plugin_id).digest
        except PluginUnknown:
            return ""

    def _base(self) -> frozenset[str]:
        return self._fleet.base(self._gate.recorder)

    def _effects_of(self, service: str) -> str:
        """The service `NAME.effects` of the plugin that provides a service."""
        for manifest in self._fleet.manifests.values():
            if service in manifest.provides:
                return next((name for name in manifest.provides if name.endswith(".effects")), "")
        return ""

    async def _count(self) -> None:
        """Once a second, have what was used since on record; and attach a recorder whose first try failed."""
        while True:
            await asyncio.sleep(1.0)
            if not self._gate.in_force:
                continue
            recorder = self._gate.recorder
            if self._gate.ready:
                await self._count_uses()
            elif recorder in self._fleet and self._fleet[recorder].machine.serving:
                self._gate.recorder_up(recorder)

    async def _count_uses(self) -> None:
        if self._gate.in_force:
            for found in self._usage.take(self._base()):
                self._operations.fact("capability.used", "", found)

    def _call_hook(self, name: str, **fields: Any) -> None:
        """Tell those who listen; one of them that fails must not hurt the plugin it is told about."""
        try:
            getattr(self.hooks.hook, f"rustcare_{name}")(**fields)
        except Exception as error:
            self._logs.of("kernel").error(f"an implementation of rustcare_{name} failed", **describe(error))

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._events.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._events.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._logs.of("kernel").error(f"{task.get_name()} failed", **describe(error))

    async def _serve_accounting(self, message: Message[Any]) -> AccountingReply:
        asked = decode_as(message.data or {}, AccountingRequest, ACCOUNTING)
        rows = self.accounting.rows(asked.plugin or None)
        return AccountingReply([row for row in rows if asked.tenant in ("", row.tenant)])

    async def _serve_routes(self, message: Message[Any]) -> RoutesReply:
        asked = decode_as(message.data or {}, RoutesRequest, ROUTES)
        return RoutesReply(self.routes.revision, self.routes.rows(asked.plugin))

    async def _serve_plugins(self, message: Message[Any]) -> PluginsReply:
        asked = decode_as(message.data or {}, PluginsRequest, PLUGINS)
        return PluginsReply(
            [
                PluginRow(item.id, item.version, item.digest, item.runtime, item.state, item.enabled, item.summary)
                for item in self.plugins()
                if asked.plugin in ("", item.id)
            ]
        )


def _labelled(capability: str, tenant: str | None) -> str:
    return capability if tenant is None else f"{capability} (tenant {tenant})"


def _build_cache() -> Path:
    """Where components built from a checkout's source are kept between kernels: sandboxed code, keyed by its source."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rustcare" / "built"
