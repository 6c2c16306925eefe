"""The main sandbox: WebAssembly components under wasmtime.

Nothing but the granted interfaces of `sdk/wit/plugin.wit` is linked; WASI is not. Every instance has its own store with
limits on memory, fuel, time, stack and output. A trap or a broken limit drops the instance; the next call gets another.

State lives in the instance: see `_pool`. A plugin with `runtime.pool` above 1 must not keep state between messages.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from rustcare_sdk.errors import RustCareError

from ._component_guest import LinkedComponent
from ._contract import Code, Host
from ._instance import SandboxInstance
from ._threads import in_thread
from ._wasm_engine import SETTINGS, compile_component, new_engine
from ._watchdog import Watchdog
from .compile_cache import CompileCache

__all__ = ["ComponentRuntime"]


class ComponentRuntime:
    """Runs components. One engine and one watchdog for each kernel, made when the first plugin is loaded."""

    name: ClassVar[str] = "component"

    def __init__(self) -> None:
        self._engine: Any = None
        self._watchdog = Watchdog("rustcare-component-watchdog")
        self._instances: set[SandboxInstance] = set()
        self._compiling = asyncio.Lock()

    async def load(self, code: Code, host: Host) -> SandboxInstance:
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
            linked = LinkedComponent(engine, component, code.manifest, host)
        except RustCareError:
            component.close()
            raise
        instance = SandboxInstance(linked, host, self._watchdog, self._instances.discard)
        self._instances.add(instance)
        try:
            await instance.describe()
        except BaseException:
            await instance.close()
            raise
        return instance

    async def close(self) -> None:
        """Close every plugin, end the watchdog, let go of the engine."""
        for instance in tuple(self._instances):
            await instance.close()
        self._watchdog.close()
        if self._engine is not None:
            self._engine.close()
            self._engine = None
