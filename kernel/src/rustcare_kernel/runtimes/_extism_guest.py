"""One Extism module: what it may import, how its JSON becomes host calls, and an instance of it with its limits."""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from rustcare_sdk.errors import HandlerFailed, InvalidPayload, error_from_failure, failure_from_error
from rustcare_sdk.message import Message

from . import _wasm_values as wit
from ._contract import CallLimitExceeded, Code, Host, InvalidCode, LinkRefused, PluginTrapped
from ._extism_cache import PrivateFolder
from ._extism_ffi import Compiled, HostFunction, Machine, MachineError, NoSleep, extism_version
from ._hostcalls import HostCalls, json_of
from ._interface import GUEST, Interface, Signature
from ._job import Job, Stopped
from ._linking import linked_interfaces, needs_wasi
from ._wasm_imports import exports_of, imports_of
from .compile_cache import CompileCache

__all__ = ["ExtismGuest", "LinkedModule"]

_KERNEL = "extism:host/env"  # what every PDK imports from Extism itself
_SETTINGS = f"extism {extism_version()}; fuel"
_running = threading.local()
_folder = PrivateFolder()


class _Failure(msgspec.Struct):
    code: str
    message: str = ""
    hint: str = ""
    address: str = ""


class _Answer(msgspec.Struct):
    ok: msgspec.Raw = msgspec.Raw(b"null")
    err: _Failure | None = None


class _Health(msgspec.Struct):
    ok: bool = True
    reason: str = ""
    details: dict[str, Any] = {}


_encoder = msgspec.json.Encoder()
_answer = msgspec.json.Decoder(_Answer)


class LinkedModule:
    """A module with what it may import. Each worker compiles it for itself, see `Compiled`."""

    def __init__(self, code: Code, host: Host) -> None:
        self.manifest = code.manifest
        self.name = code.manifest.plugin.id
        self.lifecycle: frozenset[str] | None = None
        self._wasm = code.payload
        self._digest = code.digest
        self._cache = CompileCache(host.cache, host.cache_key, _SETTINGS)
        self._of_thread = threading.local()
        self._compiled: list[Compiled] = []
        self.exports = exports_of(code.payload)
        for name in ("rustcare_describe", "rustcare_handle"):
            if name not in self.exports:
                raise InvalidCode(
                    f"expected the module of {self.name} to export {name}",
                    hint="see rustcare_kernel.runtimes.extism for what a module exports",
                )
        imports = [each for each in imports_of(code.payload) if each[0] != _KERNEL]
        self._wasi = needs_wasi({module for module, _ in imports}, self.manifest, host)
        wanted = dict.fromkeys(module for module, _ in imports if module != "wasi_snapshot_preview1")
        linked, denied = linked_interfaces(wanted, self.manifest, host)
        by_name = {each.import_name: each for each in linked}
        for module, name in imports:
            if module in by_name and name not in by_name[module].functions:
                raise LinkRefused(
                    f"the code of {self.name} imports {name} of {module}, which does not exist", address=module
                )
        self._calls = HostCalls(host, self.manifest.limits.output, denied)
        self._functions: list[HostFunction | NoSleep] = [
            self._function(interface, name, signature)
            for interface in linked
            for name, signature in interface.functions.items()
        ]
        if self._wasi:
            self._functions.append(NoSleep())

    def _function(self, interface: Interface, name: str, signature: Signature) -> HostFunction:
        body = _body(self._calls, interface.name, name, signature, self.manifest.limits.output)
        # Twice the output limit: base64 and the other parameters come on top of the data.
        return HostFunction(interface.import_name, name, 2 * self.manifest.limits.output + 65536, body)

    def instantiate(self, job: Job) -> ExtismGuest:
        """A new instance, in the thread that will run it."""
        self.prepare()
        try:
            machine = self._of_thread.compiled.instantiate()
        except MachineError as error:
            raise self._refused(str(error)) from None
        return ExtismGuest(self, machine, job)

    def prepare(self) -> None:
        """Compile, once for each thread."""
        if getattr(self._of_thread, "compiled", None) is not None:
            return
        limits = self.manifest.limits
        try:
            compiled = _folder.compile(
                lambda: Compiled(self._wasm, self._functions, limits.memory, limits.fuel, self._wasi),
                self._digest,
                self._cache,
            )
        except MachineError as error:
            raise self._refused(str(error)) from None
        self._of_thread.compiled = compiled
        self._compiled.append(compiled)

    def _refused(self, text: str) -> Exception:
        first = text.splitlines()[0] if text else "no reason given"
        if "unknown import" in text:
            return LinkRefused(f"the imports of {self.name} do not fit the kernel's: {first}")
        if "memory" in text or "oom" in text:
            return CallLimitExceeded(
                f"{self.name} needs more memory to begin with than its {self.manifest.limits.memory} bytes",
                hint="raise limits.memory in plugin.toml",
            )
        return InvalidCode(f"the module of {self.name} cannot be run: {first}")

    def close(self) -> None:
        """Let go of the code; every instance is gone by now."""
        for compiled in self._compiled:
            compiled.close()
        self._compiled.clear()
        for function in self._functions:
            function.close()
        self._functions.clear()


def _body(
    calls: HostCalls, interface: str, name: str, signature: Signature, output: int
) -> Callable[[bytes | None], bytes]:
    """The host function: JSON of the parameters in, JSON of the result out."""
    kinds = signature.parameters
    fallible = isinstance(signature.result, wit.ResultOf)
    ok = signature.result.ok if isinstance(signature.result, wit.ResultOf) else signature.result
    address = f"{interface}.{name}"

    def call(data: bytes | None) -> bytes:
        guest: ExtismGuest = _running.guest
        try:
            if data is None:
                raise CallLimitExceeded(f"expected at most {output} bytes of data", address=address)
            value = calls.call(interface, name, guest.job, _parameters(data, kinds, address))
            answer = _result(value, ok)
            return b'{"ok":' + answer + b"}" if fallible else answer
        except Exception as error:
            if isinstance(error, Stopped) or not fallible:
                # Extism has no way to trap from a host function: have the guest stopped when this one returns.
                guest.stopped_by = error
                guest.interrupt()
                return b"null"
            return _encoder.encode({"err": failure_from_error(error)})

    return call


def _parameters(data: bytes, kinds: dict[str, wit.Type], address: str) -> list[Any]:
    """The arguments of a host call, in order."""
    try:
        # Inline JSON stays as it is: it goes on to whoever decodes it.
        given = msgspec.json.decode(data.decode() or "{}", type=dict[str, msgspec.Raw])
        return [_parameter(given.get(name), name, kind) for name, kind in kinds.items()]
    except (ValueError, binascii.Error, msgspec.DecodeError, msgspec.ValidationError) as error:
        raise InvalidPayload(
            f"expected a JSON object with {', '.join(kinds) or 'nothing'}, got something else ({type(error).__name__})",
            hint="see sdk/wit/plugin.wit",
            address=address,
        ) from None


def _parameter(raw: msgspec.Raw | None, name: str, kind: wit.Type) -> Any:
    if name in ("data", "fields") and kind is wit.STRING:
        return bytes(raw) if raw is not None else b"null"
    value = None if raw is None else msgspec.json.decode(raw)
    if kind is wit.BYTES:
        if not isinstance(value, str):
            raise ValueError(name)
        return base64.b64decode(value, validate=True)
    if kind is wit.STRING or isinstance(kind, wit.Enum):
        if not isinstance(value, str):
            raise ValueError(name)
        return value
    if kind is wit.U32:
        if type(value) is not int or not 0 <= value < 2**32:
            raise ValueError(name)
        return value
    if isinstance(kind, wit.OptionOf):
        if value is not None and type(value) not in (int, float):
            raise ValueError(name)
        return value
    pairs = {} if value is None else value  # headers
    if not isinstance(pairs, dict) or len(pairs) > 256 or not all(isinstance(each, str) for each in pairs.values()):
        raise ValueError(name)
    return list(pairs.items())


def _result(value: Any, kind: wit.Type | None) -> bytes:
    if kind is wit.STRING:
        return bytes(value)  # JSON already
    return _encoder.encode(value)  # bytes become base64


class ExtismGuest:
    """One instance. Lives in its worker's thread; only `interrupt` may be called from another."""

    def __init__(self, linked: LinkedModule, machine: Machine, job: Job) -> None:
        self._linked = linked
        self._limits = linked.manifest.limits
        self._machine = machine
        self.job = job
        self.stopped_by: BaseException | None = None
        job.sandbox = self

    def use(self, job: Job) -> ExtismGuest:
        """This instance, working for that job now."""
        self.job = job
        return self

    def handle(self, index: int, message: Message[Any], job: Job) -> bytes:
        """One message; the answer as JSON, known to be well formed."""
        data = json_of(message.data)
        job.bytes_in += len(data)
        call = message.call
        answer = self._ask(
            "handle",
            {
                "handler": index,
                "message": {
                    "subject": message.subject,
                    "data": msgspec.Raw(data),
                    "source": message.source,
                    "id": message.id,
                    "time": message.time,
                    "tenant": call.tenant,
                    "principal": call.principal,
                    "trace": call.trace,
                    "remaining": message.remaining(),
                    "headers": dict(message.headers),
                },
            },
        )
        job.bytes_out += len(answer)
        return answer

    def call(self, name: str, arguments: Sequence[Any] = ()) -> Any:
        """Any other function of the guest; JSON as text.

        Raises:
            RustCareError: the guest's own failure, as its typed error.
        """
        if name == "describe":
            return self._run("describe", b"")
        if f"rustcare_{name.replace('-', '_')}" not in self._linked.exports:
            return {"ok": True, "reason": "", "details": "{}"} if name == "health" else b"null"
        given = dict(zip(GUEST[name].parameters, arguments, strict=True))
        if "state" in given:
            given["state"] = msgspec.Raw(given["state"])
        answer = self._ask(name, given)
        if name != "health":
            return answer
        try:
            found = msgspec.json.decode(answer, type=_Health)
        except msgspec.ValidationError as error:
            raise InvalidPayload(f"health of {self._linked.name}: {error}") from None
        return {"ok": found.ok, "reason": found.reason, "details": _encoder.encode(found.details)}

    def _ask(self, name: str, given: dict[str, Any]) -> bytes:
        output = self._run(name, _encoder.encode(given))
        try:
            str(output, "utf-8")  # the decoder does not look into what it passes on
            answer = _answer.decode(output)
        except (UnicodeDecodeError, msgspec.DecodeError, msgspec.ValidationError):
            raise InvalidPayload(
                f'expected {name} of {self._linked.name} to answer {{"ok": …}} or {{"err": …}}, got something else',
                hint="the plugin must encode what it answers as JSON in UTF-8",
            ) from None
        if answer.err is None:
            return bytes(answer.ok)
        error = error_from_failure(msgspec.structs.asdict(answer.err))
        if answer.err.code == PluginTrapped.code:
            raise PluginTrapped(f"{self._linked.name}: {error.message}", hint=error.hint, address=error.address)
        raise error

    def _run(self, name: str, data: bytes) -> bytes:
        _running.guest = self
        function = f"rustcare_{name.replace('-', '_')}".encode()
        limit = self._limits.output + 1024  # the frame around the answer
        try:
            output = self._machine.call(function, data, limit)
        except MachineError as error:
            raise self._stopped(name, error) from None
        if self.stopped_by is not None or self.job.overdue:
            raise self._stopped(name, MachineError("", -1))
        if isinstance(output, int):
            raise CallLimitExceeded(
                f"{name} of {self._linked.name} answered with {output} bytes, its limit is {self._limits.output}",
                hint="raise limits.output in plugin.toml, or answer in pieces",
            )
        return output

    def _stopped(self, name: str, error: MachineError) -> Exception:
        who = f"{name} of {self._linked.name}"
        raised, self.stopped_by = self.stopped_by, None
        if self.job.cancelled or isinstance(raised, Stopped):
            return Stopped()
        if self.job.overdue:
            return CallLimitExceeded(f"{who} used up its time", hint="raise limits.timeout, or do less in one call")
        if raised is not None:
            return PluginTrapped(f"{who} was stopped in a host call: {type(raised).__name__}")
        text = str(error)
        if "ran out of fuel" in text:
            return CallLimitExceeded(
                f"{who} used up its fuel of {self._limits.fuel}", hint="raise limits.fuel, or do less in one call"
            )
        if text == "oom":
            return PluginTrapped(
                f"{who} ran out of its {self._limits.memory} bytes of memory", hint="raise limits.memory"
            )
        if error.status not in (-1, 134):
            # The plugin's own words may hold patient data; a failure that may be read is {"err": …}.
            return HandlerFailed(f"{who} returned {error.status}", hint='answer {"err": …} to say what went wrong')
        # Extism tells where, not why.
        return PluginTrapped(f"{who} trapped", hint="a bug in the plugin, an exhausted stack, or an abort")

    def start(self, job: Job) -> None:
        if self._linked.lifecycle is None or "start" in self._linked.lifecycle:
            self.use(job).call("start")

    def interrupt(self) -> None:
        self._machine.cancel()

    def close(self) -> None:
        self._machine.close()
        if getattr(_running, "guest", None) is self:
            del _running.guest
