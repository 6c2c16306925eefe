"""The bus against a bare pluggy call and a bare `asyncio.Queue`, and how it scales with subscribers and routes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pluggy
from rustcare_kernel.accounting import Accounting
from rustcare_kernel.bus import Bus, Sender
from rustcare_kernel.grants import Grants, Rights
from rustcare_sdk.capability import parse
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler

from tests.benchmarks.harness import Row, paired_async

_CALLS = 50_000
_spec, _impl = pluggy.HookspecMarker("bench"), pluggy.HookimplMarker("bench")


class _Spec:
    @_spec(firstresult=True)
    def handle(self, message: Message[Any]) -> Any: ...


class _Provider:
    @_impl
    async def handle(self, message: Message[Any]) -> Any:
        return message.data


def _bus(*extra: str) -> tuple[Bus, Sender, Rights]:
    """A bus with a sender and a provider whose rights are checked like those of any plugin."""
    accounting = Accounting()
    grants = Grants(accounting)
    asked = {
        "bench.sender": ("bus:request@>", "bus:publish@>"),
        "bench.provider": ("bus:serve@>", "bus:subscribe@>", *extra),
    }
    for plugin, capabilities in asked.items():
        grants.declare(plugin, "digest", [parse(text) for text in capabilities])
        for text in capabilities:
            grants.give(plugin, "digest", text)
    sender = Sender("bench.sender", Rights(grants, "bench.sender", "digest"))
    return Bus(accounting), sender, Rights(grants, "bench.provider", "digest")


def rows() -> Iterator[Row]:
    """Request, publish, and both at scale."""
    yield asyncio.run(_request())
    yield asyncio.run(_publish())
    for subscribers in (1, 10, 100, 1000):
        yield asyncio.run(_fan_out(subscribers))
    for routes in (1, 100, 10_000):
        yield from asyncio.run(_routes(routes))


async def _request() -> Row:
    bus, sender, rights = _bus()
    provider = _Provider()
    manager = pluggy.PluginManager("bench")
    manager.add_hookspecs(_Spec)
    manager.register(provider)
    bus.serve("bench.echo", provider.handle, rights)
    message: Message[int] = Message("bench.echo", 1)

    async def ours() -> None:
        for _ in range(_CALLS):
            await bus.request(sender, "bench.echo", 1)

    async def floor() -> None:
        for _ in range(_CALLS):
            await manager.hook.handle(message=message)

    mine, theirs = await paired_async(ours, floor)
    await bus.close()
    return Row(
        "request, against a pluggy call of the same handler",
        mine / _CALLS * 1e6,
        theirs / _CALLS * 1e6,
        "µs",
        aim=1.2,
        note="deadline, two grant checks, accounting included",
    )


async def _publish() -> Row:
    bus, sender, rights = _bus()
    seen = 0

    async def handle(message: Message[Any]) -> None:
        nonlocal seen
        seen += 1

    subscription = bus.subscribe(Handler("subscribe", "bench.event"), handle, rights)

    async def ours() -> None:
        for _ in range(_CALLS):
            await bus.publish(sender, "bench.event", 1)
        await subscription.drain()

    async def floor() -> None:
        queue: asyncio.Queue[int] = asyncio.Queue(1024)

        async def consume() -> None:
            for _ in range(_CALLS):
                await queue.get()

        consumer = asyncio.create_task(consume())
        for _ in range(_CALLS):
            await queue.put(1)
        await consumer

    mine, theirs = await paired_async(ours, floor)
    assert seen == 7 * _CALLS
    await bus.close()
    return Row(
        "publish to one subscriber, against asyncio.Queue",
        _CALLS / mine,
        _CALLS / theirs,
        "/s",
        kind="rate",
        aim=0.4,
        note="handled, not only queued",
    )


async def _fan_out(subscribers: int) -> Row:
    """The cost of one delivery should not grow with the number of subscribers."""
    bus, sender, rights = _bus()
    count = max(20, 20_000 // subscribers)

    async def handle(message: Message[Any]) -> None:
        pass

    subscriptions = [bus.subscribe(Handler("subscribe", "bench.event"), handle, rights) for _ in range(subscribers)]

    async def ours() -> None:
        for _ in range(count):
            await bus.publish(sender, "bench.event", 1)
        for subscription in subscriptions:
            await subscription.drain()

    async def floor() -> None:
        queues: list[asyncio.Queue[int]] = [asyncio.Queue(1024) for _ in range(subscribers)]

        async def consume(queue: asyncio.Queue[int]) -> None:
            for _ in range(count):
                await queue.get()

        consumers = [asyncio.create_task(consume(queue)) for queue in queues]
        for _ in range(count):
            for queue in queues:
                await queue.put(1)
        await asyncio.gather(*consumers)

    mine, theirs = await paired_async(ours, floor, rounds=3)
    await bus.close()
    scale = count * subscribers
    return Row(f"one delivery, {subscribers} subscribers", mine / scale * 1e6, theirs / scale * 1e6, "µs")


async def _routes(routes: int) -> Iterator[Row]:
    """The cost of one message should not grow with the number of routes."""
    bus, sender, rights = _bus()

    async def handle(message: Message[Any]) -> None:
        pass

    async def answer(message: Message[Any]) -> int:
        return 1

    for index in range(routes):
        bus.subscribe(Handler("subscribe", f"bench.r{index}.*"), handle, rights)
        bus.serve(f"bench.s{index}", answer, rights)
    target = bus.subscriptions()[0].handler.subject.replace("*", "x")
    subscription = next(item for item in bus.subscriptions() if item.handler.subject == target.replace(".x", ".*"))
    calls = 20_000

    async def publish() -> None:
        for _ in range(calls):
            await bus.publish(sender, target, 1)
        await subscription.drain()

    async def request() -> None:
        for _ in range(calls):
            await bus.request(sender, "bench.s0", 1)

    published, requested = await paired_async(publish, request, rounds=3)
    await bus.close()
    return iter(
        (
            Row(f"publish, {routes} routes", published / calls * 1e6, None, "µs"),
            Row(f"request, {routes} services", requested / calls * 1e6, None, "µs"),
        )
    )
