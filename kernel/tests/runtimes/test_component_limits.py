"""The component sandbox: what a guest may use, and what becomes of one that uses more."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from rustcare_kernel.runtimes._contract import CallLimitExceeded, InvalidCode, LinkRefused, PluginTrapped
from rustcare_sdk.errors import InvalidPayload
from rustcare_sdk.message import Message

Load = Callable[..., Any]

LOOP = "(loop $forever (br $forever)) unreachable"
#: Counts the calls of this instance and answers with the count.
COUNT = """
  (global.set $count (i32.add (global.get $count) (i32.const 1)))
  (i32.store8 (i32.const 96) (i32.add (i32.const 48) (global.get $count)))
  (i32.store8 (i32.const 64) (i32.const 0))
  (i32.store (i32.const 68) (i32.const 96)) (i32.store (i32.const 72) (i32.const 1))
  (i32.const 64)
"""
#: Traps when the data is a digit, counts otherwise.
MOODY = "(if (i32.lt_u (i32.load8_u (i32.load offset=16 (local.get $args))) (i32.const 58)) (then unreachable))" + COUNT


async def ask(instance: Any, data: Any = None, **envelope: Any) -> Any:
    answer = await instance.invoke(instance.handlers[0], Message("test.call", data, time=1.0, **envelope))
    assert type(answer) is msgspec.Raw
    return msgspec.json.decode(answer)


async def running(instance: Any) -> None:
    """Until a guest is at work on a call."""
    while not any(job.sandbox is not None for job in instance._pool._jobs):  # noqa: ASYNC110  # set by a thread
        await asyncio.sleep(0)


async def test_data_goes_in_and_comes_out_as_json(load: Load, wat: Any, fixture: Any) -> None:
    """A message's data reaches the guest as JSON; the answer is `msgspec.Raw`; the use of the call is accounted."""
    instance = await load(wat())
    assert await ask(instance, {"name": "Ada", "beds": [1, 2]}) == {"name": "Ada", "beds": [1, 2]}
    assert await ask(instance, msgspec.Raw(b'"as it is"')) == "as it is"
    fuel, bytes_in, bytes_out, host_calls = fixture.used[-1]
    assert fuel > 0
    assert (bytes_in, bytes_out, host_calls) == (10, 10, 0)


async def test_an_endless_loop_is_stopped_by_time(load: Load, wat: Any, fixture: Any) -> None:
    """A guest that runs longer than limits.timeout is stopped, counted as a trap, and the next message is handled."""
    instance = await load(wat(LOOP), "[limits]\ntimeout = '100ms'\nfuel = 900_000_000_000")
    began = time.monotonic()
    with pytest.raises(CallLimitExceeded, match="used up its time") as caught:
        await ask(instance)
    assert time.monotonic() - began < 5.0
    assert caught.value.code == "runtime.limit-exceeded"
    assert len(fixture.traps) == 1


async def test_an_endless_loop_is_stopped_by_fuel(load: Load, wat: Any, fixture: Any) -> None:
    """A guest that executes more than limits.fuel is stopped, and the fuel it used is accounted."""
    instance = await load(wat(LOOP), "[limits]\nfuel = 100_000")
    with pytest.raises(CallLimitExceeded, match="used up its fuel of 100000"):
        await ask(instance)
    assert fixture.used[-1][0] >= 100_000


async def test_a_trap_drops_the_instance_and_the_next_call_gets_a_fresh_one(load: Load, wat: Any, fixture: Any) -> None:
    """A trap poisons the instance: its state is gone, the plugin goes on with a new one."""
    instance = await load(wat(MOODY))
    assert await ask(instance, {}) == 1
    assert await ask(instance, {}) == 2
    with pytest.raises(PluginTrapped, match="unreachable") as caught:
        await ask(instance, 7)
    assert caught.value.code == "runtime.trapped"
    assert fixture.traps
    assert await ask(instance, {}) == 1


async def test_stack_exhaustion_is_a_trap(load: Load, wat: Any) -> None:
    """Endless recursion ends in a trap of that guest, never in a crash of the process."""
    instance = await load(wat("(drop (call $handle (local.get $args))) unreachable"))
    with pytest.raises(PluginTrapped, match="call stack exhausted"):
        await ask(instance)


async def test_a_memory_hog_is_held_to_its_limit(load: Load, wat: Any) -> None:
    """Memory beyond limits.memory is not given; a guest that cannot go on without traps."""
    hog = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable"
    instance = await load(wat(hog), "[limits]\nmemory = '8MiB'")
    with pytest.raises(PluginTrapped) as caught:
        await ask(instance)
    assert "8388608 bytes of memory" in caught.value.hint


async def test_a_guest_that_begins_with_too_much_memory_is_refused(load: Load, wat: Any) -> None:
    """A component whose first memory is above limits.memory says so when it is loaded."""
    with pytest.raises(CallLimitExceeded, match=r"more memory to begin with than its 1048576 bytes"):
        await load(wat(pages=64), "[limits]\nmemory = '1MiB'")


async def test_an_output_above_the_limit_is_refused(load: Load, wat: Any, fixture: Any) -> None:
    """An answer longer than limits.output is not even copied out of the sandbox."""
    huge = """
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.store (i32.const 68) (i32.const 131072)) (i32.store (i32.const 72) (i32.const 100000)) (i32.const 64)"""
    instance = await load(wat(huge, pages=4), "[limits]\noutput = '64KiB'")
    with pytest.raises(CallLimitExceeded, match="100000 bytes, its limit is 65536"):
        await ask(instance)
    assert fixture.used[-1][2] == 0


@pytest.mark.parametrize("text", ["{", "nul", "{} {}", "\\ff"])
async def test_a_malformed_answer_is_an_error_that_blames_the_plugin(load: Load, wat: Any, text: str) -> None:
    """Bytes that are not JSON in UTF-8 do not enter the process as data."""
    size = 1 if text.startswith("\\") else len(text)
    answer = f"""
      (i32.store8 (i32.const 64) (i32.const 0))
      (i32.store (i32.const 68) (i32.const 8192)) (i32.store (i32.const 72) (i32.const {size})) (i32.const 64)"""
    instance = await load(wat(answer, data=f'(data (i32.const 8192) "{text}")'))
    with pytest.raises((InvalidPayload, PluginTrapped)):
        await ask(instance)


async def test_a_result_outside_the_guests_memory_is_a_trap(load: Load, wat: Any) -> None:
    """A guest cannot make the host read what is not its own."""
    instance = await load(
        wat("""(i32.store8 (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 0))
               (i32.store (i32.const 72) (i32.const 0x7fffffff)) (i32.const 64)""")
    )
    with pytest.raises(PluginTrapped):
        await ask(instance)


async def test_other_plugins_go_on_while_one_loops(load: Load, wat: Any) -> None:
    """Stopping one guest does not disturb another in the same engine."""
    looping = await load(wat(LOOP), "[limits]\ntimeout = '150ms'\nfuel = 900_000_000_000")
    good = await load(wat())
    stopped = asyncio.ensure_future(ask(looping))
    served = 0
    while not stopped.done():
        assert await ask(good, served) == served
        served += 1
    assert served > 10
    with pytest.raises(CallLimitExceeded):
        await stopped


async def test_cancelling_the_caller_stops_the_guest(load: Load, wat: Any, fixture: Any) -> None:
    """A cancelled call stops its guest long before its time is up, blames nobody, and does not reuse the instance."""
    loops_on_digits = MOODY.replace("unreachable", LOOP)
    instance = await load(wat(loops_on_digits), "[limits]\ntimeout = '60s'\nfuel = 900_000_000_000")
    assert await ask(instance, {}) == 1
    began = time.monotonic()
    call = asyncio.ensure_future(ask(instance, 7))
    await running(instance)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await ask(instance, {}) == 1
    assert time.monotonic() - began < 30
    assert not fixture.traps


async def test_a_call_cancelled_before_its_turn_never_runs(load: Load, wat: Any, fixture: Any) -> None:
    """With one busy instance a second call waits; cancelled while it waits, it never reaches the guest."""
    loops_on_digits = MOODY.replace("unreachable", LOOP)
    instance = await load(wat(loops_on_digits), "[limits]\nconcurrency = 1\ntimeout = '60s'\nfuel = 900_000_000_000")
    busy = asyncio.ensure_future(ask(instance, 7))
    await running(instance)
    calls = [asyncio.ensure_future(ask(instance, {})) for _ in range(3)]
    await asyncio.sleep(0)  # each is handed over in the first step of its task
    assert len(instance._pool._jobs) == 4
    calls[1].cancel()
    busy.cancel()
    results = await asyncio.gather(*calls, busy, return_exceptions=True)
    # A fresh instance counted the two that were left; had the cancelled one run, the last answer would be 3.
    assert [result for result in results if not isinstance(result, BaseException)] == [1, 2]
    assert not fixture.traps


async def test_pooled_instances_grow_when_they_are_needed(load: Load, wat: Any) -> None:
    """`pool` bounds the instances; they are made when all others are busy; each has a thread."""
    spin = "(loop $more (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $more "
    busy = spin + "(i32.lt_u (local.get $n) (i32.const 3000000))))" + COUNT
    instance = await load(wat(busy), runtime='component = { path = "x.wasm" }\npool = 3')
    before = threading.active_count()
    await ask(instance)
    assert threading.active_count() == before
    answers = await asyncio.gather(*(ask(instance) for _ in range(8)))
    assert threading.active_count() == before + 2
    assert max(answers) < 9


async def test_per_message_gives_every_call_a_fresh_instance(load: Load, wat: Any) -> None:
    """With `instance = "per-message"` nothing a call left behind is there for the next."""
    instance = await load(wat(COUNT), runtime='component = { path = "x.wasm" }\ninstance = "per-message"')
    assert [await ask(instance) for _ in range(4)] == [1, 1, 1, 1]


async def test_state_is_that_of_the_primary_instance(load: Load, wat: Any) -> None:
    """export_state and import_state go to the same instance, the one that is used first."""
    instance = await load(wat(COUNT), runtime='component = { path = "x.wasm" }\npool = 3')
    await ask(instance)
    assert await instance.export_state() == 1
    await instance.import_state(1, 5)
    assert await ask(instance) == 6
    assert await instance.export_state() == 6


async def test_start_that_never_ends_is_stopped(load: Load, wat: Any) -> None:
    """start is bounded by lifecycle.start_timeout."""
    endless = wat(start=LOOP, describe='{"handlers":[],"state-version":1,"lifecycle":["start"]}')
    with pytest.raises(CallLimitExceeded, match="used up its time"):
        await load(endless, "[lifecycle]\nstart_timeout = '100ms'")


async def test_a_core_start_function_that_never_ends_is_stopped(load: Load, wat: Any) -> None:
    """Code that runs while a component is instantiated is bounded too."""
    with pytest.raises(CallLimitExceeded, match="did not finish its instantiation in time"):
        await load(wat(extra="(func $s (loop $l (br $l))) (start $s)"), "[lifecycle]\nstart_timeout = '100ms'")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clock", '(import "rustcare:plugin/clock@0.1.0" (instance))'),
        ("bus", '(import "rustcare:plugin/bus@0.1.0" (instance))'),
    ],
)
async def test_an_import_that_was_not_granted_is_refused(
    load: Load, wat: Any, fixture: Any, name: str, text: str
) -> None:
    """Importing an interface without a capability of its kind is refused by name, with the capability it needs."""
    fixture.kinds = set()
    with pytest.raises(LinkRefused, match=f"imports rustcare:plugin/{name}@0.1.0") as caught:
        await load(wat(imports=text))
    assert f"{name}:" in caught.value.hint
    assert caught.value.address == f"rustcare:plugin/{name}@0.1.0"


async def test_a_required_capability_that_was_refused_is_not_linked(load: Load, wat: Any, fixture: Any) -> None:
    """What the manifest requires and the operator did not grant keeps the plugin from starting."""
    fixture.kinds = set()
    with pytest.raises(LinkRefused, match="which was not granted"):
        await load(wat(imports='(import "rustcare:plugin/clock@0.1.0" (instance))'), capabilities="clock:read")


@pytest.mark.parametrize("name", ["wasi:cli/environment@0.2.0", "wasi:sockets/tcp@0.2.0", "rustcare:plugin/bus@7.0.0"])
async def test_what_the_kernel_does_not_offer_is_refused(load: Load, wat: Any, name: str) -> None:
    """WASI and unknown interfaces are never linked, whatever was granted."""
    with pytest.raises(LinkRefused, match=f"imports {name}, which the kernel does not offer"):
        await load(wat(imports=f'(import "{name}" (instance))'))


async def test_code_that_is_no_component_is_refused(load: Load) -> None:
    """Bytes that are not a component, or a component without the guest interface, are named as such."""
    with pytest.raises(InvalidCode, match="expected a WebAssembly component"):
        await load(b"\0asm\1\0\0\0")
    with pytest.raises(InvalidCode, match="to export rustcare:plugin/guest"):
        await load(b"\0asm\x0d\0\1\0")


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"handlers":[{"kind":"spy","subject":"a"}]}', '{"handlers":[{"kind":"serve"}]}']
)
async def test_a_description_the_kernel_does_not_understand_is_refused(load: Load, wat: Any, text: str) -> None:
    """What a guest says of itself is checked."""
    with pytest.raises(InvalidCode, match=r"describes itself|declares a handler with an empty subject"):
        await load(wat(describe=text))


async def test_closing_leaves_nothing_behind(wat: Any, fixture: Any, manifest: Any) -> None:
    """After close there is no thread and no file descriptor of the plugin, and memory does not grow with reloads."""
    from rustcare_kernel.runtimes._contract import Code
    from rustcare_kernel.runtimes.component import ComponentRuntime

    from_manifest = "[limits]\ntimeout = '50ms'\nfuel = 900_000_000_000"
    wasm = {"good": wat(COUNT), "trap": wat("unreachable"), "loop": wat(LOOP)}

    async def cycle(runtime: Any, kind: str) -> None:
        from_text = manifest(from_manifest)
        instance = await runtime.load(Code(from_text, wasm[kind], f"sha256:{kind}"), fixture.host)
        await instance.start()
        try:
            await ask(instance)
        except PluginTrapped:
            assert kind != "good"
        await instance.close()

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    gc.collect()
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    runtime = ComponentRuntime()
    for kind in wasm:
        await cycle(runtime, kind)
    before = resident()
    for _ in range(15):
        await cycle(runtime, "good")
        await cycle(runtime, "trap")
    await cycle(runtime, "loop")
    grown = resident() - before
    await runtime.close()
    gc.collect()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert grown < 8 * 1024 * 1024
