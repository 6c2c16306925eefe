"""What a plugin in a worker asks and publishes goes to the primary, and looks the same to it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from .kit import Office, office


async def test_requests_are_answered_by_the_process_that_has_the_service(tmp_path: Path) -> None:
    """A service that the worker has is answered there, any other by the primary; data passes as JSON."""
    async with office(tmp_path) as desk:
        line = await desk.line()
        assert line.pid != os.getpid()
        assert await line.ask("front.who") == [line.pid, "1.0.0", "default"]
        assert await line.ask("back.who") == os.getpid()
        assert await line.ask("back.echo", {"a": [1, 2.5, None, "ä", True]}) == {"a": [1, 2.5, None, "ä", True]}
        assert await line.ask("back.echo") is None
        assert await line.ask("back.typed", typed=True) == ["typed", [1, 2]]
        assert (await desk.kernel.request("front.who"))[0] == os.getpid()


async def test_who_a_call_is_for_crosses(tmp_path: Path) -> None:
    """Tenant, principal, trace, on whose behalf and why, source and deadline are at the provider what they were here."""
    async with office(tmp_path) as desk:
        line = await desk.line()
        call = {"tenant": "north", "principal": "dr-a", "trace": "00-1-2-01", "on_behalf": "dr-b", "purpose": "TREAT"}
        *said, source, left = await line.ask("back.call", call=call, timeout=7)
        assert said == ["north", "dr-a", "00-1-2-01", "dr-b", "TREAT"]
        assert source == "acme.front"
        assert 6 < left <= 7
        assert (await line.ask("front.who", call=call))[2] == "north"


async def test_errors_cross_as_what_they_are(tmp_path: Path) -> None:
    """A typed error keeps code, text, hint and address; what is not typed, and what JSON cannot hold, says no value."""
    async with office(tmp_path) as desk:
        line = await desk.line()
        told = await line.raw("request", name="back.fail")
        assert told["failure"] == {
            "code": "acme.no-bed",
            "message": "there is no bed",
            "hint": "ask the ward",
            "address": "ward 7",
        }
        told = await line.raw("request", name="back.break")
        assert (told["failure"]["code"], told["kind"]) == ("bus.handler-failed", "HandlerFailed")
        assert "patient" not in str(told)
        assert (await line.raw("request", name="back.odd"))["failure"]["code"] == "bus.invalid-payload"
        told = await line.raw("request", name="back.stream")
        assert told["failure"]["code"] == "bus.invalid-payload"
        assert 'scale = "each"' in told["failure"]["hint"], (
            "a stream stays in its process: who wrote the plugin is told"
        )
        told = await line.raw("request", name="back.nobody")
        assert (told["failure"]["code"], told["kind"]) == ("bus.no-provider", "NoProvider")
        told = await line.raw("request", name="kernel.plugins")
        assert (told["failure"]["code"], told["kind"]) == ("capability.denied", "CapabilityDenied")
        assert (await line.raw("publish", name="elsewhere.x"))["failure"]["code"] == "capability.denied"


async def test_deadline_and_cancellation_cross(tmp_path: Path) -> None:
    """When the deadline passes, or whoever asked is cancelled, the handler in the primary is cancelled."""
    async with office(tmp_path) as desk:
        line = await desk.line()
        told = await line.raw("request", name="back.slow", timeout=0.2)
        assert told["kind"] == "DeadlineExceeded"
        assert await line.ask("back.cancelled") == 1
        assert await line.do("cancel", name="back.slow")
        assert await line.ask("back.cancelled") == 2


async def test_many_requests_at_once(tmp_path: Path) -> None:
    """Requests share the link, more of them than it lets wait for answers at once, and each gets its own answer."""
    async with office(tmp_path, workers=1) as desk:
        line = await desk.line()
        assert await line.do("many", name="back.echo", count=20_000) == 20_000


async def test_large_data_crosses_and_too_large_data_is_refused(tmp_path: Path) -> None:
    """Frames larger than the link's buffer come through whole; other requests go on meanwhile."""
    async with office(tmp_path, workers=1) as desk:
        line, other = await desk.line(), await desk.line()
        text = "x" * 4_000_000
        found, who = await asyncio.gather(line.do("large", size=len(text)), other.ask("back.who"))
        assert found == len(text)
        assert who == os.getpid()
        told = await line.raw("large", size=70 << 20)
        assert told["failure"]["code"] == "bus.invalid-payload"
        assert await line.ask("back.who") == os.getpid()


async def seen(desk: Office, count: int) -> list[list[object]]:
    """What the fronts in all workers saw."""
    return [await (await desk.line(number)).do("seen") for number in range(1, count + 1)]


async def test_an_event_reaches_every_process_once(tmp_path: Path) -> None:
    """Whoever publishes, each subscriber in each process gets the event once; a confirmed publish counts them all."""
    async with office(tmp_path) as desk:
        line = await desk.line()
        assert await line.do("publish", name="news.a", data="from a worker", confirm=True) == [4, 4, []]
        assert await line.ask("back.publish", "from the primary") == [4, 4, []]
        delivery = await desk.kernel.publish("news.b", "from the operator", confirm=True)
        assert delivery is not None
        assert (delivery.receivers, delivery.handled) == (4, 4)
        assert await seen(desk, 2) == [["from a worker", "from the primary", "from the operator"]] * 2
        assert await line.ask("back.seen") == ["from a worker", "from the primary", "from the operator"]


async def test_one_member_of_a_group_gets_an_event(tmp_path: Path) -> None:
    """A group's members in all processes together get each event once."""
    async with office(tmp_path) as desk:
        for number in range(30):
            delivery = await desk.kernel.publish("jobs.x", number, confirm=True)
            assert delivery is not None
            assert (delivery.receivers, delivery.handled) == (1, 1)
        shares = await seen(desk, 2)
        assert all(shares), "each worker had its turn"
        assert len(shares[0]) + len(shares[1]) < 30, "the primary's member had its turn"
        assert not set(map(str, shares[0])) & set(map(str, shares[1]))


async def test_each_subscriber_gets_events_in_order(tmp_path: Path) -> None:
    """More events than fit into queue and window, from two publishers: each publisher's come in its order, everywhere."""
    async with office(tmp_path) as desk:
        lines = [await desk.line(1), await desk.line(2)]

        async def publish(which: int) -> None:
            for number in range(1500):
                await lines[which].do("publish", name="news.order", data=[which, number])

        await asyncio.gather(publish(0), publish(1))
        assert (await desk.kernel.publish("news.order", [2, 0], confirm=True)).handled == 4  # type: ignore[union-attr]
        for found in [*await seen(desk, 2), await lines[0].ask("back.seen")]:
            for which in (0, 1):
                assert [number for who, number in found if who == which] == list(range(1500))


async def test_a_confirmed_publish_waits_for_workers(tmp_path: Path) -> None:
    """It does not return before the subscriber in every worker has handled the event."""
    async with office(tmp_path, patience=60) as desk:
        line = await desk.line(2)
        await line.do("hold")
        publishing = asyncio.ensure_future(desk.kernel.publish("news.x", 1, confirm=True))
        other = await desk.line(1)
        while await other.do("seen") != [1]:
            pass  # each look is a trip to the worker
        assert not publishing.done()
        await line.do("free")
        delivery = await publishing
        assert delivery is not None
        assert (delivery.receivers, delivery.handled, delivery.failures) == (4, 4, ())


async def test_an_event_that_cannot_cross_fails_alone(tmp_path: Path) -> None:
    """What JSON cannot hold, and what is too large, fails for the workers' subscribers only; later events reach them."""
    logged: list[dict[str, object]] = []
    async with office(tmp_path, logged=logged) as desk:
        pids = desk.pids()
        for data in (object(), "x" * (65 << 20)):
            delivery = await asyncio.wait_for(desk.kernel.publish("news.x", data, confirm=True), 30)
            assert delivery is not None
            assert (delivery.receivers, delivery.handled) == (4, 2), "the primary's own subscribers take it as it is"
            assert delivery.failures == ("bus.invalid-payload",) * 2
            await desk.kernel.publish("news.x", data)
        assert (await desk.kernel.publish("news.x", "after", confirm=True)).handled == 4  # type: ignore[union-attr]
        assert await seen(desk, 2) == [["after"]] * 2
        assert desk.pids() == pids, "no worker was taken for hung"
    assert [line["error"] for line in logged if line["event"] == "handler failed"] == ["bus.invalid-payload"] * 8
