"""Requests: one provider answers, with a typed answer or a typed error, before a deadline that travels."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest
from rustcare_kernel.bus import Sender, current_message
from rustcare_kernel.errors import ProviderTaken
from rustcare_sdk.errors import (
    BusClosed,
    DeadlineExceeded,
    HandlerFailed,
    InvalidSubject,
    NoProvider,
    ServiceError,
)
from rustcare_sdk.message import Call, Message

from .support import OPERATOR, Tape, World, blocked, on


async def test_the_provider_answers_with_the_very_object() -> None:
    """In process, data and answers pass as objects, without a copy."""
    world = World()
    asked, answer = {"bed": 7}, object()

    async def serve(message: Message[Any]) -> object:
        assert message.data is asked
        return answer

    world.bus.serve("bed.find", serve)
    assert await world.bus.request(OPERATOR, "bed.find", asked) is answer


async def test_a_typed_error_of_the_provider_reaches_the_caller_as_it_is() -> None:
    """A RustCareError is part of the contract: the caller gets the same one."""
    world = World()
    error = ServiceError("acme.no-bed", "no bed is free")

    async def serve(message: Message[Any]) -> None:
        raise error

    world.bus.serve("bed.find", serve)
    with pytest.raises(ServiceError) as caught:
        await world.bus.request(OPERATOR, "bed.find")
    assert caught.value is error
    assert world.errors == []
    assert world.accounting.stat("kernel", "default").errors == 1


@pytest.mark.parametrize("waits", [False, True])
async def test_any_other_exception_is_told_without_its_text(waits: bool) -> None:
    """A foreign exception's text may hold patient data: the caller learns its type only, the log the rest."""
    world = World()

    async def serve(message: Message[Any]) -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError("Jane Doe, born 1970")

    world.bus.serve("bed.find", serve)
    with pytest.raises(HandlerFailed) as caught:
        await world.bus.request(OPERATOR, "bed.find")
    assert "ValueError" in str(caught.value)
    assert "Jane" not in str(caught.value)
    assert caught.value.address == "bed.find"
    assert [(owner, subject) for owner, subject, _ in world.errors] == [("kernel", "bed.find")]


async def test_a_handler_that_lets_out_a_cancellation_does_not_cancel_the_caller() -> None:
    """What the provider awaited was cancelled, not the caller: the caller gets HandlerFailed and lives on."""
    world = World()

    async def serve(message: Message[Any]) -> None:
        other = asyncio.get_running_loop().create_future()
        other.cancel()
        await other

    world.bus.serve("bed.find", serve)
    with pytest.raises(HandlerFailed, match="CancelledError"):
        await world.bus.request(OPERATOR, "bed.find")


async def test_nobody_serves_it_and_the_error_names_the_nearest() -> None:
    """NoProvider names both sides; the hint is the service that was probably meant, else what to check."""
    world = World()
    world.bus.serve("fhir.store", Tape())
    with pytest.raises(NoProvider) as caught:
        await world.bus.request(OPERATOR, "fhir.stor")
    assert caught.value.address == "fhir.stor"
    assert "operator" in str(caught.value)
    assert "fhir.store" in caught.value.hint
    with pytest.raises(NoProvider) as caught:
        await world.bus.request(OPERATOR, "zzz")
    assert "enabled" in caught.value.hint


async def test_one_service_has_one_provider() -> None:
    """A second provider is refused by an error that names both; after the first has gone it may."""
    world = World()
    world.bus.serve("a.b", Tape(), world.rights("acme.one", "bus:serve@a.b"))
    with pytest.raises(ProviderTaken) as caught:
        world.bus.serve("a.b", Tape(), world.rights("acme.two", "bus:serve@a.b"), owner="acme.two")
    assert "acme.one" in str(caught.value)
    assert "acme.two" in str(caught.value)
    world.bus.unserve("a.b")
    world.bus.serve("a.b", Tape())
    with pytest.raises(InvalidSubject):
        world.bus.serve("a.*", Tape())
    assert world.bus.services() == ["a.b"]


async def test_a_provider_is_taken_away_only_by_its_owner() -> None:
    """`unserve` with a provider leaves another one of the same name alone."""
    world = World()
    old = world.bus.serve("a.b", Tape())
    world.bus.unserve("a.b")
    world.bus.serve("a.b", Tape())
    world.bus.unserve("a.b", old)
    assert world.bus.services() == ["a.b"]


# deadlines


async def test_a_handler_that_does_not_answer_is_cancelled_at_the_deadline() -> None:
    """DeadlineExceeded comes at the deadline, and the handler is cancelled, not left behind."""
    world = World()
    cancelled = asyncio.Event()

    async def serve(message: Message[Any]) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    world.bus.serve("slow", serve)
    with pytest.raises(DeadlineExceeded, match="slow"):
        await world.bus.request(OPERATOR, "slow", timeout=0.01)
    assert cancelled.is_set()


async def test_a_timeout_error_of_the_handler_itself_is_no_deadline() -> None:
    """Only the request's own deadline is DeadlineExceeded."""
    world = World()

    async def serve(message: Message[Any]) -> None:
        await asyncio.sleep(0)
        raise TimeoutError("something else")

    world.bus.serve("slow", serve)
    with pytest.raises(HandlerFailed, match="TimeoutError"):
        await world.bus.request(OPERATOR, "slow")


async def test_deadlines_travel_to_nested_requests_and_only_shrink() -> None:
    """A nested request has the caller's deadline or an earlier one, whatever timeout it names."""
    world = World(timeout=500.0)
    seen: dict[str, float | None] = {}

    async def inner(message: Message[Any]) -> None:
        seen[message.data] = message.deadline

    async def outer(message: Message[Any]) -> None:
        seen["outer"] = message.deadline
        await world.bus.request(OPERATOR, "inner", "inherits")
        await world.bus.request(OPERATOR, "inner", "longer", timeout=1000)
        await world.bus.request(OPERATOR, "inner", "shorter", timeout=1)

    world.bus.serve("inner", inner)
    world.bus.serve("outer", outer)
    before = time.monotonic()
    await world.bus.request(OPERATOR, "outer", timeout=10)
    after = time.monotonic()
    assert seen["outer"] is not None
    assert before + 10 <= seen["outer"] <= after + 10
    assert seen["inherits"] == seen["longer"] == seen["outer"]
    assert seen["shorter"] is not None
    assert seen["shorter"] <= after + 1


async def test_without_a_timeout_the_default_applies_and_inner_timeouts_reach_the_handler() -> None:
    """A request that names no timeout has the bus's; a nested one of its own may be shorter and is then what fails."""
    world = World(timeout=50)
    deadlines: list[float | None] = []

    async def never(message: Message[Any]) -> None:
        await asyncio.get_running_loop().create_future()

    async def outer(message: Message[Any]) -> str:
        deadlines.append(message.remaining())
        with pytest.raises(DeadlineExceeded, match="never"):
            await world.bus.request(OPERATOR, "never", timeout=0.01)
        return "went on"

    world.bus.serve("never", never)
    world.bus.serve("outer", outer)
    assert await world.bus.request(OPERATOR, "outer") == "went on"
    assert deadlines[0] is not None
    assert 49 < deadlines[0] <= 50


async def test_a_deadline_that_has_passed_asks_nobody() -> None:
    """A nested request after the deadline is refused before the provider runs."""
    world = World()
    tape = Tape()

    async def outer(message: Message[Any]) -> None:
        current_message.set(Message("outer", None, deadline=time.monotonic() - 1))
        await world.bus.request(OPERATOR, "inner")

    world.bus.serve("inner", tape)
    world.bus.serve("outer", outer)
    with pytest.raises(DeadlineExceeded, match="had passed"):
        await world.bus.request(OPERATOR, "outer")
    assert tape.started == 0


async def test_an_event_handler_has_no_deadline_to_inherit() -> None:
    """Events carry no deadline: a request made while handling one has the bus's default."""
    world = World(timeout=5)
    left: list[float | None] = []

    async def inner(message: Message[Any]) -> None:
        left.append(message.remaining())

    async def on_event(message: Message[Any]) -> None:
        assert message.deadline is None
        await world.bus.request(OPERATOR, "inner")

    world.bus.serve("inner", inner)
    world.bus.subscribe(on("e"), on_event)
    await world.bus.publish(OPERATOR, "e", confirm=True)
    assert left[0] is not None
    assert 4 < left[0] <= 5
    await world.bus.close()


async def test_a_handler_that_ends_at_once_costs_no_timer_and_no_turn() -> None:
    """An answer that needs no waiting schedules nothing on the event loop: neither a timer nor a callback."""
    world = World()

    async def serve(message: Message[Any]) -> int:
        return message.data + 1

    async def outer(message: Message[Any]) -> int:
        return await world.bus.request(OPERATOR, "inc", message.data, timeout=3)

    world.bus.serve("inc", serve)
    world.bus.serve("outer", outer)
    loop = asyncio.get_running_loop()
    calls: list[str] = []
    originals = (loop.call_at, loop.call_soon)
    loop.call_at = lambda *args, **kw: (calls.append("timer"), originals[0](*args, **kw))[1]  # type: ignore[method-assign]
    loop.call_soon = lambda *args, **kw: (calls.append("soon"), originals[1](*args, **kw))[1]  # type: ignore[method-assign]
    try:
        assert await world.bus.request(OPERATOR, "outer", 1, timeout=3) == 2
    finally:
        loop.call_at, loop.call_soon = originals  # type: ignore[method-assign]
    assert calls == []


async def test_cancelling_the_caller_cancels_the_handler_at_any_depth() -> None:
    """The handler runs in the caller's task, so cancellation goes down by itself; nothing stays in flight."""
    world = World()
    ended: list[str] = []

    async def inner(message: Message[Any]) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("inner")

    async def outer(message: Message[Any]) -> None:
        try:
            await world.bus.request(OPERATOR, "inner")
        finally:
            ended.append("outer")

    provider = world.bus.serve("inner", inner)
    world.bus.serve("outer", outer)
    task = await blocked(world.bus.request(OPERATOR, "outer"))
    assert provider.inflight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["inner", "outer"]
    assert provider.inflight == 0
    await provider.close()


# the gate: a provider that is being replaced


async def test_requests_wait_at_the_gate_and_the_new_provider_answers_them() -> None:
    """While a provider is closed requests wait; opened again, the handler of then answers, in order of arrival."""
    world = World()
    old, new = Tape(held=True), Tape()
    provider = world.bus.serve("s", old)
    first = await blocked(world.bus.request(OPERATOR, "s", 1))
    closing = await blocked(provider.close())
    waiting = [await blocked(world.bus.request(OPERATOR, "s", number)) for number in (2, 3)]
    assert not closing.done()
    old.let_go()
    assert await first == 1
    await closing
    provider.open(new, None)
    assert await asyncio.gather(*waiting) == [2, 3]
    assert (old.seen, new.seen) == ([1], [2, 3])


async def test_waiting_at_the_gate_ends_at_the_deadline() -> None:
    """A provider that stays closed does not keep callers beyond their deadline."""
    world = World()
    provider = world.bus.serve("s", Tape(), gated=True)
    with pytest.raises(DeadlineExceeded, match="being replaced"):
        await world.bus.request(OPERATOR, "s", timeout=0.01)
    provider.open(Tape(), None)
    assert await world.bus.request(OPERATOR, "s", 5) == 5


async def test_whoever_waits_at_the_gate_is_told_when_the_service_goes() -> None:
    """Requests that wait for a provider get NoProvider when it is removed, even one that was just let through."""
    world = World()
    provider = world.bus.serve("s", Tape(), gated=True)
    waiting = await blocked(world.bus.request(OPERATOR, "s"))
    world.bus.unserve("s")
    with pytest.raises(NoProvider, match="removed"):
        await waiting
    provider = world.bus.serve("s", Tape(), gated=True)
    waiting = await blocked(world.bus.request(OPERATOR, "s"))
    provider.open(Tape(), None)
    world.bus.unserve("s")
    with pytest.raises(NoProvider, match="removed"):
        await waiting


async def test_a_draining_plugin_reaches_its_own_services_and_others_wait() -> None:
    """What a plugin is still doing while it drains may call its own services; otherwise it could never finish."""
    world = World()
    mine = world.sender("acme.one", "bus:serve@own", "bus:request@own")
    tape = Tape()
    provider = world.bus.serve("own", tape, mine.rights)
    await provider.close()
    other = await blocked(world.bus.request(OPERATOR, "own", "other"))
    assert await world.bus.request(mine, "own", "mine") == "mine"
    assert not other.done()
    provider.open(tape, mine.rights)
    assert await other == "other"


async def test_what_a_plugin_asks_itself_without_pause_does_not_hold_up_its_drain() -> None:
    """A stream or a task that goes on in the background is not waited for; a request of somebody else is, to its end."""
    world = World()
    mine = world.sender("acme.one", "bus:serve@own", "bus:request@own")
    release = asyncio.Event()

    async def own(message: Message[Any]) -> Any:
        await (release.wait() if message.data == "other" else asyncio.sleep(0))
        return message.data

    provider = world.bus.serve("own", own, mine.rights)
    rounds = 0

    async def watch() -> None:
        nonlocal rounds
        while True:
            await world.bus.request(mine, "own", "mine")
            rounds += 1

    watching = asyncio.create_task(watch())
    other = await blocked(world.bus.request(OPERATOR, "own", "other"))
    closing = await blocked(provider.close())
    release.set()
    assert await other == "other"
    async with asyncio.timeout(10):
        await closing
    before = rounds
    while rounds == before:
        assert not watching.done()
        await asyncio.sleep(0)
    watching.cancel()


async def test_a_closed_bus_says_so() -> None:
    """After `close` everything raises BusClosed, and whoever waits for an answer at the gate is told."""
    world = World()
    world.bus.serve("gate", Tape(), gated=True)
    waiting = await blocked(world.bus.request(OPERATOR, "gate"))
    await world.bus.close()
    with pytest.raises(NoProvider):
        await waiting
    with pytest.raises(BusClosed):
        await world.bus.request(OPERATOR, "gate")
    with pytest.raises(BusClosed):
        await world.bus.publish(OPERATOR, "x")
    with pytest.raises(BusClosed):
        world.bus.serve("x", Tape())
    with pytest.raises(BusClosed):
        world.bus.subscribe(on("x"), Tape())
    assert world.bus.services() == []
    assert world.bus.subscriptions() == []


async def test_two_buses_share_nothing() -> None:
    """Services, subscribers, counters and grants of one bus are unknown to another in the same process."""
    one, two = World(), World()
    tape = Tape()
    one.bus.serve("s", tape)
    one.bus.subscribe(on("e"), tape)
    with pytest.raises(NoProvider):
        await two.bus.request(OPERATOR, "s")
    delivery = await two.bus.publish(OPERATOR, "e", confirm=True)
    assert delivery is not None
    assert delivery.receivers == 0
    assert tape.started == 0
    assert list(two.accounting.rows()) == []
    await two.bus.close()
    assert await one.bus.request(OPERATOR, "s", 1) == 1
    await one.bus.close()


async def test_every_call_is_counted_for_its_provider_and_tenant() -> None:
    """Calls, errors and wall time go to the plugin that handled the request, for the tenant of the message."""
    world = World()

    async def serve(message: Message[Any]) -> None:
        if message.data == "bad":
            raise ServiceError("acme.bad", "no")

    world.bus.serve("s", serve, world.rights("acme.one", "bus:serve@s"))
    for tenant, data in (("north", "good"), ("north", "bad"), ("south", "good")):
        sender = Sender("x", None, Call(tenant))
        with suppress(ServiceError):
            await world.bus.request(sender, "s", data)
    north, south = (world.accounting.stat("acme.one", tenant) for tenant in ("north", "south"))
    assert (north.calls, north.errors, south.calls, south.errors) == (2, 1, 1, 0)
    assert north.wall > 0
