"""One component: what it may import, how it is linked, and an instance of it with its limits."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from ctypes import byref, c_size_t, c_uint64, c_void_p
from typing import Any

from rustcare_sdk.errors import error_from_failure, failure_from_error
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.message import Message
from wasmtime import Engine, WasmtimeError, _ffi
from wasmtime.component import Component, ExportIndex, Instance, Linker

from . import _wasm_values as wit
from ._contract import CallLimitExceeded, Host, InvalidCode, LinkRefused, PluginTrapped
from ._hostcalls import HostCalls, json_of
from ._interface import GUEST, MESSAGE, PACKAGE, VERSION, Interface, Signature
from ._job import Job, Stopped
from ._linking import linked_interfaces
from ._wasm_engine import EPOCH_CALLBACK, NO_FUEL_LIMIT, limited_store

__all__ = ["ComponentGuest", "LinkedComponent"]

#: The code of a failure with which a guest says that its instance is broken.
_BROKEN = PluginTrapped.code

_CALLBACK = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_void_p, c_size_t, c_size_t, c_size_t, c_size_t)
_add_func: Any = _ffi.dll["wasmtime_component_linker_instance_add_func"]
_add_func.argtypes = [c_void_p, ctypes.c_char_p, c_size_t, _CALLBACK, c_void_p, c_void_p]
_add_func.restype = ctypes.POINTER(_ffi.wasmtime_error_t)
_call: Any = _ffi.dll["wasmtime_component_func_call"]
_call.argtypes = [c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t]
_call.restype = ctypes.POINTER(_ffi.wasmtime_error_t)
_set_fuel: Any = _ffi.dll["wasmtime_context_set_fuel"]
_set_fuel.argtypes = [c_void_p, c_uint64]
_set_fuel.restype = c_void_p
_get_fuel: Any = _ffi.dll["wasmtime_context_get_fuel"]
_get_fuel.argtypes = [c_void_p, c_void_p]
_get_fuel.restype = c_void_p

_running = threading.local()


class LinkedComponent:
    """A compiled component with everything it may import, ready to be instantiated. Shared by the plugin's instances.

    Raises:
        LinkRefused: it imports what was not granted or is not offered.
        InvalidCode: it does not export the guest interface.
    """

    def __init__(self, engine: Engine, component: Component, manifest: Manifest, host: Host) -> None:
        self.engine = engine
        self.component = component
        self.manifest = manifest
        self.name = manifest.plugin.id
        linked, denied = linked_interfaces(self._imports(), manifest, host)
        self.calls = HostCalls(host, manifest.limits.output, denied)
        self.exports = self._exports()
        #: Which of start, stop and health do something; None (all of them) until the guest described itself.
        self.lifecycle: frozenset[str] | None = None
        self._callbacks: list[Any] = []  # C holds pointers to them
        self.linker = Linker(engine)
        with self.linker.root() as root:
            for interface in linked:
                with root.add_instance(interface.import_name) as instance:
                    for name, signature in interface.functions.items():
                        self._define(instance, interface, name, signature)

    def _imports(self) -> list[str]:
        # Types alone need no linking.
        return [name for name in self.component.type.imports(self.engine) if name != f"{PACKAGE}/types@{VERSION}"]

    def _exports(self) -> dict[str, ExportIndex]:
        guest = self.component.get_export_index(f"{PACKAGE}/guest@{VERSION}")
        found: dict[str, ExportIndex] = {}
        for name in GUEST:
            index = None if guest is None else self.component.get_export_index(name, guest)
            if index is None:
                raise InvalidCode(
                    f"expected the component of {self.name} to export {PACKAGE}/guest@{VERSION} with {name}",
                    hint="build it against sdk/wit/plugin.wit",
                )
            found[name] = index
        return found

    def _define(self, instance: Any, interface: Interface, name: str, signature: Signature) -> None:
        lifts = [kind.lift for kind in signature.parameters.values()]
        result = signature.result
        may_fail = isinstance(result, wit.ResultOf)
        call, label = self.calls.call, interface.name

        @_CALLBACK  # type: ignore[untyped-decorator]
        def host_function(
            _data: Any, _context: Any, _type: Any, arguments: int, count: int, results: int, _count: int
        ) -> int:
            # Nothing may be raised into C, and what is not a failure for the guest stops it.
            guest: ComponentGuest = _running.guest
            try:
                job = guest.job
                values = [lift(wit.Val.from_address(arguments + wit.SIZE * index)) for index, lift in enumerate(lifts)]
                try:
                    value = call(label, name, job, values)
                    if may_fail:
                        value = (True, value)
                except Exception as error:
                    if not may_fail or isinstance(error, Stopped):
                        raise
                    value = (False, failure_from_error(error))
                if result is not None:
                    result.lower(wit.Val.from_address(results), value)
                return 0
            except BaseException as error:
                guest.stopped_by = error
                return wit.new_error("stopped by the host")

        self._callbacks.append(host_function)
        text = name.encode()
        error = _add_func(instance.ptr(), text, len(text), host_function, None, None)
        if error:
            raise WasmtimeError._from_ptr(error)

    def prepare(self) -> None:
        """Nothing: it is compiled already."""

    def instantiate(self, job: Job) -> ComponentGuest:
        """A new instance, in the thread that will run it."""
        return ComponentGuest(self, job)

    def close(self) -> None:
        """Let go of the compiled code; every instance is gone by now."""
        self.exports.clear()
        self.linker.close()
        self.component.close()
        self._callbacks.clear()


class _Message:
    """The arguments of `handle`, made once for an instance: a call only puts the message's texts in."""

    _TEXTS = ("subject", "data", "source", "id", "tenant", "principal", "trace")

    def __init__(self) -> None:
        names = list(MESSAGE.fields)
        self._entries = (wit.Entry * len(names))()
        for entry, name in zip(self._entries, names, strict=True):
            entry.name.size, entry.name.data = len(name), name.encode()
        at = {name: self._entries[index].val for index, name in enumerate(names)}
        self._texts = [at[name].of.text for name in self._TEXTS]
        for name in self._TEXTS:
            wit.borrow_text(at[name], b"")
        wit.F64.lower(at["time"], 0.0)
        self._time = at["time"].of
        self._left = wit.Val()
        wit.F64.lower(self._left, 0.0)
        wit.OptionOf(wit.F64).lower(at["remaining"], None)
        self._remaining = at["remaining"].of
        self._headers = wit.BorrowedPairs(at["headers"])
        self.arguments = (wit.Val * 2)()
        wit.U32.lower(self.arguments[0], 0)
        wit.borrow_record(self.arguments[1], self._entries)

    def put(self, handler: int, message: Message[Any], data: bytes) -> None:
        self.arguments[0].of.u32 = handler
        call = message.call
        values = (
            message.subject.encode(), data, message.source.encode(), message.id.encode(), call.tenant.encode(),
            call.principal.encode(), call.trace.encode(),
        )  # fmt: skip
        for text, value in zip(self._texts, values, strict=True):
            text.size = len(value)
            text.data = value
        self._time.f64 = message.time
        left = message.remaining()
        if left is None:
            self._remaining.pointer = None
        else:
            self._left.of.f64 = left
            self._remaining.pointer = ctypes.addressof(self._left)
        self._headers.put(message.headers)


class ComponentGuest:
    """One instance. Lives in its worker's thread; only `interrupt` may be called from another."""

    def __init__(self, linked: LinkedComponent, job: Job) -> None:
        self._linked = linked
        self._limits = linked.manifest.limits
        self.job = job
        self.stopped_by: BaseException | None = None
        self._timed_out = False
        self._message = _Message()
        self._fuel = c_uint64(0)
        self._callback = EPOCH_CALLBACK(self._at_epoch)
        self._store = limited_store(linked.engine, self._limits, self._callback)
        self._context: Any = self._store._context()
        self._functions: dict[str, Any] = {}
        job.sandbox = self
        _running.guest = self
        try:
            self._instance: Instance = linked.linker.instantiate(self._store, linked.component)
        except WasmtimeError as error:
            failure = self._instantiation_failed(error)
            self.close()
            raise failure from None

    def _at_epoch(self, _context: Any, _data: Any, delta: Any, kind: Any) -> int:
        # The epoch moves when any store of the engine must stop, so ask whether this is the one.
        if self.job.overdue:
            self._timed_out = True
            return wit.new_error("stopped by the host")
        delta[0] = 1
        kind[0] = 0
        return 0

    def _instantiation_failed(self, error: WasmtimeError) -> Exception:
        text = str(error)
        if self.job.cancelled:
            return Stopped()
        if self._timed_out:
            return CallLimitExceeded(f"{self._linked.name} did not finish its instantiation in time")
        if "memory limits" in text or "exceeds memory" in text or "resource limit exceeded" in text:
            return CallLimitExceeded(
                f"{self._linked.name} needs more memory to begin with than its {self._limits.memory} bytes",
                hint="raise limits.memory in plugin.toml",
            )
        if "wasm trap" in text:
            return PluginTrapped(f"{self._linked.name} trapped while it was instantiated: {_cause(text)}")
        return LinkRefused(
            f"the imports of {self._linked.name} do not fit the kernel's: {text.splitlines()[0]}",
            hint="build it against the kernel's version of sdk/wit/plugin.wit",
        )

    # calls

    def handle(self, index: int, message: Message[Any], job: Job) -> bytes:
        """One message; the answer as JSON, not yet checked."""
        data = json_of(message.data)
        job.bytes_in += len(data)
        self._message.put(index, message, data)
        result = wit.Val()
        self._run("handle", self._message.arguments, 2, result, self._limits.fuel)
        try:
            outcome = result.of.result
            if outcome.is_ok:
                text = wit.Val.from_address(outcome.val).of.vector
                if text.size > self._limits.output:
                    raise CallLimitExceeded(
                        f"{self._linked.name} answered {message.subject} with {text.size} bytes, "
                        f"its limit is {self._limits.output}",
                        hint="raise limits.output in plugin.toml, or answer in pieces",
                    )
                answer = ctypes.string_at(text.data, text.size)
                job.bytes_out += len(answer)
                return answer
            _, failure = GUEST["handle"].result.lift(result)  # type: ignore[union-attr]
        finally:
            wit.delete(result)
        raise self._failed(failure)

    def call(self, name: str, arguments: Sequence[Any] = ()) -> Any:
        """Any other export. Bounded by the job's time, not by fuel.

        Raises:
            RustCareError: the guest's own failure, as its typed error.
        """
        signature = GUEST[name]
        values = (wit.Val * max(1, len(arguments)))()
        lowered = 0
        result = wit.Val()
        assert signature.result is not None
        try:
            for value, kind, argument in zip(values, signature.parameters.values(), arguments, strict=False):
                kind.lower(value, argument)
                lowered += 1
            self._run(name, values, len(arguments), result, NO_FUEL_LIMIT)
        finally:
            for index in range(lowered):
                wit.delete(values[index])
        try:
            found = signature.result.lift(result)
        finally:
            wit.delete(result)
        if not isinstance(signature.result, wit.ResultOf):
            return found
        if not found[0]:
            raise self._failed(found[1])
        return found[1]

    def _failed(self, failure: dict[str, str]) -> Exception:
        error = error_from_failure(failure)
        if failure["code"] == _BROKEN:
            return PluginTrapped(f"{self._linked.name}: {error.message}", hint=error.hint, address=error.address)
        return error

    def _function(self, name: str) -> Any:
        found = self._functions.get(name)
        if found is None:
            function = self._instance.get_func(self._store, self._linked.exports[name])
            assert function is not None  # checked when it was linked
            found = self._functions[name] = byref(function._func)
        return found

    def _run(self, name: str, arguments: Any, count: int, result: wit.Val, fuel: int) -> None:
        job = self.job
        context = self._context
        function = self._function(name)
        _running.guest = self
        _set_fuel(context, fuel)
        self._store.set_epoch_deadline(1)
        error = _call(function, context, arguments, count, byref(result), 1)
        _get_fuel(context, byref(self._fuel))
        job.fuel += fuel - self._fuel.value
        if error:
            raise self._stopped(name, WasmtimeError._from_ptr(error))

    def _stopped(self, name: str, error: WasmtimeError) -> Exception:
        """Why a call did not return, as the error that says who is to blame."""
        who = f"{name} of {self._linked.name}"
        raised, self.stopped_by = self.stopped_by, None
        if self.job.cancelled or isinstance(raised, Stopped):
            return Stopped()
        if self._timed_out:
            return CallLimitExceeded(f"{who} used up its time", hint="raise limits.timeout, or do less in one call")
        if raised is not None:
            return PluginTrapped(f"{who} was stopped in a host call: {type(raised).__name__}")
        text = str(error)
        if "all fuel consumed" in text:
            return CallLimitExceeded(
                f"{who} used up its fuel of {self._limits.fuel}", hint="raise limits.fuel, or do less in one call"
            )
        return PluginTrapped(
            f"{who} trapped: {_cause(text)}",
            hint=f"a bug in the plugin, or it ran out of its {self._limits.memory} bytes of memory",
        )

    # a sandbox

    def use(self, job: Job) -> ComponentGuest:
        """This instance, working for that job now."""
        self.job = job
        self._timed_out = False
        return self

    def does(self, name: str) -> bool:
        """Whether `start`, `stop` or `health` do something in this plugin."""
        return self._linked.lifecycle is None or name in self._linked.lifecycle

    def start(self, job: Job) -> None:
        if self.does("start"):
            self.use(job).call("start")

    def interrupt(self) -> None:
        self._linked.engine.increment_epoch()

    def close(self) -> None:
        self._store.close()
        self._functions.clear()
        if getattr(_running, "guest", None) is self:
            del _running.guest
        del self._callback  # it holds this object, and this object holds it


def _cause(text: str) -> str:
    """wasmtime's own words for a trap; nothing that the guest wrote."""
    for line in text.splitlines():
        _, found, cause = line.partition("wasm trap: ")
        if found:
            return cause.strip()
    if "utf-8" in text:
        return "it gave text that is not UTF-8"
    if "out of bounds" in text:
        return "it gave a place outside its memory"
    return "it failed"
