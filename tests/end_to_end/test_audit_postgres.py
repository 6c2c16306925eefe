"""The whole trust plane on PostgreSQL: recorded, searched, accounted for, exported, shredded, verified from outside."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from rustcare_cli._client import connect
from rustcare_cli.trust import verify_audit
from rustcare_cli.trust.export import export_evidence
from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlServer
from rustcare_sdk.contracts.audit import (
    SEARCH,
    STATUS,
    VERIFY,
    LogStatus,
    SearchReply,
    SearchRequest,
    StatusRequest,
    VerifyReply,
    VerifyRequest,
)
from rustcare_sdk.contracts.crypto import SUBJECT_SHRED, ShredRequest
from rustcare_sdk.contracts.fhir import READ, STORE, ReadRequest, StoreRequest

PLUGINS = ("crypto", "audit", "fhir")


async def test_the_trust_plane_works_on_postgresql(tmp_path: Path, postgres_dsn: str) -> None:
    """With the plugins' data in PostgreSQL, everything that holds on SQLite holds, over a restart too."""
    evidence, key = tmp_path / "evidence", tmp_path / "key"

    def export(kernel: Kernel) -> None:
        with connect(kernel.data_dir) as control:
            export_evidence(control, evidence, patients={"one": "Patient/p1"})

    def verify() -> None:
        command = [sys.executable, "-I", verify_audit.__file__, str(evidence), "--key", str(key)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        async with Kernel(tmp_path / "data", store=postgres_dsn, log_level="silent") as kernel:
            for name in PLUGINS:
                await kernel.install(f"installed:{name}", consent=True)
            stores = (
                kernel.request(STORE, StoreRequest(f"k{n}", [{"resourceType": "Patient", "id": f"p{n}"}], "test"))
                for n in range(50)
            )
            await asyncio.gather(*stores)
            await kernel.request(READ, ReadRequest("Patient", "p1"), principal="lab", purpose="HRESCH")
        async with Kernel(tmp_path / "data", store=postgres_dsn, log_level="silent") as kernel, ControlServer(kernel):
            status: LogStatus = await kernel.request(STATUS, StatusRequest(), type=LogStatus)
            key.write_text(status.key + "\n")
            asked = SearchRequest(patient="Patient/p1", outcome="success")
            found: SearchReply = await kernel.request(SEARCH, asked, type=SearchReply)
            services = [row.entry["what"]["capability"] for row in found.rows]
            assert services == ["bus:request@fhir.read", "bus:request@fhir.store"]
            await asyncio.to_thread(export, kernel)
            verify()
            await kernel.request(SUBJECT_SHRED, ShredRequest("patient/p1", "asked for"))
            found = await kernel.request(SEARCH, SearchRequest(patient="Patient/p1"), type=SearchReply)
            assert found.rows == []
            checked: VerifyReply = await kernel.request(VERIFY, VerifyRequest(), type=VerifyReply, timeout=60)
            assert checked.ok, checked.problem
            verify()
    finally:
        async with Kernel(tmp_path / "data", store=postgres_dsn, log_level="silent", only=()) as kernel:
            for plugin in ("rustcare.fhir", "rustcare.audit", "rustcare.crypto"):
                await kernel.remove(plugin, purge=True)
