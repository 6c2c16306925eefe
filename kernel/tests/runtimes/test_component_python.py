"""A Python plugin as a component: the same source as trusted, every function of the interface, every kind of failure."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from rustcare_kernel.runtimes._contract import CallLimitExceeded, PluginTrapped
from rustcare_kernel.runtimes._hostcalls import HostCalls
from rustcare_kernel.runtimes._job import Job
from rustcare_sdk.contracts.http import Caller, HttpRequest, HttpResponse
from rustcare_sdk.errors import (
    CapabilityDenied,
    HandlerFailed,
    InvalidPayload,
    NoProvider,
    NotPortable,
    RustCareError,
    ServiceError,
)
from rustcare_sdk.message import Call, Message

Guest = Callable[..., Any]


async def ask(instance: Any, service: str, data: Any = None, **envelope: Any) -> Any:
    handler = next(each for each in instance.handlers if each.subject == service)
    answer = await instance.invoke(handler, Message(service, data, time=1.5, **envelope))
    return msgspec.json.decode(answer) if type(answer) is msgspec.Raw else answer


async def test_handlers_are_those_of_the_class(python_guest: Guest) -> None:
    """The guest declares what the author's marks say, with every option."""
    instance = await python_guest(start=False)
    found = {each.subject: each for each in instance.handlers}
    counted = found["test.count"]
    assert (counted.kind, counted.method, counted.group, counted.queue, counted.overflow, counted.parallel) == (
        "subscribe", "counted", "g", 7, "drop-oldest", 3,
    )  # fmt: skip
    assert found["test.greet"].kind == "serve"


async def test_payloads_are_typed_in_the_guest(python_guest: Guest) -> None:
    """The handler gets its declared type; data that does not fit is the caller's typed error, without the data."""
    instance = await python_guest()
    assert await ask(instance, "test.greet", {"name": "Ada"}) == {"text": "Hello, Ada"}
    with pytest.raises(InvalidPayload, match=r"\$\.name") as caught:
        await ask(instance, "test.greet", {"name": 7})
    assert "7" not in str(caught.value).replace("test", "")


async def test_a_route_in_the_sandbox(python_guest: Guest) -> None:
    """A guest's route gets its request with a typed body, and answers content or a whole response, bytes and all."""
    instance = await python_guest()
    json = {"content-type": "application/json"}
    asked = HttpRequest(
        "POST", "/greet/de", {"lang": "de"}, headers=json, body=b'{"name": "Ada"}', caller=Caller(scopes=("s",))
    )
    found = msgspec.convert(await ask(instance, "POST /greet/{lang}", asked), HttpResponse)
    assert (found.status, found.content) == (201, {"text": "de Ada s"})
    asked = HttpRequest("GET", "/greet", query={"a": ["1", "2"]})
    found = msgspec.convert(await ask(instance, "GET /greet", asked), HttpResponse)
    assert (found.status, found.body, found.headers, found.set_cookies) == (203, b"\x00\xff", {"x-a": "1"}, ["c=1"])
    wrong = HttpRequest("POST", "/greet/de", {"lang": "de"}, headers=json, body=b'{"name": 77}')
    with pytest.raises(InvalidPayload) as caught:
        await ask(instance, "POST /greet/{lang}", wrong)
    assert "77" not in str(caught.value)
    declared = next(each.route for each in instance.handlers if each.subject == "POST /greet/{lang}")
    assert (declared.scope, declared.status, declared.problems) == ("greet", 201, {"test.no": 409})
    assert declared.body["$defs"]["Greet"]["required"] == ["name"]


async def test_the_envelope_arrives_whole(python_guest: Guest, fixture: Any) -> None:
    """Tenant, principal, trace, headers, id, time and the remaining time reach the handler; start came before."""
    instance = await python_guest()
    loop = asyncio.get_running_loop()
    seen = await ask(
        instance,
        "test.envelope",
        source="acme.sender",
        call=Call("north", "dr-who", "00-trace"),
        headers={"partitionkey": "p1", "b": "ü"},
        uid="id-1",
        deadline=loop.time() + 100,
    )
    assert 0 < seen.pop("remaining") <= 100
    assert seen == {
        "id": "id-1", "subject": "test.envelope", "source": "acme.sender", "tenant": "north", "principal": "dr-who",
        "trace": "00-trace", "time": 1.5, "headers": {"partitionkey": "p1", "b": "ü"}, "started": True,
    }  # fmt: skip
    assert (await ask(instance, "test.envelope"))["remaining"] is None
    assert ("info", "started", {"ward": "A1"}) in fixture.ctx.log.lines


async def test_every_host_function(python_guest: Guest, fixture: Any) -> None:
    """bus, kv, clock, random, secrets, config and identity do what the context does, and each use is counted."""
    fixture.ctx.services["other"] = lambda data: {"got": msgspec.json.decode(data)}
    instance = await python_guest()
    seen = await ask(instance, "test.host")
    assert seen == {
        "now": "2026-01-02T03:04:05.678901+00:00",
        "random": [0, 1, 2, 3],
        "a": [0, 1, 255],
        "b": [],
        "missing": None,
        "keys": ["a", "b"],
        "hmac": "s:data",
        "delivery": {"receivers": 2, "handled": 1, "failures": ["acme.broken"]},
        "answer": {"got": {"q": 1}},
        "plugin": {
            "id": "acme.test",
            "version": "1.2.3",
            "digest": "sha256:00",
            "runtime": "component",
            "replaces": "",
            "worker": 0,
        },
    }
    subject, data, headers = fixture.ctx.published[0]
    assert (subject, bytes(data), headers) == ("test.out", b'{"n":1}', {"partitionkey": "p"})
    assert fixture.ctx.kv.values == {"b": b""}
    assert fixture.used[-1][3] == 14


async def test_host_calls_run_in_the_callers_context(python_guest: Guest, fixture: Any) -> None:
    """What the kernel stamped on the handled message (here: a context variable) is there when the guest calls back."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    fixture.ctx.services["other"] = lambda data: variable.get()
    instance = await python_guest()

    async def call(tenant: str) -> Any:
        variable.set(tenant)
        return await ask(instance, "test.ask", {"service": "other"})

    tenants = [f"tenant-{number}" for number in range(8)]
    assert await asyncio.gather(*(asyncio.create_task(call(tenant)) for tenant in tenants)) == tenants


async def test_the_time_waited_for_the_host_is_not_the_guests(python_guest: Guest, fixture: Any) -> None:
    """limits.timeout bounds what the guest does, not how long a service it asked takes."""

    async def slow(data: Any) -> str:
        async with asyncio.timeout(2):
            for _ in range(30):
                await asyncio.sleep(0.01)
        return "late"

    fixture.ctx.services["other"] = slow
    instance = await python_guest("[limits]\ntimeout = '150ms'")
    assert await ask(instance, "test.ask", {"service": "other"}) == "late"


async def test_cancelling_reaches_the_service_that_the_guest_waits_for(python_guest: Guest, fixture: Any) -> None:
    """A cancelled call cancels what its guest asked for, and the plugin serves on."""
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def forever(data: Any) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    fixture.ctx.services["other"] = forever
    instance = await python_guest()
    call = asyncio.ensure_future(ask(instance, "test.ask", {"service": "other"}))
    await asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await cancelled.wait()
    assert await ask(instance, "test.echo", 1) == 1
    assert not fixture.traps


async def test_a_forwarded_message_is_answered_by_the_service(python_guest: Guest, fixture: Any) -> None:
    """The service's answer is the handler's, and it is asked in the context of the message."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("tenant")
    fixture.ctx.services["other"] = lambda data: [variable.get(), msgspec.json.decode(data)]
    instance = await python_guest()
    variable.set("north")
    assert await ask(instance, "test.forward", {"q": 1}) == ["north", {"q": 1}]
    assert [event for _, event, _ in fixture.ctx.log.lines][-2:] == ["before", "after"]
    assert fixture.used[-1][3] == 3


async def test_an_instance_that_forwarded_handles_the_next_message(python_guest: Guest, fixture: Any) -> None:
    """It does not wait for the service; many messages of one instance may wait there."""
    asked, answer = asyncio.Semaphore(0), asyncio.Event()

    async def slow(data: Any) -> int:
        asked.release()
        await answer.wait()
        return 1

    fixture.ctx.services["other"] = slow
    instance = await python_guest()
    calls = [asyncio.ensure_future(ask(instance, "test.forward", 0)) for _ in range(3)]
    for _ in calls:
        await asked.acquire()
    assert await ask(instance, "test.echo", 2) == 2
    answer.set()
    assert await asyncio.gather(*calls) == [1, 1, 1]


async def test_cancelling_reaches_the_service_that_a_message_was_forwarded_to(
    python_guest: Guest, fixture: Any
) -> None:
    """A cancelled call cancels it wherever it is."""
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def forever(data: Any) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    fixture.ctx.services["other"] = forever
    call = asyncio.ensure_future(ask(await python_guest(), "test.forward", 0))
    await asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert cancelled.is_set()


async def test_a_failure_of_the_service_is_that_of_the_message(python_guest: Guest, fixture: Any) -> None:
    """The typed error reaches the caller as it is."""
    instance = await python_guest()
    with pytest.raises(NoProvider):
        await ask(instance, "test.forward", 0)


@pytest.mark.parametrize("kind", ["more", "twice"])
async def test_nothing_follows_a_forwarded_message(python_guest: Guest, fixture: Any, kind: str) -> None:
    """The service is asked later, so a call after it would come before it: it is refused, and nobody is asked."""
    asked: list[Any] = []
    fixture.ctx.services["other"] = asked.append
    with pytest.raises(NotPortable):
        await ask(await python_guest(), "test.forward", kind)
    assert asked == []


async def test_a_handler_that_fails_forwards_nothing(python_guest: Guest, fixture: Any) -> None:
    """The failure is the answer."""
    asked: list[Any] = []
    fixture.ctx.services["other"] = asked.append
    with pytest.raises(ServiceError) as caught:
        await ask(await python_guest(), "test.forward", "fail")
    assert caught.value.code == "acme.no"
    assert asked == []


async def test_only_a_handler_can_forward(fixture: Any) -> None:
    """What `start` would forward is nobody's message."""
    calls = HostCalls(fixture.host, 1000)
    job = Job("start", lambda guest, job: None, 1.0, asyncio.get_running_loop(), contextvars.copy_context())
    with pytest.raises(NotPortable):
        calls.call("bus", "forward", job, ("other", "1"))
    assert job.forward is None


async def test_failures_of_the_host_are_typed_in_the_guest_and_beyond(python_guest: Guest, fixture: Any) -> None:
    """A denied right or a missing provider is raised in the handler, and reaches the caller with all its parts."""
    instance = await python_guest()
    with pytest.raises(NoProvider, match="nobody serves nothing"):
        await ask(instance, "test.ask", {"service": "nothing"})
    fixture.ctx.denied = {"bus"}
    with pytest.raises(CapabilityDenied) as caught:
        await ask(instance, "test.publish", 1)
    assert (caught.value.hint, caught.value.address) == ("grant it", "test.out")
    fixture.ctx.denied = set()
    assert await ask(instance, "test.publish", 1) is None


async def test_a_plugins_own_error_keeps_its_code(python_guest: Guest) -> None:
    """A ServiceError crosses with code, message, hint and address."""
    instance = await python_guest()
    with pytest.raises(ServiceError) as caught:
        await ask(instance, "test.fail", "own")
    error = caught.value
    assert (error.code, error.message, error.hint, error.address) == (
        "acme.no-such-bed", "bed 7 does not exist", "ask for another", "bed",
    )  # fmt: skip


async def test_a_foreign_exception_gives_its_type_and_place_only(python_guest: Guest) -> None:
    """The text of an exception that is not ours may hold patient data: it does not leave the sandbox."""
    instance = await python_guest()
    with pytest.raises(HandlerFailed) as caught:
        await ask(instance, "test.fail", "foreign")
    assert caught.value.message == "KeyError"
    assert caught.value.address.startswith("plugin.py:")
    assert "Ada" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("suspend", NotPortable, "fail awaited something other than self.ctx"),
        ("time", NotPortable, "time.time does not exist in the sandbox"),
        ("db", NotPortable, "ctx.db does not exist in the sandbox"),
        ("recursion", HandlerFailed, "RecursionError"),
    ],
)
async def test_what_is_not_portable_says_so(
    python_guest: Guest, fixture: Any, kind: str, error: type[RustCareError], words: str
) -> None:
    """Leaving the portable subset is an error in words, not a crash; the instance is still good."""
    instance = await python_guest()
    with pytest.raises(error, match=words):
        await ask(instance, "test.fail", kind)
    assert not fixture.traps
    assert await ask(instance, "test.echo", 1) == 1


async def test_running_out_of_memory_is_a_trap(python_guest: Guest, fixture: Any) -> None:
    """A Python guest that takes all its memory is dropped and replaced; the error says what was short."""
    instance = await python_guest("[limits]\nmemory = '48MiB'")
    with pytest.raises(PluginTrapped, match="ran out of memory"):
        await ask(instance, "test.fail", "memory")
    assert len(fixture.traps) == 1
    assert await ask(instance, "test.envelope")


async def test_an_endless_python_loop_is_stopped(python_guest: Guest, fixture: Any) -> None:
    """Time is up for interpreted code too, and the replacement was started before it got a message."""
    instance = await python_guest("[limits]\ntimeout = '200ms'")
    with pytest.raises(CallLimitExceeded, match="used up its time"):
        await ask(instance, "test.fail", "loop")
    assert (await ask(instance, "test.envelope"))["started"] is True


async def test_published_data_above_the_output_limit_is_refused(python_guest: Guest, fixture: Any) -> None:
    """limits.output bounds each message a guest sends; the guest learns it as an error."""
    instance = await python_guest("[limits]\noutput = '1KiB'")
    with pytest.raises(CallLimitExceeded, match="at most 1024 bytes"):
        await ask(instance, "test.publish", "x" * 2000)
    assert not fixture.ctx.published


async def test_health_is_the_plugins_own(python_guest: Guest) -> None:
    """health crosses with its reason and details."""
    instance = await python_guest()
    found = await instance.health()
    assert (found.ok, found.reason, found.details) == (False, "tired", {"count": 0})


async def test_state_is_exported_migrated_and_imported(python_guest: Guest) -> None:
    """A new version takes over state of its own version as it is, and migrates that of another."""
    old, new = await python_guest(), await python_guest()
    count = next(each for each in old.handlers if each.subject == "test.count")
    for _ in range(3):
        await old.invoke(count, Message("test.count", None))
    state = await old.export_state()
    assert state == {"count": 3}
    await new.import_state(2, state)
    assert await new.export_state() == {"count": 3}
    await new.import_state(1, {"seen": 8})
    assert await new.export_state() == {"count": 8}


async def test_text_and_bytes_of_every_kind_survive(python_guest: Guest) -> None:
    """JSON of any shape crosses unchanged: long, empty, nested, outside ASCII."""
    instance = await python_guest()
    for data in ("", "ü€😀\x00\n", [], {}, None, [[[{"a": [1.5, -1, True]}]]], "x" * 300_000, 2**53, {"k": None}):
        assert await ask(instance, "test.echo", data) == data
