"""Workers that share a limit: they ask in batches, and together stay within it."""

from __future__ import annotations

import asyncio
from typing import Any

from rustcare_plugin_gateway.limits import LeaseReply, LeaseRequest, Lessee, Lessor, Limits
from rustcare_sdk.errors import NoProvider


class Clock:
    """Time that stands still."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def worker(limits: Limits, clock: Clock, *, away: bool = False) -> Lessee:
    """A worker of a primary."""
    lessor = Lessor(limits, clock)

    async def ask(request: LeaseRequest) -> LeaseReply:
        await asyncio.sleep(0)
        if away:
            raise NoProvider("the primary is away")
        return lessor.lease(request)

    def spawn(task: Any, *, name: str) -> None:
        running.add(asyncio.ensure_future(task))

    running: set[Any] = set()
    return Lessee(ask, spawn, clock, 100)


async def many(lessee: Lessee, limits: Limits, count: int) -> int:
    """How many of `count` requests are admitted."""
    of = limits.classes["test"]
    found = 0
    for _ in range(count):
        verdict = await lessee.take_or_wait(of, "t", "user/1", "a")
        found += verdict is not None and verdict.allowed
    return found


async def test_workers_share_one_limit() -> None:
    """Four workers at once admit the limit, and at most a first share more for each further worker."""
    clock = Clock()
    limits = Limits({"test": [{"by": "principal", "rate": 800, "per": 60, "burst": 800}]}, 1000)
    workers = [worker(limits, clock) for _ in range(4)]
    admitted = sum(await asyncio.gather(*(many(lessee, limits, 1000) for lessee in workers)))
    assert 800 <= admitted <= 800 + 3 * 100


async def test_a_worker_does_not_ask_for_each_request() -> None:
    """Hundreds of requests, a dozen questions."""
    clock = Clock()
    limits = Limits({"test": [{"by": "principal", "rate": 8000, "per": 60, "burst": 8000}]}, 1000)
    lessee = worker(limits, clock)
    assert await many(lessee, limits, 5000) == 5000
    assert lessee.requests <= 12


async def test_what_is_used_up_comes_back_with_time() -> None:
    """A refused caller is admitted again as the limit's rate says."""
    clock = Clock()
    limits = Limits({"test": [{"by": "principal", "rate": 60, "per": 60, "burst": 8}]}, 1000)
    lessee = worker(limits, clock)
    assert 8 <= await many(lessee, limits, 30) <= 9
    clock.now += 4.0
    assert 3 <= await many(lessee, limits, 30) <= 5


async def test_without_the_primary_a_worker_goes_on_at_the_limits_pace() -> None:
    """Nobody is locked out because another process is away, and nobody gets more than their share."""
    clock = Clock()
    limits = Limits({"test": [{"by": "principal", "rate": 60, "per": 60, "burst": 16}]}, 1000)
    lessee = worker(limits, clock, away=True)
    first = await many(lessee, limits, 40)
    assert 1 <= first <= 6
    clock.now += 10.0
    assert 1 <= await many(lessee, limits, 40) <= 4


async def test_nobody_waits_for_a_question_that_failed() -> None:
    """An error that nobody expected, or the end of the task that asks, leaves no request hanging."""
    limits = Limits({"test": [{"by": "principal", "rate": 60, "per": 60, "burst": 16}]}, 1000)
    running: list[Any] = []

    async def ask(request: LeaseRequest) -> LeaseReply:
        await asyncio.sleep(0)
        raise ValueError("broken")

    def spawn(task: Any, *, name: str) -> None:
        running.append(asyncio.ensure_future(task))

    lessee = Lessee(ask, spawn, Clock(), 100)
    async with asyncio.timeout(10):
        assert 1 <= await many(lessee, limits, 10) <= 6
    assert all(isinstance(one, ValueError) for one in await asyncio.gather(*running, return_exceptions=True))
