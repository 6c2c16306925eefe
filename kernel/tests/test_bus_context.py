"""Who a message is for comes from the message being handled, and rights are asked at every single use."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.bus import Sender, current_message
from rustcare_kernel.context import PluginContext
from rustcare_kernel.logs import Logs
from rustcare_kernel.secret_files import SecretFiles
from rustcare_sdk.context import Delivery, PluginInfo
from rustcare_sdk.errors import CapabilityDenied, InvalidPayload
from rustcare_sdk.message import Call, Message

from .support import DIGEST, OPERATOR, Tape, World, blocked, on

SECRETS = Path(__file__).parent / "nowhere"
JANE = Call("north", "jane", "00-trace-span-01")


def context(
    world: World, plugin: str, *capabilities: str, crashed: Callable[[str, BaseException], None] | None = None
) -> PluginContext:
    """A plugin's context on this bus, without a store."""

    async def no_store() -> Any:
        raise AssertionError("no store here")

    return PluginContext(
        PluginInfo(plugin, "1.0.0", DIGEST),
        world.bus,
        world.rights(plugin, *capabilities),
        {},
        Logs("silent").of(plugin),
        no_store,
        SecretFiles(SECRETS),
        crashed or (lambda name, error: None),
    )


async def test_tenant_principal_and_trace_travel_from_call_to_call() -> None:
    """Everything a plugin does while it handles a message is for that message's tenant, principal and trace."""
    world = World()
    one = context(world, "acme.one", "bus:serve@s", "bus:publish@e", "bus:request@t")
    two = context(world, "acme.two", "bus:serve@t", "bus:subscribe@e", "bus:publish@f")
    inner, event, last = Tape(), Tape(), Tape()

    async def serve(message: Message[Any]) -> None:
        await one.request("t", message.data)
        await one.publish("e", message.data, confirm=True)

    async def on_event(message: Message[Any]) -> None:
        await event(message)
        await two.publish("f")

    world.bus.serve("s", serve, one.sender.rights)
    world.bus.serve("t", inner, two.sender.rights)
    world.bus.subscribe(on("e"), on_event, two.sender.rights, "acme.two")
    tail = world.bus.subscribe(on("f"), last)
    await world.bus.request(Sender("operator", None, JANE), "s", 1)
    await tail.drain()
    for tape, source in ((inner, "acme.one"), (event, "acme.one"), (last, "acme.two")):
        message = tape.messages[0]
        assert message.call == JANE
        assert (message.tenant, message.principal, message.trace) == ("north", "jane", "00-trace-span-01")
        assert message.source == source
    await world.bus.close()


async def test_forwarding_is_a_request_in_trusted_code() -> None:
    """What the service answers is there to be returned; the right is that of a request."""
    world = World()
    ctx = context(world, "acme.one", "bus:request@t")

    async def serve(message: Message[Any]) -> Any:
        return [message.source, message.data]

    world.bus.serve("t", serve)
    assert await ctx.forward("t", 1) == ["acme.one", 1]
    world.bus.serve("u", serve)
    with pytest.raises(CapabilityDenied):
        await ctx.forward("u", 1)


async def test_after_a_request_the_callers_own_context_is_back() -> None:
    """The provider's context ends with its handler, also when it fails or waits."""
    world = World()
    tape = Tape()

    async def serve(message: Message[Any]) -> None:
        if message.data:
            await asyncio.sleep(0)
        raise ValueError

    world.bus.serve("s", serve)
    world.bus.subscribe(on("e"), tape)
    for waits in (False, True):
        with pytest.raises(Exception, match="ValueError"):
            await world.bus.request(Sender("x", None, JANE), "s", waits)
        assert current_message.get() is None
    await world.bus.publish(OPERATOR, "e", confirm=True)
    assert tape.messages[0].call == Call()
    await world.bus.close()


async def test_who_may_originate_says_for_whom() -> None:
    """With the right for a tenant, a call replaces that of the message being handled, and its deadline; then it is back."""
    world = World()
    door = context(world, "acme.door", "bus:originate@n*", "bus:publish@e", "bus:request@s")
    served, event = Tape(), Tape()
    world.bus.serve("s", served)
    tail = world.bus.subscribe(on("e"), event)

    async def handle(message: Message[Any]) -> None:
        await door.request("s", 1, call=JANE)
        await door.publish("e", 2, call=JANE, confirm=True)
        await door.request("s", 3)

    world.bus.serve("door", handle)
    await world.bus.request(Sender("operator", None, Call("south", "joe")), "door", timeout=0.5)
    assert [message.call for message in served.messages] == [JANE, Call("south", "joe")]
    assert event.messages[0].call == JANE
    first, second = (message.remaining() or 0.0 for message in served.messages)
    assert first > 1.0 > second
    with pytest.raises(CapabilityDenied, match="bus:originate@south"):
        await door.request("s", call=Call("south"))
    await tail.drain()
    await world.bus.close()


async def test_a_plugin_cannot_say_for_whom_it_speaks() -> None:
    """No method takes a tenant, principal, trace or source; headers and data change nothing; a call needs the right."""
    world = World()
    ctx = context(world, "acme.one", "bus:publish@e", "bus:request@s")
    for name, method in inspect.getmembers(ctx, callable):
        if not name.startswith("_") and name in ("publish", "request", "spawn", "listen"):
            assert not {"tenant", "principal", "trace", "source"} & set(inspect.signature(method).parameters)
    with pytest.raises(CapabilityDenied, match="bus:originate@north"):
        await ctx.request("s", call=JANE)
    with pytest.raises(CapabilityDenied, match="bus:originate@north"):
        await ctx.publish("e", call=JANE)
    event, served = Tape(), Tape()
    world.bus.subscribe(on("e"), event)
    world.bus.serve("s", served)
    forged = {"tenant": "south", "principal": "root", "source": "kernel", "traceparent": "x"}
    await ctx.publish("e", forged, headers=forged, confirm=True)
    await ctx.request("s", forged)
    for tape in (event, served):
        message = tape.messages[0]
        assert (message.tenant, message.principal, message.trace, message.source) == ("default", "", "", "acme.one")
    with pytest.raises(AttributeError):
        event.messages[0].call.tenant = "south"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        event.messages[0].call = JANE  # type: ignore[misc]
    await world.bus.close()


async def test_a_background_task_starts_with_a_clean_context() -> None:
    """`spawn` works for the system: it does not keep the tenant of the message that happened to start it."""
    world = World()
    ctx = context(world, "acme.one", "bus:serve@s", "bus:publish@e")
    tape = Tape()
    world.bus.subscribe(on("e"), tape)
    seen: list[Message[Any] | None] = []

    async def later() -> None:
        seen.append(current_message.get())
        await ctx.publish("e", confirm=True)

    async def serve(message: Message[Any]) -> None:
        ctx.spawn(later(), name="later")

    world.bus.serve("s", serve, ctx.sender.rights)
    await world.bus.request(Sender("operator", None, JANE), "s")
    await tape.saw(1)
    assert seen == [None]
    assert tape.messages[0].call == Call()
    await ctx.close()
    await world.bus.close()


async def test_a_crash_of_a_background_task_is_reported_and_its_end_or_cancellation_is_not() -> None:
    """Only an exception of a spawned task counts as a crash."""
    world = World()
    crashes: list[tuple[str, str]] = []
    told = asyncio.Event()

    def crashed(name: str, error: BaseException) -> None:
        crashes.append((name, type(error).__name__))
        told.set()

    ctx = context(world, "acme.one", crashed=crashed)

    async def ends() -> None:
        pass

    async def fails() -> None:
        raise ValueError

    async def stays() -> None:
        await asyncio.get_running_loop().create_future()

    for task in (ends(), fails(), stays()):
        ctx.spawn(task, name=task.__name__)
    await told.wait()
    await ctx.close()
    assert crashes == [("acme.one: fails", "ValueError")]


async def test_closing_ends_every_task_also_those_that_spawn_more() -> None:
    """After `close` no task of the plugin is left, and none can be added."""
    world = World()
    ctx = context(world, "acme.one")
    started = asyncio.Event()

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def stubborn() -> None:
        started.set()
        try:
            await forever()
        finally:
            ctx.spawn(forever(), name="successor")

    ctx.spawn(stubborn(), name="stubborn")
    await started.wait()
    await ctx.close()
    ctx.spawn(forever(), name="too late")
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not {name for name in names if name.startswith("acme.one")}


async def test_answers_and_secrets_and_random_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`request(type=…)` converts; a wrong answer is InvalidPayload with its path; secrets compute, they do not show."""
    import hashlib
    import hmac as reference

    monkeypatch.setenv("RUSTCARE_SECRET_KEY", "secret")
    world = World()
    ctx = context(world, "acme.one", "bus:request@s", "secret:use@*", "random:read", "clock:read")

    async def serve(message: Message[Any]) -> Any:
        return message.data

    world.bus.serve("s", serve)
    assert await ctx.request("s", {"a": 1}, type=dict[str, int]) == {"a": 1}
    with pytest.raises(InvalidPayload) as caught:
        await ctx.request("s", {"a": "Jane"}, type=dict[str, int])
    assert "Jane" not in str(caught.value)
    assert "s" in caught.value.address
    assert await ctx.secrets.hmac_sha256("key", b"x") == reference.new(b"secret", b"x", hashlib.sha256).digest()
    with pytest.raises(Exception, match="does not exist"):
        await ctx.secrets.hmac_sha256("other", b"x")
    assert len(ctx.random(32)) == 32
    with pytest.raises(InvalidPayload):
        ctx.random(-1)
    assert ctx.now().tzinfo is not None


# rights, asked at each use


async def test_what_was_not_granted_is_denied_and_counted() -> None:
    """Every call of the context asks first; a denial reaches nobody else and is counted against the plugin."""
    world = World()
    ctx = context(world, "acme.one")
    tape = Tape()
    world.bus.subscribe(on("e"), tape)
    world.bus.serve("s", tape)
    with pytest.raises(CapabilityDenied):
        await ctx.publish("e")
    with pytest.raises(CapabilityDenied):
        await ctx.request("s")
    with pytest.raises(CapabilityDenied):
        ctx.now()
    with pytest.raises(CapabilityDenied):
        ctx.random(1)
    for coroutine in (
        ctx.kv.get("k"),
        ctx.kv.put("k", b""),
        ctx.kv.delete("k"),
        ctx.kv.keys(),
        ctx.db.fetch("select 1"),
        ctx.db.fetch_one("select 1"),
        ctx.db.execute("delete from t"),
        ctx.db.execute_many("insert into t values (?)", [(1,)]),
        ctx.db.transaction().__aenter__(),
        ctx.db.scrub(),
        ctx.secrets.hmac_sha256("key", b""),
        ctx.secrets.reveal("key"),
        ctx.secrets.create("key"),
        ctx.listen("127.0.0.1", 0, lambda reader, writer: asyncio.sleep(0)),
    ):
        with pytest.raises(CapabilityDenied):
            await coroutine
    assert tape.started == 0
    assert sum(row.errors for row in world.accounting.rows("acme.one")) == 18
    await world.bus.close()


async def test_revoking_takes_effect_at_the_very_next_publish_and_request() -> None:
    """However often a right was used and cached: the next use after the revocation is denied."""
    world = World()
    ctx = context(world, "acme.one", "bus:publish@e", "bus:request@s")
    tape = Tape()
    world.bus.subscribe(on("e"), tape)
    world.bus.serve("s", tape)
    for _ in range(3):
        await ctx.publish("e")
        await ctx.request("s")
    world.revoke("acme.one", "bus:publish@e")
    with pytest.raises(CapabilityDenied, match="has not granted"):
        await ctx.publish("e")
    with pytest.raises(CapabilityDenied):
        await ctx.publish("e", confirm=True)
    await ctx.request("s")
    world.revoke("acme.one", "bus:request@s")
    with pytest.raises(CapabilityDenied):
        await ctx.request("s")
    world.grants.give("acme.one", DIGEST, "bus:publish@e")
    await ctx.publish("e")
    await world.bus.close()


@pytest.mark.parametrize("parallel", [1, 2])
@pytest.mark.parametrize("confirm", [False, True])
async def test_revoking_a_subscription_stops_the_very_next_delivery(confirm: bool, parallel: int) -> None:
    """What waits in the queue when the right is revoked is not delivered any more, and the denial is reported."""
    world = World()
    rights = world.rights("acme.one", "bus:subscribe@e")
    tape = Tape(held=True)
    subscription = world.bus.subscribe(on("e", parallel=parallel), tape, rights, "acme.one")
    publishing = [await blocked(world.bus.publish(OPERATOR, "e", number, confirm=confirm)) for number in range(3)]
    await tape.began(1)
    world.revoke("acme.one", "bus:subscribe@e")
    tape.let_go()
    await subscription.drain()
    outcomes = await asyncio.gather(*publishing)
    assert tape.seen == [0]
    assert [type(error) for _, _, error in world.errors] == [CapabilityDenied] * 2
    if confirm:
        assert outcomes == [Delivery(1, 1), *[Delivery(1, 0, ("capability.denied",))] * 2]
    world.grants.give("acme.one", DIGEST, "bus:subscribe@e")
    await world.bus.publish(OPERATOR, "e", 3, confirm=True)
    assert tape.seen == [0, 3]
    await world.bus.close()


@pytest.mark.parametrize("confirm", [False, True])
async def test_an_expired_subscription_stops_by_itself(confirm: bool) -> None:
    """A grant with an end is not remembered beyond it: the first event after it is not delivered."""
    world = World()
    rights = world.rights("acme.one", "bus:subscribe@e")
    world.revoke("acme.one", "bus:subscribe@e")
    world.grants.give("acme.one", DIGEST, "bus:subscribe@e", expires=world.clock.now + 10)
    tape = Tape()
    subscription = world.bus.subscribe(on("e"), tape, rights, "acme.one")
    for number in range(3):
        await world.bus.publish(OPERATOR, "e", number, confirm=confirm)
    await subscription.drain()
    world.clock.now += 10
    await world.bus.publish(OPERATOR, "e", 3, confirm=confirm)
    await subscription.drain()
    assert tape.seen == [0, 1, 2]
    await world.bus.close()


async def test_subscriptions_are_checked_for_the_tenant_of_each_message() -> None:
    """Denied for one tenant, a subscriber goes on with the messages of the others."""
    world = World()
    rights = world.rights("acme.one", "bus:subscribe@e")
    world.grants.give("acme.one", DIGEST, "bus:subscribe@e", tenant="north", deny=True)
    tape = Tape()
    world.bus.subscribe(on("e"), tape, rights, "acme.one")
    for number, tenant in enumerate(("south", "north", "north", "default", "south", "north")):
        await world.bus.publish(Sender("x", None, Call(tenant)), "e", number, confirm=number % 2 == 0)
    await world.bus.publish(OPERATOR, "e", 6, confirm=True)
    assert tape.seen == [0, 3, 4, 6]
    await world.bus.close()


async def test_revoking_the_right_to_serve_stops_the_very_next_answer() -> None:
    """A provider that may no longer serve is not asked, although it is still connected."""
    world = World()
    rights = world.rights("acme.one", "bus:serve@s")
    tape = Tape()
    world.bus.serve("s", tape, rights)
    await world.bus.request(OPERATOR, "s", 1)
    world.revoke("acme.one", "bus:serve@s")
    with pytest.raises(CapabilityDenied, match=r"acme\.one"):
        await world.bus.request(OPERATOR, "s", 2)
    assert tape.seen == [1]


async def test_connecting_needs_the_right() -> None:
    """`serve` and `subscribe` without the right raise at once and connect nothing."""
    world = World()
    rights = world.rights("acme.one", "bus:serve@t", "bus:subscribe@f.*")
    with pytest.raises(CapabilityDenied):
        world.bus.serve("s", Tape(), rights)
    with pytest.raises(CapabilityDenied):
        world.bus.subscribe(on("f.>"), Tape(), rights, "acme.one")
    assert (world.bus.services(), world.bus.subscriptions()) == ([], [])
    world.bus.subscribe(on("f.a"), Tape(), rights, "acme.one")
    await world.bus.close()


async def test_a_route_is_asked_by_whoever_says_for_whom() -> None:
    """A request to a route tells scopes and assurance of its caller, so it takes `bus:originate` too, until that expires."""
    world = World()
    route = "http.route.acme.beds.bed"
    world.bus.serve(route, Tape(), None)
    liar = world.sender("acme.liar", "bus:request@http.route.>", "bus:request@http.>")
    for _ in range(2):
        with pytest.raises(CapabilityDenied, match="bus:originate@default"):
            await world.bus.request(liar, route)
    door = world.sender("acme.door", "bus:request@http.route.>", "bus:originate@*")
    await world.bus.request(door, route)
    world.revoke("acme.door", "bus:originate@*")
    with pytest.raises(CapabilityDenied, match="bus:originate@default"):
        await world.bus.request(door, route)
    world.grants.give("acme.door", DIGEST, "bus:originate@*", expires=world.clock.now + 10)
    await world.bus.request(door, route)
    world.clock.now += 20
    with pytest.raises(CapabilityDenied, match="bus:originate@default"):
        await world.bus.request(door, route)
    counted = {row.capability: row.calls for row in world.accounting.rows("acme.door") if row.calls}
    assert counted == {"bus:request@http.route.>": 2}
