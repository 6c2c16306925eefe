"""Erasure by destroying a key: afterwards nothing of the patient can be read, and everything that was proved stays proved."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from rustcare_cli._client import connect
from rustcare_cli.trust import verify_audit
from rustcare_cli.trust.export import export_evidence
from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlServer
from rustcare_sdk.contracts.audit import (
    DISCLOSE,
    SEARCH,
    SHOW,
    STATUS,
    DisclosureRequest,
    LogStatus,
    RecordReply,
    SearchReply,
    SearchRequest,
    ShowReply,
    ShowRequest,
    StatusRequest,
)
from rustcare_sdk.contracts.crypto import SUBJECT_SHRED, ShredReply, ShredRequest
from rustcare_sdk.contracts.fhir import READ, STORE, ReadRequest, StoreRequest

AUDIT, CRYPTO = "rustcare.audit", "rustcare.crypto"
ID, OTHER = "zq-7731-quixote", "bystander-1"
#: Everything about the patient that goes into the log; the recipient's name is personal too.
MARKS = (ID, "Zebulon", "Quixote", "zq-observation-9", "Dr Recipient of Nowhere")


async def _live(kernel: Kernel) -> None:
    """What happens to two patients before one of them is erased."""
    for name, family in ((ID, "Quixote"), (OTHER, "Stander")):
        resources = [
            {"resourceType": "Patient", "id": name, "name": [{"family": family, "given": ["Zebulon"]}]},
            {
                "resourceType": "Observation",
                "id": f"{name[:2]}-observation-9",
                "subject": {"reference": f"Patient/{name}"},
                "status": "final",
                "code": {"text": "x"},
            },
        ]
        await kernel.request(STORE, StoreRequest(f"key-{name}", resources, "test"), principal="feeder")
        await kernel.request(READ, ReadRequest("Patient", name), principal="dr.chen", purpose="TREAT")
        await kernel.request(READ, ReadRequest("Patient", name), principal="lab", purpose="HRESCH")
        release = DisclosureRequest(f"Patient/{name}", "Dr Recipient of Nowhere", "a summary", "PUBHLTH")
        await kernel.request(DISCLOSE, release, type=RecordReply, principal="records.office")


async def _export(kernel: Kernel, target: Path, patients: dict[str, str]) -> None:
    def work() -> None:
        with connect(kernel.data_dir) as control:
            export_evidence(control, target, patients=patients)

    async with ControlServer(kernel):
        await asyncio.to_thread(work)


def _verify(*arguments: Path | str) -> None:
    """The stand-alone verifier, in a process of its own, must be content."""
    command = [sys.executable, "-I", verify_audit.__file__, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _holds(data: bytes) -> list[str]:
    """The marks that stand in some bytes, plainly or inside of base64."""
    found = {mark for mark in MARKS if mark.encode() in data}
    for text in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", data):
        for start in range(4):  # in a binary file nothing says where the text begins
            whole = text.rstrip(b"=")[start:]
            decoded = base64.b64decode(whole[: len(whole) // 4 * 4])
            found |= {mark for mark in MARKS if mark.encode() in decoded}
    return sorted(found)


def _readable(*folders: Path) -> dict[str, list[str]]:
    files = [path for folder in folders for path in ([folder] if folder.is_file() else sorted(folder.rglob("*")))]
    return {str(path): found for path in files if path.is_file() and (found := _holds(path.read_bytes()))}


async def _search(kernel: Kernel, **conditions: Any) -> SearchReply:
    reply: SearchReply = await kernel.request(
        SEARCH, SearchRequest(limit=500, **conditions), type=SearchReply, principal="privacy.officer"
    )
    return reply


def _subject_keys(folder: Path) -> set[bytes]:
    """The wrapped keys of subjects, as they lie in the keyring's file."""
    with sqlite3.connect(folder / "plugins" / CRYPTO / "store.sqlite3") as db:
        return {bytes(row[0]) for row in db.execute("SELECT wrapped FROM subjects WHERE wrapped IS NOT NULL")}


async def test_a_shredded_patient_cannot_be_read_and_every_old_proof_holds(tmp_path: Path) -> None:
    """Search, export, backups made afterwards, files and logs hold nothing readable; proofs from before verify."""
    data, evidence, backups = tmp_path / "data", tmp_path / "evidence", tmp_path / "backups"
    backups.mkdir()
    lines: list[bytes] = []
    key = tmp_path / "audit.vkey"
    async with Kernel(data, log_level="debug", log_sink=lines.append) as kernel:
        for name in ("crypto", "audit", "fhir"):
            await kernel.install(f"installed:{name}", consent=True)
        await _live(kernel)
        status: LogStatus = await kernel.request(STATUS, StatusRequest(), type=LogStatus)
        key.write_text(status.key + "\n")
        before = await _search(kernel, patient=f"Patient/{ID}")
        assert len(before.rows) >= 4
        assert ID in json.dumps([row.opened for row in before.rows]), "it can be read until it is destroyed"
        # An accounting of both patients, and a proof of each of the first one's entries, as an outsider was given them.
        await _export(kernel, evidence, {})
        (evidence / "proofs").mkdir()
        for row in before.rows:
            shown: ShowReply = await kernel.request(SHOW, ShowRequest(row.index), type=ShowReply)
            (evidence / "proofs" / f"entry-{row.index}.tlog-proof").write_text(shown.proof)
        await _export(kernel, evidence, {"zq": f"Patient/{ID}", "other": f"Patient/{OTHER}"})
        _verify(evidence, "--key", key)
        keys_before = _subject_keys(data)

        gone: ShredReply = await kernel.request(
            SUBJECT_SHRED, ShredRequest(f"patient/{ID}", "asked for"), type=ShredReply, principal="privacy.officer"
        )
        assert ID not in gone.certificate

        assert (await _search(kernel, patient=f"Patient/{ID}")).rows == []
        everything = await _search(kernel)
        assert [mark for mark in MARKS[:3] if mark in json.dumps([row.opened for row in everything.rows])] == []
        assert any(row.shredded for row in everything.rows)
        others = await _search(kernel, patient=f"Patient/{OTHER}")
        assert OTHER in json.dumps([row.opened for row in others.rows]), "the other patient is as readable as before"

        export = tmp_path / "export"
        await _export(kernel, export, {"other": f"Patient/{OTHER}"})
        assert _readable(export) == {}
        for plugin in (AUDIT, CRYPTO):
            await kernel.backup(plugin, backups / f"{plugin}.backup")
        assert _readable(backups) == {}
        assert _readable(data / "plugins" / AUDIT, data / "plugins" / CRYPTO, data / "kernel.sqlite3") == {}
        destroyed = keys_before - _subject_keys(data)
        assert destroyed, "the key of the patient is gone"
        for path in [*(data / "plugins" / CRYPTO).iterdir(), *backups.iterdir()]:
            assert not any(wrapped in path.read_bytes() for wrapped in destroyed), path
        # Everything from before, without the log: the accounting and the proofs as they were given out.
        _verify(evidence, "--key", key)
        _verify("--key", key, "--patient", evidence / "disclosures" / "zq.json")
        _verify(export, "--key", key, "--since", evidence / "checkpoint")
    assert not _holds(b"\n".join(lines))

    # A backup that was made afterwards, restored elsewhere with the same root key, opens nothing of the patient either.
    async with Kernel(tmp_path / "elsewhere", log_level="silent") as kernel:
        (tmp_path / "elsewhere" / "secrets").mkdir(mode=0o700, exist_ok=True)
        for secret in (data / "secrets").iterdir():
            (tmp_path / "elsewhere" / "secrets" / secret.name).write_bytes(secret.read_bytes())
        await kernel.install("installed:crypto", consent=True)
        await kernel.restore(CRYPTO, backups / f"{CRYPTO}.backup")
        await kernel.install("installed:audit", consent=True, enable=False)
        await kernel.restore(AUDIT, backups / f"{AUDIT}.backup")
        await kernel.enable(AUDIT)
        opened = json.dumps([row.opened for row in (await _search(kernel)).rows])
        assert OTHER in opened
        assert ID not in opened
        assert (await _search(kernel, patient=f"Patient/{ID}")).rows == []


async def test_a_destroyed_key_is_never_made_again(tmp_path: Path) -> None:
    """What happens to an erased patient later is on record, without anything that says who it was."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        for name in ("crypto", "audit", "fhir"):
            await kernel.install(f"installed:{name}", consent=True)
        await _live(kernel)
        await kernel.request(SUBJECT_SHRED, ShredRequest(f"patient/{ID}", "asked for"), principal="privacy.officer")
        status: LogStatus = await kernel.request(STATUS, StatusRequest(), type=LogStatus)
        await kernel.request(READ, ReadRequest("Patient", ID), principal="dr.chen", purpose="TREAT")
        rows = [row for row in (await _search(kernel)).rows if row.index >= status.size]
        (read,) = [row for row in rows if row.entry["what"]["capability"] == f"bus:request@{READ}"]
        assert ID not in json.dumps([read.entry, read.opened])
        assert (await _search(kernel, patient=f"Patient/{ID}")).rows == []
