"""Durability: the process is killed with SIGKILL at random points of a feed."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from rustcare_cli.demo.feed import Item
from rustcare_cli.demo.mllp import Acknowledged, send_all
from rustcare_kernel import Kernel
from rustcare_sdk.contracts.fhir import EXPORT, ExportReply, ExportRequest
from rustcare_sdk.contracts.hl7 import MESSAGES, STATUS, MessagesReply, MessagesRequest, Status, StatusRequest

KILLS = int(os.environ.get("RUSTCARE_KILLS", "50"))
ROOT = Path(__file__).parents[2]


def _message(number: int) -> Item:
    """An admission of a patient that no other message speaks of."""
    control = f"K{number:07}"
    lines = (
        f"MSH|^~\\&|KILL|WARD|RC|RC|20260105060000||ADT^A01^ADT_A01|{control}|P|2.5.1",
        "EVN|A01|20260105060000",
        f"PID|1||{control}^^^KILL^MR||Test^Case||19800101|F",
        "PV1|1|I|W1^1^1",
    )
    return Item(control, ("\r".join(lines) + "\r").encode())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _start(data: Path, port: int, runtime: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.node",
        str(data),
        str(port),
        runtime,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line.strip() == b"ready", line
    return process


@pytest.mark.parametrize("runtime", ["component"])
async def test_every_acknowledged_message_survives_kill_9_once(tmp_path: Path, runtime: str) -> None:
    """Killed at random points of a feed, 50 times: every message that got AA is there after restart, exactly once."""
    chance = random.Random(9)
    port = _free_port()
    acknowledged: list[str] = []
    number = 0

    def noted(answer: Acknowledged) -> None:
        if answer.code == "AA":
            assert answer.control_id == answer.item.name
            acknowledged.append(answer.item.name)

    for _ in range(KILLS):
        process = await _start(tmp_path, port, runtime)
        items = [_message(number + offset) for offset in range(2000)]
        number += len(items)
        killing_at = len(acknowledged) + chance.randint(1, 150)

        def answer(answer: Acknowledged, process: Any = process, at: int = killing_at) -> None:
            noted(answer)
            if len(acknowledged) == at:
                os.kill(process.pid, signal.SIGKILL)

        with suppress(ConnectionError):
            await send_all("127.0.0.1", port, items, answer, window=32)
        assert await process.wait() == -signal.SIGKILL

    async with Kernel(tmp_path, config={"rustcare.hl7": {"port": 0}}, log_level="error") as kernel:
        while True:
            status: Status = await kernel.request(STATUS, StatusRequest(), type=Status)
            if not status.pending:
                break
            await asyncio.sleep(0.05)
        stored = Counter[str]()
        page = MessagesReply([], "")
        while True:
            page = await kernel.request(MESSAGES, MessagesRequest(limit=1000, after=page.next), type=MessagesReply)
            stored.update(row.control_id for row in page.messages if row.status == "done")
            if not page.next:
                break
        patients = await _patients(kernel)
    assert len(acknowledged) >= KILLS
    missing = [control for control in acknowledged if stored[control] != 1 or patients[control] != [("1", 1)]]
    assert missing == []
    assert [control for control, count in stored.items() if count != 1] == []
    print(f"\n{KILLS} kills, {len(acknowledged)} acknowledged, {len(stored)} stored, each once")


async def _patients(kernel: Kernel) -> dict[str, list[tuple[str, int]]]:
    """For each control id the versions of the patient its message told of: [("1", 1)] is stored, and stored once."""
    found: dict[str, list[tuple[str, int]]] = {}
    page: ExportReply | None = None
    while page is None or page.next:
        asked = ExportRequest(types=["Patient"], limit=1000, after=page.next if page is not None else "")
        page = await kernel.request(EXPORT, asked, type=ExportReply, timeout=60)
        for resource in page.resources:
            version = resource["meta"]["versionId"]
            for identifier in resource["identifier"]:
                found.setdefault(identifier["value"], []).append((version, 1))
    return found
