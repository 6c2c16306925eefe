"""Extism's C API, as far as the kernel needs it.

The `extism` package keeps host functions in one global registry that it hands to every plugin, and has no way to limit
fuel; so its library is used directly. How its compiled code is kept: see `_extism_cache`.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from extism_sys import ffi as _ffi  # type: ignore[import-untyped]
from extism_sys import lib as _lib

__all__ = ["Compiled", "HostFunction", "Machine", "MachineError", "NoSleep", "extism_version"]

_I32, _I64 = 0, 1
_ENOSYS = 52  # WASI's number for "function not supported"
_PAGE = 65536


class MachineError(Exception):
    """A call failed. `status` is -1 or 134 when the host stopped it, else what the plugin's function returned."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class HostFunction:
    """One function for guests: a place in Extism's memory in, one out. `body` gets and gives bytes, and never raises."""

    def __init__(self, namespace: str, name: str, limit: int, body: Callable[[bytes | None], bytes]) -> None:
        self._body = body
        self._limit = limit
        self._handle: Any = _ffi.new_handle(self)  # C holds it for as long as this object lives
        self.pointer: Any = _lib.extism_function_new(
            name.encode(), [_I64], 1, [_I64], 1, _dispatch, self._handle, _ffi.NULL
        )
        _lib.extism_function_set_namespace(self.pointer, namespace.encode())

    def called(self, plugin: Any, inputs: Any, outputs: Any) -> None:
        at = inputs[0].v.i64
        size = _lib.extism_current_plugin_memory_length(plugin, at) if at else 0
        if size > self._limit:
            answer = self._body(None)
        else:
            start = _lib.extism_current_plugin_memory(plugin)
            answer = self._body(bytes(_ffi.buffer(start + at, size)) if size else b"")
        place = _lib.extism_current_plugin_memory_alloc(plugin, len(answer))
        if place:
            _ffi.memmove(_lib.extism_current_plugin_memory(plugin) + place, answer, len(answer))
        outputs[0].v.i64 = place

    def close(self) -> None:
        """After every module that was compiled with it is gone."""
        if self.pointer is not None:
            _lib.extism_function_free(self.pointer)
            self.pointer = self._handle = None


@_ffi.callback(  # type: ignore[untyped-decorator]
    "void(ExtismCurrentPlugin*, const ExtismVal*, ExtismSize, ExtismVal*, ExtismSize, void*)"
)
def _dispatch(plugin: Any, inputs: Any, _count: int, outputs: Any, _results: int, data: Any) -> None:
    function: HostFunction = _ffi.from_handle(data)
    function.called(plugin, inputs, outputs)


class NoSleep:
    """WASI's `poll_oneoff`, replaced by one that says it does not exist: the real one sleeps for as long as a guest
    likes, where no deadline reaches it. Linked after WASI, it takes the other's place.
    """

    def __init__(self) -> None:
        self.pointer: Any = _lib.extism_function_new(
            b"poll_oneoff", [_I32] * 4, 4, [_I32], 1, _no_sleep, _ffi.NULL, _ffi.NULL
        )
        _lib.extism_function_set_namespace(self.pointer, b"wasi_snapshot_preview1")

    def close(self) -> None:
        """After every module that was compiled with it is gone."""
        if self.pointer is not None:
            _lib.extism_function_free(self.pointer)
            self.pointer = None


@_ffi.callback(  # type: ignore[untyped-decorator]
    "void(ExtismCurrentPlugin*, const ExtismVal*, ExtismSize, ExtismVal*, ExtismSize, void*)"
)
def _no_sleep(_plugin: Any, _inputs: Any, _count: int, outputs: Any, _results: int, _data: Any) -> None:
    outputs[0].v.i32 = _ENOSYS


class Compiled:
    """A compiled module. A cancelled or overdue call stops everything that was instantiated from the same compilation,
    so each worker compiles for itself.

    Raises:
        MachineError: it does not compile.
    """

    def __init__(
        self, wasm: bytes, functions: Sequence[HostFunction | NoSleep], memory: int, fuel: int, wasi: bool
    ) -> None:
        description = msgspec.json.encode(
            {
                "wasm": [{"data": base64.b64encode(wasm).decode()}],
                "memory": {"max_pages": max(1, memory // _PAGE), "max_http_response_bytes": 0},
                "allowed_hosts": [],
            }
        )
        error = _ffi.new("char**")
        pointers = _ffi.new("ExtismFunction*[]", [each.pointer for each in functions]) if functions else _ffi.NULL
        self._pointer: Any = _lib.extism_compiled_plugin_new_with_fuel_limit(
            description, len(description), pointers, len(functions), wasi, fuel, error
        )
        if self._pointer == _ffi.NULL:
            raise MachineError(_take(error), -1)

    def instantiate(self) -> Machine:
        """A fresh instance.

        Raises:
            MachineError: an import is missing, or it begins with too much memory.
        """
        error = _ffi.new("char**")
        pointer = _lib.extism_plugin_new_from_compiled(self._pointer, error)
        if pointer == _ffi.NULL:
            raise MachineError(_take(error), -1)
        return Machine(pointer)

    def close(self) -> None:
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            _lib.extism_compiled_plugin_free(pointer)


def extism_version() -> str:
    """The version of Extism's library, which decides what its compiled code is good for."""
    return bytes(_ffi.string(_lib.extism_version())).decode()


def _take(error: Any) -> str:
    if error[0] == _ffi.NULL:
        return "no reason given"
    text = bytes(_ffi.string(error[0])).decode("utf-8", "replace")
    _lib.extism_plugin_new_error_free(error[0])
    return text


class Machine:
    """One instance. Only `cancel` may be called from another thread."""

    def __init__(self, pointer: Any) -> None:
        self._pointer = pointer
        self._cancel = _lib.extism_plugin_cancel_handle(pointer)
        self._lock = threading.Lock()

    def call(self, name: bytes, data: bytes, limit: int) -> bytes | int:
        """Call a function; its output, or the output's size when that is above `limit`.

        Raises:
            MachineError
        """
        pointer = self._pointer
        status = _lib.extism_plugin_call(pointer, name, data, len(data))
        error = _lib.extism_plugin_error(pointer)
        if status != 0 or error != _ffi.NULL:
            text = "" if error == _ffi.NULL else bytes(_ffi.string(error)).decode("utf-8", "replace")
            raise MachineError(text, status)
        size: int = _lib.extism_plugin_output_length(pointer)
        if size > limit:
            return size
        return bytes(_ffi.buffer(_lib.extism_plugin_output_data(pointer), size)) if size else b""

    def cancel(self) -> None:
        """Stop the running call, if there is one."""
        with self._lock:  # the handle dies with the instance
            if self._pointer is not None:
                _lib.extism_plugin_cancel(self._cancel)

    def close(self) -> None:
        with self._lock:
            pointer, self._pointer = self._pointer, None
        if pointer is not None:
            _lib.extism_plugin_free(pointer)
