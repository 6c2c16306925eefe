"""A disposal as an outsider sees it: the stand-alone verifier accepts the evidence of a pruned log, and no forged line."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rustcare_cli.trust.export import export_evidence
from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlClient, ControlServer
from rustcare_sdk.contracts import audit, compliance

VERIFIER = Path(__file__).parents[3] / "examples" / "verify_audit" / "verify_audit.py"
AT_ONCE = {"id": "none", "jurisdiction": "test", "source": "a test", "says": "not at all", "keep": "P0D"}
CONFIG = {"retention": {"jurisdictions": [], "policies": [AT_ONCE]}}


def verified(folder: Path, key: Path) -> tuple[int, str]:
    """What the stand-alone script says, in a process of its own."""
    found = subprocess.run(
        [sys.executable, str(VERIFIER), str(folder), "--key", str(key)], capture_output=True, text=True, check=False
    )
    return found.returncode, found.stdout + found.stderr


async def export(kernel: Kernel, folder: Path) -> None:
    """What `rustcare audit export` does."""

    def work() -> dict[str, Any]:
        with ControlClient(kernel.data_dir, timeout=60) as control:
            return export_evidence(control, folder)

    await asyncio.to_thread(work)


async def test_a_pruned_log_is_verified_by_an_outsider(tmp_path: Path) -> None:
    """Evidence of a pruned log verifies with the log's key alone, its statements too; a statement of another line does not."""
    key, folder = tmp_path / "key", tmp_path / "evidence"
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.install("installed:audit", consent=True, config=CONFIG)
        told = audit.DisclosureRequest("Patient/a", "Registry", "report", "PUBHLTH")
        await asyncio.gather(*(kernel.request(audit.DISCLOSE, told) for _ in range(150)))
        async with ControlServer(kernel):
            status = await kernel.request(audit.STATUS, audit.StatusRequest(), type=audit.LogStatus)
            await asyncio.to_thread(key.write_text, status.key)
            asked = compliance.ApplyRequest("retention has ended", before=status.size)
            done = await kernel.request(compliance.RETENTION_APPLY, asked, type=compliance.ApplyReply)
            assert done.disposed == done.before == 256
            await export(kernel, folder)
    code, text = await asyncio.to_thread(verified, folder, key)
    assert code == 0, text
    assert text.count("entries below 256 were disposed of, signed by a given key") == 2

    statement = next(folder.glob("statements/*.json"))
    envelope = json.loads(statement.read_text())
    payload = json.loads(base64.b64decode(envelope["payload"]))
    envelope["payload"] = base64.b64encode(json.dumps({**payload, "before": 512}).encode()).decode()
    statement.write_text(json.dumps(envelope))
    code, text = await asyncio.to_thread(verified, folder, key)
    assert code != 0
    assert statement.name in text
