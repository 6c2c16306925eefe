"""The facade: dependencies, starting, health, traps, and who is told of it."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.errors import (
    DependencyUnmet,
)
from rustcare_kernel.lifecycle import Supervisor
from rustcare_sdk.errors import NoProvider
from rustcare_sdk.hookspecs import hookimpl

from .plugins import Board, States, once, package, quiet

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


async def test_what_the_system_says_of_a_failed_start_is_told(tmp_path: Path, desk: Board) -> None:
    """A port that is taken is told in the system's words; the error's own text, which may hold anything, is not."""
    desk.on["acme.sample", "1.0.0", "start"] = OSError(errno.EADDRINUSE, "Jane Doe")
    async with quiet(tmp_path) as kernel:
        status = await kernel.install(package(), consent=True)
        assert os.strerror(errno.EADDRINUSE) in status.reason
        assert "Jane Doe" not in status.reason
