"""What must be on record is, by the primary's recorder, before it happens in a worker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_sdk.errors import StoreError

from .plugins import Board, board
from .recorder import RECORDER, recorder
from .workers.kit import Office, office

USES = (
    "bus:request@front.*",
    "bus:request@back.fail",
    "bus:publish@news.audited",
    "secret:use@*",
    "net:listen@127.0.0.1:*",
)


@pytest.fixture
def desk() -> Iterator[Board]:
    """What the recorder, which runs in this process, reports to."""
    with board() as made:
        yield made


async def entries(office: Office, capability: str) -> list[dict[str, Any]]:
    """What is on record of one kind of use, outcomes included."""
    await office.kernel._gate.flush()
    rows: list[dict[str, Any]] = await office.kernel.request("recorder.entries")
    return [row for row in rows if row["capability"] == capability]


async def test_uses_in_workers_are_on_record(tmp_path: Path, desk: Board) -> None:
    """A request that the worker answers itself, one that the primary answers, an event, a secret: an entry for each."""
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "door").write_bytes(b"key")
    async with office(tmp_path, before=(recorder(*USES),)) as found:
        line = await found.line()
        call = {"principal": "jane", "tenant": "north"}
        await line.ask("front.who", call=call)
        await line.raw("request", name="back.fail", call=call)
        await line.do("publish", name="news.audited", data=1, call=call)
        await line.do("publish", name="news.plain", data=1, call=call)
        await line.do("secret")
        for use, principal, outcome in (
            ("bus:request@front.who", "jane", "success"),
            ("bus:request@back.fail", "jane", "failure"),
            ("bus:publish@news.audited", "jane", "success"),
            ("secret:use@door", "", "success"),
        ):
            (entry,) = await entries(found, use)
            assert (entry["plugin"], entry["principal"], entry["outcome"]) == ("acme.front", principal, outcome), use
        assert (await entries(found, "bus:request@back.fail"))[0]["code"] == "acme.no-bed"
        assert await entries(found, "bus:publish@news.plain") == []
        listening = await entries(found, "net:listen@127.0.0.1:0")
        assert [entry["outcome"] for entry in listening] == ["success"] * 3, "one in each process"


async def test_without_an_entry_nothing_happens(tmp_path: Path, desk: Board) -> None:
    """When the log cannot be written a use in a worker fails, and nothing was done; then it can again."""
    async with office(tmp_path, before=(recorder("bus:request@front.who", "secret:use@*"),)) as found:
        line = await found.line()
        desk.on[RECORDER, "1.0.0", "record"] = StoreError("the disk is full")
        told = await line.raw("request", name="front.who")
        assert (told["failure"]["code"], told["kind"]) == ("audit.unavailable", "AuditUnavailable")
        assert (await line.raw("secret"))["failure"]["code"] == "audit.unavailable"
        assert await line.ask("front.config") == {}, "what need not be on record goes on"
        desk.on[RECORDER, "1.0.0", "record"] = None
        assert (await line.ask("front.who"))[0] == line.pid


async def test_a_policy_reaches_workers_that_run(tmp_path: Path, desk: Board) -> None:
    """A recorder that is installed while workers serve is in force in them, and lifted when it is removed."""
    async with office(tmp_path) as found:
        line = await found.line()
        await line.ask("front.who")
        await found.kernel.install(recorder("bus:request@front.who"), consent=True)
        await found.kernel.converged()
        await line.ask("front.who")
        assert len(await entries(found, "bus:request@front.who")) == 1
        await found.kernel.remove(RECORDER)
        await line.ask("front.who")


async def test_a_use_in_a_worker_that_dies_is_settled_as_not_known(tmp_path: Path, desk: Board) -> None:
    """Its entry says that the worker was lost and whether it had its effect is not known; no attempt stays open."""
    async with office(tmp_path, before=(recorder("bus:request@front.sit"),)) as found:
        line = await found.line()
        sitting = asyncio.ensure_future(line.ask("front.sit", timeout=60))
        while not (rows := await entries(found, "bus:request@front.sit")):
            pass  # each look is a request
        assert rows[0]["outcome"] is None
        os.kill(line.pid, signal.SIGKILL)
        with pytest.raises(ConnectionResetError):
            await sitting
        await found.replaced(line.pid)
        (entry,) = await entries(found, "bus:request@front.sit")
        assert (entry["outcome"], entry["code"], entry["effect"]) == ("failure", "worker.lost", "unknown")


async def test_an_abandoned_use_says_so(tmp_path: Path, desk: Board) -> None:
    """A use whose deadline passes in the worker ends in the log as it did there."""
    async with office(tmp_path, before=(recorder("bus:request@front.sit"),)) as found:
        line = await found.line()
        assert (await line.raw("request", name="front.sit", timeout=0.2))["kind"] == "DeadlineExceeded"
        while (await entries(found, "bus:request@front.sit"))[0]["outcome"] is None:
            pass
        (entry,) = await entries(found, "bus:request@front.sit")
        assert (entry["outcome"], entry["code"]) == ("failure", "bus.deadline-exceeded")
