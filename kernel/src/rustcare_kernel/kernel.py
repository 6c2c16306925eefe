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

import msgspec
import pluggy
from msgspec import Struct
from msgspec.structs import replace
from rustcare_sdk import hookspecs
from rustcare_sdk.capability import covers, parse
from rustcare_sdk.context import Delivery
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
from .bus import Bus, Sender
from .catalog import Catalog, Entry
from .context import decode_as
from .data_lock import DataFolderLock
from .errors import GrantUnknown, PluginUnknown, StateForbids
from .fleet import Fleet
from .grants import Grants, Issuer
from .installer import Consent, Inspection, Installer, Source
from .lifecycle import Snapshot
from .loader import Loader
from .logs import Logs, describe
from .states import State

__all__ = ["Kernel", "PluginStatus"]


class PluginStatus(Struct, frozen=True):
    """One plugin as it is now. `since`: Unix seconds; `previous`: (version, digest) to roll back to."""

    id: str
    version: str
    digest: str
    runtime: str
    state: str
    enabled: bool
    summary: str
    granted: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    traps: int = 0
    reason: str = ""
    since: float = 0.0
    previous: tuple[tuple[str, str], ...] = ()
    pause_ms: float = 0.0


class Kernel:
    """A running kernel on one data folder.

    Args:
        data_dir: everything the kernel keeps; made with mode 0700 if it is not there. One kernel at a time.
        store: `sqlite`, or a `postgresql://` address, for the plugins' data.
        config: configuration by plugin id, laid over what the catalog has.
        name: the kernel's name as a message's source.
        log_level: `debug`, `info`, `warning`, `error` or `silent`.
        log_sink: takes each log line (JSON, ended by a newline) instead of standard error.
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
        self._loader = Loader(
            self.data_dir, store, self.bus, self.grants, self.accounting, self._logs, self.hooks, config or {}
        )
        self._installer = Installer(self.grants, _build_cache())
        self._fleet: Fleet
        self._lock = asyncio.Lock()
        self._data_lock = DataFolderLock(self.data_dir)
        self._events: set[asyncio.Task[Any]] = set()
        self._system = Sender(name, None)
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
            self.bus.serve(ACCOUNTING, self._serve_accounting)
            self.bus.serve(PLUGINS, self._serve_plugins)
            self._fleet = Fleet(self.catalog, self.bus, self.grants, self._loader, self._logs, self._stepped)
            self._open = True
            self.started_at = time.time()
            await self._fleet.open(self._only)
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if hasattr(self, "_fleet"):
            await self._fleet.close()
        for task in list(self._events):
            task.cancel()
        await asyncio.gather(*self._events, return_exceptions=True)
        await self.bus.close()
        await self._loader.close()
        if hasattr(self, "catalog"):
            self.catalog.close()
        self._data_lock.__exit__(kind, error, trace)

    # installing

    async def inspect(self, source: Source) -> Inspection:
        """What a package is and asks for, compared with what is installed. Changes nothing."""
        package = await self._installer.read(source, "python")
        return self._installer.inspect(package, self._installed(package.id))

    def _installed(self, plugin_id: str) -> tuple[str, str] | None:
        try:
            entry = self.catalog.get(plugin_id)
        except PluginUnknown:
            return None
        return entry.version, entry.digest

    async def install(
        self,
        source: Source,
        *,
        consent: Consent = False,
        runtime: str | None = None,
        config: Mapping[str, Any] | None = None,
        enable: bool = True,
    ) -> PluginStatus:
        """Install a package and start it. The same digest again changes nothing; another one is an `upgrade`.

        Raises:
            PackageError: the source is not a sound package.
            ConsentRequired: it asks for capabilities that were not consented to; nothing was installed.
            StateForbids: another version of the plugin is installed.
        """
        package = await self._installer.read(source, runtime)
        async with self._lock:
            installed = self._installed(package.id)
            if installed is not None and installed[1] == package.digest:
                return self.plugin(package.id)
            if installed is not None:
                raise StateForbids(
                    f"{package.id} {installed[0]} is installed, {package.version} would replace it",
                    hint=f"rustcare plugin upgrade {package.source or package.id}",
                )
            chosen = self._installer.choose(package, runtime)
            grants = await self._installer.consent(package, consent, None)
            await asyncio.to_thread(self._loader.blobs.put_package, package)
            entry = Entry(package.id, package.digest, package.version, chosen, enable, dict(config or {}))
            await asyncio.to_thread(self.catalog.put, entry, grants)
            for grant in grants:
                self.grants.add(grant)
            supervisor = self._fleet.add(package.id, package.manifest)
            if enable:
                supervisor.machine.to(State.VERIFIED)
                await self._fleet.wake_waiting()
            else:
                supervisor.machine.to(State.STOPPED, "installed, not enabled")
        return self.plugin(package.id)

    async def upgrade(
        self,
        source: Source,
        *,
        consent: Consent = False,
        runtime: str | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> PluginStatus:
        """Replace a running plugin by another package of the same id, without losing a message.

        Raises:
            ConsentRequired: it asks for more than was granted; the running version stays.
            UpgradeFailed: it would not start, take over the state, or be healthy; the running version stays.
        """
        package = await self._installer.read(source, runtime)
        async with self._lock:
            old = self.catalog.get(package.id)
            if old.digest == package.digest and runtime in (None, old.runtime) and config is None:
                return self.plugin(package.id)
            chosen = self._installer.choose(package, runtime)
            self._fleet.check_dependents(package.id, package.manifest)
            held = {grant.capability for grant in self.grants.of(old.id, old.digest)}
            grants = await self._installer.consent(package, consent, (old.version, old.digest))
            await asyncio.to_thread(self._loader.blobs.put_package, package)
            # Asked again for what was agreed to just now: grants may have been given or revoked meanwhile.
            new = {grant.capability for grant in grants if not grant.deny} - held
            grants = await self._installer.consent(package, new, (old.version, old.digest))
            entry = Entry(
                old.id,
                package.digest,
                package.version,
                chosen,
                old.enabled,
                dict(old.config if config is None else config),
                ((old.version, old.digest, old.runtime), *old.previous)[: Catalog.KEPT],
            )
            before = {grant.id for grant in self.grants.of(package.id, package.digest)}
            for grant in grants:
                self.grants.add(grant)
            try:
                await self._exchange(entry, None, probation=True)
            except BaseException:
                # A cancellation may also come when the new version stands already.
                if self.catalog.get(package.id).digest != package.digest:
                    for grant in grants:
                        if grant.id not in before:
                            self.grants.revoke(grant.id)
                raise
        return self.plugin(package.id)

    async def _exchange(self, entry: Entry, carried: Snapshot | None, *, probation: bool = False) -> None:
        if await self._fleet.exchange(entry, carried) and probation:
            work = self._fleet[entry.id].on_probation(lambda: self._roll_back(entry.id, entry.digest))
            self._spawn(work, f"probation of {entry.id}")

    async def rollback(self, plugin_id: str) -> PluginStatus:
        """Go back to the version before, with the state of the present one when their state versions are the same."""
        await self._roll_back(plugin_id)
        return self.plugin(plugin_id)

    async def _roll_back(self, plugin_id: str, only_from: str | None = None) -> None:
        async with self._lock:
            now = self.catalog.get(plugin_id)
            if only_from is not None and now.digest != only_from:
                return  # an operator has replaced it already
            if not now.previous:
                raise StateForbids(f"{plugin_id} {now.version} has no earlier version to go back to")
            version, digest, runtime = now.previous[0]
            entry = Entry(now.id, digest, version, runtime, now.enabled, now.config, now.previous[1:])
            kept = self.catalog.snapshot(plugin_id)
            carried = Snapshot(kept[1], msgspec.json.decode(kept[2])) if kept is not None else None
            await self._exchange(entry, carried)
            self._logs.of(plugin_id).warning("rolled back", to=version, was=now.version)

    async def enable(self, plugin_id: str) -> PluginStatus:
        """Start a stopped, failed or quarantined plugin, and start it again with the kernel from now on."""
        async with self._lock:
            entry = self.catalog.get(plugin_id)
            supervisor = self._fleet[plugin_id]
            async with supervisor.lock:
                await supervisor.settled()
                entry = replace(entry, enabled=True, quarantine="")
                await asyncio.to_thread(self.catalog.put, entry)
                if supervisor.machine.serving:
                    return self.plugin(plugin_id)
                if supervisor.machine.state not in (State.STOPPED, State.FAILED, State.QUARANTINED):
                    await supervisor.stop("enabled anew")
                package = await self._loader.package(entry.digest)
                self._fleet.manifests[plugin_id] = package.manifest
                supervisor.machine.to(State.INSTALLED)
                supervisor.machine.to(State.VERIFIED)
            await self._fleet.wake_waiting()
            unmet = self._fleet.unmet(plugin_id)
            if unmet is not None:
                raise unmet
        return self.plugin(plugin_id)

    async def disable(self, plugin_id: str) -> PluginStatus:
        """Let a plugin finish what it has and stop it, also for later starts of the kernel. Its data stays."""
        async with self._lock:
            entry = replace(self.catalog.get(plugin_id), enabled=False)
            await asyncio.to_thread(self.catalog.put, entry)
            await self._fleet.stop(plugin_id, "disabled")
        return self.plugin(plugin_id)

    async def restart(self, plugin_id: str) -> PluginStatus:
        """Stop a plugin and start it again (with a fresh configuration, for example)."""
        async with self._lock:
            self.catalog.get(plugin_id)
            await self._fleet.stop(plugin_id, "restarted")
        return await self.enable(plugin_id)

    async def remove(self, plugin_id: str, *, purge: bool = False) -> None:
        """Stop and forget a plugin, its packages and grants. Its data stays unless `purge`."""
        async with self._lock:
            self.catalog.get(plugin_id)
            await self._fleet.stop(plugin_id, "removed")
            await asyncio.to_thread(self.catalog.remove, plugin_id)
            self.grants.forget_plugin(plugin_id)
            await self._loader.close_store(plugin_id)
            if purge:
                await self._loader.driver().drop(plugin_id)
            self._fleet.drop(plugin_id)
            await asyncio.to_thread(self._loader.blobs.gc, self._kept_digests())
            self.accounting.forget(plugin_id)
            self._logs.forget(plugin_id)

    def _kept_digests(self) -> set[str]:
        return {
            digest
            for entry in self.catalog.entries()
            for digest in (entry.digest, *(earlier for _, earlier, _ in entry.previous))
        }

    async def configure(self, plugin_id: str, config: Mapping[str, Any]) -> PluginStatus:
        """Set a plugin's configuration and hand over to itself with it; on any failure the old one stays in force."""
        async with self._lock:
            old = self.catalog.get(plugin_id)
            entry = replace(old, config=dict(config))
            if self._fleet[plugin_id].machine.serving:
                await self._exchange(entry, None)
            else:
                await asyncio.to_thread(self.catalog.put, entry)
        return self.plugin(plugin_id)

    # grants

    async def grant(
        self,
        plugin_id: str,
        capability: str,
        *,
        tenant: str | None = None,
        deny: bool = False,
        issuer: Issuer = "operator",
        expires: float | None = None,
    ) -> str:
        """Give a plugin's installed package a capability (or deny it one); the grant's id.

        A deny is for every version, so that neither an upgrade under way nor a rollback revives what it takes away.

        Raises GrantUnknown when its manifest asks for nothing of the kind, so that the grant could have no effect.
        """
        entry = self.catalog.get(plugin_id)
        wanted = parse(capability)
        asked = [request.capability for request in self._fleet.manifest(plugin_id).capabilities]
        if not deny and not any(covers(item, wanted) or covers(wanted, item) for item in asked):
            raise GrantUnknown(
                f"{plugin_id} {entry.version} does not ask for {wanted}, so granting it would have no effect",
                hint=f"it asks for: {', '.join(map(str, asked)) or 'nothing'}",
            )
        digests = dict.fromkeys((entry.digest, *(self.grants.digests(plugin_id) if deny else ())))
        grants = [
            self.grants.prepare(plugin_id, digest, capability, tenant=tenant, deny=deny, issuer=issuer, expires=expires)
            for digest in digests
        ]
        if deny:  # in force at once: waiting for the disk could only let more through
            for grant in grants:
                self.grants.add(grant)
        async with self.catalog.grants_lock:
            await asyncio.to_thread(self.catalog.add_grants, grants)
        for grant in grants:
            self.grants.add(grant)
        if not deny and self._fleet[plugin_id].machine.state is State.RESOLVED:
            await self.enable(plugin_id)
        return grants[0].id

    async def revoke(
        self, plugin_id: str, capability: str, *, tenant: str | None = None, deny: bool = False
    ) -> list[str]:
        """Take a capability back, in force before this returns: from every version, so a rollback does not revive it.

        Every grant that the given capability covers falls, with all that derive from it. The ids of what fell. With
        `deny` it is denials that are lifted; without, they stay, so that revoking never allows anything.
        """
        entry = self.catalog.get(plugin_id)
        wanted = parse(capability)
        found = [
            grant
            for digest in self.grants.digests(plugin_id)
            for grant in self.grants.of(plugin_id, digest)
            if grant.deny == deny
            and covers(wanted, parse(grant.capability))
            and (tenant is None or grant.tenant == tenant)
        ]
        if not found:
            held = ", ".join(
                grant.capability for grant in self.grants.of(plugin_id, entry.digest) if grant.deny == deny
            )
            raise GrantUnknown(
                f"{plugin_id} {'is denied nothing' if deny else 'holds no grant'} that {wanted} covers; "
                f"{'denied is' if deny else 'it holds'}: {held or 'none'}",
                hint=""
                if deny
                else "to take away a part of a wider grant, deny that part: rustcare plugin grant --deny",
            )
        fallen: list[str] = []
        for grant in found:
            if grant.id not in fallen:
                fallen.extend(self.grants.revoke(grant.id))
        async with self.catalog.grants_lock:
            await asyncio.to_thread(self.catalog.drop_grants, fallen)
        return fallen

    # looking

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
    ) -> Delivery | None:
        """Publish an event for a tenant, on behalf of a principal."""
        sender = Sender(self.name, None, Call(tenant, principal, trace))
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
    ) -> Any:
        """Ask a service for a tenant, on behalf of a principal; with `type` the answer is of that type."""
        sender = Sender(self.name, None, Call(tenant, principal, trace))
        return decode_as(await self.bus.request(sender, service, data, timeout), type, f"answer of {service}")

    async def backup(self, plugin_id: str, target: Path) -> None:
        """Write a consistent copy of a plugin's data while it runs."""
        self.catalog.get(plugin_id)
        await (await self._loader.store(plugin_id)).backup(target)

    async def restore(self, plugin_id: str, source: Path) -> None:
        """Replace a plugin's data by a backup's. The plugin is stopped meanwhile."""
        self.catalog.get(plugin_id)
        serving = self._fleet[plugin_id].machine.serving
        async with self._lock:
            await self._fleet.stop(plugin_id, "its data is being restored")
        await (await self._loader.store(plugin_id)).restore(source)
        if serving:
            await self.enable(plugin_id)

    # what the rooms below report

    def _failed(self, owner: str, subject: str, error: BaseException) -> None:
        self._logs.of(owner).error("handler failed", subject=subject, **describe(error))

    def _capability_used(self, plugin: str, capability: str, tenant: str, allowed: bool) -> None:
        self._call_hook("capability_used", plugin_id=plugin, capability=capability, tenant=tenant, allowed=allowed)
        if not allowed:
            self._logs.of(plugin).warning("capability denied", capability=capability, tenant=tenant)

    def _stepped(self, event: PluginState, old: State, new: State) -> None:
        self._logs.of(event.plugin).info("state", old=old.value, new=new.value, reason=event.reason)
        if new is State.ACTIVE and old is State.STARTING:
            self._call_hook("plugin_started", plugin_id=event.plugin, version=event.version)
        elif new in (State.STOPPED, State.QUARANTINED) and old in (State.DRAINING, State.ACTIVE, State.DEGRADED):
            self._call_hook("plugin_stopped", plugin_id=event.plugin, version=event.version, reason=event.reason)
        if self._open:
            self._spawn(self.bus.publish(self._system, STATE, event), f"{event.plugin} is {new.value}")

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
