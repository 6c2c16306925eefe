"""Sandboxed calls through the kernel's runtimes against the bare wasmtime-py and extism calls of the same code and data.

The bare call runs in the caller's thread, has no deadline and checks nothing; ours crosses to the instance's thread and
back, with fuel, deadline, accounting and a checked answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from rustcare_kernel.runtimes._contract import Code, Host
from rustcare_kernel.runtimes._interface import IMPORTS
from rustcare_kernel.runtimes.component import ComponentRuntime
from rustcare_kernel.runtimes.component_build import build_component, build_key
from rustcare_kernel.runtimes.extism import ExtismRuntime
from rustcare_sdk.context import PluginInfo
from rustcare_sdk.manifest import Manifest, read_manifest, read_manifest_text
from rustcare_sdk.message import Message

from tests.benchmarks.harness import Row, paired_async

_EXAMPLES = Path(__file__).parent.parent.parent / "examples"
_CALLS = 200
_PLUGIN = """
from dataclasses import dataclass, field
from typing import Any

from rustcare_sdk import Message, Plugin, serve


@dataclass(frozen=True)
class Observation:
    code: str
    value: float
    unit: str


@dataclass(frozen=True)
class Report:
    patient: str
    observations: list[Observation]


class Bench(Plugin):
    @serve("bench.typed")
    async def typed(self, message: Message[Report]) -> Any:
        return {"patient": message.data.patient, "high": [each.code for each in message.data.observations if each.value > 9]}

    @serve("bench.echo")
    async def echo(self, message: Message[Any]) -> Any:
        return message.data

    @serve("bench.host")
    async def host(self, message: Message[Any]) -> Any:
        await self.ctx.publish("bench.out", message.data)
        return None
"""
_REPORT = {"patient": "p-1", "observations": [{"code": f"c{n}", "value": n * 1.5, "unit": "mmol/L"} for n in range(10)]}
_SIGNS = {"heart_rate": 72, "breaths_per_min": 14, "oxygen_saturation": 98, "temperature_c": 36.8, "alert": True}


class _Log:
    def info(self, event: str, **fields: Any) -> None: ...


class _Keys:
    async def get(self, key: str) -> bytes | None:
        return None

    async def put(self, key: str, value: bytes) -> None: ...


class _Context:
    plugin = PluginInfo("bench.plugin", "1.0.0")
    config: ClassVar[dict[str, Any]] = {}
    log = _Log()
    kv = _Keys()

    async def publish(self, subject: str, data: Any = None, **options: Any) -> None: ...


def _host(cache: Path) -> Host:
    return Host(
        _Context(),  # type: ignore[arg-type]  # the parts that are used
        lambda kind: True,
        lambda *counts: None,
        lambda reason: None,
        cache=cache,
        cache_key=b"benchmark" * 4,
    )


def _manifest(runtime: str = "") -> Manifest:
    return read_manifest_text(
        'schema = 1\n[plugin]\nid = "bench.plugin"\nversion = "1.0.0"\nsummary = "x"\nengine = ">=0.1"\n'
        f'[runtime]\ncomponent = {{ path = "x.wasm" }}\npython = {{ entry = "bench_plugin.plugin:Bench" }}\n{runtime}\n'
        '[[capability]]\nuse = "bus:publish@bench.out"\nreason = "x"\n'
    )


def _component(folder: Path) -> tuple[bytes, str]:
    """The plugin above as a component, built when it or the guest library changed."""
    with tempfile.TemporaryDirectory() as built:
        package = Path(built) / "bench_plugin"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(_PLUGIN)
        key = build_key(package, _manifest())
        target = folder / f"{key}.wasm"
        if not target.is_file():
            build_component(package, _manifest(), target)
    return target.read_bytes(), f"sha256:{key}"


class _Bare:
    """The component through wasmtime-py's own functions, with the engine's settings and limits of ours."""

    def __init__(self, runtime: Any, instance: Any) -> None:
        from wasmtime.component import Linker, Record

        self._engine = runtime._engine
        self._component = instance._linked.component
        self._linker = Linker(self._engine)

        def identity(store: Any) -> Any:
            found = Record()
            found.id, found.version, found.digest = "a", "1", ""  # type: ignore[attr-defined]
            return found

        interfaces: dict[str, dict[str, Any]] = {
            # Every function that a guest may import has to be there; the guest of this benchmark calls only `publish`.
            "bus": dict.fromkeys(IMPORTS["bus"].functions, lambda *arguments: None),
            "log": {"log": lambda *arguments: None},
            "config": {"get": lambda store: "{}", "plugin": identity},
        }
        with self._linker.root() as root:
            for name, functions in interfaces.items():
                with root.add_instance(f"rustcare:plugin/{name}@0.1.0") as defined:
                    for function, body in functions.items():
                        defined.add_func(function, body)
        guest = self._component.get_export_index("rustcare:plugin/guest@0.1.0")
        self._handle = self._component.get_export_index("handle", guest)
        self.store: Any = None
        self.fresh()

    def fresh(self) -> None:
        from wasmtime import Store

        if self.store is not None:
            self.store.close()
        self.store = Store(self._engine)
        self.store.set_limits(memory_size=128 << 20)
        self.store.set_fuel(10_000_000_000)
        self.store.set_epoch_deadline(1 << 40)
        self.function: Any = self._linker.instantiate(self.store, self._component).get_func(self.store, self._handle)

    def call(self, index: int, subject: str, data: str) -> str:
        from wasmtime.component import Record

        message: Any = Record()
        message.subject, message.data, message.source, message.id = subject, data, "", "0" * 32
        message.time, message.tenant, message.principal, message.trace = 1.0, "default", "", ""
        message.remaining, message.headers = None, []
        self.store.set_fuel(10_000_000_000)
        found: str = self.function(self.store, index, message)
        return found


def rows() -> Iterator[Row]:
    """Component calls, fresh instances, a host call, Extism calls in Go and C."""
    found: list[Row] = []
    folder = Path(tempfile.gettempdir()) / f"rustcare-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    asyncio.run(_components(folder, found))
    asyncio.run(_extism(folder, found))
    yield from found


def _row(name: str, times: tuple[float, float], calls: int, aim: float | None = None, note: str = "") -> Row:
    return Row(name, times[0] / calls * 1e6, times[1] / calls * 1e6, "µs", aim=aim, note=note)


async def _components(folder: Path, found: list[Row]) -> None:
    wasm, digest = _component(folder)
    runtime = ComponentRuntime()
    instance = await runtime.load(Code(_manifest(), wasm, digest), _host(folder / "compiled"))
    await instance.start()
    bare = _Bare(runtime, instance)
    for name, index, data in (
        ("component: typed handler, 500 B", 0, _REPORT),
        ("component: echo, 20 B", 1, {"text": "hello"}),
        ("component: echo, 50 KB", 1, {"text": "x" * 50_000}),
    ):
        handler = instance.handlers[index]
        raw = msgspec.Raw(msgspec.json.encode(data))

        async def ours(handler: Any = handler, raw: Any = raw) -> None:
            for _ in range(_CALLS):
                await instance.invoke(handler, Message(handler.subject, raw, time=1.0))

        async def floor(index: int = index, subject: str = handler.subject, raw: Any = raw) -> None:
            for _ in range(_CALLS):
                bare.call(index, subject, bytes(raw).decode())

        found.append(_row(name, await paired_async(ours, floor), _CALLS, 1.3))

    handler = instance.handlers[2]

    async def published() -> None:
        for _ in range(_CALLS):
            await instance.invoke(handler, Message(handler.subject, None, time=1.0))

    async def bare_published() -> None:
        for _ in range(_CALLS):
            bare.call(2, handler.subject, "null")

    found.append(
        _row("component: one host call (publish)", await paired_async(published, bare_published), _CALLS,
             note="the bare host function does nothing; ours goes to the event loop and back")
    )  # fmt: skip

    echo = instance.handlers[1]
    raw = msgspec.Raw(b'{"text":"hello"}')

    async def together() -> None:
        await asyncio.gather(*(instance.invoke(echo, Message(echo.subject, raw, time=1.0)) for _ in range(_CALLS)))

    async def in_turn() -> None:
        for _ in range(_CALLS):
            bare.call(1, echo.subject, '{"text":"hello"}')

    found.append(
        _row("component: echo, 200 calls under way, one instance", await paired_async(together, in_turn), _CALLS)
    )

    fresh = await runtime.load(Code(_manifest('instance = "per-message"'), wasm, digest), _host(folder / "compiled"))
    await fresh.start()
    anew = fresh.handlers[1]

    async def per_message() -> None:
        for _ in range(50):
            await fresh.invoke(anew, Message(anew.subject, raw, time=1.0))

    async def bare_fresh() -> None:
        for _ in range(50):
            bare.fresh()
            bare.call(1, anew.subject, '{"text":"hello"}')

    found.append(_row("component: fresh instance for each message", await paired_async(per_message, bare_fresh), 50))
    await runtime.close()


async def _extism(folder: Path, found: list[Row]) -> None:
    runtime = ExtismRuntime()
    for name, package, module, subject, data in (
        ("extism: Go, 100 B, three host calls", "extism_go", "triage", "triage.assess", _SIGNS),
        ("extism: C, 40 B", "extism_c", "vitals", "vitals.bmi", {"weight_kg": 70, "height_m": 1.75}),
    ):
        source = _EXAMPLES / package / "src" / module
        wasm = (source / f"{module}.wasm").read_bytes()
        code = Code(
            read_manifest((source / "plugin.toml").read_bytes()), wasm, "sha256:" + hashlib.sha256(wasm).hexdigest()
        )
        instance = await runtime.load(code, _host(folder / "compiled"))
        await instance.start()
        handler = next(each for each in instance.handlers if each.subject == subject)
        raw = msgspec.Raw(msgspec.json.encode(data))
        plugin = _bare_extism(wasm)
        given = msgspec.json.encode(
            {
                "handler": instance.handlers.index(handler),
                "message": {"subject": subject, "data": raw, "source": "", "id": "0" * 32, "time": 1.0, "tenant": "default",
                            "principal": "", "trace": "", "remaining": None, "headers": {}},
            }
        )  # fmt: skip

        async def ours(instance: Any = instance, handler: Any = handler, raw: Any = raw) -> None:
            for _ in range(_CALLS):
                await instance.invoke(handler, Message(handler.subject, raw, time=1.0))

        async def floor(plugin: Any = plugin, given: bytes = given) -> None:
            for _ in range(_CALLS):
                plugin.call("rustcare_handle", given)

        found.append(_row(name, await paired_async(ours, floor), _CALLS, 1.3))
    await runtime.close()


def _bare_extism(wasm: bytes) -> Any:
    """The module through the extism package, with host functions that do nothing."""
    import extism

    def answer(plugin: Any, inputs: Any, outputs: Any, *data: Any) -> None:
        plugin.return_bytes(outputs[0], b'{"ok":null}')

    names = (
        ("rustcare:plugin/bus@0.1.0", "publish"),
        ("rustcare:plugin/kv@0.1.0", "get"),
        ("rustcare:plugin/kv@0.1.0", "put"),
    )
    place = [extism.ValType.I64]
    functions = [
        extism.host_fn(name=name, namespace=namespace, signature=(place, place))(answer) for namespace, name in names
    ]
    return extism.Plugin(wasm, wasi=True, functions=functions)
