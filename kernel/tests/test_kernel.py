"""The facade: install, consent, enable, disable, remove."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rustcare_kernel import Inspection
from rustcare_kernel.errors import (
    ConsentRequired,
    PluginUnknown,
    StateForbids,
)
from rustcare_sdk.errors import CapabilityDenied, NoProvider

from .plugins import Board, States, blobs, package, quiet

# installing


async def test_install_without_consent_installs_nothing_and_says_what_is_asked(tmp_path: Path, desk: Board) -> None:
    """ConsentRequired lists the required capabilities; catalog, grants, blobs and bus stay as they were."""
    async with quiet(tmp_path) as kernel:
        services = kernel.bus.services()
        for consent in (False, lambda inspection: False, ["bus:serve@sample.ask"]):
            with pytest.raises(ConsentRequired) as caught:
                await kernel.install(package(asks={"kv:read@*": "optional"}), consent=consent)
            assert "bus:subscribe@sample.event.*" in caught.value.message
            assert "kv:read" not in caught.value.message
        assert (kernel.plugins(), kernel.bus.services(), blobs(tmp_path)) == ([], services, [])
        assert kernel.catalog.grants() == []
        with pytest.raises(PluginUnknown):
            kernel.plugin("acme.sample")
    assert desk.steps == {}


async def test_inspect_tells_everything_and_changes_nothing(tmp_path: Path, desk: Board) -> None:
    """What a package asks for, with reasons, and what is new compared with what the installed one was granted."""
    async with quiet(tmp_path) as kernel:
        found = await kernel.inspect(package(asks={"clock:read": "optional"}))
        assert (found.id, found.version, found.runtimes, found.installed_version) == (
            "acme.sample",
            "1.0.0",
            ("python",),
            None,
        )
        assert {(item.use, item.reason, item.availability) for item in found.capabilities} == {
            ("bus:serve@sample.ask", "tests", "required"),
            ("bus:subscribe@sample.event.*", "tests", "required"),
            ("clock:read", "tests", "optional"),
        }
        assert kernel.plugins() == []
        await kernel.install(package(), consent=True)
        found = await kernel.inspect(package(version="2.0.0", asks={"clock:read": "optional"}))
        assert found.installed_version == "1.0.0"
        assert found.change is not None
        assert [str(item) for item in found.change.added] == ["clock:read"]
        assert kernel.plugin("acme.sample").version == "1.0.0"


async def test_consent_can_be_asked_of_somebody(tmp_path: Path, desk: Board) -> None:
    """A function, also an async one, gets the inspection and decides."""
    asked: list[Inspection] = []

    async def decide(inspection: Inspection) -> bool:
        asked.append(inspection)
        return True

    async with quiet(tmp_path) as kernel:
        status = await kernel.install(package(), consent=decide)
        assert (status.state, status.enabled, status.version) == ("active", True, "1.0.0")
        assert status.granted == ("bus:serve@sample.ask", "bus:subscribe@sample.event.*")
        assert [item.id for item in asked] == ["acme.sample"]
        assert await kernel.request("sample.ask") == ["1.0.0", 0, []]


async def test_optional_capabilities_may_be_refused(tmp_path: Path, desk: Board) -> None:
    """With the required ones consented to it runs; what was refused is denied at its use, and can be granted later."""
    more = """
    @serve("sample.now")
    async def now(self, message):
        return self.ctx.now().year
    """
    asks = {"clock:read": "optional", "bus:serve@sample.now": "required"}
    async with quiet(tmp_path) as kernel:
        required = ["bus:serve@sample.ask", "bus:serve@sample.now", "bus:subscribe@sample.event.*"]
        status = await kernel.install(package(asks=asks, more=more), consent=required)
        assert status.state == "active"
        with pytest.raises(CapabilityDenied):
            await kernel.request("sample.now")
        await kernel.grant("acme.sample", "clock:read")
        assert await kernel.request("sample.now") > 2000


async def test_the_same_package_again_changes_nothing_and_another_is_an_upgrade(tmp_path: Path, desk: Board) -> None:
    """Installing the installed digest is done already; another version must go through `upgrade`."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        revision = kernel.catalog.revision
        await kernel.install(package())
        await kernel.upgrade(package())
        assert kernel.catalog.revision == revision
        with pytest.raises(StateForbids, match=r"1\.0\.0 is installed, 2\.0\.0"):
            await kernel.install(package(version="2.0.0"), consent=True)
        assert desk.steps["acme.sample", "1.0.0", "start"] == 1


async def test_installed_but_not_enabled_does_not_run(tmp_path: Path, desk: Board) -> None:
    """`enable=False` installs with consent and starts nothing, also after a restart."""
    async with quiet(tmp_path) as kernel:
        status = await kernel.install(package(), consent=True, enable=False)
        assert (status.state, status.enabled) == ("stopped", False)
    async with quiet(tmp_path) as kernel:
        assert kernel.plugin("acme.sample").state == "stopped"
        assert desk.steps == {}
        assert (await kernel.enable("acme.sample")).state == "active"


# stopping, starting, removing


async def test_disable_lets_it_finish_and_keeps_its_state(tmp_path: Path, desk: Board) -> None:
    """What was accepted before `disable` is handled; the state after the last message is there when it is enabled."""
    going = asyncio.Event()
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        desk.on["acme.sample", "1.0.0", "event"] = going.wait
        for number in range(5):
            await kernel.publish("sample.event.x", number)
        disabling = asyncio.create_task(kernel.disable("acme.sample"))
        states = States(kernel)
        await states.reached("acme.sample", "draining")
        assert (await kernel.publish("sample.event.x", 99, confirm=True)).receivers == 0  # type: ignore[union-attr]
        going.set()
        status = await disabling
        assert (status.state, status.enabled) == ("stopped", False)
        assert desk.data() == [0, 1, 2, 3, 4]
        with pytest.raises(NoProvider):
            await kernel.request("sample.ask")
        assert (await kernel.enable("acme.sample")).state == "active"
        assert await kernel.request("sample.ask") == ["1.0.0", 5, []]
        assert desk.steps["acme.sample", "1.0.0", "stop"] == 1
        await kernel.restart("acme.sample")
        assert await kernel.request("sample.ask") == ["1.0.0", 5, []]


async def test_saved_state_is_there_before_the_first_message(tmp_path: Path, desk: Board) -> None:
    """A plugin that starts again gets its state before it is connected, so no message meets it without."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.publish("sample.event.x", 1, confirm=True)
        await kernel.disable("acme.sample")
        seen: list[list[str]] = []
        desk.on["acme.sample", "1.0.0", "import_state"] = lambda: seen.append(kernel.bus.services())
        await kernel.enable("acme.sample")
        assert len(seen) == 1
        assert "sample.ask" not in seen[0]


async def test_state_that_is_gone_is_not_revived(tmp_path: Path, desk: Board) -> None:
    """A plugin that exports nothing when it stops starts with nothing, whatever it had saved before."""
    more = """
    async def export_state(self):
        return None if self.count > 1 else {"count": self.count, "seen": []}
    """
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(more=more), consent=True)
        await kernel.publish("sample.event.x", 1, confirm=True)
        await kernel.restart("acme.sample")
        assert await kernel.request("sample.ask") == ["1.0.0", 1, []]
        await kernel.publish("sample.event.x", 2, confirm=True)
        await kernel.restart("acme.sample")
        assert await kernel.request("sample.ask") == ["1.0.0", 0, []]


async def test_a_plugin_that_will_not_end_is_stopped_when_its_drain_is_over(tmp_path: Path, desk: Board) -> None:
    """A handler or a `stop` that never ends holds nobody up beyond `lifecycle.drain`; what was left is reported."""
    forever = asyncio.get_running_loop().create_future
    desk.on["acme.sample", "1.0.0", "event"] = forever
    desk.on["acme.sample", "1.0.0", "stop"] = forever
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(limit="50ms"), consent=True)
        publishing = asyncio.create_task(kernel.publish("sample.event.x", 1, confirm=True))
        await kernel.publish("sample.event.x", 2)
        status = await kernel.disable("acme.sample")
        assert status.state == "stopped"
        assert (await publishing).failures == ("bus.closed",)  # type: ignore[union-attr]
        events = [entry["event"] for entry in kernel.logs("acme.sample")]
        assert "drain timed out" in events
        assert "stop failed" in events


async def test_remove_forgets_everything_but_the_data_unless_it_is_purged(tmp_path: Path, desk: Board) -> None:
    """After `remove` no entry, grant, blob, counter, log or module is left; the data goes with `purge` only."""
    more = """
    @serve("sample.put")
    async def put(self, message):
        before = await self.ctx.kv.get("k")
        await self.ctx.kv.put("k", message.data)
        return before
    """
    made = package(
        asks={"bus:serve@sample.put": "required", "kv:read@*": "required", "kv:write@*": "required"}, more=more
    )
    async with quiet(tmp_path) as kernel:
        await kernel.install(made, consent=True)
        await kernel.grant("acme.sample", "kv:read@*", tenant="north", issuer="tenant")
        assert await kernel.request("sample.put", b"1") is None
        await kernel.remove("acme.sample")
        assert (kernel.plugins(), kernel.catalog.grants(), blobs(tmp_path)) == ([], [], [])
        assert kernel.catalog.tenants_with_a_say() == []
        assert list(kernel.accounting.rows("acme.sample")) == []
        assert kernel.logs("acme.sample") == []
        with pytest.raises(NoProvider):
            await kernel.request("sample.put")
        with pytest.raises(PluginUnknown):
            await kernel.remove("acme.sample")
        with pytest.raises(ConsentRequired):
            await kernel.install(made)
        await kernel.install(made, consent=True)
        assert await kernel.request("sample.put", b"2", tenant="north") == b"1"
        await kernel.remove("acme.sample", purge=True)
        await kernel.install(made, consent=True)
        assert await kernel.request("sample.put", b"3") is None


async def test_a_plugin_that_is_unknown_is_unknown_everywhere(tmp_path: Path) -> None:
    """Every operation on an id that is not installed raises PluginUnknown, which lists what is."""
    async with quiet(tmp_path) as kernel:
        for work in (
            kernel.enable("a.b"),
            kernel.disable("a.b"),
            kernel.restart("a.b"),
            kernel.remove("a.b"),
            kernel.rollback("a.b"),
            kernel.configure("a.b", {}),
            kernel.grant("a.b", "clock:read"),
            kernel.revoke("a.b", "clock:read"),
            kernel.backup("a.b", tmp_path / "x"),
            kernel.upgrade(package()),
        ):
            with pytest.raises(PluginUnknown, match="installed are: none"):
                await work
