"""The demo's proof: what the feed did is in the log, and somebody with a folder and a public key can check that.

Everything here is done as an operator and an outsider would do it: the evidence folder is exported over the control
socket, and checked by the stand-alone verifier in a process of its own, which knows nothing but the folder and the key.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlServer
from rustcare_sdk.contracts.audit import (
    DISCLOSE,
    SEARCH,
    STATUS,
    DisclosureRequest,
    LogStatus,
    RecordReply,
    SearchReply,
    SearchRequest,
    StatusRequest,
)
from rustcare_sdk.contracts.crypto import (
    KEY_PUBLIC,
    SUBJECT_SHRED,
    KeyPublicReply,
    KeyPublicRequest,
    ShredReply,
    ShredRequest,
)
from rustcare_sdk.contracts.fhir import EXPORT, READ, ExportReply, ExportRequest, ReadRequest, ResourceReply

__all__ = ["prove"]

#: Disclosures that an accounting must list (45 CFR 164.528): to whom, what, why.
RELEASES = (
    ("County health department", "notifiable result", "PUBHLTH"),
    ("District court", "admission dates", "HLEGAL"),
)
RESEARCH = "HRESCH"
CERTIFICATES = "crypto-certificates"
#: The plugins whose work the demo shows; whatever the log itself does while it is read is not over yet.
FEED = ("rustcare.hl7", "rustcare.hl7-to-fhir", "rustcare.fhir")

Say = Callable[[str], None]


async def prove(kernel: Kernel, folder: Path, say: Say) -> dict[str, Any]:
    """Export, check, tamper, account for a patient's disclosures, shred the patient, check again.

    `uses_logged`: how many uses of capabilities the log accounts for, when that is every one that the kernel counted for
    the plugins of the feed, else -1. `entries`: how many the log has; `verified`: its export was verified;
    `tamper_detected`: of a copy with one flipped byte it was not, and the leaf was named (`leaf`);
    `disclosures_verified`: how many disclosures of one patient were verified as all there are; `shredded_proofs_valid`:
    after that patient's key was destroyed, all proofs still hold and nothing of the patient can be read. `error` says
    what went wrong, if so.
    """
    found: dict[str, Any] = {
        "entries": 0,
        "uses_logged": -1,
        "verified": False,
        "tamper_detected": False,
        "disclosures_verified": 0,
        "shredded_proofs_valid": False,
        "error": "",
    }
    try:
        await _prove(kernel, folder, found, say)
    except Exception as error:
        found["error"] = str(error)
    return found


async def _prove(kernel: Kernel, folder: Path, found: dict[str, Any], say: Say) -> None:
    evidence, key = folder / "evidence", folder / "audit.vkey"
    found["uses_logged"] = await _uses_logged(kernel)
    patient = await _a_patient(kernel)
    for recipient, what, purpose in RELEASES:
        released = DisclosureRequest(patient, recipient, what, purpose)
        await kernel.request(DISCLOSE, released, type=RecordReply, principal="records.office")
    kind, _, patient_id = patient.partition("/")
    await kernel.request(READ, ReadRequest(kind, patient_id), type=ResourceReply, principal="dr.chen", purpose=RESEARCH)
    status: LogStatus = await kernel.request(STATUS, StatusRequest(), type=LogStatus)
    key.write_text(status.key + "\n")

    say("exporting the audit log, and checking it in a process that has the folder and the public key only")
    await _export(kernel, evidence, patient)
    accounting = evidence / "disclosures" / "patient.json"
    result = await _verify(evidence, "--key", key)
    found["entries"] = result["size"]
    found["verified"] = result["ok"]
    alone = await _verify("--key", key, "--patient", accounting)
    if alone["ok"]:
        found["disclosures_verified"] = json.loads(accounting.read_text())["count"]

    copy = folder / "tampered"
    leaf = _flip_one_byte(evidence, copy, found["entries"] // 2)
    tampered = await _verify(copy, "--key", key)
    named = [
        check["detail"] for check in tampered["checks"] if check["ok"] is False and f"leaf {leaf}" in check["detail"]
    ]
    found["tamper_detected"] = not tampered["ok"] and bool(named)
    found["leaf"] = leaf
    shutil.rmtree(copy)

    say("destroying one patient's key; what was proved stays proved")
    shred = ShredRequest(f"{kind.lower()}/{patient_id}", "erasure asked for by the patient")
    gone: ShredReply = await kernel.request(SUBJECT_SHRED, shred, type=ShredReply, principal="privacy.officer")
    (evidence / "statements").mkdir(exist_ok=True)
    (evidence / "statements" / "shredded-patient.json").write_text(gone.certificate)
    await _certificate_key(kernel, key)
    old_checkpoint = folder / "before.checkpoint"
    shutil.copy(evidence / "checkpoint", old_checkpoint)
    await _export(kernel, evidence, None)
    result = await _verify(evidence, "--key", key, "--since", old_checkpoint)
    alone = await _verify("--key", key, "--patient", accounting)
    unreadable = await _nothing_readable(kernel, patient)
    found["shredded_proofs_valid"] = result["ok"] and alone["ok"] and unreadable
    old_checkpoint.unlink()
    if not (result["ok"] and alone["ok"]):
        found["error"] = "; ".join(check["detail"] for check in result["checks"] if check["ok"] is False)
    found["entries"] = result["size"]


async def _uses_logged(kernel: Kernel) -> int:
    """Hold the counts in the log against the kernel's own, of before and after: plugins go on with their housekeeping."""
    before = _counted(kernel)
    await kernel.have_on_record()
    logged: Counter[tuple[str, str]] = Counter()
    page = SearchReply()
    while True:
        asked = SearchRequest(action="capability.used", limit=500, after=page.next, size=page.size)
        page = await kernel.request(SEARCH, asked, type=SearchReply, principal="demo", timeout=60)
        for row in page.rows:
            for plugin, _, _, capability, uses, _ in row.entry["details"]["rows"]:
                logged[plugin, capability] += uses
        if not page.next:
            break
    after = _counted(kernel)
    same = all(before[key] <= logged[key] <= after[key] for key in after if key[0] in FEED)
    return sum(logged.values()) if same else -1


def _counted(kernel: Kernel) -> Counter[tuple[str, str]]:
    """The uses that the kernel counted, by plugin and capability."""
    found: Counter[tuple[str, str]] = Counter()
    for row in kernel.accounting.rows():
        if row.capability and row.calls:
            found[row.plugin, row.capability] += row.calls
    return found


async def _a_patient(kernel: Kernel) -> str:
    page: ExportReply = await kernel.request(
        EXPORT, ExportRequest(types=["Patient"], limit=1), type=ExportReply, principal="dr.chen", purpose="TREAT"
    )
    if not page.resources:
        raise RuntimeError("the feed made no patient whose disclosures could be accounted for")
    return f"Patient/{page.resources[0]['id']}"


async def _nothing_readable(kernel: Kernel, patient: str) -> bool:
    """Whether neither a search for the patient nor any entry of the log gives anything of the patient away."""
    by_name: SearchReply = await kernel.request(
        SEARCH, SearchRequest(patient=patient), type=SearchReply, principal="privacy.officer"
    )
    if by_name.rows:
        return False
    page = SearchReply()
    while True:
        page = await kernel.request(
            SEARCH, SearchRequest(limit=500, after=page.next), type=SearchReply, principal="privacy.officer", timeout=60
        )
        if any(patient in json.dumps([row.entry, row.opened]) for row in page.rows):
            return False
        if not page.next:
            return True


async def _export(kernel: Kernel, target: Path, patient: str | None) -> None:
    """Write (or bring up to date) the evidence folder, as `rustcare audit export` does."""
    from rustcare_cli._client import connect
    from rustcare_cli.trust.export import export_evidence

    def work() -> None:
        with connect(kernel.data_dir) as control:
            export_evidence(control, target, patients={"patient": patient} if patient else {})

    async with ControlServer(kernel):
        await asyncio.to_thread(work)


async def _verify(*arguments: Path | str) -> dict[str, Any]:
    """Run the stand-alone verifier in a process of its own."""
    from rustcare_cli.trust import verify_audit

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", verify_audit.__file__, *map(str, arguments), "--json"), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    result: dict[str, Any] = json.loads(output)
    return result


def _flip_one_byte(evidence: Path, copy: Path, leaf: int) -> int:
    """Copy the folder and change one byte of one entry; the entry's place."""
    shutil.copytree(evidence, copy)
    number, within = divmod(leaf, 256)
    path = next(
        path for path in (copy / "tile" / "entries").rglob("*") if path.is_file() and _bundle_number(path) == number
    )
    data = bytearray(path.read_bytes())
    place = 0
    for _ in range(within):
        place += 2 + int.from_bytes(data[place : place + 2], "big")
    data[place + 2 + int.from_bytes(data[place : place + 2], "big") // 2] ^= 1
    path.write_bytes(data)
    return leaf


def _bundle_number(path: Path) -> int:
    """The number that a bundle's path stands for (C2SP tlog-tiles: `x001/067`, a part as `000.p/57`)."""
    parts = list(path.parts[path.parts.index("entries") + 1 :])
    if parts[-2:-1] and parts[-2].endswith(".p"):
        parts = [*parts[:-2], parts[-2].removesuffix(".p")]
    number = 0
    for part in parts:
        number = number * 1000 + int(part.removeprefix("x"))
    return number


async def _certificate_key(kernel: Kernel, file: Path) -> None:
    """Add the key that signs certificates to the keys that the verifier is given (C2SP signed-note's vkey)."""
    public: KeyPublicReply = await kernel.request(KEY_PUBLIC, KeyPublicRequest(CERTIFICATES), type=KeyPublicReply)
    raw = b"\x01" + public.raw
    digest = hashlib.sha256(CERTIFICATES.encode() + b"\n" + raw).digest()[:4].hex()
    with file.open("a") as keys:
        keys.write(f"{CERTIFICATES}+{digest}+{base64.b64encode(raw).decode()}\n")
