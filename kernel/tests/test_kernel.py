"""The facade: install, consent, enable, disable, remove; dependencies, quarantine, damage; two kernels."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Inspection, Kernel
from rustcare_kernel.errors import (
    CatalogCorrupt,
    ConfigInvalid,
    ConsentRequired,
    DataFolderInUse,
    DependencyUnmet,
    GrantUnknown,
    PluginUnknown,
    StateForbids,
)
from rustcare_kernel.lifecycle import Supervisor
from rustcare_sdk.contracts.plugin import AccountingReply, AccountingRequest, PluginsReply, PluginsRequest
from rustcare_sdk.errors import CapabilityDenied, NoProvider
from rustcare_sdk.hookspecs import hookimpl

from .plugins import Board, States, once, package


def quiet(folder: Path, **options: Any) -> Kernel:
    """A kernel that logs to nobody."""
    return Kernel(folder, log_level="silent", **options)


def blobs(folder: Path) -> list[str]:
    """The names of all stored blobs."""
    stored = folder / "blobs" / "sha256"
    return sorted(path.name for path in stored.iterdir()) if stored.is_dir() else []


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


# dependencies


def needs(plugin: str, requires: str = "", provides: str = "", **options: Any) -> Any:
    """A sample with `[requires]` and `[provides]`."""
    toml = f"[provides]\n{provides}\n[requires]\n{requires}\n"
    return package(plugin, toml=toml, **options)


async def test_who_lacks_a_provider_waits_and_starts_when_it_comes(tmp_path: Path, desk: Board) -> None:
    """It stays `verified` with a reason that names what it waits for, and starts by itself, also after a restart."""
    async with quiet(tmp_path) as kernel:
        status = await kernel.install(needs("acme.user", '"lab" = "^1"'), consent=True)
        assert status.state == "verified"
        assert "acme.user → lab" in status.reason
        with pytest.raises(DependencyUnmet, match="nobody provides it"):
            await kernel.enable("acme.user")
        assert kernel.plugin("acme.user").state == "verified"
    async with quiet(tmp_path) as kernel:
        assert kernel.plugin("acme.user").state == "verified"
        old = await kernel.install(needs("acme.old", provides='"lab" = "0.9.0"'), consent=True)
        assert old.state == "active"
        assert "acme.old provides 0.9.0" in kernel.plugin("acme.user").reason
        await kernel.install(needs("acme.lab", provides='"lab" = "1.2.0"'), consent=True)
        assert kernel.plugin("acme.user").state == "active"
    async with quiet(tmp_path) as kernel:
        assert {item.id: item.state for item in kernel.plugins()} == dict.fromkeys(
            ("acme.lab", "acme.old", "acme.user"), "active"
        )
        order = [key[0] for key in desk.steps if key[2] == "start"]
        assert order[-1] == "acme.user"


async def test_nobody_starts_before_its_provider_serves(
    tmp_path: Path, desk: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider whose start fails keeps its dependents waiting; when a later try succeeds they start by themselves."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(needs("acme.lab", provides='"lab" = "1.0.0"'), consent=True)
        await kernel.install(needs("acme.user", '"lab" = "^1"'), consent=True)
    desk.on["acme.lab", "1.0.0", "start"] = once(RuntimeError("not yet"))
    desk.steps.clear()
    monkeypatch.setattr(Supervisor, "BACKOFF", (0.01,))
    async with quiet(tmp_path) as kernel:
        assert kernel.plugin("acme.lab").state == "retry"
        assert "RuntimeError" in kernel.plugin("acme.lab").reason
        assert kernel.plugin("acme.user").state == "verified"
        assert desk.steps["acme.user", "1.0.0", "start"] == 0
        states = States(kernel)
        await states.reached("acme.user", "active")
        assert kernel.plugin("acme.lab").state == "active"


async def test_a_circle_is_named_and_everybody_else_runs(tmp_path: Path, desk: Board) -> None:
    """Plugins that wait for one another stay out, each with the circle as its reason."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(needs("acme.a", '"b" = "^1"', '"a" = "1.0.0"'), consent=True)
        await kernel.install(needs("acme.b", '"a" = "^1"', '"b" = "1.0.0"'), consent=True)
        await kernel.install(package("acme.free"), consent=True)
        for name in ("acme.a", "acme.b"):
            status = kernel.plugin(name)
            assert status.state == "verified"
            assert "wait for one another" in status.reason
            assert "acme.a" in status.reason
            assert "acme.b" in status.reason
        assert kernel.plugin("acme.free").state == "active"
        with pytest.raises(DependencyUnmet, match="wait for one another"):
            await kernel.enable("acme.a")


# starting


async def test_a_start_that_fails_is_tried_again(tmp_path: Path, desk: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """From `retry` it becomes active by itself; when all tries fail it is `failed` with the reason, until enabled."""
    monkeypatch.setattr(Supervisor, "BACKOFF", (0.0, 0.0))
    desk.on["acme.sample", "1.0.0", "start"] = once(RuntimeError("Jane Doe"))
    async with quiet(tmp_path) as kernel:
        states = States(kernel)
        status = await kernel.install(package(), consent=True)
        assert status.state == "retry"
        assert "RuntimeError" in status.reason
        assert "Jane" not in status.reason
        await states.reached("acme.sample", "active")
        assert await kernel.request("sample.ask") == ["1.0.0", 0, []]
        desk.on["acme.other", "1.0.0", "start"] = ValueError("always")
        await kernel.install(package("acme.other"), consent=True)
        await states.reached("acme.other", "failed")
        assert desk.steps["acme.other", "1.0.0", "start"] == 3
        assert "ValueError" in kernel.plugin("acme.other").reason
        del desk.on["acme.other", "1.0.0", "start"]
        assert (await kernel.enable("acme.other")).state == "active"


@pytest.mark.parametrize("step", ["start", "health"])
async def test_a_start_that_never_ends_is_cut_off(
    tmp_path: Path, desk: Board, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`start_timeout` bounds start and health; the kernel goes on, and names which of them it was."""
    monkeypatch.setattr(Supervisor, "BACKOFF", ())
    desk.on["acme.sample", "1.0.0", step] = asyncio.get_running_loop().create_future
    async with quiet(tmp_path) as kernel:
        status = await kernel.install(package(limit="50ms"), consent=True)
        assert status.state == "failed"
        assert step in status.reason
        assert "0.05 s" in status.reason
        assert "sample.ask" not in kernel.bus.services()


async def test_never_healthy_never_starts(tmp_path: Path, desk: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that says of itself that it is not well right after its start does not serve; its words are the reason."""
    monkeypatch.setattr(Supervisor, "BACKOFF", ())
    desk.on["acme.sample", "1.0.0", "health"] = {"ok": False, "reason": "no database"}
    async with quiet(tmp_path) as kernel:
        status = await kernel.install(package(), consent=True)
        assert status.state == "failed"
        assert "no database" in status.reason
        assert desk.steps["acme.sample", "1.0.0", "stop"] == 1


async def test_a_taken_service_fails_for_good_and_leaves_the_first_alone(tmp_path: Path, desk: Board) -> None:
    """Two plugins cannot serve one service: the second fails at once, without tries, naming the first."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package("acme.one", service="s.ask"), consent=True)
        status = await kernel.install(package("acme.two", service="s.ask"), consent=True)
        assert status.state == "failed"
        assert "acme.one" in status.reason
        assert "s.ask" in status.reason
        assert (await kernel.request("s.ask"))[0] == "1.0.0"
        assert len(kernel.bus.subscriptions()) == 1  # what it had connected before was taken away
        await kernel.disable("acme.one")
        assert (await kernel.enable("acme.two")).state == "active"


# health and traps


async def test_health_moves_between_active_and_degraded(
    tmp_path: Path, desk: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked from time to time: not well is `degraded` with the reason and still serves; well again is `active`."""
    monkeypatch.setattr(Supervisor, "PROBE", 0.005)
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        states = States(kernel)
        desk.on["acme.sample", "1.0.0", "health"] = {"ok": False, "reason": "slow disk"}
        await states.reached("acme.sample", "degraded")
        assert kernel.plugin("acme.sample").reason == "slow disk"
        assert await kernel.request("sample.ask") == ["1.0.0", 0, []]
        desk.on.clear()
        await states.reached("acme.sample", "active")


TRAPS = """
    @serve("sample.trap")
    async def trap(self, message):
        async def crash():
            raise RuntimeError("Jane Doe")
        self.ctx.spawn(crash(), name="crash")
    """


async def test_too_many_traps_quarantine_it_until_an_operator_acts(tmp_path: Path, desk: Board) -> None:
    """Past its budget a plugin is out at once: no message, no request reaches it, also after a restart of the kernel."""
    made = package(asks={"bus:serve@sample.trap": "required"}, more=TRAPS, lifecycle="trap_budget = 2")
    async with quiet(tmp_path) as kernel:
        await kernel.install(made, consent=True)
        states = States(kernel)
        for _ in range(2):
            await kernel.request("sample.trap")
            await asyncio.sleep(0)
        assert kernel.plugin("acme.sample").state == "active"
        await kernel.request("sample.trap")
        await states.reached("acme.sample", "quarantined")
        with pytest.raises(NoProvider):
            await kernel.request("sample.ask")
        assert (await kernel.publish("sample.event.x", 1, confirm=True)).receivers == 0  # type: ignore[union-attr]
        status = kernel.plugin("acme.sample")
        assert "3 traps" in status.reason
        assert "Jane" not in status.reason
    async with quiet(tmp_path) as kernel:
        status = kernel.plugin("acme.sample")
        assert status.state == "stopped"
        assert status.reason.startswith("quarantined: 3 traps")
        assert (await kernel.enable("acme.sample")).state == "active"
        assert await kernel.request("sample.ask") == ["1.0.0", 0, []]
    async with quiet(tmp_path) as kernel:
        assert kernel.plugin("acme.sample").state == "active"


async def test_a_hook_that_fails_hurts_nobody_else(tmp_path: Path, desk: Board) -> None:
    """What one plugin does when it is told about another must not fail that other; the kernel's log has it."""
    more = """
    from rustcare_sdk.hookspecs import hookimpl

    @hookimpl
    def rustcare_plugin_started(self, plugin_id, version):
        raise ValueError

    @hookimpl
    def rustcare_capability_used(self, plugin_id, capability, tenant, allowed):
        raise ValueError

    @hookimpl
    def rustcare_plugin_stopped(self, plugin_id, version, reason):
        raise ValueError
    """
    async with quiet(tmp_path) as kernel:
        await kernel.install(package("acme.nosy", more=more), consent=True)
        assert (await kernel.install(package(), consent=True)).state == "active"
        assert await kernel.request("sample.ask") == ["1.0.0", 0, []]
        assert (await kernel.disable("acme.sample")).state == "stopped"
        assert any("rustcare_plugin_started" in entry["event"] for entry in kernel.logs("kernel"))


async def test_hooks_and_events_tell_every_step(tmp_path: Path, desk: Board) -> None:
    """`plugin.state` events carry each step in order, with version and digest; hooks tell starts and stops."""
    told: list[tuple[str, str, str]] = []

    class Ear:
        """An embedder's listener."""

        @hookimpl
        def rustcare_plugin_started(self, plugin_id: str, version: str) -> None:
            told.append(("started", plugin_id, version))

        @hookimpl
        def rustcare_plugin_stopped(self, plugin_id: str, version: str, reason: str) -> None:
            told.append(("stopped", plugin_id, version))

    async with quiet(tmp_path) as kernel:
        kernel.hooks.register(Ear())
        states = States(kernel)
        await kernel.install(package(), consent=True)
        await kernel.disable("acme.sample")
        await kernel.remove("acme.sample")
        await states._subscription.drain()
        assert [state for _, state in states.steps[:7]] == [
            "verified",
            "resolved",
            "consented",
            "starting",
            "active",
            "draining",
            "stopped",
        ]
        assert told == [("started", "acme.sample", "1.0.0"), ("stopped", "acme.sample", "1.0.0")]


# grants through the facade


async def test_a_revoked_capability_fails_at_the_very_next_use_and_after_a_restart(tmp_path: Path, desk: Board) -> None:
    """`revoke` is in force before it returns, in memory and in the catalog; granting it again makes it work again."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.request("sample.ask")
        await kernel.revoke("acme.sample", "bus:serve@>")
        with pytest.raises(CapabilityDenied):
            await kernel.request("sample.ask")
        with pytest.raises(GrantUnknown, match="it holds: bus:subscribe"):
            await kernel.revoke("acme.sample", "bus:serve@sample.ask")
    async with quiet(tmp_path) as kernel:
        status = kernel.plugin("acme.sample")
        assert status.state == "resolved"
        assert status.reason == "not granted: bus:serve@sample.ask"
        await kernel.grant("acme.sample", "bus:serve@sample.ask")
        assert kernel.plugin("acme.sample").state == "active"
        await kernel.request("sample.ask")


async def test_a_denial_is_not_lifted_by_revoking_and_is_by_asking_for_it(tmp_path: Path, desk: Board) -> None:
    """Revoking only ever takes away; `deny=True` is for lifting a denial. Both survive a restart."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.grant("acme.sample", "bus:serve@sample.ask", deny=True, tenant="north")
        with pytest.raises(CapabilityDenied):
            await kernel.request("sample.ask", tenant="north")
        with pytest.raises(GrantUnknown):
            await kernel.revoke("acme.sample", "bus:serve@sample.ask", tenant="north")
        await kernel.request("sample.ask")
    async with quiet(tmp_path) as kernel:
        assert kernel.plugin("acme.sample").denied == ("bus:serve@sample.ask (tenant north)",)
        with pytest.raises(CapabilityDenied):
            await kernel.request("sample.ask", tenant="north")
        await kernel.revoke("acme.sample", "bus:serve@sample.ask", tenant="north", deny=True)
        await kernel.request("sample.ask", tenant="north")


async def test_granting_what_is_not_asked_for_is_refused(tmp_path: Path, desk: Board) -> None:
    """Such a grant could have no effect; the error lists what the manifest asks for."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        with pytest.raises(GrantUnknown, match="would have no effect") as caught:
            await kernel.grant("acme.sample", "net:connect@*:443")
        assert "bus:serve@sample.ask" in caught.value.hint


# configuration


SCHEMA = b"""{"type": "object", "additionalProperties": false, "properties": {
  "ward": {"type": "string", "default": "3b"},
  "limits": {"type": "object", "properties": {"beds": {"type": "integer", "default": 4, "minimum": 1}}}}}"""


async def test_configuration_is_checked_handed_over_and_kept(tmp_path: Path, desk: Board) -> None:
    """Defaults are filled in; a change is a hand-over to itself with state kept; a bad one leaves the old in force."""
    made = package(
        toml='[config]\nschema = "config.schema.json"\n',
        files={"config.schema.json": SCHEMA},
        asks={"bus:serve@sample.config": "required"},
        more="""
    @serve("sample.config")
    async def config(self, message):
        return dict(self.ctx.config)
    """,
    )
    async with quiet(tmp_path) as kernel:
        await kernel.install(made, consent=True, config={"ward": "1a"})
        assert await kernel.request("sample.config") == {"ward": "1a", "limits": {"beds": 4}}
        await kernel.publish("sample.event.x", 1, confirm=True)
        await kernel.configure("acme.sample", {"limits": {"beds": 9}})
        assert await kernel.request("sample.config") == {"ward": "3b", "limits": {"beds": 9}}
        assert (await kernel.request("sample.ask"))[1] == 1
        for bad in ({"limits": {"beds": 0}}, {"wrad": "x"}, {"ward": 4711}):
            with pytest.raises(Exception, match=r"acme\.sample") as caught:
                await kernel.configure("acme.sample", bad)
            assert "4711" not in str(caught.value)
        assert await kernel.request("sample.config") == {"ward": "3b", "limits": {"beds": 9}}
    async with quiet(tmp_path, config={"acme.sample": {"ward": "over"}}) as kernel:
        assert await kernel.request("sample.config") == {"ward": "over", "limits": {"beds": 9}}
        assert (await kernel.request("sample.ask"))[1] == 1


async def test_a_plugin_with_a_wrong_configuration_fails_for_good(tmp_path: Path, desk: Board) -> None:
    """It is not tried again; the reason names the plugin and the rule, never the value."""
    made = package(toml='[config]\nschema = "config.schema.json"\n', files={"config.schema.json": SCHEMA})
    async with quiet(tmp_path) as kernel:
        status = await kernel.install(made, consent=True, config={"ward": 4711})
        assert status.state == "failed"
        assert "4711" not in status.reason
        assert "type" in status.reason
        status = await kernel.configure("acme.sample", {"ward": "x"})
        assert (await kernel.enable("acme.sample")).state == "active"
    assert ConfigInvalid.code == "config.invalid"


# services of the kernel itself


async def test_the_kernel_answers_about_itself(tmp_path: Path, desk: Board) -> None:
    """`kernel.plugins` and `kernel.accounting` are services like any other."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.request("sample.ask", tenant="north")
        rows = (await kernel.request("kernel.accounting", AccountingRequest("acme.sample"), type=AccountingReply)).rows
        assert [(row.tenant, row.calls) for row in rows if not row.capability] == [("north", 1)]
        rows = (await kernel.request("kernel.accounting", {"tenant": "south"}, type=AccountingReply)).rows
        assert rows == []
        found = await kernel.request("kernel.plugins", type=PluginsReply)
        assert [(row.id, row.state, row.enabled, row.summary) for row in found.plugins] == [
            ("acme.sample", "active", True, "A sample")
        ]
        assert (await kernel.request("kernel.plugins", PluginsRequest("acme.other"), type=PluginsReply)).plugins == []


# damage, and more than one kernel


async def test_a_damaged_package_fails_by_name_and_the_others_run(tmp_path: Path, desk: Board) -> None:
    """The bytes are checked at every start: one flipped byte is found, the plugin is `failed`, and can be removed."""
    made = package()
    async with quiet(tmp_path) as kernel:
        await kernel.install(made, consent=True)
        await kernel.install(package("acme.other"), consent=True)
    stored = tmp_path / "blobs" / "sha256" / made.code_digest("python").removeprefix("sha256:")
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)
    async with quiet(tmp_path) as kernel:
        status = kernel.plugin("acme.sample")
        assert status.state == "failed"
        assert made.code_digest("python")[:19] in status.reason or "sha256" in status.reason
        assert kernel.plugin("acme.other").state == "active"
        assert (await kernel.request("other.ask"))[0] == "1.0.0"
        with pytest.raises(CatalogCorrupt):
            kernel.manifest("acme.sample")
        with pytest.raises(CatalogCorrupt):
            await kernel.grant("acme.sample", "clock:read")
        with pytest.raises(Exception, match="sha256"):
            await kernel.enable("acme.sample")
        assert kernel.plugin("acme.sample").state == "failed"
        await kernel.remove("acme.sample")
        assert (await kernel.install(made, consent=True)).state == "active"


async def test_one_data_folder_has_one_kernel(tmp_path: Path, desk: Board) -> None:
    """A second kernel on the same folder is refused and disturbs nothing; after the first has closed it may."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        with pytest.raises(DataFolderInUse):
            async with quiet(tmp_path):
                pass
        assert await kernel.request("sample.ask") == ["1.0.0", 0, []]
    async with quiet(tmp_path) as kernel:
        assert kernel.plugin("acme.sample").state == "active"


async def test_two_kernels_in_one_process_share_nothing(tmp_path: Path, desk: Board) -> None:
    """The same plugin in two kernels: own state, own grants, own bus, own module."""
    async with quiet(tmp_path / "a", name="a") as one, quiet(tmp_path / "b", name="b") as two:
        for kernel in (one, two):
            await kernel.install(package(), consent=True)
        await one.publish("sample.event.x", 1, confirm=True)
        assert (await one.request("sample.ask"))[1] == 1
        assert (await two.request("sample.ask"))[1] == 0
        await one.revoke("acme.sample", "bus:serve@sample.ask")
        with pytest.raises(CapabilityDenied):
            await one.request("sample.ask")
        await two.request("sample.ask")
        await one.remove("acme.sample")
        assert (await two.request("sample.ask"))[1] == 0


async def test_a_restart_keeps_everything(tmp_path: Path, desk: Board) -> None:
    """Versions, state, grants and denials, what is disabled, and what can be rolled back to are as they were."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(asks={"clock:read": "optional"}), consent=True)
        await kernel.upgrade(package(version="1.1.0", asks={"clock:read": "optional"}), consent=True)
        await kernel.grant("acme.sample", "clock:read", tenant="north", deny=True)
        await kernel.publish("sample.event.x", 1, confirm=True)
        await kernel.install(package("acme.off"), consent=True)
        await kernel.disable("acme.off")
        before = {item.id: item for item in kernel.plugins()}
        revision = kernel.catalog.revision
    async with quiet(tmp_path) as kernel:
        for item in kernel.plugins():
            was = before[item.id]
            assert (item.version, item.digest, item.runtime, item.enabled, item.state) == (
                was.version,
                was.digest,
                was.runtime,
                was.enabled,
                was.state,
            )
            assert (item.granted, item.denied, item.previous) == (was.granted, was.denied, was.previous)
        assert await kernel.request("sample.ask") == ["1.1.0", 1, []]
        assert kernel.catalog.revision == revision + 1  # the state that was saved at the stop
        await kernel.rollback("acme.sample")
        assert await kernel.request("sample.ask") == ["1.0.0", 1, []]
