"""Upgrades under load: nothing is lost, doubled or reordered, and what fails half way leaves the old version serving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.errors import ConsentRequired, StateForbids, UpgradeFailed
from rustcare_kernel.lifecycle import Supervisor
from rustcare_kernel.package import Package
from rustcare_sdk.context import Delivery
from rustcare_sdk.errors import CapabilityDenied

from .plugins import Board, blobs, flood, package, quiet, v2

EXTRA = """
    @subscribe("sample.extra")
    async def extra(self, message):
        board.handled.append((ME, VERSION, message.subject, message.data))
    """
V1 = ("acme.sample", "1.0.0")
V2 = ("acme.sample", "2.0.0")


async def test_state_queue_and_services_go_to_the_new_version(tmp_path: Path, desk: Board) -> None:
    """The new version answers with the state of the old one; the old one is stopped once and leaves nothing."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        for number in range(3):
            await kernel.publish("sample.event.x", number, confirm=True)
        status = await kernel.upgrade(v2())
        assert (status.version, status.state, status.enabled) == ("2.0.0", "active", True)
        assert [version for version, _ in status.previous] == ["1.0.0"]
        assert await kernel.request("sample.ask") == ["2.0.0", 3, []]
        await kernel.publish("sample.event.x", 3, confirm=True)
        assert [(version, data) for _, version, _, data in desk.handled] == [
            ("1.0.0", 0),
            ("1.0.0", 1),
            ("1.0.0", 2),
            ("2.0.0", 3),
        ]
        assert desk.steps[*V1, "stop"] == 1
        assert desk.steps[*V2, "start"] == 1
        assert kernel.plugin("acme.sample").pause_ms > 0


async def test_an_upgrade_that_asks_for_more_waits_for_consent(tmp_path: Path, desk: Board) -> None:
    """Consent is for what is new only; until then v1 serves. Denials and tenants' grants are carried over."""
    more = v2(asks={"clock:read": "required"})
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.grant("acme.sample", "bus:serve@sample.ask", tenant="north", deny=True)
        await kernel.grant("acme.sample", "bus:serve@sample.ask", tenant="south", issuer="tenant")
        before = blobs(tmp_path), kernel.catalog.grants(), kernel.catalog.revision
        with pytest.raises(ConsentRequired) as caught:
            await kernel.upgrade(more)
        assert "clock:read" in caught.value.message
        assert "bus:serve" not in caught.value.message
        assert (blobs(tmp_path), kernel.catalog.grants(), kernel.catalog.revision) == before
        assert (await kernel.request("sample.ask"))[0] == "1.0.0"
        status = await kernel.upgrade(more, consent=["clock:read"])
        assert status.version == "2.0.0"
        assert set(status.granted) == {
            "bus:serve@sample.ask",
            "bus:serve@sample.ask (tenant south)",
            "bus:subscribe@sample.event.*",
            "clock:read",
        }
        with pytest.raises(CapabilityDenied):
            await kernel.request("sample.ask", tenant="north")
        assert (await kernel.request("sample.ask", tenant="south"))[0] == "2.0.0"


FAILURES: dict[str, Callable[[Board, Any], Package]] = {}


def failure(make: Callable[[Board, Any], Package]) -> Callable[[Board, Any], Package]:
    """One way in which an upgrade fails: sets the board, gives the package."""
    FAILURES[make.__name__] = make
    return make


@failure
def start_fails(desk: Board, kernel: Any) -> Package:
    desk.on[*V2, "start"] = RuntimeError()
    return v2()


@failure
def start_never_ends(desk: Board, kernel: Any) -> Package:
    desk.on[*V2, "start"] = asyncio.get_running_loop().create_future
    return v2(limit="50ms")


@failure
def not_healthy(desk: Board, kernel: Any) -> Package:
    desk.on[*V2, "health"] = {"ok": False}
    return v2()


@failure
def not_healthy_after_the_hand_over(desk: Board, kernel: Any) -> Package:
    desk.on[*V2, "health"] = lambda: {"ok": desk.steps[*V2, "import_state"] == 0}
    return v2()


@failure
def import_fails(desk: Board, kernel: Any) -> Package:
    desk.on[*V2, "import_state"] = KeyError()
    return v2()


@failure
def import_never_ends(desk: Board, kernel: Any) -> Package:
    desk.on[*V2, "import_state"] = asyncio.get_running_loop().create_future
    return v2()


@failure
def export_fails(desk: Board, kernel: Any) -> Package:
    desk.on[*V1, "export_state"] = KeyError()
    return v2()


@failure
def state_cannot_be_migrated(desk: Board, kernel: Any) -> Package:
    return v2(
        state_version=2, more="async def migrate(self, version, state):\n    state['seen'].append('x')\n    1 / 0\n"
    )


@failure
def it_cannot_be_imported(desk: Board, kernel: Any) -> Package:
    return v2(files={"broken.py": b"("}, more="import sample.broken")


@failure
def its_service_is_taken(desk: Board, kernel: Any) -> Package:
    asks = {"bus:serve@kernel.plugins": "required"}
    return v2(asks=asks, more='@serve("kernel.plugins")\nasync def taken(self, message):\n    pass\n')


@failure
def its_subscription_is_not_granted(desk: Board, kernel: Any) -> Package:
    return v2(more='@subscribe("other.>")\nasync def other(self, message):\n    pass\n')


@failure
def its_configuration_does_not_fit(desk: Board, kernel: Any) -> Package:
    schema = b'{"type": "object", "required": ["ward"]}'
    return v2(toml='[config]\nschema = "config.schema.json"\n', files={"config.schema.json": schema})


@failure
def the_catalog_cannot_be_written(desk: Board, kernel: Any) -> Package:
    put = kernel.catalog.put

    def fails(*args: Any) -> None:
        kernel.catalog.put = put
        raise OSError("the disk is full")

    kernel.catalog.put = fails
    return v2()


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failing_upgrade_leaves_v1_serving(tmp_path: Path, desk: Board, name: str) -> None:
    """Whatever fails: v1 goes on with its state, no message is lost or doubled, v2 leaves nothing, and a good v2 works."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(limit="200ms" if name == "import_never_ends" else "5s"), consent=True)
        for number in range(3):
            await kernel.publish("sample.event.x", number, confirm=True)
        subscriptions = len(kernel.bus.subscriptions())
        before = kernel.catalog.entries(), kernel.catalog.grants(), kernel.bus.services()
        bad = FAILURES[name](desk, kernel)
        publishing = asyncio.create_task(flood(kernel, 3, 40))
        with pytest.raises(UpgradeFailed) as caught:
            await kernel.upgrade(bad, consent=True)
        assert "acme.sample stays at 1.0.0" in caught.value.message
        assert await publishing == [Delivery(1, 1)] * 40
        desk.on.clear()
        status = kernel.plugin("acme.sample")
        assert (status.version, status.state, status.previous) == ("1.0.0", "active", ())
        assert (kernel.catalog.entries(), kernel.catalog.grants(), kernel.bus.services()) == before
        assert len(kernel.bus.subscriptions()) == subscriptions
        assert await kernel.request("sample.ask") == ["1.0.0", 43, []]
        assert desk.data() == list(range(43))
        assert desk.steps[*V1, "stop"] == 0
        assert desk.steps[*V2, "start"] == desk.steps[*V2, "stop"]
        assert list(kernel.grants.of("acme.sample", bad.digest)) == []
        assert (await kernel.upgrade(package(version="3.0.0"))).version == "3.0.0"
        assert await kernel.request("sample.ask") == ["3.0.0", 43, []]


async def test_a_version_too_busy_to_drain_stays(tmp_path: Path, desk: Board) -> None:
    """A handler that does not end within `drain` fails the upgrade; it goes on with what it does, and with the rest."""
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(limit="50ms"), consent=True)
        desk.on[*V1, "event"] = lambda: asyncio.shield(gate)
        publishing = [asyncio.create_task(kernel.publish("sample.event.x", number, confirm=True)) for number in (0, 1)]
        with pytest.raises(UpgradeFailed, match="still busy"):
            await kernel.upgrade(v2())
        gate.set_result(None)
        assert await asyncio.gather(*publishing) == [Delivery(1, 1)] * 2
        assert desk.data() == [0, 1]
        assert (await kernel.upgrade(v2())).version == "2.0.0"


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {},
        {"method": "renamed"},
        {"how": ", parallel=3"},
        {"how": ", queue=2"},
        {"how": ', group="g"'},
        {"how": ', group="g"', "method": "renamed"},
        {"pattern": "sample.>"},
    ],
    ids=lambda change: "-".join(change) or "same",
)
async def test_nothing_is_lost_doubled_or_reordered_however_subscriptions_change(
    tmp_path: Path, desk: Board, change: dict[str, str], fails: bool
) -> None:
    """Method, queue, parallelism, group or pattern may change between versions: each event is handled exactly once, in
    order, by one of the two; and by v1 alone when the upgrade fails."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(how=", queue=4"), consent=True)

        async def slowly() -> None:
            await asyncio.sleep(0)

        desk.on[*V1, "event"] = desk.on[*V2, "event"] = slowly
        if fails:
            desk.on[*V2, "health"] = lambda: {"ok": desk.steps[*V2, "import_state"] == 0}
        floods = [asyncio.create_task(flood(kernel, 1000 * index, 120, f"sample.event.s{index}")) for index in range(3)]
        await asyncio.sleep(0)
        try:
            await kernel.upgrade(v2(**change), consent=True)
            assert not fails
        except UpgradeFailed:
            assert fails
        floods.append(asyncio.create_task(flood(kernel, 3000, 20, "sample.event.s3")))
        outcomes = [outcome for each in await asyncio.gather(*floods) for outcome in each]
        assert outcomes == [Delivery(1, 1)] * len(outcomes)
        assert sorted(desk.data()) == [
            number
            for start, count in ((0, 120), (1000, 120), (2000, 120), (3000, 20))
            for number in range(start, start + count)
        ]
        for index in range(4):
            mine = [data for data in desk.data() if data // 1000 == index]
            assert mine == sorted(mine)
        assert (await kernel.request("sample.ask"))[:2] == ["1.0.0" if fails else "2.0.0", len(outcomes)]


async def test_what_the_new_version_no_longer_wants_is_handled_to_the_end_by_the_old(
    tmp_path: Path, desk: Board
) -> None:
    """Events accepted before the swap for a subscription that v2 does not have are v1's; a failing upgrade loses none."""
    asks = {"bus:subscribe@sample.extra": "required"}
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(asks=asks, more=EXTRA), consent=True)
        desk.on[*V2, "import_state"] = KeyError()
        flooding = asyncio.create_task(flood(kernel, 0, 60, "sample.extra"))
        with pytest.raises(UpgradeFailed):
            await kernel.upgrade(v2())
        assert await flooding == [Delivery(1, 1)] * 60
        assert desk.data() == list(range(60))
        desk.on.clear()
        flooding = asyncio.create_task(flood(kernel, 60, 60, "sample.extra"))
        await asyncio.sleep(0)
        await kernel.upgrade(v2())
        outcomes = await flooding
        done = [outcome for outcome in outcomes if outcome.receivers]
        assert done == outcomes[: len(done)]  # first v1 handles them, then nobody wants them: no failure in between
        assert all(outcome == Delivery(1, 1) for outcome in done)
        assert desk.data() == list(range(60 + len(done)))


async def test_requests_wait_and_are_answered_by_the_new_version(tmp_path: Path, desk: Board) -> None:
    """Requests in flight end with v1; those that come during the swap wait and get v2's answer; none fails."""
    gate = asyncio.Event()
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        desk.on[*V1, "answer"] = gate.wait
        first = asyncio.create_task(kernel.request("sample.ask"))
        asked: list[asyncio.Task[Any]] = []

        def during() -> None:
            asked.extend(asyncio.create_task(kernel.request("sample.ask")) for _ in range(5))

        desk.on[*V2, "start"] = lambda: asyncio.get_running_loop().call_soon(gate.set) and None
        desk.on[*V2, "import_state"] = during
        await kernel.upgrade(v2())
        assert (await first)[0] == "1.0.0"
        assert [answer[0] for answer in await asyncio.gather(*asked)] == ["2.0.0"] * 5


async def test_state_is_migrated_and_the_old_version_keeps_its_own(tmp_path: Path, desk: Board) -> None:
    """`migrate` gets state of another version; whatever it does to it, v1's own state is untouched when v2 fails."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.publish("sample.event.x", 0, confirm=True)
        desk.on[*V2, "import_state"] = KeyError()
        with pytest.raises(UpgradeFailed):
            await kernel.upgrade(v2(state_version=2))
        assert await kernel.request("sample.ask") == ["1.0.0", 1, []]
        desk.on.clear()
        await kernel.upgrade(v2(state_version=2))
        assert await kernel.request("sample.ask") == ["2.0.0", 1, ["migrated from 1"]]


async def test_rollback_takes_the_state_along_when_it_can(tmp_path: Path, desk: Board) -> None:
    """Same state version: v1 gets v2's present state. Another one: v1 gets what it had handed over itself."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        with pytest.raises(StateForbids, match="no earlier version"):
            await kernel.rollback("acme.sample")
        await kernel.publish("sample.event.x", 0, confirm=True)
        await kernel.upgrade(v2())
        await kernel.publish("sample.event.x", 1, confirm=True)
        status = await kernel.rollback("acme.sample")
        assert (status.version, status.previous) == ("1.0.0", ())
        assert await kernel.request("sample.ask") == ["1.0.0", 2, []]
        await kernel.upgrade(v2(state_version=2))
        await kernel.publish("sample.event.x", 2, confirm=True)
        assert (await kernel.request("sample.ask"))[1] == 3
        await kernel.rollback("acme.sample")
        assert await kernel.request("sample.ask") == ["1.0.0", 2, []]
        assert desk.data() == [0, 1, 2]


async def test_a_version_that_is_unwell_after_the_commit_is_rolled_back_by_itself(
    tmp_path: Path, desk: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Health is asked a few times after an upgrade; one bad answer brings v1 back, and nothing is lost on the way."""
    monkeypatch.setattr(Supervisor, "PROBATION", (0.0, 0.0, 0.0))
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        desk.on[*V2, "health"] = lambda: {"ok": desk.steps[*V2, "health"] < 4, "reason": "leaks"}
        flooding = asyncio.create_task(flood(kernel, 0, 100))
        await kernel.upgrade(v2())
        while probation := [task for task in kernel._events if task.get_name().startswith("probation")]:
            await asyncio.gather(*probation)
        assert await flooding == [Delivery(1, 1)] * 100
        assert desk.data() == list(range(100))
        assert kernel.plugin("acme.sample").version == "1.0.0"
        assert (await kernel.request("sample.ask"))[:2] == ["1.0.0", 100]
        assert any(entry["event"].startswith("not well after the upgrade") for entry in kernel.logs("acme.sample"))


async def test_a_version_that_was_replaced_during_its_probation_is_left_alone(
    tmp_path: Path, desk: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probation ends with the version it was for; it never rolls back what came after."""
    monkeypatch.setattr(Supervisor, "PROBATION", (0.0, 0.0, 0.0))
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        desk.on[*V2, "health"] = lambda: {"ok": desk.steps[*V2, "health"] < 3}
        await kernel.upgrade(v2())
        await kernel.upgrade(package(version="3.0.0"))
        while probation := [task for task in kernel._events if task.get_name().startswith("probation")]:
            await asyncio.gather(*probation)
        assert kernel.plugin("acme.sample").version in ("3.0.0", "1.0.0")
        assert kernel.plugin("acme.sample").state == "active"


async def test_an_upgrade_of_a_stopped_plugin_does_not_start_it(tmp_path: Path, desk: Board) -> None:
    """A disabled plugin stays disabled at its new version; a failed one is started with it."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.disable("acme.sample")
        status = await kernel.upgrade(v2())
        assert (status.version, status.state, status.enabled) == ("2.0.0", "stopped", False)
        status = await kernel.rollback("acme.sample")
        assert (status.version, status.state, status.enabled) == ("1.0.0", "stopped", False)
        assert (await kernel.enable("acme.sample")).state == "active"
        assert desk.steps[*V2, "start"] == 0


async def test_an_upgrade_must_go_on_providing_what_others_require(tmp_path: Path, desk: Board) -> None:
    """A version that no longer provides what an active plugin requires is refused before anything is done."""
    provides = '[provides]\n"lab" = "{}"\n'
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(toml=provides.format("1.0.0")), consent=True)
        await kernel.install(package("acme.user", toml='[requires]\n"lab" = "^1"\n'), consent=True)
        for bad in (v2(toml=provides.format("2.0.0")), v2()):
            with pytest.raises(UpgradeFailed, match=r"acme\.user"):
                await kernel.upgrade(bad)
        assert desk.steps[*V2, "start"] == 0
        assert (await kernel.upgrade(v2(toml=provides.format("1.9.0")))).version == "2.0.0"
