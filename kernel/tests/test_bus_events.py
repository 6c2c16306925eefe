"""Events: every subscriber gets each one, in order, in a bounded queue whose overflow does what was declared."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from rustcare_sdk.context import Delivery
from rustcare_sdk.errors import InvalidSubject, ServiceError
from rustcare_sdk.message import PARTITION_KEY, Message

from .support import OPERATOR, Tape, World, blocked, on


async def test_every_fitting_subscriber_gets_an_event_and_no_other() -> None:
    """Routing is by pattern; subscribers that come or go change it at once."""
    world = World()
    exact, star, rest, other = Tape(), Tape(), Tape(), Tape()
    world.bus.subscribe(on("hl7.adt.a01"), exact)
    world.bus.subscribe(on("hl7.*.a01"), star)
    late = world.bus.subscribe(on("hl7.oru.>"), other)
    delivery = await world.bus.publish(OPERATOR, "hl7.adt.a01", 1, confirm=True)
    assert delivery == Delivery(2, 2)
    world.bus.subscribe(on("hl7.>"), rest)
    assert await world.bus.publish(OPERATOR, "hl7.adt.a01", 2, confirm=True) == Delivery(3, 3)
    await world.bus.unsubscribe(late)
    assert await world.bus.publish(OPERATOR, "hl7.oru.r01", 3, confirm=True) == Delivery(1, 1)
    assert (exact.seen, star.seen, rest.seen, other.seen) == ([1, 2], [1, 2], [2, 3], [])
    await world.bus.close()


async def test_an_event_without_subscribers_is_no_error() -> None:
    """Nobody is there: a plain publish returns, a confirmed one says that nobody got it."""
    world = World()
    assert await world.bus.publish(OPERATOR, "nobody.home") is None
    assert await world.bus.publish(OPERATOR, "nobody.home", confirm=True) == Delivery(0, 0)
    with pytest.raises(InvalidSubject):
        await world.bus.publish(OPERATOR, "no.*.wildcards")


async def test_confirm_counts_who_handled_and_which_errors_came() -> None:
    """A confirmed publish returns when all have handled it, with the code of each failure; order does not matter."""
    world = World()

    async def typed(message: Message[Any]) -> None:
        raise ServiceError("acme.full", "the ward is full")

    async def foreign(message: Message[Any]) -> None:
        raise KeyError("Jane Doe")

    good = Tape(held=True)
    for invoke in (typed, foreign, good):
        world.bus.subscribe(on("e"), invoke)
    publishing = await blocked(world.bus.publish(OPERATOR, "e", 1, confirm=True))
    await good.began(1)
    assert not publishing.done()
    good.let_go()
    delivery = await publishing
    assert (delivery.receivers, delivery.handled) == (3, 1)
    assert sorted(delivery.failures) == ["acme.full", "bus.handler-failed"]
    await world.bus.close()


@pytest.mark.parametrize("parallel", [1, 3])
async def test_one_failing_subscriber_does_not_hurt_another(parallel: int) -> None:
    """A handler that raises (even a cancellation that is not its own) loses that message only; all others go on."""
    world = World()
    good = Tape()
    handled: list[int] = []

    async def bad(message: Message[Any]) -> None:
        if message.data % 3 == 0:
            raise ValueError("no")
        if message.data % 3 == 1:
            other = asyncio.get_running_loop().create_future()
            other.cancel()
            await other
        handled.append(message.data)

    world.bus.subscribe(on("e", parallel=parallel), bad, owner="acme.bad")
    world.bus.subscribe(on("e"), good)
    for number in range(9):
        await world.bus.publish(OPERATOR, "e", number)
    delivery = await world.bus.publish(OPERATOR, "e", 11, confirm=True)
    assert delivery == Delivery(2, 2)
    assert handled == [2, 5, 8, 11]
    assert good.seen == [*range(9), 11]
    assert [type(error).__name__ for _, _, error in world.errors] == ["ValueError", "CancelledError"] * 3
    assert {owner for owner, _, _ in world.errors} == {"acme.bad"}
    stat = world.accounting.stat("acme.bad", "default")
    assert (stat.calls, stat.errors) == (10, 6)
    await world.bus.close()


async def test_order_is_kept_for_each_subscriber_and_subject_under_many_publishers() -> None:
    """Each publisher's events of one subject arrive in the order it published them, however queues fill up."""
    world = World()
    seen: dict[str, dict[tuple[int, str], list[int]]] = {name: defaultdict(list) for name in ("quick", "slow", "lanes")}

    def keep(name: str, pauses: int) -> Any:
        async def handle(message: Message[Any]) -> None:
            who, number = message.data
            for _ in range(pauses and number % pauses):
                await asyncio.sleep(0)
            seen[name][who, message.subject].append(number)

        return handle

    world.bus.subscribe(on("s.*", queue=4), keep("quick", 0))
    world.bus.subscribe(on("s.>", queue=1), keep("slow", 3))
    world.bus.subscribe(on("s.*", queue=7, parallel=3), keep("lanes", 4))

    async def publisher(who: int) -> None:
        for number in range(40):
            subject = f"s.{number % 5}"
            await world.bus.publish(OPERATOR, subject, (who, number), confirm=number % 9 == 0)

    await asyncio.gather(*(publisher(who) for who in range(8)))
    await asyncio.gather(*(subscription.drain() for subscription in world.bus.subscriptions()))
    for name in seen:
        assert sum(map(len, seen[name].values())) == 8 * 40
        for numbers in seen[name].values():
            assert numbers == sorted(numbers)
    await world.bus.close()


async def test_parallel_lanes_keep_the_order_of_each_partition_key() -> None:
    """With `parallel`, messages of one key never overlap and keep their order, whatever their subject; keys do overlap."""
    world = World()
    running: set[str] = set()
    most = 0
    seen: dict[str, list[int]] = defaultdict(list)
    gates = {key: asyncio.Event() for key in "ab"}

    async def handle(message: Message[Any]) -> None:
        nonlocal most
        key = message.headers[PARTITION_KEY]
        assert key not in running
        running.add(key)
        most = max(most, len(running))
        await gates[key].wait()
        seen[key].append(message.data)
        running.discard(key)

    subscription = world.bus.subscribe(on("s.>", parallel=2), handle)
    for number in range(6):
        await world.bus.publish(OPERATOR, f"s.{number}", number, headers={PARTITION_KEY: "ab"[number % 2]})
    gates["b"].set()
    delivery = await world.bus.publish(OPERATOR, "s.x", 7, headers={PARTITION_KEY: "b"}, confirm=True)
    assert delivery == Delivery(1, 1)
    assert seen == {"b": [1, 3, 5, 7]}  # a waits, b does not wait for it
    gates["a"].set()
    await subscription.drain()
    assert seen["a"] == [0, 2, 4]
    assert most == 2
    await world.bus.close()


# groups


async def test_one_of_a_group_gets_each_event_and_everybody_else_all() -> None:
    """Members of a group share the events, turn by turn; other groups and single subscribers each get all."""
    world = World()
    one, two, other, single = Tape(), Tape(), Tape(), Tape()
    for tape in (one, two):
        world.bus.subscribe(on("e", group="g"), tape)
    world.bus.subscribe(on("e", group="h"), other)
    world.bus.subscribe(on("e"), single)
    for number in range(6):
        assert await world.bus.publish(OPERATOR, "e", number, confirm=True) == Delivery(3, 3)
    assert sorted(one.seen + two.seen) == list(range(6))
    assert len(one.seen) == len(two.seen) == 3
    assert other.seen == single.seen == list(range(6))
    await world.bus.close()


async def test_a_group_passes_over_members_that_are_full_paused_or_gone() -> None:
    """The turn goes to a member with room; nothing waits for one that is paused, full or closed."""
    world = World()
    full, paused, gone, free = Tape(held=True), Tape(), Tape(), Tape()
    world.bus.subscribe(on("e", group="g", queue=1), full)
    subscription = world.bus.subscribe(on("e", group="g"), paused)
    leaving = world.bus.subscribe(on("e", group="g"), gone)
    await subscription.pause()
    await world.bus.unsubscribe(leaving)
    first = await blocked(world.bus.publish(OPERATOR, "e", 0, confirm=True))  # the only one with room
    world.bus.subscribe(on("e", group="g"), free)
    for number in range(1, 6):
        assert await world.bus.publish(OPERATOR, "e", number, confirm=True) == Delivery(1, 1)
    assert free.seen == [1, 2, 3, 4, 5]
    full.let_go()
    assert await first == Delivery(1, 1)
    assert (paused.seen, gone.seen) == ([], [])
    await world.bus.close()


# overflow


async def test_block_makes_publishers_wait_in_their_order_and_keeps_the_bound() -> None:
    """A full queue blocks its publishers; room goes to them first come first served, and never beyond the bound."""
    world = World()
    tape = Tape(held=True)
    subscription = world.bus.subscribe(on("e", queue=2), tape)
    for number in (0, 1):
        await world.bus.publish(OPERATOR, "e", number)
    await tape.began(1)
    waiting = [await blocked(world.bus.publish(OPERATOR, "e", number)) for number in range(2, 7)]
    assert not any(task.done() for task in waiting)
    for done in range(1, 6):
        tape.let_go(1)
        await tape.saw(done)
        await tape.began(min(done + 1, 7))
        assert subscription.size <= 2
        await asyncio.gather(*waiting[:done])  # one more publisher went on for each message handled
        assert not any(task.done() for task in waiting[done:])
    tape.let_go()
    await subscription.drain()
    assert tape.seen == list(range(7))
    await world.bus.close()


async def test_a_newcomer_does_not_overtake_blocked_publishers() -> None:
    """As long as one publisher waits for room, every later one queues up behind it."""
    world = World()
    tape = Tape()
    subscription = world.bus.subscribe(on("e", queue=3), tape, owner="x")
    await subscription.pause()
    published = [await blocked(world.bus.publish(OPERATOR, "e", number)) for number in range(8)]
    subscription.resume()
    late = [await blocked(world.bus.publish(OPERATOR, "e", number)) for number in range(8, 12)]
    await asyncio.gather(*published, *late)
    await subscription.drain()
    assert tape.seen == list(range(12))
    await world.bus.close()


async def test_a_cancelled_publisher_leaves_the_line() -> None:
    """A publisher that is cancelled while it waits for room has not published, and holds nobody up."""
    world = World()
    tape = Tape(held=True)
    subscription = world.bus.subscribe(on("e", queue=1), tape)
    await world.bus.publish(OPERATOR, "e", 0)
    await tape.began(1)
    one, two, three = [await blocked(world.bus.publish(OPERATOR, "e", number)) for number in (1, 2, 3)]
    two.cancel()
    tape.let_go(1)  # lets the first in line in, in the same turn of the loop as the cancellation
    await asyncio.gather(one, two, return_exceptions=True)
    assert two.cancelled()
    tape.let_go()
    await three
    await subscription.drain()
    assert tape.seen == [0, 1, 3]
    assert (subscription.size, subscription.blocked) == (0, 0)
    await world.bus.close()


@pytest.mark.parametrize("parallel", [1, 2])
async def test_drop_oldest_keeps_the_newest_and_counts(parallel: int) -> None:
    """A full queue drops its oldest entry, counts it, and tells who waits for its confirmation; memory is bounded."""
    world = World()
    tape = Tape(held=True)
    subscription = world.bus.subscribe(on("e", queue=3, overflow="drop-oldest", parallel=parallel), tape)
    await world.bus.publish(OPERATOR, "e", 0)
    await tape.began(1)
    confirmed = await blocked(world.bus.publish(OPERATOR, "e", 1, confirm=True))
    for number in range(2, 50):
        await world.bus.publish(OPERATOR, "e", number)
        await asyncio.sleep(0)  # the subscriber's task may sort what came into its lanes
        assert subscription.size <= 3
    assert await confirmed == Delivery(1, 0, ("bus.dropped",))
    tape.let_go()
    await subscription.drain()
    assert tape.seen == [0, 48, 49]
    assert subscription.dropped == 47
    assert subscription.size == 0
    await world.bus.close()


async def test_disconnect_cuts_the_slow_subscriber_off_and_nobody_else() -> None:
    """The queue ran over: the subscriber is detached and reported, its confirmations fail, others are not slowed."""
    world = World()
    slow, quick = Tape(held=True), Tape()
    subscription = world.bus.subscribe(on("e", queue=1, overflow="disconnect"), slow, owner="acme.slow")
    world.bus.subscribe(on("e"), quick)
    first = await blocked(world.bus.publish(OPERATOR, "e", 0, confirm=True))
    await slow.began(1)
    assert await world.bus.publish(OPERATOR, "e", 1, confirm=True) == Delivery(2, 1, ("bus.disconnected",))
    assert await first == Delivery(2, 1, ("bus.closed",))
    assert await world.bus.publish(OPERATOR, "e", 2, confirm=True) == Delivery(1, 1)
    assert subscription.closed
    assert quick.seen == [0, 1, 2]
    assert [(owner, error.code) for owner, _, error in world.errors] == [("acme.slow", "bus.closed")]  # type: ignore[attr-defined]
    await world.bus.close()


async def test_a_slow_subscriber_holds_up_the_publisher_but_no_other_subscriber() -> None:
    """An event is in every queue, or in line for it, before its publisher waits: others get it at once and in order."""
    world = World()
    one, quick, two = Tape(held=True), Tape(), Tape(held=True)
    subscriptions = [
        world.bus.subscribe(on("e", queue=bound), tape) for bound, tape in ((1, one), (9, quick), (2, two))
    ]
    publishing = [await blocked(world.bus.publish(OPERATOR, "e", number)) for number in range(5)]
    assert await quick.saw(5) == [0, 1, 2, 3, 4]
    assert [task.done() for task in publishing] == [True, False, False, False, False]
    two.let_go()
    one.let_go()
    await asyncio.gather(*publishing)
    await asyncio.gather(*(subscription.drain() for subscription in subscriptions))
    assert one.seen == two.seen == [0, 1, 2, 3, 4]
    await world.bus.close()


async def test_a_cancelled_publisher_leaves_every_line() -> None:
    """Cancelled while it waits at several subscribers, it has published to none of those."""
    world = World()
    tapes = [Tape(held=True), Tape(held=True), Tape()]
    for tape in tapes[:2]:
        world.bus.subscribe(on("e", queue=1), tape)
    world.bus.subscribe(on("e"), tapes[2])
    await world.bus.publish(OPERATOR, "e", 0)
    cancelled = await blocked(world.bus.publish(OPERATOR, "e", 1))
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    for tape in tapes:
        tape.let_go()
    await world.bus.publish(OPERATOR, "e", 2, confirm=True)
    assert [tape.seen for tape in tapes] == [[0, 2], [0, 2], [0, 1, 2]]
    await world.bus.close()


async def test_publishers_in_line_go_over_to_who_takes_a_subscription_over() -> None:
    """With a subscription's queue its line is handed on, in order, also when the successor runs in parallel lanes."""
    world = World()
    old, new = Tape(), Tape()
    subscription = world.bus.subscribe(on("e", queue=2), old)
    await subscription.pause()
    publishing = [await blocked(world.bus.publish(OPERATOR, "e", number, confirm=True)) for number in range(6)]
    after = world.bus.exchange(subscription, on("e", parallel=2), new, None)
    publishing.append(await blocked(world.bus.publish(OPERATOR, "e", 6, confirm=True)))
    assert await asyncio.gather(*publishing) == [Delivery(1, 1)] * 7
    assert (old.seen, new.seen) == ([], [0, 1, 2, 3, 4, 5, 6])
    assert after is not subscription
    await world.bus.close()


async def test_close_reports_what_was_given_up() -> None:
    """What is queued, running or waiting for room when the bus closes: each confirmation fails with bus.closed."""
    world = World()
    tape = Tape(held=True)
    world.bus.subscribe(on("e", queue=2), tape)
    publishing = [await blocked(world.bus.publish(OPERATOR, "e", number, confirm=True)) for number in range(4)]
    await tape.began(1)
    await world.bus.close()
    assert await asyncio.gather(*publishing) == [Delivery(1, 0, ("bus.closed",))] * 4


async def test_a_subscriber_yields_to_others_under_a_flood() -> None:
    """A handler that never waits does not starve the event loop however long its queue is."""
    world = World()
    tape = Tape()
    subscription = world.bus.subscribe(on("e", queue=5000), tape)
    for number in range(2000):
        await world.bus.publish(OPERATOR, "e", number)
    turns = 0
    while len(tape.seen) < 2000:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
    await subscription.drain()
    await world.bus.close()
