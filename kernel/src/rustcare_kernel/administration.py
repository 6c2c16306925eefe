"""What changes the installation: install, upgrade, roll back, enable, disable, remove, configure, grant, revoke, restore.

Every change is an operation that is on record before it begins (`audit.operations`), and is written to the catalog before
it is acknowledged.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rustcare_sdk.capability import covers, parse

from .catalog import Catalog, Entry
from .errors import GrantUnknown, PluginUnknown, StateForbids
from .grants import Issuer
from .installer import Consent, Inspection, Source
from .lifecycle import Snapshot
from .states import State

if TYPE_CHECKING:
    from .accounting import Accounting
    from .audit.gate import Gate
    from .audit.operations import Operations
    from .audit.usage import Usage
    from .fleet import Fleet
    from .grants import Grant, Grants
    from .installer import Installer
    from .loader import Loader
    from .logs import Logs
    from .package import Package
    from .workers import WorkerPool

__all__ = ["Administration", "PluginStatus"]


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


class Administration(ABC):
    """The part of a kernel that changes what is installed. Mixed into `Kernel`, which has what is declared here."""

    catalog: Catalog
    grants: Grants
    accounting: Accounting
    _fleet: Fleet
    _gate: Gate
    _installer: Installer
    _loader: Loader
    _lock: asyncio.Lock
    _logs: Logs
    _operations: Operations
    _pool: WorkerPool | None
    _usage: Usage

    @abstractmethod
    def plugin(self, plugin_id: str) -> PluginStatus:
        """One plugin. Raises PluginUnknown."""

    @abstractmethod
    def _spawn(self, work: Any, name: str) -> None:
        """Run something beside whoever asked."""

    @abstractmethod
    async def _count_uses(self) -> None:
        """Have the uses so far on record, as counts."""

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
        async with self._operation("plugin.install", package.id, **_details(package)), self._lock:
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
            self._consented(package, grants)
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
        async with self._operation("plugin.upgrade", package.id, **_details(package)), self._lock:
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
            self._consented(package, [grant for grant in grants if grant.id not in before])
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
        running = await self._fleet.exchange(entry, carried)
        if running and entry.id == self._gate.recorder:
            await self._gate.refresh(entry.id)
        if running and probation:
            work = self._fleet[entry.id].on_probation(lambda: self._roll_back(entry.id, entry.digest))
            self._spawn(work, f"probation of {entry.id}")

    async def rollback(self, plugin_id: str) -> PluginStatus:
        """Go back to the version before, with the state of the present one when their state versions are the same."""
        await self._roll_back(plugin_id)
        return self.plugin(plugin_id)

    async def _roll_back(self, plugin_id: str, only_from: str | None = None) -> None:
        automatic = only_from is not None
        async with self._operation("plugin.rollback", plugin_id, automatic=automatic), self._lock:
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
        async with self._operation("plugin.enable", plugin_id), self._lock:
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
        async with self._operation("plugin.disable", plugin_id), self._lock:
            entry = replace(self.catalog.get(plugin_id), enabled=False)
            await asyncio.to_thread(self.catalog.put, entry)
            await self._fleet.stop(plugin_id, "disabled")
            return self.plugin(plugin_id)

    async def restart(self, plugin_id: str) -> PluginStatus:
        """Stop a plugin and start it again (with a fresh configuration, for example)."""
        async with self._operation("plugin.restart", plugin_id):
            async with self._lock:
                self.catalog.get(plugin_id)
                await self._fleet.stop(plugin_id, "restarted")
            return await self.enable(plugin_id)

    async def remove(self, plugin_id: str, *, purge: bool = False) -> None:
        """Stop and forget a plugin, its packages and grants. Its data stays unless `purge`."""
        async with self._operation("plugin.remove", plugin_id, purge=purge), self._lock:
            self.catalog.get(plugin_id)
            await self._fleet.stop(plugin_id, "removed")
            if self._pool is not None:
                await self._pool.drained(plugin_id)
            await self._count_uses()
            await asyncio.to_thread(self.catalog.remove, plugin_id)
            if plugin_id == self._gate.recorder:
                await asyncio.to_thread(self._gate.lift)
            self.grants.forget_plugin(plugin_id)
            await self._loader.close_store(plugin_id)
            if purge:
                await self._loader.driver().drop(plugin_id)
            self._fleet.drop(plugin_id)
            await asyncio.to_thread(self._loader.blobs.gc, self._kept_digests())
            self.accounting.forget(plugin_id)
            self._usage.forget(plugin_id)
            self._logs.forget(plugin_id)

    def _kept_digests(self) -> set[str]:
        return {
            digest
            for entry in self.catalog.entries()
            for digest in (entry.digest, *(earlier for _, earlier, _ in entry.previous))
        }

    async def configure(self, plugin_id: str, config: Mapping[str, Any]) -> PluginStatus:
        """Set a plugin's configuration and hand over to itself with it; on any failure the old one stays in force."""
        # Its keys, not its values: a configuration may hold what a log must not.
        async with self._operation("plugin.configure", plugin_id, keys=sorted(config)), self._lock:
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
        said: dict[str, Any] = {
            "right": capability,
            "for": tenant or "",
            "issuer": issuer,
            "expires": str(expires or ""),
        }
        async with self._operation("grant.deny" if deny else "grant.give", plugin_id, **said):
            return await self._give(plugin_id, capability, tenant, deny, issuer, expires)

    async def _give(
        self, plugin_id: str, capability: str, tenant: str | None, deny: bool, issuer: Issuer, expires: float | None
    ) -> str:
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
        said: dict[str, Any] = {"right": capability, "for": tenant or ""}
        async with self._operation("grant.allow" if deny else "grant.revoke", plugin_id, **said):
            return await self._take_back(plugin_id, capability, tenant, deny)

    async def _take_back(self, plugin_id: str, capability: str, tenant: str | None, deny: bool) -> list[str]:
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

    async def backup(self, plugin_id: str, target: Path) -> None:
        """Write a consistent copy of a plugin's data while it runs."""
        self.catalog.get(plugin_id)
        async with self._operation("plugin.backup", plugin_id, changes=False):
            await (await self._loader.store(plugin_id)).backup(target)

    async def restore(self, plugin_id: str, source: Path) -> None:
        """Replace a plugin's data by a backup's. The plugin is stopped meanwhile."""
        self.catalog.get(plugin_id)
        serving = self._fleet[plugin_id].machine.serving
        async with self._operation("plugin.restore", plugin_id, changes=False):
            async with self._lock:
                await self._fleet.stop(plugin_id, "its data is being restored")
            await (await self._loader.store(plugin_id)).restore(source)
            if serving:
                await self.enable(plugin_id)

    # on record

    @asynccontextmanager
    async def _operation(
        self, action: str, plugin_id: str, *, changes: bool = True, **details: Any
    ) -> AsyncIterator[None]:
        """Around a change. It is over when the rights that are in force then are in force in every process."""
        async with self._operations.operation(action, plugin_id, details=details, changes=changes):
            try:
                yield
            finally:
                if self._pool is not None:
                    await self._pool.confirmed()

    def _consented(self, package: Package, grants: list[Grant]) -> None:
        """State which capabilities were granted with a package's installation or upgrade."""
        rights = sorted(grant.capability for grant in grants if not grant.deny)
        self._operations.fact("plugin.consent", package.id, {"digest": package.digest, "rights": rights}, keep=True)


def _details(package: Package) -> dict[str, Any]:
    return {"version": package.version, "digest": package.digest}
