"""Pause, resume, swap and drain in any order: nothing is lost, doubled or reordered, and the bound is kept."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rustcare_kernel.subscription import Subscription
from rustcare_sdk.context import Delivery
from rustcare_sdk.message import PARTITION_KEY, Message

from .support import OPERATOR, Tape, World, blocked, on

KEYS = ["a", "b", "c"]


class SwapMachine(RuleBasedStateMachine):
    """One subscription under random events and random replacements of its handler; versions are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.published: dict[str, list[int]] = defaultdict(list)
        self.handled: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.publishing: list[asyncio.Task[Any]] = []
        self.number = 0
        self.version = 0
        self.paused = False
        self.running = 0
        self.most = 0

    def run(self, work: Any) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(10):
                return await work

        return self.loop.run_until_complete(bounded())

    @initialize(bound=st.sampled_from([1, 2, 4, 12]), parallel=st.sampled_from([1, 2, 2, 3]))
    def connect(self, bound: int, parallel: int) -> None:
        async def make() -> tuple[World, Subscription]:
            world = World()
            return world, world.bus.subscribe(on("s.*", queue=bound, parallel=parallel), self.handler(0))

        self.bound, self.parallel = bound, parallel
        self.world, self.subscription = self.run(make())

    def handler(self, version: int) -> Any:
        """A handler that checks that it is the current one, and takes a few turns of the loop."""

        async def handle(message: Message[Any]) -> None:
            key, number = message.data
            self.running += 1
            assert self.version == version, "an old version handled a message after the swap"
            for _ in range(number % 4):
                await asyncio.sleep(0)
            assert self.version == version, "the swap did not wait for a running handler"
            self.handled[key].append((number, version))
            self.running -= 1

        return handle

    @rule(key=st.sampled_from(KEYS), count=st.integers(1, 6), confirm=st.booleans())
    def publish(self, key: str, count: int, confirm: bool) -> None:
        """Some events of one key, in order, without waiting for room."""

        async def go() -> None:
            for _ in range(count):
                self.number += 1
                self.published[key].append(self.number)
                subject, data = f"s.{key}", (key, self.number)
                work = self.world.bus.publish(OPERATOR, subject, data, {PARTITION_KEY: key}, confirm)
                self.publishing.append(await blocked(work))

        self.run(go())

    @rule(turns=st.integers(1, 8))
    def time_passes(self, turns: int) -> None:
        async def go() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.run(go())

    @precondition(lambda self: not self.paused)
    @rule()
    def pause(self) -> None:
        """When `pause` returns nothing is being handled, and nothing will be."""
        self.run(self.subscription.pause())
        assert self.running == 0
        self.paused = True

    @precondition(lambda self: not self.paused)
    @rule()
    def pause_is_given_up(self) -> None:
        """A pause that takes too long is cancelled and resumed, as a failing upgrade does."""

        async def go() -> None:
            task = await blocked(self.subscription.pause())
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.subscription.resume()

        self.run(go())

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self) -> None:
        self.subscription.resume()
        self.paused = False

    @precondition(lambda self: self.paused)
    @rule(bound=st.sampled_from([1, 2, 4, 12]), parallel=st.sampled_from([1, 2, 2, 3]))
    def swap(self, bound: int, parallel: int) -> None:
        """Another handler, perhaps with another queue and parallelism, takes over everything that waits."""

        async def go() -> None:
            self.version += 1
            handler = on("s.*", queue=bound, parallel=parallel)
            self.subscription = self.world.bus.exchange(self.subscription, handler, self.handler(self.version), None)

        self.run(go())
        self.bound, self.parallel, self.paused = bound, parallel, False

    @precondition(lambda self: self.paused)
    @rule(fails=st.booleans())
    def hold(self, fails: bool) -> None:
        """What comes in while a subscription is held goes back to it, in order, when it has to go on."""

        async def go() -> None:
            held = self.world.bus.hold(self.subscription)
            for key in KEYS:
                self.number += 1
                self.published[key].append(self.number)
                work = self.world.bus.publish(OPERATOR, f"s.{key}", (key, self.number), {PARTITION_KEY: key}, fails)
                self.publishing.append(await blocked(work))
            self.subscription.take_back(held)
            self.world.bus.dismiss(held)
            self.world.bus.mend(self.subscription)
            self.subscription.resume()

        self.run(go())
        self.paused = False

    @precondition(lambda self: not self.paused)
    @rule()
    def drain(self) -> None:
        """When `drain` returns everything published so far was handled."""
        self.run(self.subscription.drain())
        assert self.running == 0
        for key, numbers in self.published.items():
            assert [number for number, _ in self.handled[key]] == numbers

    @invariant()
    def order_is_kept_and_nothing_is_doubled(self) -> None:
        """What was handled of each key is the beginning of what was published; versions never go back."""
        for key, handled in self.handled.items():
            numbers = [number for number, _ in handled]
            assert numbers == self.published[key][: len(numbers)]
            versions = [version for _, version in handled]
            assert versions == sorted(versions)

    def teardown(self) -> None:
        if hasattr(self, "subscription"):
            if self.paused:
                self.resume()
            self.drain()
            outcomes = self.run(gathered(self.publishing))
            assert set(outcomes) <= {None, Delivery(1, 1)}
            assert (self.subscription.size, self.subscription.blocked) == (0, 0)
            self.run(self.world.bus.close())
            assert self.world.errors == []
        self.loop.close()


async def gathered(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return list(await asyncio.gather(*tasks))


SwapMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
test_pausing_swapping_and_draining_lose_double_and_reorder_nothing = SwapMachine.TestCase


async def test_pausing_does_not_wait_for_what_lanes_still_hold() -> None:
    """A pause waits for the handlers that run; what waits in a lane goes back to the queue, for whoever goes on."""
    world = World()
    old, new = Tape(held=True), Tape()
    subscription = world.bus.subscribe(on("s.*", parallel=2), old)
    for number in range(10):
        await world.bus.publish(OPERATOR, f"s.{number % 2}", number)
    await old.began(2)
    pausing = await blocked(subscription.pause())
    old.let_go()
    await pausing
    assert sorted(old.seen) == [0, 1]
    after = world.bus.exchange(subscription, on("s.*", parallel=2), new, None)
    await after.drain()
    assert [number for number in new.seen if number % 2] == [3, 5, 7, 9]
    assert [number for number in new.seen if not number % 2] == [2, 4, 6, 8]
    await world.bus.close()


async def test_a_withdrawn_subscriber_was_none() -> None:
    """A subscription that is withdrawn leaves no trace in a confirmation: it neither handled nor failed."""
    world = World()
    tape = Tape()
    world.bus.subscribe(on("e"), tape)
    copy = world.bus.subscribe(on("e"), Tape(), paused=True)
    publishing = await blocked(world.bus.publish(OPERATOR, "e", 1, confirm=True))
    await tape.saw(1)
    assert not publishing.done()
    await world.bus.unsubscribe(copy, withdraw=True)
    assert await publishing == Delivery(1, 1)
    await world.bus.close()
