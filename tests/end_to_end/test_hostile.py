"""Ten plugins that misbehave (`examples/hostile`), each beside a neighbour that must not notice.

The neighbour gets numbered events and a request after each of them, without a pause, from before an attack until after
it. `BOUND` is how long one such round may take. A guest runs in a thread of its own and without the interpreter's lock,
so that in most attacks nobody waits for it at all; what is left is the kernel's own work (reading, checking, linking and
instantiating a package: about 20 ms). The endless loop is the exception: it subscribes to the neighbour's events with a
bounded queue whose policy is to block, so the publisher waits until it is quarantined: two calls of 100 ms, each noticed
at most 50 ms late. The rest of the second is for a busy machine.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from rustcare_cli.demo.hostile import run_hostile
from rustcare_cli.demo.hostile_attacks import ATTACKS
from rustcare_kernel import Kernel
from rustcare_kernel.errors import PluginUnknown, UpgradeFailed
from rustcare_kernel.lifecycle import Supervisor
from rustcare_kernel.package import read_package
from rustcare_sdk.contracts.plugin import STATE, AccountingRow, PluginState
from rustcare_sdk.errors import CapabilityDenied, NoProvider, RustCareError
from rustcare_sdk.message import Call, Message, to_cloudevent
from rustcare_sdk.plugin import Handler

from examples.hostile.build import components, wasm_of
from tests.support.plugins import write_plugin

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = ROOT / "examples" / "hostile"
BOUND = 1.0
BOTH_TIERS = pytest.mark.parametrize("runtime", ["component", "python"])
MIB = 1024 * 1024

NEIGHBOUR = """
    from rustcare_sdk import Message, Plugin, serve, subscribe

    class Subject(Plugin):
        def __init__(self):
            self.ticks = 0
            self.wrong = 0

        @subscribe("ward.tick")
        async def tick(self, message: Message):
            self.wrong += message.data != self.ticks
            self.ticks += 1

        @serve("ward.report")
        async def report(self, message: Message):
            return {"ticks": self.ticks, "wrong": self.wrong}
"""


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    """A kernel with a neighbour installed; when it is closed, the process has no thread and no descriptor more."""
    before = _threads(), len(os.listdir("/proc/self/fd"))
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        capabilities = ("bus:subscribe@ward.tick", "bus:serve@ward.report")
        await kernel.install(
            write_plugin(tmp_path, NEIGHBOUR, id="good.neighbour", capabilities=capabilities), consent=True
        )
        yield kernel
    gc.collect()
    assert (_threads(), len(os.listdir("/proc/self/fd"))) == before


def _threads() -> set[str]:
    # The event loop's executor keeps its threads for the next use; they are no plugin's.
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}


class Ward:
    """The neighbour at work. `slowest` is the longest round in seconds, `peak` the most memory the process held."""

    def __init__(self, kernel: Kernel) -> None:
        self.rounds = 0
        self.slowest = 0.0
        self.peak = 0
        self._kernel = kernel
        self._stop = False
        self._round = asyncio.Event()

    async def work(self) -> None:
        """Rounds without a pause, until it is told to stop."""
        while not self._stop:
            began = time.monotonic()
            await self._kernel.publish("ward.tick", self.rounds)
            await self._kernel.request("ward.report", timeout=30.0)
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.rounds += 1
            self._round.set()
            self.peak = max(self.peak, _resident())
            await asyncio.sleep(0)

    async def reached(self, rounds: int) -> None:
        """Return when so many rounds are done."""
        async with asyncio.timeout(30):
            while self.rounds < rounds:
                self._round.clear()
                await self._round.wait()

    def stop(self) -> None:
        """No more rounds."""
        self._stop = True


@asynccontextmanager
async def beside(kernel: Kernel, attacker: str) -> AsyncIterator[Ward]:
    """The neighbour at work beside an attacker: at the end nobody was hurt, and nothing is left of the attacker."""
    ward = Ward(kernel)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ward.work())
        try:
            await ward.reached(50)
            yield ward
            await ward.reached(ward.rounds + 50)
        finally:
            ward.stop()
    for subscription in kernel.bus.subscriptions():
        if subscription.owner == "good.neighbour":
            await subscription.drain()
    assert await kernel.request("ward.report") == {"ticks": ward.rounds, "wrong": 0}
    assert kernel.plugin("good.neighbour").state == "active"
    assert ward.slowest < BOUND
    await kernel.remove(attacker, purge=True)
    _nothing_left(kernel, attacker)


def _nothing_left(kernel: Kernel, attacker: str) -> None:
    gc.collect()
    assert attacker not in kernel.bus.services()
    assert attacker not in {subscription.owner for subscription in kernel.bus.subscriptions()}
    assert not [name for name in _threads() if attacker in name]
    assert not [task.get_name() for task in asyncio.all_tasks() if attacker in task.get_name()]
    folder = attacker.partition(".")[2].replace("-", "_")
    assert not [name for name in sys.modules if name.startswith(folder) and "@" in name]
    assert not list(kernel.accounting.rows(attacker))


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def provoke(kernel: Kernel, service: str) -> str:
    """Ask a plugin; the code of the error that comes back, or "" for an answer."""
    try:
        await kernel.request(service, {}, timeout=10.0)
    except RustCareError as error:
        return error.code
    return ""


def accounted(kernel: Kernel, plugin: str, capability: str = "", tenant: str = "default") -> AccountingRow:
    """The one row about a plugin (or one of its capabilities) for a tenant."""
    rows = [row for row in kernel.accounting.rows(plugin) if (row.capability, row.tenant) == (capability, tenant)]
    assert len(rows) == 1
    return rows[0]


async def quarantined_by(kernel: Kernel, attacker: str, code: str) -> None:
    """Provoke a plugin with a trap budget of one: two crashes with that code, and nothing reaches it any more."""
    assert [await provoke(kernel, attacker) for _ in range(3)] == [code, code, NoProvider.code]
    status = kernel.plugin(attacker)
    assert status.state == "quarantined"
    assert "2 traps within a minute" in status.reason
    row = accounted(kernel, attacker)
    assert row.errors >= 2
    assert row.fuel > 0


async def test_an_endless_loop_is_stopped_by_time(kernel: Kernel) -> None:
    """A plugin that never returns is stopped at each call, on a request and on an event, and then it is shut out."""
    attacker = "hostile.endless-loop"
    async with beside(kernel, attacker):
        await kernel.install(HOSTILE / "endless_loop", consent=True)
        began = time.monotonic()
        while kernel.plugin(attacker).state != "quarantined":  # the neighbour's events alone are enough to provoke it
            assert time.monotonic() - began < 5
            await asyncio.sleep(0)
        assert await provoke(kernel, attacker) == NoProvider.code
        row = accounted(kernel, attacker)
        assert (row.calls, kernel.plugin(attacker).reason[:7]) == (2, "2 traps")
        assert 0.1 <= row.wall_s < BOUND


async def test_a_memory_hog_is_held_to_its_limit(kernel: Kernel) -> None:
    """A plugin that takes all memory gets what its limit says: the process grows by that for each of its instances."""
    async with beside(kernel, "hostile.memory-hog") as ward:
        await kernel.install(HOSTILE / "memory_hog", consent=True)
        before = ward.peak
        await quarantined_by(kernel, "hostile.memory-hog", "runtime.trapped")
        assert ward.peak - before < 3 * 16 * MIB


async def test_stack_exhaustion_is_a_trap(kernel: Kernel) -> None:
    """A plugin that calls itself without end ends in a trap; the thread it ran in and the process go on."""
    async with beside(kernel, "hostile.stack-exhaustion"):
        await kernel.install(HOSTILE / "stack_exhaustion", consent=True)
        await quarantined_by(kernel, "hostile.stack-exhaustion", "runtime.trapped")
        assert "call stack exhausted" in kernel.plugin("hostile.stack-exhaustion").reason


async def test_a_huge_output_is_not_let_in(kernel: Kernel) -> None:
    """An answer above the limit is an error, and not a byte of it is accounted as taken."""
    async with beside(kernel, "hostile.huge-output"):
        await kernel.install(HOSTILE / "huge_output", consent=True)
        await quarantined_by(kernel, "hostile.huge-output", "runtime.limit-exceeded")
        assert accounted(kernel, "hostile.huge-output").bytes_out == 0


async def test_an_ungranted_import_is_not_linked(kernel: Kernel) -> None:
    """A component that imports what its manifest does not ask for never starts, and is not tried again."""
    async with beside(kernel, "hostile.ungranted-import"):
        status = await kernel.install(HOSTILE / "ungranted_import", consent=True)
        assert status.state == "failed"
        assert "imports rustcare:plugin/secrets@0.1.0" in status.reason
        assert await provoke(kernel, status.id) == NoProvider.code
        assert not list(kernel.accounting.rows(status.id))  # not one of its instructions was executed


@BOTH_TIERS
async def test_a_forbidden_subject_stays_silent(kernel: Kernel, runtime: str) -> None:
    """A plugin cannot publish what it was not granted: it is refused each time, that is counted, nothing arrives."""
    async with beside(kernel, "hostile.forbidden-subject"), hearing(kernel, "fhir.patient.updated") as heard:
        status = await kernel.install(HOSTILE / "forbidden_subject", consent=True, runtime=runtime)
        assert [await provoke(kernel, status.id) for _ in range(3)] == [CapabilityDenied.code] * 3
        assert accounted(kernel, status.id, "bus:publish").errors == 3
        assert kernel.plugin(status.id).state == "active"
        assert [entry["capability"] for entry in kernel.logs(status.id) if entry["event"] == "capability denied"] == [
            "bus:publish@fhir.patient.updated"
        ] * 3
    assert heard == []


@BOTH_TIERS
async def test_a_forged_tenant_is_not_believed(kernel: Kernel, runtime: str) -> None:
    """Tenant, principal, trace and source of a message are what the kernel stamped, whatever a plugin writes anywhere."""
    call = Call("ward-7", "nurse", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    async with beside(kernel, "hostile.forged-tenant"), hearing(kernel, "hostile.claim") as heard:
        status = await kernel.install(HOSTILE / "forged_tenant", consent=True, runtime=runtime)
        answer = await kernel.request(status.id, {}, tenant="ward-7", principal="nurse", trace=call.trace, type=str)
        assert answer == "claimed"
        assert accounted(kernel, status.id, tenant="ward-7").calls == 1
        assert not [row for row in kernel.accounting.rows() if row.tenant == "victim"]
        assert await kernel.request(status.id, {}, principal="", type=str) == "claimed"
    message, nameless = heard
    assert message.call == call
    assert message.source == status.id
    assert message.headers["tenant"] == "victim"  # a header is a header
    assert nameless.call == Call("default")
    event = to_cloudevent(nameless)  # where nothing is stamped, a header does not take its place
    assert (event["tenant"], event["source"]) == ("default", f"rustcare:{status.id}")
    assert not event.keys() & {"principal", "traceparent"}


@BOTH_TIERS
async def test_a_trap_in_the_hand_over_leaves_the_old_version(kernel: Kernel, runtime: str) -> None:
    """When the next version fails while it takes over, this one goes on with its state, and no request is lost."""
    plugin = "hostile.trap-in-handover"
    async with beside(kernel, plugin):
        await kernel.install(HOSTILE / "trap_in_handover_v1", consent=True, runtime=runtime)
        asked = asyncio.create_task(_count_up(kernel, plugin))
        with pytest.raises(UpgradeFailed, match=r"stays at 1\.0\.0: 2\.0\.0 failed") as caught:
            await kernel.upgrade(HOSTILE / "trap_in_handover_v2", consent=True, runtime=runtime)
        assert caught.value.code == "lifecycle.upgrade-failed"
        requests = await _stop(asked)
        status = kernel.plugin(plugin)
        assert (status.version, status.state, status.traps) == ("1.0.0", "active", 0)
        row = accounted(kernel, plugin)
        assert (row.calls, row.errors) == (requests, 0)


@BOTH_TIERS
async def test_a_start_that_never_ends_is_given_up(
    kernel: Kernel, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start is bounded in time, tried again with pauses, and given up in the end; then nothing of it runs."""
    monkeypatch.setattr(Supervisor, "BACKOFF", (0.01, 0.02))  # the pauses are the only thing that is shortened
    attacker = "hostile.endless-start"
    states: list[str] = []
    failed = asyncio.Event()

    async def step(message: Message[PluginState]) -> None:
        if message.data.plugin == attacker:
            states.append(message.data.to_state)
            if message.data.to_state == "failed":
                failed.set()

    subscription = kernel.bus.subscribe(Handler("subscribe", STATE, "step"), step)
    async with beside(kernel, attacker):
        began = time.monotonic()
        status = await kernel.install(HOSTILE / "endless_start", consent=True, runtime=runtime)
        assert 0.2 <= time.monotonic() - began < 0.2 + BOUND
        assert status.state == "retry"
        assert "start did not end within 0.2 s" in status.reason
        async with asyncio.timeout(10):
            await failed.wait()
        assert [state for state in states if state in ("starting", "failed")] == ["starting"] * 3 + ["failed"]
        assert not [name for name in _threads() if attacker in name]
        assert [entry["attempt"] for entry in kernel.logs(attacker) if entry["event"] == "start failed"] == [1, 2, 3]
    await kernel.bus.unsubscribe(subscription)


@BOTH_TIERS
async def test_a_version_that_falls_ill_after_the_commit_is_rolled_back(kernel: Kernel, runtime: str) -> None:
    """A version that is not well right after its commit goes, the one before is back with the state, no request fails."""
    plugin = "hostile.sick-after-commit"
    async with beside(kernel, plugin):
        await kernel.install(HOSTILE / "sick_after_commit_v1", consent=True, runtime=runtime)
        asked = asyncio.create_task(_count_up(kernel, plugin))
        assert (await kernel.upgrade(HOSTILE / "sick_after_commit_v2", runtime=runtime)).version == "2.0.0"
        async with asyncio.timeout(10):
            while kernel.plugin(plugin).version != "1.0.0":
                await kernel.request("ward.report")
                await asyncio.sleep(0)
        requests = await _stop(asked)
        status = kernel.plugin(plugin)
        assert (status.state, status.previous) == ("active", ())
        row = accounted(kernel, plugin)
        assert (row.calls, row.errors) == (requests, 0)
        (entry,) = (entry for entry in kernel.logs(plugin) if entry["event"].startswith("not well after the upgrade"))
        assert entry["reason"] == "made to be ill once it is committed"


async def _count_up(kernel: Kernel, plugin: str) -> int:
    """Ask a counting plugin until it is told to stop; every answer follows the one before. How many requests there were."""
    done = 0
    current = asyncio.current_task()
    assert current is not None
    while current.get_name() != "stop":
        answer = await kernel.request(plugin, {}, timeout=10.0, type=int)
        done += 1
        assert answer % 10 == done % 10
        await asyncio.sleep(0)
    return done


async def _stop(asked: asyncio.Task[int]) -> int:
    asked.set_name("stop")
    requests = await asked
    assert requests > 1
    return requests


@asynccontextmanager
async def hearing(kernel: Kernel, subject: str) -> AsyncIterator[list[Message[Any]]]:
    """What is published on a subject."""
    heard: list[Message[Any]] = []

    async def hear(message: Message[Any]) -> None:
        heard.append(message)

    subscription = kernel.bus.subscribe(Handler("subscribe", subject, "hear"), hear)
    try:
        yield heard
        await subscription.drain()
    finally:
        await kernel.bus.unsubscribe(subscription)


# a right that is taken away

PUBLISHER = """
    from rustcare_sdk import Message, Plugin, serve

    class Subject(Plugin):
        @serve("ward.publisher")
        async def publish(self, message: Message):
            while True:
                await self.ctx.publish("ward.note", {}, confirm=True)
"""
SANDBOXED_PUBLISHER = r"""
;; use bus
;; begin describe
(call $text $"{\"handlers\":[{\"kind\":\"serve\",\"subject\":\"ward.publisher\"}],\"state-version\":1,\"lifecycle\":[]}")
;; end describe
;; begin handle
(loop $again
  (call $publish-confirmed $"ward.note" $"{}" (i32.const 0) (i32.const 0) (i32.const 64))
  (br_if $again (i32.eqz (i32.load8_u (i32.const 64)))))
(i32.const 64)
;; end handle
"""


def _publisher(tmp_path: Path, runtime: str) -> Path:
    """A plugin that publishes until it is refused, and lets the refusal through to whoever asked it to."""
    capabilities = ("bus:serve@ward.publisher", "bus:publish@ward.note")
    folder = write_plugin(tmp_path, PUBLISHER, capabilities=capabilities) / "src" / "subject_plugin"
    if runtime == "component":
        manifest = folder / "plugin.toml"
        code = 'python = { entry = "subject_plugin.plugin:Subject" }'
        manifest.write_text(manifest.read_text().replace(code, 'component = { path = "subject.wasm" }'))
        (folder / "subject.wasm").write_bytes(wasm_of(SANDBOXED_PUBLISHER))
    return folder


@BOTH_TIERS
async def test_a_revoked_grant_fails_on_the_very_next_use(kernel: Kernel, tmp_path: Path, runtime: str) -> None:
    """A right that is revoked while a plugin is in the middle of a message is gone at the next use in that message."""
    plugin = (await kernel.install(_publisher(tmp_path, runtime), consent=True)).id
    heard = 0

    async def revoke(message: Message[Any]) -> None:
        nonlocal heard
        heard += 1
        if heard == 3:
            await kernel.revoke(plugin, "bus:publish@ward.note")

    subscription = kernel.bus.subscribe(Handler("subscribe", "ward.note", "revoke"), revoke)
    with pytest.raises(CapabilityDenied, match="may not use bus:publish"):
        await kernel.request("ward.publisher", {}, timeout=10.0)
    assert heard == 3
    assert accounted(kernel, plugin, "bus:publish@ward.note").calls == 3
    assert accounted(kernel, plugin, "bus:publish").errors == 1
    with pytest.raises(CapabilityDenied):
        await kernel.request("ward.publisher", {}, timeout=10.0)
    await kernel.grant(plugin, "bus:publish@ward.note")
    heard = 2  # given back, it works again until it is taken away again
    with pytest.raises(CapabilityDenied):
        await kernel.request("ward.publisher", {}, timeout=10.0)
    assert heard == 3
    await kernel.bus.unsubscribe(subscription)


# the demo's own judgement


async def test_the_demo_sees_all_of_them_contained(kernel: Kernel) -> None:
    """The demo's rows say that each of the ten was contained, and how; nothing of them is left in the kernel."""
    said: list[str] = []
    rows = await run_hostile(kernel, said.append)
    assert [(row.name, row.how) for row in rows if not row.contained] == []
    assert [row.name for row in rows] == [attack.name for attack in ATTACKS]
    assert [status.id for status in kernel.plugins()] == ["good.neighbour"]
    assert said


async def test_plugins_are_told_while_one_is_being_installed(kernel: Kernel) -> None:
    """A plugin that is on its way in or out does not keep the kernel from saying which plugins there are."""
    known = set()
    for work in (
        kernel.install(HOSTILE / "trap_in_handover_v1", consent=True),
        kernel.remove("hostile.trap-in-handover"),
    ):
        step = asyncio.ensure_future(work)
        while not step.done():
            known.add(tuple(status.id for status in kernel.plugins()))
            with suppress(PluginUnknown):
                kernel.plugin("hostile.trap-in-handover")
            await asyncio.sleep(0)
        await step
    assert known == {("good.neighbour",), ("good.neighbour", "hostile.trap-in-handover")}


# the packages themselves


@pytest.mark.parametrize("source", components(), ids=lambda path: path.parent.name)
def test_the_components_are_what_their_source_makes(source: Path) -> None:
    """Every `.wasm` in examples/hostile is what `build.py` makes of its text."""
    assert components()[source].read_bytes() == wasm_of(source.read_text())


def test_every_package_has_its_part_in_the_demo() -> None:
    """The demo lets every hostile package loose, and has no others."""
    ids = {read_package(path.parent).id for path in HOSTILE.glob("*/plugin.toml")}
    assert ids == {attack.plugin for attack in ATTACKS}
    assert len(ATTACKS) == 10


def test_the_wheel_of_the_cli_carries_the_packages(tmp_path: Path) -> None:
    """Where there is no checkout, the demo finds the same packages in the installed distribution."""
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    made = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT / "cli", check=True, capture_output=True, text=True
    )
    target = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", str(tmp_path / made.stdout.split()[-1]), str(target)], check=True
    )
    find = "from rustcare_cli.demo.hostile_attacks import packages; print(packages())"
    found = subprocess.run(
        [sys.executable, "-c", find],
        env={**os.environ, "PYTHONPATH": str(target)},
        check=True,
        capture_output=True,
        text=True,
    )
    folder = Path(found.stdout.strip())
    assert folder == target / "rustcare_cli" / "demo" / "hostile_packages"
    for manifest in HOSTILE.glob("*/plugin.toml"):
        installed = read_package(folder / manifest.parent.name)
        assert installed.digest == read_package(manifest.parent).digest
