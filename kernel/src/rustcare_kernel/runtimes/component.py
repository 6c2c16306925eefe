"""The main sandbox: WebAssembly components under wasmtime.

Nothing but the granted interfaces of `sdk/wit/plugin.wit` is linked; WASI is not. Every instance has its own store with
limits on memory, fuel, time, stack and output. A trap or a broken limit drops the instance; the next call gets another.

State lives in the instance: see `_pool`. A plugin with `runtime.pool` above 1 must not keep state between messages.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler, Health

from ._component_guest import ComponentGuest, Linked
from ._contract import Code, Host
from ._description import Description, describe
from ._hostcalls import json_of, raw_json
from ._job import Job
from ._pool import Pool
from ._threads import in_thread
from ._wasm_engine import SETTINGS, compile_component, new_engine
from ._watchdog import Watchdog
from .compile_cache import CompileCache

__all__ = ["ComponentInstance", "ComponentRuntime"]


class ComponentRuntime:
    """Runs components. One engine and one watchdog for each kernel, made when the first plugin is loaded."""

    name: ClassVar[str] = "component"

    def __init__(self) -> None:
        self._engine: Any = None
        self._watchdog = Watchdog("rustcare-component-watchdog")
        self._instances: set[ComponentInstance] = set()
        self._compiling = asyncio.Lock()

    async def load(self, code: Code, host: Host) -> ComponentInstance:
        """Compile (or take from the cache), link, and ask the guest what it handles.

        Raises:
            InvalidCode, LinkRefused, PluginTrapped
        """
        if self._engine is None:
            self._engine = new_engine()
        engine = self._engine
        cache = CompileCache(host.cache, host.cache_key, SETTINGS)
        async with self._compiling:  # one compilation has all cores
            component = await in_thread(
                lambda: compile_component(engine, code.payload, code.digest, cache),
                f"compile {code.manifest.plugin.id}",
            )
        try:
            linked = Linked(engine, component, code.manifest, host)
        except RustCareError:
            component.close()
            raise
        instance = ComponentInstance(self, linked, host, self._watchdog)
        self._instances.add(instance)
        try:
            await instance.describe()
        except BaseException:
            await instance.close()
            raise
        return instance

    def forget(self, instance: ComponentInstance) -> None:
        """An instance was closed."""
        self._instances.discard(instance)

    async def close(self) -> None:
        """Close every plugin, end the watchdog, let go of the engine."""
        for instance in tuple(self._instances):
            await instance.close()
        self._watchdog.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None


class ComponentInstance:
    """A loaded component and its pool of instances."""

    def __init__(self, runtime: ComponentRuntime, linked: Linked, host: Host, watchdog: Watchdog) -> None:
        manifest = linked.manifest
        self._runtime = runtime
        self._linked = linked
        self._host = host
        self._limits = manifest.limits
        self._start_timeout = manifest.lifecycle.start_timeout
        self._description = Description()
        self._index: dict[int, int] = {}
        self._closed = False
        self._pool = Pool(
            manifest.plugin.id,
            lambda job: ComponentGuest(linked, job),
            watchdog,
            min(manifest.limits.concurrency, manifest.runtime.pool),
            manifest.runtime.instance == "per-message",
            self._start_timeout,
            host.trapped,
        )

    async def describe(self) -> None:
        """Learn the handlers from the guest."""
        text = await self._call("describe")
        self._description = describe(text, self._linked.name, self._linked.manifest)
        self._linked.lifecycle = self._description.lifecycle
        self._index = {id(handler): index for index, handler in enumerate(self._description.handlers)}

    @property
    def handlers(self) -> tuple[Handler, ...]:
        return self._description.handlers

    async def _call(self, name: str, *arguments: Any, timeout: float = 0.0) -> Any:
        answer, job = await self._pool.run(
            name,
            lambda guest, job: guest.use(job).call(name, arguments),
            timeout or self._start_timeout,
            primary=True,
        )
        self._account(job)
        return answer

    def _account(self, job: Job) -> None:
        self._host.used(job.fuel, job.bytes_in, job.bytes_out, job.host_calls)

    def _does(self, name: str) -> bool:
        lifecycle = self._description.lifecycle
        return lifecycle is None or name in lifecycle

    async def start(self) -> None:
        self._account(await self._pool.start())

    async def stop(self) -> None:
        if self._does("stop"):
            await self._call("stop", timeout=self._linked.manifest.lifecycle.drain)

    async def health(self) -> Health:
        if not self._does("health"):
            return Health()
        found = await self._call("health")
        details = msgspec.json.decode(raw_json(found["details"], f"health of {self._linked.name}"))
        return Health(found["ok"], found["reason"], details if isinstance(details, dict) else {})

    async def invoke(self, handler: Handler, message: Message[Any]) -> Any:
        index = self._index.get(id(handler))
        if index is None:
            index = self._description.index(handler)
        pool = self._pool
        job = pool.job(
            handler.subject,
            lambda guest, job: guest.use(job).handle(index, message, job),
            self._limits.timeout,
        )
        try:
            answer: bytes = await pool.submit(job)
        finally:
            self._host.used(job.fuel, job.bytes_in, job.bytes_out, job.host_calls)
        return raw_json(answer, f"answer of {self._linked.name} to {message.subject}")

    async def export_state(self) -> Any:
        return msgspec.json.decode(raw_json(await self._call("export-state"), f"state of {self._linked.name}"))

    async def import_state(self, version: int, state: Any) -> None:
        await self._call("import-state", version, json_of(state))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._runtime.forget(self)
        await self._pool.close()
        self._linked.close()
