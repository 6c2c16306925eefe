"""The audit log under kill -9 and on a full disk: no acknowledged entry is lost, nothing happened without its entry."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

from rustcare_kernel import Kernel
from rustcare_sdk.contracts.audit import (
    SEARCH,
    UNSETTLED,
    VERIFY,
    SearchReply,
    SearchRequest,
    UnsettledReply,
    UnsettledRequest,
    VerifyReply,
    VerifyRequest,
)
from rustcare_sdk.contracts.fhir import EXPORT, ExportReply, ExportRequest

from tests.support.audit_node import prepare

KILLS = int(os.environ.get("RUSTCARE_KILLS", "50"))
ROOT = Path(__file__).parents[2]


async def _node(data: Path, first: int, limit: int = 0) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.audit_node", str(data), str(first), str(limit)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    assert line.strip() == b"ready", line
    return process, process.stdout


async def _stored(kernel: Kernel) -> Counter[str]:
    """The patients that are in the store: the effects."""
    found: Counter[str] = Counter()
    page = ExportReply([], "")
    while True:
        asked = ExportRequest(types=["Patient"], limit=1000, after=page.next)
        page = await kernel.request(EXPORT, asked, type=ExportReply, timeout=60)
        found.update(item["id"] for item in page.resources)
        if not page.next:
            return found


async def _recorded(kernel: Kernel) -> dict[str, tuple[str, str]]:
    """The patients that the log says somebody was about to store, with outcome and effect."""
    found: dict[str, tuple[str, str]] = {}
    page = SearchReply()
    while True:
        asked = SearchRequest(capability="bus:request@fhir.store", limit=500, after=page.next, oldest_first=True)
        page = await kernel.request(SEARCH, asked, type=SearchReply, timeout=60)
        for row in page.rows:
            for part in row.opened:
                if str(part.get("patient", "")).startswith("Patient/"):
                    found[part["patient"].partition("/")[2]] = (
                        row.outcome,
                        "yes" if row.outcome == "success" else row.effect,
                    )
        if not page.next:
            return found


async def _judge(data: Path, acknowledged: list[str]) -> tuple[int, int, Counter[tuple[str, str]]]:
    """Hold the store against the log; the numbers of effects and of entries, and the entries' outcomes."""
    async with Kernel(data, log_level="error") as kernel:
        await kernel.have_on_record()
        stored, recorded = await _stored(kernel), await _recorded(kernel)
        assert set(acknowledged) - set(stored) == set(), "acknowledged, and not stored"
        assert set(stored) - set(recorded) == set(), "an effect without its entry"
        told = {name: "yes" if name in stored else "no" for name in recorded}
        assert {name: effect for name, (_, effect) in recorded.items()} == told, (
            "the log says what happened, and what not"
        )
        unsettled: UnsettledReply = await kernel.request(UNSETTLED, UnsettledRequest(), type=UnsettledReply)
        # Only what is under way right now: this very search is on record, and its outcome follows.
        assert len(unsettled.attempts) <= 3
        verified: VerifyReply = await kernel.request(VERIFY, VerifyRequest(), type=VerifyReply, timeout=120)
        assert verified.ok, verified.problem
    return len(stored), len(recorded), Counter(recorded.values())


async def test_no_effect_without_an_entry_through_kill_9(tmp_path: Path) -> None:
    """Killed at random points of a feed of stores, 50 times: every stored patient has its entry, every entry an outcome."""
    chance = random.Random(11)
    await prepare(tmp_path)
    acknowledged: list[str] = []
    first = 0
    for _ in range(KILLS):
        process, lines = await _node(tmp_path, first)
        at = chance.randint(1, 120)
        seen = 0
        async for line in lines:
            if not line.endswith(b"\n"):
                break  # cut off by the kill
            said, name, *_ = line.decode().split()
            assert said == "ok", line
            acknowledged.append(name)
            seen += 1
            if seen == at:
                os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        first += 10_000
    effects, entries, told = await _judge(tmp_path, acknowledged)
    print(f"\n{KILLS} kills: {len(acknowledged)} acknowledged, {effects} stored, {entries} entries, {dict(told)}")
    assert told["interrupted", "yes"] + told["interrupted", "no"] > 0, "the kills hit something"


async def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path) -> None:
    """When the log's file cannot grow, stores fail with audit.unavailable and store nothing; later all works again."""
    await prepare(tmp_path)
    process, lines = await _node(tmp_path, 0, limit=96 * 1024)
    acknowledged, refused, words = [], [], []
    async for line in lines:
        said, *rest = line.decode().split()
        if said == "ok":
            acknowledged.append(rest[0])
        elif said == "no":
            refused.append(rest[0])
            assert rest[1] == "audit.unavailable", line
        else:
            words.append(said)
    assert await process.wait() == 0
    assert words == ["full", "lifted"]
    effects, entries, _ = await _judge(tmp_path, acknowledged)
    assert effects == len(acknowledged), "what was refused was not stored"
    print(f"\nfull disk: {len(acknowledged)} acknowledged, {len(refused)} refused, {effects} stored, {entries} entries")
