"""The Extism sandbox: the same promises as for components, on hand-written modules."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import wasmtime
from rustcare_kernel.runtimes._contract import (
    CallLimitExceeded,
    Code,
    InvalidCode,
    LinkRefused,
    PluginTrapped,
)
from rustcare_kernel.runtimes._wasm_imports import exports_of, imports_of
from rustcare_kernel.runtimes.extism import ExtismRuntime
from rustcare_sdk.errors import CapabilityDenied, HandlerFailed, InvalidPayload, NoProvider, ServiceError
from rustcare_sdk.message import Call, Message

Load = Callable[..., Any]

HANDLERS = '{"handlers":[{"kind":"serve","subject":"test.call"}],"state-version":1,"lifecycle":["start"]}'
LOOP = "(loop $forever (br $forever))"
#: Answers with what came in, as it came in: `{"ok": <input>}`.
ENVELOPE = """
  (local.set $size (i32.wrap_i64 (call $input_length)))
  (i64.store (i32.const 8192) (i64.const 0x3a226b6f227b))  ;; {"ok":
  (loop $copy
    (if (i32.lt_u (local.get $at) (local.get $size)) (then
      (i32.store8 (i32.add (i32.const 8198) (local.get $at)) (call $input_load_u8 (i64.extend_i32_u (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br $copy))))
  (i32.store8 (i32.add (i32.const 8198) (local.get $size)) (i32.const 125))
  (call $say (i32.const 8192) (i32.add (local.get $size) (i32.const 7)))
"""


def quoted(text: str) -> str:
    return "".join(f"\\{byte:02x}" for byte in text.encode())


def say(text: str, at: int = 4096) -> tuple[str, str]:
    """The data and the code to answer with a text."""
    return f'(data (i32.const {at}) "{quoted(text)}")', f"(call $say (i32.const {at}) (i32.const {len(text.encode())}))"


def host_call(module: str, name: str, parameters: str) -> dict[str, str]:
    """A module that passes `parameters` to a host function and answers `{"ok": <its answer>}`."""
    data, _ = say(parameters)
    return {
        "imports": f'(import "{module}" "{name}" (func $host (param i64) (result i64)))',
        "data": data,
        "handle": f"""
          (local.set $place (call $host (call $share (i32.const 4096) (i32.const {len(parameters.encode())}))))
          (call $output_set (local.get $place) (call $length (local.get $place)))""",
    }


def extism_wat(
    handle: str = ENVELOPE,
    *,
    describe: str = HANDLERS,
    imports: str = "",
    data: str = "",
    start: str = "(call $say (i32.const 3072) (i32.const 11))",
    extra: str = "",
) -> bytes:
    return bytes(
        wasmtime.wat2wasm(f"""(module
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  {imports}
  (memory (export "memory") 2)
  (global $count (mut i32) (i32.const 0))
  (data (i32.const 1024) "{quoted(describe)}")
  (data (i32.const 3072) "{quoted('{"ok":null}')}")
  {data}
  (func $share (param $from i32) (param $size i32) (result i64)
    (local $place i64) (local $at i32)
    (local.set $place (call $alloc (i64.extend_i32_u (local.get $size))))
    (loop $copy
      (if (i32.lt_u (local.get $at) (local.get $size)) (then
        (call $store_u8 (i64.add (local.get $place) (i64.extend_i32_u (local.get $at)))
          (i32.load8_u (i32.add (local.get $from) (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $copy))))
    (local.get $place))
  (func $say (param $from i32) (param $size i32)
    (call $output_set (call $share (local.get $from) (local.get $size)) (i64.extend_i32_u (local.get $size))))
  {extra}
  (func (export "rustcare_describe") (result i32)
    (call $say (i32.const 1024) (i32.const {len(describe.encode())})) (i32.const 0))
  (func (export "rustcare_start") (result i32) {start} (i32.const 0))
  (func $handle (export "rustcare_handle") (result i32)
    (local $at i32) (local $size i32) (local $place i64)
    {handle}
    (i32.const 0)))""")
    )


COUNT_DATA, _ = say('{"ok":0}')
COUNT = """
  (global.set $count (i32.add (global.get $count) (i32.const 1)))
  (i32.store8 (i32.const 4102) (i32.add (i32.const 48) (global.get $count)))
  (call $say (i32.const 4096) (i32.const 8))
"""
#: Counts, and traps on a third call of the same instance.
MOODY = COUNT + "(if (i32.eq (global.get $count) (i32.const 3)) (then unreachable))"


@pytest.fixture
async def runtime() -> AsyncIterator[ExtismRuntime]:
    runtime = ExtismRuntime()
    yield runtime
    await runtime.close()


@pytest.fixture
async def load(runtime: ExtismRuntime, fixture: Any, manifest: Any) -> Load:
    async def load(wasm: bytes, body: str = "", *, runtime_line: str = "", start: bool = True) -> Any:
        line = 'extism = { path = "x.wasm" }\n' + runtime_line
        instance = await runtime.load(Code(manifest(body, runtime=line), wasm, "sha256:x"), fixture.host)
        if start:
            await instance.start()
        return instance

    return load


async def ask(instance: Any, data: Any = None, **envelope: Any) -> Any:
    answer = await instance.invoke(instance.handlers[0], Message("test.call", data, time=1.5, **envelope))
    assert type(answer) is msgspec.Raw
    return msgspec.json.decode(answer)


async def test_the_envelope_is_that_of_the_wit(load: Load, fixture: Any) -> None:
    """A message reaches the module as JSON with the names of the WIT, its data inline; the use is accounted."""
    instance = await load(extism_wat())
    seen = await ask(instance, {"a": "ü"}, source="s", call=Call("north", "who", "trace"), headers={"h": "1"}, uid="id")
    assert seen == {
        "handler": 0,
        "message": {
            "subject": "test.call", "data": {"a": "ü"}, "source": "s", "id": "id", "time": 1.5, "tenant": "north",
            "principal": "who", "trace": "trace", "remaining": None, "headers": {"h": "1"},
        },
    }  # fmt: skip
    assert fixture.used[-1][1] == len('{"a":"ü"}'.encode())
    assert fixture.used[-1][2] > 100


async def test_instances_keep_state_and_a_trap_drops_it(load: Load, fixture: Any) -> None:
    """An instance is used again until it traps; the next call gets a fresh one."""
    instance = await load(extism_wat(MOODY, data=COUNT_DATA))
    assert [await ask(instance), await ask(instance)] == [1, 2]
    with pytest.raises(PluginTrapped):
        await ask(instance)
    assert len(fixture.traps) == 1
    assert await ask(instance) == 1


async def test_an_endless_loop_is_stopped_by_time(load: Load) -> None:
    """limits.timeout holds for Extism too, and the plugin serves on."""
    instance = await load(extism_wat(LOOP), "[limits]\ntimeout = '100ms'\nfuel = 900_000_000_000")
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(CallLimitExceeded, match="used up its time"):
            await ask(instance)
    assert time.monotonic() - began < 10


async def test_an_endless_loop_is_stopped_by_fuel(load: Load) -> None:
    """limits.fuel is given to every call anew."""
    instance = await load(extism_wat(LOOP), "[limits]\nfuel = 1_000_000")
    for _ in range(2):
        with pytest.raises(CallLimitExceeded, match="used up its fuel of 1000000"):
            await ask(instance)


async def test_stopping_one_instance_leaves_its_siblings_alone(load: Load) -> None:
    """A stopped call acts on everything of one compilation: so instances, and plugins, are compiled one by one."""
    looping = await load(extism_wat(LOOP), "[limits]\ntimeout = '150ms'\nfuel = 900_000_000_000")
    good = await load(extism_wat(), runtime_line="pool = 2")
    stopped = asyncio.ensure_future(ask(looping))
    served = 0
    while not stopped.done():
        await asyncio.gather(ask(good), ask(good))
        served += 2
    assert served > 10
    with pytest.raises(CallLimitExceeded):
        await stopped


async def test_cancelling_the_caller_stops_the_guest(load: Load, fixture: Any) -> None:
    """A cancelled call ends long before its time is up and blames nobody."""
    once = COUNT + "(if (i32.eq (global.get $count) (i32.const 2)) (then " + LOOP + "))"
    instance = await load(extism_wat(once, data=COUNT_DATA), "[limits]\ntimeout = '60s'\nfuel = 900_000_000_000")
    assert await ask(instance) == 1
    began = time.monotonic()
    call = asyncio.ensure_future(ask(instance))
    while not any(job.sandbox is not None for job in instance._pool._jobs):  # noqa: ASYNC110  # set by a thread
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await ask(instance) == 1
    assert time.monotonic() - began < 30
    assert not fixture.traps


@pytest.mark.parametrize(
    ("handle", "error", "words"),
    [
        ("unreachable", PluginTrapped, "trapped"),
        ("(drop (call $handle))", PluginTrapped, "trapped"),
        (
            "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) unreachable",
            PluginTrapped,
            "memory",
        ),
        ("(return (i32.const 7))", HandlerFailed, "returned 7"),
        ("", InvalidPayload, "something else"),
        ("(call $say (i32.const 8192) (i32.const 100000))", CallLimitExceeded, "its limit is 65536"),
    ],
)
async def test_what_goes_wrong_is_typed(load: Load, handle: str, error: type[Exception], words: str) -> None:
    """Trap, exhausted stack, memory hog, an error code, no answer, too long an answer: each is its own error."""
    instance = await load(extism_wat(handle), "[limits]\nmemory = '8MiB'\noutput = '64KiB'")
    for _ in range(2):
        with pytest.raises(error, match=words):
            await ask(instance)


@pytest.mark.parametrize("answer", ["{", '{"ok":{}', "[]", '{"err":{}}', "\\ff"])
async def test_a_malformed_answer_blames_the_plugin(load: Load, answer: str) -> None:
    """What is not the agreed JSON in UTF-8 does not enter the process."""
    data, code = say(answer)
    if answer.startswith("\\"):
        data, code = (
            '(data (i32.const 4096) "{\\22ok\\22:\\22\\ff\\22}")',
            "(call $say (i32.const 4096) (i32.const 10))",
        )
    with pytest.raises(InvalidPayload, match="handle of"):
        await ask(await load(extism_wat(code, data=data)))


async def test_a_failure_is_typed(load: Load) -> None:
    """`err` becomes the typed error of its code; `runtime.trapped` drops the instance."""
    data, code = say('{"err":{"code":"acme.full","message":"no bed","hint":"wait","address":"ward"}}')
    with pytest.raises(ServiceError, match="no bed") as caught:
        await ask(await load(extism_wat(code, data=data)))
    assert (caught.value.code, caught.value.hint, caught.value.address) == ("acme.full", "wait", "ward")
    data, code = say('{"err":{"code":"runtime.trapped","message":"out of memory"}}')
    with pytest.raises(PluginTrapped, match="out of memory"):
        await ask(await load(extism_wat(code, data=data)))


async def test_start_that_never_ends_is_stopped(load: Load) -> None:
    """start is bounded by lifecycle.start_timeout."""
    with pytest.raises(CallLimitExceeded, match="used up its time"):
        await load(extism_wat(start=LOOP), "[limits]\nfuel = 900_000_000_000\n[lifecycle]\nstart_timeout = '100ms'")


async def test_functions_a_module_does_not_have_do_nothing(load: Load) -> None:
    """Only describe and handle are needed; health without an export is good, state is null."""
    instance = await load(extism_wat())
    assert (await instance.health()).ok
    assert await instance.export_state() is None
    await instance.import_state(1, None)
    await instance.stop()


async def test_per_message_gives_every_call_a_fresh_instance(load: Load) -> None:
    """With `instance = "per-message"` nothing a call left behind is there for the next."""
    instance = await load(extism_wat(COUNT, data=COUNT_DATA), runtime_line='instance = "per-message"')
    assert [await ask(instance) for _ in range(4)] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("module", "name", "parameters", "answer"),
    [
        ("bus", "publish", '{"subject":"a.b","data":{"n":1},"headers":{"partitionkey":"p"}}', None),
        ("bus", "publish-confirmed", '{"subject":"a.b"}', {"receivers": 2, "handled": 1, "failures": ["acme.broken"]}),
        ("bus", "request", '{"service":"other","data":[1],"timeout":2}', {"got": [1]}),
        ("kv", "put", '{"key":"k","value":"AAH/"}', None),
        ("kv", "get", '{"key":"there"}', "dmFsdWU="),
        ("kv", "get", '{"key":"missing"}', None),
        ("kv", "keys", '{"prefix":"the"}', ["there"]),
        ("kv", "delete", '{"key":"there"}', None),
        ("clock", "now", "", 1_767_323_045_678_901_000),
        ("random", "bytes", '{"size":3}', "AAEC"),
        ("secrets", "hmac-sha256", '{"name":"s","data":"ZGF0YQ=="}', "czpkYXRh"),
    ],
)
async def test_every_host_function(
    load: Load, fixture: Any, module: str, name: str, parameters: str, answer: Any
) -> None:
    """Each function of the interface takes a JSON object of its parameters and answers `{"ok": …}`."""
    fixture.ctx.services["other"] = lambda data: {"got": msgspec.json.decode(data)}
    fixture.ctx.kv.values["there"] = b"value"
    instance = await load(extism_wat(**host_call(f"rustcare:plugin/{module}@0.1.0", name, parameters)))
    assert await ask(instance) == answer
    assert fixture.used[-1][3] == 1
    if name == "publish":
        subject, data, headers = fixture.ctx.published[0]
        assert (subject, bytes(data), headers) == ("a.b", b'{"n":1}', {"partitionkey": "p"})
    if name == "put":
        assert fixture.ctx.kv.values["k"] == b"\x00\x01\xff"


async def test_a_forwarded_message_is_answered_by_the_service(load: Load, fixture: Any) -> None:
    """The service is asked when the module has returned, and its answer is that of the message."""
    fixture.ctx.services["other"] = lambda data: {"got": msgspec.json.decode(data)}
    parameters = '{"service":"other","data":[1]}'
    instance = await load(extism_wat(**host_call("rustcare:plugin/bus@0.1.0", "forward", parameters)))
    assert await instance.invoke(instance.handlers[0], Message("test.call", None)) == {"got": [1]}
    assert fixture.used[-1][3] == 1


async def test_log_and_config_are_always_there(load: Load, fixture: Any) -> None:
    """Without any grant a module can log, and read its configuration and name."""
    fixture.kinds = set()
    wat = host_call("rustcare:plugin/log@0.1.0", "log", '{"level":"info","event":"hi","fields":{"event":1,"n":2}}')
    wat["handle"] += say('{"ok":null}', 5000)[1]
    wat["data"] += say('{"ok":null}', 5000)[0]
    await ask(await load(extism_wat(**wat)))
    assert fixture.ctx.log.lines == [("info", "hi", {"event_": 1, "n": 2})]
    wat = host_call("rustcare:plugin/config@0.1.0", "plugin", "")
    with pytest.raises(InvalidPayload):  # the identity is no answer of handle
        await ask(await load(extism_wat(**{**wat, "handle": "(drop (call $host (i64.const 0)))"})))


@pytest.mark.parametrize("parameters", ["[]", "{", '{"subject":7}', '{"subject":"a","headers":{"x":1}}', '"x"'])
async def test_malformed_parameters_are_a_failure_for_the_guest(load: Load, fixture: Any, parameters: str) -> None:
    """A host function checks what it gets; nothing is published."""
    instance = await load(extism_wat(**host_call("rustcare:plugin/bus@0.1.0", "publish", parameters)))
    with pytest.raises(InvalidPayload, match="subject, data, headers"):
        await ask(instance)
    assert not fixture.ctx.published


async def test_a_denied_or_failing_host_call_is_a_typed_failure(load: Load, fixture: Any) -> None:
    """The kernel's refusal reaches the guest as `{"err": …}`, and here through it the caller."""
    fixture.ctx.denied = {"bus"}
    with pytest.raises(CapabilityDenied):
        await ask(await load(extism_wat(**host_call("rustcare:plugin/bus@0.1.0", "publish", '{"subject":"a"}'))))
    with pytest.raises(NoProvider):
        await ask(await load(extism_wat(**host_call("rustcare:plugin/bus@0.1.0", "request", '{"service":"a"}'))))


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("rustcare:plugin/bus@0.1.0", "publish", "bus:publish@SUBJECT"),
        ("wasi_snapshot_preview1", "fd_write", "gives clock and randomness"),
        ("env", "system", "does not offer"),
        ("rustcare:plugin/log@0.1.0", "shout", "does not exist"),
    ],
)
async def test_an_import_that_was_not_granted_is_refused(
    load: Load, fixture: Any, module: str, name: str, words: str
) -> None:
    """Host functions nobody granted, WASI without its capabilities, unknown modules and names: refused by name."""
    fixture.kinds = set()
    with pytest.raises(LinkRefused, match=words):
        await load(extism_wat(imports=f'(import "{module}" "{name}" (func $x (param i64) (result i64)))'))


async def test_the_network_is_closed(load: Load) -> None:
    """Extism's own HTTP client is linked, because PDKs import it, but reaches no host."""
    with pytest.raises(PluginTrapped):
        await ask(
            await load(
                extism_wat(
                    "(drop (call $http (call $share (i32.const 4096) (i32.const 28)) (i64.const 0)))",
                    imports='(import "extism:host/env" "http_request" (func $http (param i64 i64) (result i64)))',
                    data=say('{"url":"http://127.0.0.1:9/"}')[0],
                )
            )
        )


async def test_a_guest_cannot_sleep(load: Load) -> None:
    """WASI's own sleep would hold a thread beyond any deadline: a module that imports it gets an error number at once."""
    instance = await load(
        extism_wat(
            "(return (call $poll (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)))",
            imports='(import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))',
        )
    )
    with pytest.raises(HandlerFailed, match="returned 52"):
        await ask(instance)


async def test_code_that_is_no_plugin_is_refused(load: Load) -> None:
    """A component, a truncated module, a module without the exports: each is named."""
    for wasm, words in (
        (b"\0asm\x0d\0\1\0", "core WebAssembly module"),
        (b"\0asm\1\0\0\0\x02\x7f", "ends too soon"),
        (bytes(wasmtime.wat2wasm("(module)")), "to export rustcare_describe"),
    ):
        with pytest.raises(InvalidCode, match=words):
            await load(wasm)


def test_imports_and_exports_are_read_from_the_binary() -> None:
    """Every kind of import is understood, without compiling the module."""
    wasm = bytes(
        wasmtime.wat2wasm("""(module
          (import "a" "f" (func (param i32)))
          (import "a" "m" (memory 1 2))
          (import "b" "t" (table 1 funcref))
          (import "b" "g" (global (mut i64)))
          (func (export "x")) (global (export "y") i32 (i32.const 0)))""")
    )
    assert imports_of(wasm) == [("a", "f"), ("a", "m"), ("b", "t"), ("b", "g")]
    assert exports_of(wasm) == {"x"}


async def test_compiled_code_is_kept_under_the_kernels_seal(
    tmp_path: Path, fixture: Any, manifest: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Extism's cache in the home directory is not used; the kernel's is, and a forged file in it is not believed."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    fixture.cache, fixture.cache_key = tmp_path / "cache", b"k" * 32
    code = Code(manifest(runtime='extism = { path = "x.wasm" }'), extism_wat(COUNT, data=COUNT_DATA), "sha256:x")

    async def once() -> None:
        runtime = ExtismRuntime()
        instance = await runtime.load(code, fixture.host)
        assert await ask(instance) == 1
        await runtime.close()

    await once()
    (path,) = (tmp_path / "cache").iterdir()
    good = path.read_bytes()
    assert len(good) > 1000
    await once()
    assert path.read_bytes() == good
    assert "authentication" not in caplog.text
    forged = good[:-1] + bytes([good[-1] ^ 1])
    path.write_bytes(forged)
    await once()
    assert "wrong authentication tag" in caplog.text
    assert path.read_bytes() != forged
    assert not (tmp_path / "home").exists()


async def test_closing_leaves_nothing_behind(fixture: Any, manifest: Any) -> None:
    """After close there is no thread of the plugin (Extism keeps one timer for the process), and memory stays."""
    wasm = extism_wat(MOODY, data=COUNT_DATA)

    async def cycle(runtime: ExtismRuntime) -> None:
        code = Code(manifest(runtime='extism = { path = "x.wasm" }'), wasm, "sha256:x")
        instance = await runtime.load(code, fixture.host)
        await instance.start()
        for _ in range(2):
            await ask(instance)
        with pytest.raises(PluginTrapped):
            await ask(instance)
        await instance.close()

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    runtime = ExtismRuntime()
    for _ in range(5):
        await cycle(runtime)
    before, threads = resident(), threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await cycle(runtime)
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    grown = resident() - before
    await runtime.close()
    assert grown < 12 * 1024 * 1024
