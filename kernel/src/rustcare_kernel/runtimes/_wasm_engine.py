"""wasmtime as the kernel uses it: one engine with every limit on, components compiled once, stores that are bounded."""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_size_t, c_uint8, c_uint64, c_void_p
from importlib.metadata import version
from typing import Any

from rustcare_sdk.manifest import Limits
from wasmtime import Config, Engine, Store, WasmtimeError, _ffi
from wasmtime.component import Component

from ._contract import InvalidCode
from .compile_cache import CompileCache

__all__ = ["EPOCH_CALLBACK", "NO_FUEL_LIMIT", "SETTINGS", "compile_component", "limited_store", "new_engine"]

_STACK = 1024 * 1024
#: For calls that a manifest does not bound by fuel (start, stop, …): they are bounded by time. Still counted.
NO_FUEL_LIMIT = 1 << 62

#: In the name of a cached file, beside wasmtime's version: raise the number when `new_engine` changes.
SETTINGS = f"engine 1; wasmtime {version('wasmtime')}; fuel; epochs; speed; stack {_STACK}"

#: Counts of one instance. A component is made of several core modules; CPython's has about ten.
_INSTANCES, _TABLES, _MEMORIES, _TABLE_ELEMENTS = 64, 32, 4, 200_000

#: `wasmtime_store_epoch_deadline_callback`'s function: store context, data, delta out, kind out; an error or null.
EPOCH_CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, ctypes.POINTER(c_uint64), ctypes.POINTER(c_uint8))

_set_epoch_callback: Any = _ffi.dll["wasmtime_store_epoch_deadline_callback"]
_set_epoch_callback.argtypes = [c_void_p, EPOCH_CALLBACK, c_void_p, c_void_p]
_set_epoch_callback.restype = None
_deserialize: Any = _ffi.dll["wasmtime_component_deserialize"]
_deserialize.argtypes = [c_void_p, c_void_p, c_size_t, c_void_p]
_deserialize.restype = ctypes.POINTER(_ffi.wasmtime_error_t)
_new: Any = _ffi.dll["wasmtime_component_new"]
_new.argtypes = [c_void_p, c_char_p, c_size_t, c_void_p]
_new.restype = ctypes.POINTER(_ffi.wasmtime_error_t)


def new_engine() -> Engine:
    """One for each kernel: code compiled in it can be instantiated in all of its stores."""
    config = Config()
    config.consume_fuel = True
    config.epoch_interruption = True
    config.cranelift_opt_level = "speed"
    config.memory_init_cow = True  # instances share the pages of the image until they write
    config.max_wasm_stack = _STACK
    config.wasm_threads = False
    config.wasm_memory64 = False
    return Engine(config)


def _component(engine: Engine, function: Any, data: Any, size: int) -> Component:
    pointer = ctypes.POINTER(_ffi.wasmtime_component_t)()
    error = function(engine.ptr(), data, size, ctypes.byref(pointer))
    if error:
        raise WasmtimeError._from_ptr(error)
    return Component._from_ptr(pointer)


def compile_component(engine: Engine, code: bytes, digest: str, cache: CompileCache) -> Component:
    """The component, from the cache when it is there. Takes seconds otherwise, and releases the interpreter meanwhile.

    Raises:
        InvalidCode: it is not a component.
    """
    compiled = cache.load(digest)
    if compiled is not None:
        try:
            room = (c_uint8 * len(compiled)).from_buffer(compiled)
            return _component(engine, _deserialize, ctypes.byref(room), len(compiled))
        except WasmtimeError:
            pass  # sealed by us, but made by another build of wasmtime: compile again
    try:
        component = _component(engine, _new, code, len(code))
    except WasmtimeError as error:
        raise InvalidCode(
            f"expected a WebAssembly component, got code that does not compile: {str(error).splitlines()[0]}",
            hint="build the package again; a core module needs runtime extism",
        ) from None
    cache.store(digest, component.serialize())
    return component


def limited_store(engine: Engine, limits: Limits, callback: Any) -> Store:
    """A store bounded by the manifest's limits; `callback` decides at every epoch whether the guest may go on."""
    store = Store(engine)
    store.set_limits(
        memory_size=limits.memory,
        table_elements=_TABLE_ELEMENTS,
        instances=_INSTANCES,
        tables=_TABLES,
        memories=_MEMORIES,
    )
    store.set_fuel(NO_FUEL_LIMIT)
    store.set_epoch_deadline(1)
    _set_epoch_callback(store.ptr(), callback, None, None)
    return store
