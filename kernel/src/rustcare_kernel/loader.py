"""From a catalog entry to a loaded version: verified bytes, granted context, configured, its schema migrated."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import pluggy
from rustcare_sdk.context import PluginInfo
from rustcare_sdk.errors import InvalidManifest
from rustcare_sdk.manifest import Manifest

from .accounting import Accounting
from .bus import Bus, current_message
from .catalog import Entry
from .configuration import effective_config
from .context import PluginContext
from .errors import CatalogCorrupt
from .grants import Grants, Rights
from .logs import Logs
from .package import BlobStore, Package
from .routes import RouteTable
from .running import Running
from .runtimes._contract import Code, Host, Runtime
from .secret_files import SecretFiles
from .stores import open_driver
from .stores._contract import Migration, PluginStore, StoreDriver

__all__ = ["Loader"]


class Loader:
    """What loading a version needs of one kernel: blobs, runtimes, stores, secrets, the compile cache."""

    def __init__(
        self,
        data_dir: Path,
        store: str,
        bus: Bus,
        grants: Grants,
        accounting: Accounting,
        logs: Logs,
        hooks: pluggy.PluginManager,
        config: Mapping[str, Mapping[str, Any]],
        routes: RouteTable,
    ) -> None:
        self.data_dir = data_dir
        self.blobs = BlobStore(data_dir / "blobs")
        self._store_spec = store
        self._bus = bus
        self._grants = grants
        self._accounting = accounting
        self._logs = logs
        self._hooks = hooks
        self._config = config
        self._routes = routes
        self._secrets = SecretFiles(data_dir / "secrets")
        self._runtimes: dict[str, Runtime] = {}
        self._driver: StoreDriver | None = None
        self._stores: dict[str, asyncio.Task[PluginStore]] = {}
        self.worker = 0  # the number of this process, when it is a worker
        #: Told of every context before its plugin is loaded: where several processes run a plugin, they share its sockets.
        self.dress: Callable[[PluginContext, Manifest], None] = lambda context, manifest: None

    async def package(self, digest: str) -> Package:
        """An installed package, every byte of it verified."""
        return await asyncio.to_thread(self.blobs.get_package, digest)

    async def load(
        self,
        entry: Entry,
        before: Running | None,
        trapped: Callable[[Running | None, str], None],
    ) -> Running:
        """Load one version. `trapped(running, reason)` is told of crashes of its code."""
        package = await self.package(entry.digest)
        manifest = package.manifest
        if manifest.plugin.id != entry.id:
            raise CatalogCorrupt(
                f"the catalog says {entry.digest} is {entry.id}, the package says it is {manifest.plugin.id}",
                hint="remove and install the plugin again",
            )
        self._grants.declare(entry.id, entry.digest, [request.capability for request in manifest.capabilities])
        rights = Rights(self._grants, entry.id, entry.digest)
        files = package.files(entry.runtime)
        box: list[Running] = []

        def crashed(reason: str) -> None:
            trapped(box[0] if box else None, reason)

        context = PluginContext(
            PluginInfo(
                entry.id,
                entry.version,
                entry.digest,
                cast(Literal["python"], entry.runtime),
                before.entry.version if before is not None else "",
                self.worker,
            ),
            self._bus,
            rights,
            self._configured(entry, package, files),
            self._logs.of(entry.id),
            lambda: self.store(entry.id),
            self._secrets,
            lambda name, error: crashed(f"{name} ended with {type(error).__name__}"),
        )
        self.dress(context, manifest)
        if before is not None:
            context.succeed(before.context)
        if entry.runtime == "python":
            await self._migrate(entry, files)
        code = Code(
            manifest,
            package.code(entry.runtime),
            package.code_digest(entry.runtime),
            manifest.runtime.python.entry if entry.runtime == "python" and manifest.runtime.python else "",
        )
        host = Host(
            context,
            rights.holds,
            self._used(entry.id),
            crashed,
            cache=self.data_dir / "cache" / "compiled",
            cache_key=await asyncio.to_thread(self._cache_key),
        )
        instance = await self.runtime(entry.runtime).load(code, host)
        running = Running(entry, manifest, instance, context, rights, self._bus, self._routes)
        if self.worker:
            running.elsewhere = frozenset(manifest.lifecycle.central)
        box.append(running)
        return running

    def _configured(self, entry: Entry, package: Package, files: Mapping[str, bytes]) -> Mapping[str, Any]:
        section = package.manifest.config
        schema: bytes | None = None
        if section is not None and section.schema:
            schema = files.get(section.schema)
            if schema is None:
                raise InvalidManifest(
                    f"the package has no file {section.schema!r}", address="plugin.toml:config.schema"
                )
        return effective_config(entry.id, schema, {**entry.config, **self._config.get(entry.id, {})})

    async def _migrate(self, entry: Entry, files: Mapping[str, bytes]) -> None:
        if not any(name.startswith("migrations/") for name in files):
            return
        driver = self.driver()
        migrations = Migration.read(dict(files), driver.dialect)
        if migrations:
            await (await self.store(entry.id)).migrate(migrations)

    def _used(self, plugin: str) -> Callable[[int, int, int, int], None]:
        accounting = self._accounting

        def used(fuel: int, bytes_in: int, bytes_out: int, host_calls: int) -> None:
            message = current_message.get()
            stat = accounting.stat(plugin, "default" if message is None else message.call.tenant)
            stat.fuel += fuel
            stat.bytes_in += bytes_in
            stat.bytes_out += bytes_out
            stat.host_calls += host_calls

        return used

    # runtimes, stores, secrets

    def runtime(self, name: str) -> Runtime:
        """A runtime, made when it is first needed: a kernel without sandboxed plugins never loads wasmtime."""
        found = self._runtimes.get(name)
        if found is None:
            if name == "python":
                from .runtimes.python import PythonRuntime

                found = PythonRuntime(self._hooks)
            elif name == "component":
                from .runtimes.component import ComponentRuntime

                found = ComponentRuntime()
            elif name == "extism":
                from .runtimes.extism import ExtismRuntime

                found = ExtismRuntime()
            else:
                raise InvalidManifest(
                    f"runtime is one of python, component, extism, got {name!r}", address="plugin.toml:runtime"
                )
            self._runtimes[name] = found
        return found

    def driver(self) -> StoreDriver:
        """The store driver, made when the first plugin keeps data."""
        if self._driver is None:
            self._driver = open_driver(self._store_spec, self.data_dir)
        return self._driver

    async def store(self, plugin_id: str) -> PluginStore:
        """A plugin's store, opened once and shared by its versions."""
        task = self._stores.get(plugin_id)
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        if task is None or task.done():
            task = self._stores[plugin_id] = asyncio.ensure_future(self.driver().open(plugin_id))
        return await asyncio.shield(task)

    async def close_store(self, plugin_id: str) -> None:
        """Close a plugin's store, if it is open."""
        task = self._stores.pop(plugin_id, None)
        if task is not None:
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            if not isinstance(outcome, BaseException):
                await outcome.close()

    def _cache_key(self) -> bytes:
        """The key that authenticates compiled code in the cache; made once, readable by the owner only."""
        path = self.data_dir / "cache.key"
        try:
            key = path.read_bytes()
            if len(key) == 32:
                return key
        except FileNotFoundError:
            pass
        key = hashlib.sha256(os.urandom(64)).digest()
        temporary = path.with_suffix(f".{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, key)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(temporary, path)
        return key

    async def close(self) -> None:
        """Close stores and runtimes."""
        for plugin_id in list(self._stores):
            await self.close_store(plugin_id)
        if self._driver is not None:
            await self._driver.close()
            self._driver = None
        for runtime in self._runtimes.values():
            await runtime.close()
        self._runtimes.clear()
