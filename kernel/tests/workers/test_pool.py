"""Workers are started, watched, killed when they hang, and replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.workers import WorkerPool

from .kit import Line, Office, front, office

ROOT = Path(__file__).parents[3]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    """Return when a process of another parent has ended."""
    async with asyncio.timeout(10):
        while alive(pid):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_stopped_worker_is_killed_before_the_publisher_is_answered(tmp_path: Path) -> None:
    """It cannot confirm: when the publish returns its process is no more, it counts as no receiver, another serves."""
    async with office(tmp_path, patience=1.0) as desk:
        pid = desk.pids()[0]
        os.kill(pid, signal.SIGSTOP)
        delivery = await asyncio.wait_for(desk.kernel.publish("news.x", 1, confirm=True), 20)
        assert delivery is not None
        assert (delivery.receivers, delivery.handled, delivery.failures) == (3, 3, ())
        assert not alive(pid)
        await desk.replaced(pid)
        assert await (await desk.line(1)).ask("back.echo", 5) == 5


async def test_a_busy_loop_is_a_hang_too(tmp_path: Path) -> None:
    """A worker whose event loop is blocked cannot confirm either."""
    async with office(tmp_path, patience=1.0) as desk:
        other, line = await desk.line(1), await desk.line(2)
        assert await line.do("block")
        assert await other.do("publish", name="news.x", data=1, confirm=True) == [3, 3, []]
        await desk.replaced(line.pid)


async def test_a_stopped_worker_does_not_hold_up_a_revocation(tmp_path: Path) -> None:
    """A right is gone everywhere when it is revoked: where that cannot be confirmed, by the process's end."""
    async with office(tmp_path, patience=1.0) as desk:
        pid = desk.pids()[1]
        os.kill(pid, signal.SIGSTOP)
        await asyncio.wait_for(desk.kernel.revoke("acme.front", "random:read"), 20)
        assert not alive(pid)
        await desk.replaced(pid)
        told = await (await desk.line(2)).raw("token")
        assert told["failure"]["code"] == "capability.denied"


async def test_a_silent_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nobody waits for it: connections wait for a process that hangs."""
    monkeypatch.setattr(WorkerPool, "HUNG", 2.5)
    async with office(tmp_path) as desk:
        pid = desk.pids()[0]
        os.kill(pid, signal.SIGSTOP)
        await desk.replaced(pid)
        assert not alive(pid)


async def test_a_killed_worker_under_load_hurts_no_other(tmp_path: Path) -> None:
    """Requests of another worker go on without a failure, new connections are taken, and its place is filled."""
    async with office(tmp_path) as desk:
        one, other = await desk.line(1), await desk.line(2)
        lost = asyncio.ensure_future(one.do("many", name="back.echo", count=20_000))
        kept = [asyncio.ensure_future(other.do("many", name="back.echo", count=1000)) for _ in range(4)]
        await asyncio.sleep(0)
        assert await one.ask("back.who") == os.getpid()
        os.kill(one.pid, signal.SIGKILL)
        lines = [await Line.to(desk.port) for _ in range(20)]
        assert await asyncio.gather(*kept) == [1000] * 4
        with pytest.raises(ConnectionResetError):
            await lost
        await desk.replaced(one.pid)
        assert await (await desk.line(1)).do("many", name="back.echo", count=100) == 100
        for line in lines:
            await line.close()


async def test_what_waits_for_a_dead_member_goes_to_another(tmp_path: Path) -> None:
    """Events that a worker's member of a group had not begun are handled by another member, each once."""
    async with office(tmp_path, workers=1, patience=60) as desk:
        line = await desk.line()
        assert await line.do("block")
        publishing = [
            asyncio.ensure_future(desk.kernel.publish("jobs.x", number, confirm=True)) for number in range(200)
        ]
        await asyncio.sleep(0)  # each of them has put its event into a queue
        os.kill(line.pid, signal.SIGKILL)
        found: list[Any] = await asyncio.gather(*publishing)
        lost = [delivery for delivery in found if delivery.failures == ("worker.lost",)]
        assert len(lost) <= 64, "only what was under way there is lost, and its publishers are told"
        assert sum(delivery.handled for delivery in found) == 200 - len(lost)


async def test_what_was_under_way_in_a_dead_member_is_told(tmp_path: Path) -> None:
    """Events of a group that nobody waits for, and that nobody knows to be handled, are in the log: how many of which."""
    logged: list[dict[str, Any]] = []
    async with office(tmp_path, workers=1, patience=60, logged=logged) as desk:
        line = await desk.line()
        assert await line.do("block")
        for number in range(6):
            await desk.kernel.publish("jobs.x", number)
        await asyncio.sleep(0)  # the worker's queue is sent on
        os.kill(line.pid, signal.SIGKILL)
        await desk.replaced(line.pid)
        (lost,) = [entry for entry in logged if entry.get("error") == "worker.lost"]
        assert (lost["plugin"], lost["subject"]) == ("acme.front", "jobs.>")
        assert lost["reason"] == "3 events were under way in a worker that has ended"


async def test_workers_end_with_the_primary(tmp_path: Path) -> None:
    """kill -9 of the primary ends its workers."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kernel.tests.workers.primary", str(tmp_path)), stdout=PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    pids = [int(word) for word in (await child.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    child.kill()
    await child.wait()
    for pid in pids:
        await gone(pid)


async def test_workers_stop_with_the_kernel(tmp_path: Path) -> None:
    """A kernel that is closed has let its workers finish, and leaves no process."""
    logged: list[dict[str, Any]] = []
    async with office(tmp_path, logged=logged) as desk:
        pids = desk.pids()
        assert await (await desk.line()).ask("back.echo", 1) == 1
    assert not any(alive(pid) for pid in pids)
    assert [line for line in logged if line["level"] in ("warning", "error")] == []


async def test_a_kernel_that_closes_while_a_worker_starts_leaves_no_process(tmp_path: Path) -> None:
    """A worker that is just being started when the kernel closes ends like the others."""
    logged: list[dict[str, Any]] = []
    async with office(tmp_path, workers=3, logged=logged) as desk:
        pids = desk.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        while any(pid in desk.pids() for pid in pids):  # noqa: ASYNC110  # until this process has noticed
            await asyncio.sleep(0)
    assert [line for line in logged if line["event"] == "a worker did not end in time and is killed"] == []


async def test_a_terminated_worker_finishes_and_is_replaced(tmp_path: Path) -> None:
    """SIGTERM to a worker is a request to leave in order."""
    async with office(tmp_path) as desk:
        pid = desk.pids()[0]
        os.kill(pid, signal.SIGTERM)
        await desk.replaced(pid)
        assert [worker.restarts for worker in desk.kernel.workers()] == [1, 0]


def held(desk: Office) -> tuple[int, int, int]:
    """Descriptors, tasks and subscriptions of the primary."""
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), len(desk.kernel.bus.subscriptions())


async def test_restarts_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After fifty workers the primary holds what it held after one: descriptors, tasks, subscriptions."""
    monkeypatch.setattr(WorkerPool, "BACKOFF", (0.0,))
    async with office(tmp_path, workers=1) as desk:

        async def kill() -> None:
            line = await Line.to(desk.port, desk.pids()[0])
            work = asyncio.ensure_future(line.do("many", name="back.echo", count=1000))
            await asyncio.sleep(0)
            os.kill(line.pid, signal.SIGKILL)
            await asyncio.gather(work, return_exceptions=True)
            await line.close()
            await desk.replaced(line.pid)

        await kill()
        before = held(desk)
        for _ in range(50):
            await kill()
        assert held(desk) == before


async def test_traps_of_all_processes_count_together(tmp_path: Path) -> None:
    """The budget is the plugin's; when it is spent, whichever processes it was in, the plugin is out in all of them."""
    async with office(tmp_path, log_level="silent") as desk:
        one, two = await desk.line(1), await desk.line(2)
        for line in (one, two, one, two, one):
            await line.raw("trap")
        await one.ask("back.echo", 1)
        assert desk.kernel.plugin("acme.front").state == "active"
        assert desk.kernel.plugin("acme.front").traps == 5
        await two.raw("trap")
        async with asyncio.timeout(10):
            while desk.kernel.plugin("acme.front").state != "quarantined":  # noqa: ASYNC110
                await asyncio.sleep(0)
        await desk.kernel.converged()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", desk.port)


async def test_a_plugin_that_will_not_start_in_a_worker_is_left_out(tmp_path: Path) -> None:
    """The worker says so and serves the rest; services of the plugin are answered by the primary."""
    logged: list[dict[str, Any]] = []
    async with office(tmp_path, workers=1, logged=logged) as desk:
        start = "assert 'workers' not in __import__('sys').argv[0]"
        asking = asyncio.ensure_future(
            desk.kernel.upgrade(front("2.0.0", start=start, lifecycle='start_timeout = "1s"'), consent=True)
        )
        await asking
        await desk.kernel.converged()
        (worker,) = desk.kernel.workers()
        assert worker.missing == ("acme.front",)
        assert (await desk.kernel.request("front.who"))[:2] == [os.getpid(), "2.0.0"]
        assert any(line["event"] == "a plugin does not start in this worker" for line in logged)


async def test_what_would_not_start_is_tried_again(tmp_path: Path) -> None:
    """When what was in its way is gone, the plugin runs in the worker after all, without anybody's doing."""
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    async with office(tmp_path / "data", workers=1, log_level="silent") as desk:
        sys_os = "__import__('sys'), __import__('os')"
        start = f"s, o = {sys_os}; assert 'workers' not in s.argv[0] or not o.path.exists({str(obstacle)!r})"
        await desk.kernel.upgrade(front("2.0.0", start=start), consent=True)
        await desk.kernel.converged()
        assert desk.kernel.workers()[0].missing == ("acme.front",)
        obstacle.unlink()
        assert (await (await desk.line()).raw("pid"))["version"] == "2.0.0"
        async with asyncio.timeout(10):
            while desk.kernel.workers()[0].missing:  # noqa: ASYNC110
                await asyncio.sleep(0)
