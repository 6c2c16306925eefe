"""Upgrades at their edges: rights, cancellation, traps, open connections, changed subscriptions and services."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.errors import ConsentRequired
from rustcare_sdk.context import Delivery
from rustcare_sdk.errors import CapabilityDenied, NoProvider

from .plugins import Board, flood, package, quiet, v2

EXTRA = """
    @subscribe("sample.extra")
    async def extra(self, message):
        board.handled.append((ME, VERSION, message.subject, message.data))
    """
V1 = ("acme.sample", "1.0.0")
V2 = ("acme.sample", "2.0.0")


async def test_what_is_revoked_or_denied_during_an_upgrade_stays_so(tmp_path: Path, desk: Board) -> None:
    """While v2 starts its grants are there already; revoking and denying reach them too, also after a restart."""
    asks = {"clock:read": "optional", "random:read": "optional"}
    more = """
    @serve("sample.clock")
    async def clock(self, message):
        return str(self.ctx.now())

    @serve("sample.random")
    async def random(self, message):
        return len(self.ctx.random(4))
    """
    asks |= {"bus:serve@sample.clock": "required", "bus:serve@sample.random": "required"}
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(asks=asks, more=more), consent=True)

        async def meanwhile() -> None:
            await kernel.revoke("acme.sample", "clock:read")
            await kernel.grant("acme.sample", "random:read", deny=True)

        desk.on[*V2, "start"] = meanwhile
        await kernel.upgrade(v2(asks=asks, more=more))
        for service in ("sample.clock", "sample.random"):
            with pytest.raises(CapabilityDenied):
                await kernel.request(service)
        await kernel.rollback("acme.sample")
        for service in ("sample.clock", "sample.random"):
            with pytest.raises(CapabilityDenied):
                await kernel.request(service)
    async with quiet(tmp_path) as kernel:
        for service in ("sample.clock", "sample.random"):
            with pytest.raises(CapabilityDenied):
                await kernel.request(service)


async def test_a_capability_that_a_version_gave_up_is_consented_to_again(tmp_path: Path, desk: Board) -> None:
    """v1 asks for the clock, v2 does not, v3 does again: v3 is a new consent. v1 itself can still be rolled back to."""
    asks = {"clock:read": "required"}
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(asks=asks), consent=True)
        assert "clock:read" not in (await kernel.upgrade(v2())).granted
        with pytest.raises(ConsentRequired, match="clock:read"):
            await kernel.upgrade(package(version="3.0.0", asks=asks))
        assert "clock:read" in (await kernel.rollback("acme.sample")).granted


async def test_what_is_revoked_while_somebody_thinks_about_consent_stays_revoked(tmp_path: Path, desk: Board) -> None:
    """Between the question and the answer grants may fall: the upgrade must not revive them."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(asks={"clock:read": "optional"}), consent=True)

        async def decide(inspection: Any) -> bool:
            await kernel.revoke("acme.sample", "clock:read")
            return True

        asks = {"clock:read": "optional", "random:read": "required"}
        status = await kernel.upgrade(v2(asks=asks), consent=decide)
        assert "clock:read" not in status.granted
        assert "random:read" in status.granted


async def test_a_cancelled_upgrade_is_either_done_or_undone(tmp_path: Path, desk: Board) -> None:
    """Cancelled at any point: either v1 goes on or v2 stands, in the catalog and on the bus alike, with all messages."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        number = 0
        versions = set()
        for steps in [*range(0, 30, 2), *range(30, 120, 9)]:
            upgrading = asyncio.create_task(kernel.upgrade(v2()))
            flooding = asyncio.create_task(flood(kernel, number, 10))
            number += 10
            for _ in range(steps):
                await asyncio.sleep(0)
            upgrading.cancel()
            await asyncio.gather(upgrading, return_exceptions=True)
            assert await flooding == [Delivery(1, 1)] * 10
            status = kernel.plugin("acme.sample")
            assert status.state == "active"
            assert await kernel.request("sample.ask") == [status.version, number, []]
            versions.add(status.version)
            if status.version == "2.0.0":
                await kernel.rollback("acme.sample")
        assert desk.data() == list(range(number))
        await kernel.upgrade(v2())
        assert await kernel.request("sample.ask") == ["2.0.0", number, []]


async def test_traps_during_an_upgrade_take_no_wires_away(tmp_path: Path, desk: Board) -> None:
    """v1 may crash in the background while v2 starts: the upgrade goes on, and not one message is lost."""
    more = """
    async def crash(self):
        raise RuntimeError
    """
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(more=more, lifecycle="trap_budget = 1"), consent=True)

        async def traps() -> None:
            plugin = desk.alive[V1]
            for _ in range(5):
                plugin.ctx.spawn(plugin.crash(), name="crash")
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        desk.on[*V2, "start"] = traps
        flooding = asyncio.create_task(flood(kernel, 0, 50))
        await kernel.upgrade(v2())
        assert await flooding == [Delivery(1, 1)] * 50
        assert desk.data() == list(range(50))
        assert kernel.plugin("acme.sample").state == "active"


async def test_open_connections_and_the_port_go_over(tmp_path: Path, desk: Board) -> None:
    """A listener keeps its port through an upgrade; every connection is answered, by the old version or the new."""
    more = """
    async def start(self):
        import asyncio
        self.open = set()

        async def on_connection(reader, writer):
            self.open.add(asyncio.current_task())
            await asyncio.sleep(0)
            writer.write(VERSION.encode() + b"\\n")
            await writer.drain()
            self.open.discard(asyncio.current_task())

        self.listener = await self.ctx.listen("127.0.0.1", self.ctx.config["port"], on_connection)
        board.port = self.listener.address[1]

    async def stop(self):
        import asyncio
        while self.open:
            await asyncio.wait(self.open)
    """
    options: dict[str, Any] = {
        "more": more,
        "asks": {"net:listen@127.0.0.1:*": "required"},
        "toml": '[config]\nschema = "config.schema.json"\n',
        "files": {"config.schema.json": b'{"type": "object"}'},
    }

    async def hello() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
        line = (await reader.readline()).decode().strip()
        writer.close()
        await writer.wait_closed()
        return line

    async with quiet(tmp_path) as kernel:
        await kernel.install(package(**options), consent=True, config={"port": 0})
        port = desk.port
        assert await hello() == "1.0.0"
        upgrading = asyncio.create_task(kernel.upgrade(v2(**options)))
        answers = [await hello()]
        while not upgrading.done():
            answers.append(await hello())
        answers.append(await hello())
        await upgrading
        assert desk.port == port
        assert set(answers) == {"1.0.0", "2.0.0"}
        assert answers[-1] == "2.0.0"
        await kernel.disable("acme.sample")
        with pytest.raises(ConnectionRefusedError):
            await hello()


async def test_events_reach_new_subscriptions_of_the_new_version_from_the_swap_on(tmp_path: Path, desk: Board) -> None:
    """What v2 subscribes to beyond v1 is connected before the commit, so that nothing falls between."""
    asks = {"bus:subscribe@sample.extra": "required"}
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        published: list[asyncio.Task[Any]] = []
        desk.on[*V2, "import_state"] = lambda: published.append(
            asyncio.create_task(kernel.publish("sample.extra", "early", confirm=True))
        )
        await kernel.upgrade(v2(asks=asks, more=EXTRA), consent=True)
        assert await published[0] == Delivery(1, 1)
        assert desk.data() == ["early"]
        await kernel.rollback("acme.sample")
        assert await kernel.publish("sample.extra", "late", confirm=True) == Delivery(0, 0)


async def test_a_service_that_the_new_version_dropped_has_no_provider_any_more(tmp_path: Path, desk: Board) -> None:
    """Callers that waited during the swap are told; a rollback brings the service back."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        asked: list[asyncio.Task[Any]] = []
        desk.on[*V2, "import_state"] = lambda: asked.append(asyncio.create_task(kernel.request("sample.ask")))
        await kernel.upgrade(v2(service="sample.other"), consent=True)
        with pytest.raises(NoProvider):
            await asked[0]
        assert (await kernel.request("sample.other"))[0] == "2.0.0"
        await kernel.rollback("acme.sample")
        assert (await kernel.request("sample.ask"))[0] == "1.0.0"
