"""Evidence that others have signed too: a real witness in a process of its own, and the log's second, post-quantum key."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from rustcare_cli.trust.export import export_evidence
from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlClient, ControlServer
from rustcare_sdk.contracts import audit

from examples.verify_audit import verify_audit
from tests.support.witness_server import WitnessProcess

ORIGIN = "hospital.example/audit"


async def size_of(kernel: Kernel) -> int:
    """How many entries the log has."""
    return (await kernel.request(audit.STATUS, audit.StatusRequest(), type=audit.LogStatus)).size


async def cosigned(kernel: Kernel, witness: WitnessProcess) -> None:
    """Return when the log has stored a cosignature: the witness is asked for the next one only after that."""
    for _ in range(2):
        asked = audit.DisclosureRequest("Patient/ada", "Dr. Grey", "results", "PUBHLTH")
        await kernel.request(audit.DISCLOSE, asked)
        await asyncio.to_thread(witness.cosigned, await size_of(kernel))


async def export(kernel: Kernel, folder: Path, **options: Any) -> dict[str, Any]:
    """What `rustcare audit export` does."""

    def work() -> dict[str, Any]:
        with ControlClient(kernel.data_dir, timeout=60) as control:
            return export_evidence(control, folder, patients=["Patient/ada"], **options)

    return await asyncio.to_thread(work)


def wrong(found: verify_audit.Verifier) -> list[str]:
    """What is wrong with a folder."""
    return [check.detail for check in found.checks if check.ok is False]


async def test_an_outsider_checks_the_witness_too(tmp_path: Path) -> None:
    """An export that ends at a cosigned checkpoint verifies with the witness's key; a later one, not cosigned yet, does not.

    Every line in the folder is explained by a key that it names, also after the log has had its key rotated and the witness is
    no longer asked.
    """
    key, trusted, folder = tmp_path / "log.vkey", tmp_path / "witness.vkey", tmp_path / "evidence"
    config: dict[str, Any] = {"origin": ORIGIN, "ml_dsa": True, "witness_interval": 0}
    with WitnessProcess(tmp_path / "witness", ml_dsa=True) as witness:
        trusted.write_text("".join(f"{line}\n" for line in witness.keys))
        async with Kernel(tmp_path / "data", log_level="silent") as kernel, ControlServer(kernel):
            await kernel.install("installed:crypto", consent=True)
            await kernel.install("installed:audit", consent=True, config=config)
            status = await kernel.request(audit.STATUS, audit.StatusRequest(), type=audit.LogStatus)
            await asyncio.to_thread(key.write_text, status.key + "\n")
            witness.trust(ORIGIN, status.key)
            await kernel.configure("rustcare.audit", {**config, "witnesses": [witness.config]})
            await cosigned(kernel, witness)
            done = await export(kernel, folder, witnessed=True)
            found = verify_audit.verify(folder, key, trusted)
            assert wrong(found) == []
            assert "2 of 2 given witnesses cosigned" in " ".join(check.detail for check in found.checks)
            assert "hospital.example/audit" in (folder / "key.vkey").read_text().splitlines()[1], "the second key"

            seen = await asyncio.to_thread(shutil.copy, folder / "checkpoint", tmp_path / "seen")
            await kernel.configure("rustcare.audit", config)
            await kernel.request("crypto.key.rotate", {"key": "audit-log"})
            await kernel.request("crypto.key.rotate", {"key": "audit-log-ml-dsa"})
            later = await export(kernel, folder)
            assert later["size"] > done["size"]
    text = wrong(verify_audit.verify(folder, key, trusted, since=[seen]))
    assert text, "the key was rotated: the auditor needs the new one"
    assert "not signed by a given key" in text[0]
    (tmp_path / "both.vkey").write_text(f"{later['key']}\n{key.read_text()}")
    assert wrong(verify_audit.verify(folder, tmp_path / "both.vkey", since=[seen])) == []
    (missing,) = wrong(verify_audit.verify(folder, tmp_path / "both.vkey", trusted, since=[seen]))
    assert missing.startswith("0 of 2 given witnesses cosigned the latest checkpoint")
    newest = int(missing.rpartition("has ")[2].removesuffix(" entries"))
    assert done["size"] <= newest < later["size"]
