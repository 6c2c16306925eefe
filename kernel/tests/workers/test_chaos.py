"""Whatever happens to workers, in whatever order: what was promised holds, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from rustcare_kernel.workers import WorkerPool

from .kit import Line, Office, front, office

STEPS = int(os.environ.get("RUSTCARE_WORKER_CHAOS", "25"))


class Load:
    """Plugins in workers that ask without pause, by connections that are made anew when they are cut."""

    def __init__(self, desk: Office) -> None:
        self.desk = desk
        self.answered = 0
        self.wrong: list[object] = []
        self.stopped = False
        self._tasks = [asyncio.ensure_future(self._run()) for _ in range(4)]

    async def _run(self) -> None:
        while not self.stopped:
            line: Line | None = None
            with suppress(OSError, TimeoutError):
                line = await Line.to(self.desk.port)
                for number in range(20):
                    told = await line.raw("request", name="back.echo", data=number, timeout=30)
                    if told.get("ok") == number:
                        self.answered += 1
                    else:
                        self.wrong.append(told)
            if line is not None:
                await line.close()

    async def stop(self) -> None:
        self.stopped = True
        await asyncio.gather(*self._tasks)


async def step(desk: Office, dice: random.Random, turn: int) -> str:
    """One thing that happens, and what must hold when it has."""
    kernel, pids = desk.kernel, [pid for pid in desk.pids() if pid]
    what = dice.choice(["kill", "stop", "upgrade", "revoke", "publish", "publish", "job"])
    if what == "kill" and pids:
        os.kill(dice.choice(pids), signal.SIGKILL)
    elif what == "stop" and pids:
        with suppress(ProcessLookupError):
            os.kill(dice.choice(pids), signal.SIGSTOP)
    elif what == "upgrade":
        await kernel.upgrade(front(f"1.0.{turn + 1}"), consent=True)
        assert (await kernel.request("front.who"))[1] == f"1.0.{turn + 1}"
    elif what == "revoke":
        await kernel.revoke("acme.front", "random:read")
        with suppress(OSError):  # cut by what happened before
            line = await Line.to(desk.port)
            try:
                assert (await line.raw("token"))["failure"]["code"] == "capability.denied"
            finally:
                await line.close()
        await kernel.grant("acme.front", "random:read")
    elif what == "publish":
        found = await kernel.publish("news.x", turn, confirm=True)
        assert found is not None
        assert 2 <= found.handled <= found.receivers <= 4
    else:
        found = await kernel.publish("jobs.x", turn, confirm=True)
        assert found is not None
        assert (found.receivers, found.handled) in ((1, 1), (1, 0))
    return what


@pytest.mark.parametrize("seed", range(1, 1 + int(os.environ.get("RUSTCARE_WORKER_SEEDS", "2"))))
async def test_what_was_promised_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Kills, hangs, upgrades, revocations and events in random order under load; then everything is as at the start."""
    monkeypatch.setattr(WorkerPool, "BACKOFF", (0.0,))
    monkeypatch.setattr(WorkerPool, "HUNG", 3.0)
    dice = random.Random(seed)
    async with office(tmp_path, patience=1.5, log_level="silent") as desk:
        kernel = desk.kernel
        load = Load(desk)
        done = [await asyncio.wait_for(step(desk, dice, turn), 60) for turn in range(STEPS)]
        await load.stop()
        assert len(set(done)) > 3
        assert load.answered > 0
        assert load.wrong == [], "a request is answered, or its connection is cut"
        async with asyncio.timeout(60):
            for pid in list(filter(None, desk.pids())):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            await kernel.publish("news.x", 0, confirm=True)  # whoever is there now has answered; the others are dead
            await kernel.converged()
            version = kernel.plugin("acme.front").version
            for number in (1, 2):
                line = await desk.line(number)
                assert (await line.raw("pid"))["version"] == version
            delivery = await kernel.publish("news.x", 0, confirm=True)
            assert delivery is not None
            assert (delivery.receivers, delivery.handled, delivery.failures) == (4, 4, ())
            assert len(kernel.bus.subscriptions()) == 3 + 2 * 2
            await kernel.have_on_record()
            assert all(row.calls >= 0 and row.errors >= 0 for row in kernel.accounting.rows())
