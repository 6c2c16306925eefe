"""Tiny guests written by hand in WebAssembly's text format, a context that records, and one real Python component.

The hand-written ones make a test of a limit take milliseconds. The Python component takes about seven seconds to build
and six to compile, once for each version of its inputs: it is kept in the machine's temporary folder under their hash.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from rustcare_kernel.runtimes._contract import Code, Host
from rustcare_kernel.runtimes._instance import SandboxInstance
from rustcare_kernel.runtimes.component import ComponentRuntime
from rustcare_sdk.context import Delivery, PluginInfo
from rustcare_sdk.errors import CapabilityDenied, NoProvider
from rustcare_sdk.manifest import Manifest, read_manifest_text

_TYPES = """
  (type $failure-type (record (field "code" string) (field "message" string) (field "hint" string)
    (field "address" string)))
  (export $failure "failure" (type $failure-type))
  (type $message-type (record (field "subject" string) (field "data" string) (field "source" string)
    (field "id" string) (field "time" f64) (field "tenant" string) (field "principal" string) (field "trace" string)
    (field "remaining" (option f64)) (field "headers" (list (tuple string string)))))
  (export $message "message" (type $message-type))
  (type $health-type (record (field "ok" bool) (field "reason" string) (field "details" string)))
  (export $health-report "health-report" (type $health-type))
"""

_LIFTS = """
  (func $describe (result string)
    (canon lift (core func $m "describe") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func $start (result (result (error $failure)))
    (canon lift (core func $m "start") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func $stop (result (result (error $failure)))
    (canon lift (core func $m "stop") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func $health (result (result $health-report (error $failure)))
    (canon lift (core func $m "health") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func $handle (param "handler" u32) (param "message" $message) (result (result string (error $failure)))
    (canon lift (core func $m "handle") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func $export-state (result (result string (error $failure)))
    (canon lift (core func $m "export-state") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (func $import-state (param "version" u32) (param "state" string) (result (result (error $failure)))
    (canon lift (core func $m "import-state") (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (instance $guest
    (export "failure" (type $failure)) (export "message" (type $message))
    (export "health-report" (type $health-report))
    (export "describe" (func $describe)) (export "start" (func $start)) (export "stop" (func $stop))
    (export "health" (func $health)) (export "handle" (func $handle))
    (export "export-state" (func $export-state)) (export "import-state" (func $import-state)))
  (export "rustcare:plugin/guest@0.1.0" (instance $guest))
"""

DESCRIPTION = '{"handlers":[{"kind":"serve","subject":"test.call"}],"state-version":1,"lifecycle":[]}'

# Results are written at 64; the description lies at 1024; what comes in is allocated from 65536 up.
ECHO = """
  (i32.store8 (i32.const 64) (i32.const 0))
  (i32.store (i32.const 68) (i32.load offset=16 (local.get $args)))
  (i32.store (i32.const 72) (i32.load offset=20 (local.get $args)))
  (i32.const 64)
"""
OK = "(i32.store8 (i32.const 64) (i32.const 0)) (i32.const 64)"


def component_wat(
    handle: str = ECHO,
    *,
    start: str = OK,
    health: str = "unreachable",
    describe: str = DESCRIPTION,
    imports: str = "",
    extra: str = "",
    data: str = "",
    pages: int = 2,
) -> bytes:
    """A component whose `handle` is the given body (`$args` points at the arguments, `$n` is a
    local of its own; it leaves the result's place).

    `$count` is a global that lives as long as the instance.
    """
    quoted = describe.replace('"', '\\"')
    text = f"""(component
  {imports}
  (core module $core
    (memory (export "memory") {pages})
    (global $free (mut i32) (i32.const 65536))
    (global $count (mut i32) (i32.const 0))
    (data (i32.const 1024) "{quoted}")
    {data}
    (func $realloc (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $at) (local.get $new)))
      (block $fits (loop $more
        (br_if $fits (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more)))
      (local.get $at))
    {extra}
    (func (export "describe") (result i32)
      (i32.store (i32.const 64) (i32.const 1024))
      (i32.store (i32.const 68) (i32.const {len(describe)}))
      (i32.const 64))
    (func (export "start") (result i32) {start})
    (func (export "stop") (result i32) {OK})
    (func (export "health") (result i32) {health})
    (func $handle (export "handle") (param $args i32) (result i32)
      (local $n i32)
      (global.set $free (i32.const 65536))
      {handle})
    (func (export "export-state") (result i32)
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.store8 (i32.const 96) (i32.add (i32.const 48) (global.get $count)))
      (i32.store (i32.const 68) (i32.const 96))
      (i32.store (i32.const 72) (i32.const 1))
      (i32.const 64))
    (func (export "import-state") (param $version i32) (param $at i32) (param $size i32) (result i32)
      (global.set $count (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      {OK}))
  (core instance $m (instantiate $core))
  {_TYPES}{_LIFTS})"""
    return bytes(wasmtime.wat2wasm(text))


class RecordingLog:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))


class MemoryKeys:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def put(self, key: str, value: bytes) -> None:
        self.values[key] = value

    async def delete(self, key: str) -> None:
        self.values.pop(key, None)

    async def keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self.values if key.startswith(prefix))


class Secrets:
    async def hmac_sha256(self, name: str, data: bytes) -> bytes:
        return name.encode() + b":" + data


class RecordingContext:
    """A `Context` that keeps what was published and answers requests from `services`."""

    def __init__(self) -> None:
        self.plugin = PluginInfo("acme.test", "1.2.3", "sha256:00", "component")
        self.config: Mapping[str, Any] = {"ward": "A1"}
        self.log = RecordingLog()
        self.kv = MemoryKeys()
        self.secrets = Secrets()
        self.published: list[tuple[str, Any, dict[str, str] | None]] = []
        self.services: dict[str, Callable[[Any], Any]] = {}
        self.denied: set[str] = set()

    def now(self) -> datetime:
        if "clock" in self.denied:
            raise CapabilityDenied("clock:read is not held")
        return datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

    def random(self, size: int) -> bytes:
        return bytes(range(size))

    async def publish(
        self, subject: str, data: Any = None, *, headers: Mapping[str, str] | None = None, confirm: bool = False
    ) -> Delivery | None:
        if "bus" in self.denied:
            raise CapabilityDenied("bus:publish is not held", hint="grant it", address=subject)
        self.published.append((subject, data, dict(headers) if headers else None))
        return Delivery(2, 1, ("acme.broken",)) if confirm else None

    async def forward(self, service: str, data: Any = None) -> Any:
        return await self.request(service, data)

    async def request(self, service: str, data: Any = None, *, timeout: float | None = None, type: Any = None) -> Any:
        if service not in self.services:
            raise NoProvider(f"nobody serves {service}")
        answer = self.services[service](data)
        return await answer if hasattr(answer, "__await__") else answer


@dataclass
class Fixture:
    """A host that grants `kinds` and counts."""

    ctx: RecordingContext = field(default_factory=RecordingContext)
    kinds: set[str] = field(default_factory=lambda: {"bus", "kv", "clock", "random", "secret"})
    used: list[tuple[int, int, int, int]] = field(default_factory=list)
    traps: list[str] = field(default_factory=list)
    cache: Path | None = None
    cache_key: bytes = b""

    @property
    def host(self) -> Host:
        return Host(
            self.ctx,  # type: ignore[arg-type]  # the parts a sandbox can reach
            self.kinds.__contains__,
            lambda *counts: self.used.append(counts),
            self.traps.append,
            cache=self.cache,
            cache_key=self.cache_key,
        )


def manifest_of(
    body: str = "", *, runtime: str = 'component = { path = "x.wasm" }', capabilities: str = ""
) -> Manifest:
    asked = "".join(f'[[capability]]\nuse = "{use}"\nreason = "test"\n' for use in capabilities.split())
    return read_manifest_text(
        "schema = 1\n[plugin]\nid = 'acme.test'\nversion = '1.2.3'\nsummary = 'x'\nengine = '>=0.1'\n"
        f"[runtime]\n{runtime}\n{body}\n{asked}"
    )


@pytest.fixture
def wat() -> Callable[..., bytes]:
    return component_wat


@pytest.fixture
def manifest() -> Callable[..., Manifest]:
    return manifest_of


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


@pytest.fixture
async def runtime() -> AsyncIterator[ComponentRuntime]:
    runtime = ComponentRuntime()
    yield runtime
    await runtime.close()


@pytest.fixture
async def load(runtime: ComponentRuntime, fixture: Fixture) -> Callable[..., Any]:
    """`await load(wasm, limits…)`: a loaded and started component on the recording host."""

    async def load(wasm: bytes, body: str = "", *, start: bool = True, **options: str) -> SandboxInstance:
        digest = f"sha256:{hash(wasm)}"
        instance = await runtime.load(Code(manifest_of(body, **options), wasm, digest), fixture.host)
        if start:
            await instance.start()
        return instance

    return load


_PLUGIN = """
from __future__ import annotations

import dataclasses
import time
from typing import Any

from rustcare_sdk import Health, Message, Plugin, ServiceError, route, serve, subscribe
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse


@dataclasses.dataclass(frozen=True)
class Greet:
    name: str


@dataclasses.dataclass(frozen=True)
class Greeting:
    text: str


class Suspended:
    def __await__(self):
        yield


class Everything(Plugin):
    state_version = 2

    def __init__(self) -> None:
        self.count = 0
        self.started = False

    async def start(self) -> None:
        self.started = True
        self.ctx.log.info("started", ward=self.ctx.config["ward"])

    async def health(self) -> Health:
        return Health(False, "tired", {"count": self.count})

    @route("POST", "/greet/{lang}", scope="greet", status=201, problems={"test.no": 409})
    async def welcome(self, message: Message[HttpRequest[Greet]]) -> Greeting:
        return Greeting(text=f"{message.data.params['lang']} {message.data.content.name} {message.data.caller.scopes[0]}")

    @route("GET", "/greet")
    async def plain(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        return HttpResponse(203, body=bytes([0, 255]), headers={"x-a": message.data.argument("a")}, set_cookies=["c=1"])

    @serve("test.greet")
    async def greet(self, message: Message[Greet]) -> Greeting:
        return Greeting(text=f"Hello, {message.data.name}")

    @serve("test.echo")
    async def echo(self, message: Message[Any]) -> Any:
        return message.data

    @serve("test.envelope")
    async def envelope(self, message: Message[Any]) -> Any:
        return {
            "id": message.id, "subject": message.subject, "source": message.source, "tenant": message.tenant,
            "principal": message.principal, "trace": message.trace, "time": message.time,
            "remaining": message.remaining(), "headers": dict(message.headers), "started": self.started,
        }

    @subscribe("test.count", group="g", queue=7, overflow="drop-oldest", parallel=3)
    async def counted(self, message: Message[Any]) -> None:
        self.count += 1

    @serve("test.host")
    async def host(self, message: Message[Any]) -> Any:
        ctx = self.ctx
        await ctx.kv.put("a", bytes([0, 1, 255]))
        await ctx.kv.put("b", b"")
        await ctx.publish("test.out", {"n": 1}, headers={"partitionkey": "p"})
        delivery = await ctx.publish("test.out", None, confirm=True)
        answer = await ctx.request("other", {"q": 1}, timeout=1.5)
        seen = {
            "now": ctx.now().isoformat(),
            "random": list(ctx.random(4)),
            "a": list(await ctx.kv.get("a")),
            "b": list(await ctx.kv.get("b")),
            "missing": await ctx.kv.get("c"),
            "keys": await ctx.kv.keys(),
            "hmac": (await ctx.secrets.hmac_sha256("s", b"data")).decode(),
            "delivery": dataclasses.asdict(delivery),
            "answer": answer,
            "plugin": dataclasses.asdict(ctx.plugin),
        }
        await ctx.kv.delete("a")
        return seen

    @serve("test.ask")
    async def ask(self, message: Message[Any]) -> Any:
        return await self.ctx.request(message.data["service"], message.data.get("data"))

    @serve("test.forward")
    async def forward(self, message: Message[Any]) -> Any:
        self.ctx.log.info("before")
        answer = await self.ctx.forward("other", message.data)
        self.ctx.log.info("after")
        if message.data == "more":
            await self.ctx.kv.get("a")
        if message.data == "twice":
            await self.ctx.forward("other", message.data)
        if message.data == "fail":
            raise ServiceError("acme.no", "no")
        return answer

    @serve("test.publish")
    async def publish(self, message: Message[Any]) -> Any:
        await self.ctx.publish("test.out", message.data)
        return None

    @serve("test.fail")
    async def fail(self, message: Message[Any]) -> Any:
        kind = message.data
        if kind == "own":
            raise ServiceError("acme.no-such-bed", "bed 7 does not exist", hint="ask for another", address="bed")
        if kind == "foreign":
            raise KeyError("Ada Lovelace")
        if kind == "suspend":
            await Suspended()
        if kind == "time":
            time.time()
        if kind == "memory":
            hog = []
            while True:
                hog.append(bytearray(1 << 20))
        if kind == "loop":
            while True:
                pass
        if kind == "recursion":
            return self.recurse(0)
        if kind == "db":
            return self.ctx.db
        return {1: 2}

    def recurse(self, depth: int) -> int:
        return self.recurse(depth + 1) + 1

    async def export_state(self) -> Any:
        return {"count": self.count}

    async def import_state(self, state: Any) -> None:
        self.count = state["count"]

    async def migrate(self, version: int, state: Any) -> Any:
        return {"count": state["seen"]}
"""

PYTHON_CAPABILITIES = "bus:publish@test.* bus:request@other kv:read@* kv:write@* clock:read random:read secret:use@s"
PYTHON_RUNTIME = 'component = { path = "x.wasm" }\npython = { entry = "acme_test.plugin:Everything" }'


@dataclass
class PythonComponent:
    wasm: bytes
    digest: str
    cache: Path


@pytest.fixture(scope="session")
def python_component() -> Iterator[PythonComponent]:
    """The plugin above as a component. Built when its inputs changed (about 7 s), compiled once (about 6 s)."""
    from rustcare_kernel.runtimes.component_build import build_component, build_key

    manifest = manifest_of("[lifecycle]\nstate_version = 2", runtime=PYTHON_RUNTIME, capabilities=PYTHON_CAPABILITIES)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "acme_test"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "plugin.py").write_text(_PLUGIN)
        key = build_key(package, manifest)
        # Only this user can write there, since what lies there is run.
        kept = Path(tempfile.gettempdir()) / f"rustcare-tests-{os.getuid()}"
        kept.mkdir(mode=0o700, exist_ok=True)
        if kept.stat().st_uid != os.getuid():
            kept = Path(folder)
        target = kept / f"{key}.wasm"
        if not target.is_file():
            build_component(package, manifest, target)
        yield PythonComponent(target.read_bytes(), f"sha256:{key}", kept / "compiled")


@pytest.fixture
async def python_guest(
    runtime: ComponentRuntime, fixture: Fixture, python_component: PythonComponent
) -> Callable[..., Any]:
    """`await python_guest(limits…)`: the Python plugin, loaded and started."""
    fixture.cache, fixture.cache_key = python_component.cache, b"k" * 32

    async def load(body: str = "", *, start: bool = True) -> SandboxInstance:
        manifest = manifest_of(
            f"{body}\n[lifecycle]\nstate_version = 2", runtime=PYTHON_RUNTIME, capabilities=PYTHON_CAPABILITIES
        )
        instance = await runtime.load(Code(manifest, python_component.wasm, python_component.digest), fixture.host)
        if start:
            await instance.start()
        return instance

    return load
