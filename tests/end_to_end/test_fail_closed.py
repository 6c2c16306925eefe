"""Fail closed, through the whole main job: a sandboxed plugin cannot store what is not on record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rustcare_cli.demo.feed import generated
from rustcare_cli.demo.mllp import Acknowledged, send_all
from rustcare_kernel import Kernel
from rustcare_sdk.contracts.audit import SEARCH, SearchReply, SearchRequest
from rustcare_sdk.contracts.fhir import COUNT, CountReply, CountRequest
from rustcare_sdk.contracts.hl7 import STATUS, Status, StatusRequest
from rustcare_sdk.errors import AuditUnavailable

TRANSFORMER, AUDIT = "rustcare.hl7-to-fhir", "rustcare.audit"


async def _counted(kernel: Kernel) -> int:
    # The store's own table: asking the store would be on record, and so refused.
    store = await kernel._loader.store("rustcare.fhir")
    row = await store.db.fetch_one("SELECT count(*) AS n FROM versions")
    return int(row["n"]) if row is not None else 0


@pytest.mark.parametrize("runtime", ["component", "python"])
async def test_without_the_log_a_feed_is_kept_and_nothing_is_stored(
    tmp_path: Path, unused_tcp_port: int, runtime: str
) -> None:
    """While the recorder is away messages are acknowledged and kept, nothing is stored; when it is back, all are, on record."""
    config = {"rustcare.hl7": {"port": unused_tcp_port, "dispatch": {"settle": 0.05}}}
    items = list(generated(40, 3))
    async with Kernel(tmp_path, config=config, log_level="silent") as kernel:
        for name in ("crypto", "audit", "fhir"):
            await kernel.install(f"installed:{name}", consent=True)
        await kernel.install("installed:hl7_to_fhir", consent=True, runtime=runtime)
        await kernel.install("installed:hl7", consent=True)
        await kernel.disable(AUDIT)
        answers: list[Acknowledged] = []
        held = asyncio.Event()

        def refused(plugin: str, subject: str, error: BaseException) -> None:
            if isinstance(error, AuditUnavailable):
                held.set()

        kernel.bus.on_error = refused
        await send_all("127.0.0.1", unused_tcp_port, items, answers.append)
        assert {answer.code for answer in answers} == {"AA"}
        async with asyncio.timeout(30):
            await held.wait()
        assert await _counted(kernel) == 0
        with pytest.raises(AuditUnavailable):
            await kernel.request(COUNT, CountRequest())
        await kernel.enable(AUDIT)
        async with asyncio.timeout(60):
            while True:
                status: Status = await kernel.request(STATUS, StatusRequest(), type=Status)
                if not status.pending:
                    break
                await kernel.request("audit.tail", {"wait": 1.0, "after": -2})
        counts: CountReply = await kernel.request(COUNT, CountRequest(), type=CountReply)
        assert counts.counts["Patient"] > 0
        found: SearchReply = await kernel.request(
            SEARCH, SearchRequest(capability="bus:request@fhir.store", limit=1000), type=SearchReply
        )
        by = {row.entry["who"]["plugin"] for row in found.rows}
        assert by == {TRANSFORMER}
        done = [row for row in found.rows if row.outcome == "success"]
        assert len(done) >= await _messages_stored(kernel)


async def _messages_stored(kernel: Kernel) -> int:
    store = await kernel._loader.store("rustcare.fhir")
    row = await store.db.fetch_one("SELECT count(*) AS n FROM requests")
    return int(row["n"]) if row is not None else 0
