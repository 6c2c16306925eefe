"""The audit plugin as the kernel's gate uses it: in a real kernel, with the real keyring, personal parts sealed.

The floor is the number that was aimed at, or the same requests without the log; what the log itself costs is in `audit`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from rustcare_kernel import Kernel
from rustcare_sdk.contracts import audit, fhir

from tests.benchmarks.harness import Row

_RECORDS, _TASKS, _LONE, _SEARCHES = 20_000, 500, 200, 50
_STORES = 2_000


def rows() -> Iterator[Row]:
    """Records by many tasks and by one, search, and a store on record against a store without a log."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_records(Path(folder) / "records", found))
        bare = asyncio.run(_stores(Path(folder) / "bare", "fhir"))
        on_record = asyncio.run(_stores(Path(folder) / "on-record", "crypto", "audit", "fhir"))
    found.append(
        Row(
            "fhir.store on record, 200 tasks",
            on_record,
            bare,
            "requests/s",
            "rate",
            note="floor: no audit log installed",
        )
    )
    yield from found


def _attempt(number: int) -> audit.Attempt:
    return audit.Attempt(
        uuid.uuid4().hex,
        time.time_ns() // 1000,
        "use",
        capability="bus:request@fhir.read",
        subject=fhir.READ,
        plugin="acme.app",
        version="1.0.0",
        digest="sha256:" + "0" * 64,
        principal="dr.chen",
        purpose="TREAT",
        data=fhir.ReadRequest("Patient", f"p{number % 500}"),
    )


async def _records(folder: Path, found: list[Row]) -> None:
    async with Kernel(folder, log_level="silent") as kernel:
        for name in ("crypto", "audit"):
            await kernel.install(f"installed:{name}", consent=True)
        waiting = iter([[_attempt(number)] for number in range(_RECORDS)])

        async def work() -> None:
            for asked in waiting:
                await kernel._gate.record(asked)  # nobody else may write the log

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(_TASKS)))
        rate = _RECORDS / (time.perf_counter() - started)
        found.append(Row(f"audit.record, sealed, {_TASKS} tasks", rate, None, "records/s", "rate", 5_000))
        started = time.perf_counter()
        for number in range(_LONE):
            await kernel._gate.record([_attempt(number)])
        found.append(
            Row(
                "audit.record, sealed, one after the other",
                _LONE / (time.perf_counter() - started),
                None,
                "records/s",
                "rate",
            )
        )
        started = time.perf_counter()
        await kernel.request(audit.REINDEX, audit.ReindexRequest(), timeout=300)
        found.append(Row("the index made again", _RECORDS / (time.perf_counter() - started), None, "entries/s", "rate"))
        asked = audit.SearchRequest(patient="Patient/p7", tenant="default", limit=10)
        started = time.perf_counter()
        for _ in range(_SEARCHES):
            await kernel.request(audit.SEARCH, asked)
        found.append(
            Row(
                "one patient's ten newest entries, opened",
                (time.perf_counter() - started) / _SEARCHES * 1e3,
                None,
                "ms",
            )
        )


async def _stores(folder: Path, *plugins: str) -> float:
    async with Kernel(folder, log_level="silent") as kernel:
        for name in plugins:
            await kernel.install(f"installed:{name}", consent=True)
        waiting = iter(range(_STORES))

        async def work() -> None:
            for number in waiting:
                patient = {"resourceType": "Patient", "id": f"p{number}", "gender": "other"}
                await kernel.request(fhir.STORE, fhir.StoreRequest(f"k{number}", [patient], "bench"))

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(200)))
        return _STORES / (time.perf_counter() - started)
