"""Reports, signatures and holds in a real kernel with the real keyring: every use is on record, all outlives a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_plugin_audit.policy import read_policy
from rustcare_plugin_audit.signatures.errors import SignatureRefused
from rustcare_sdk.capability import Capability, covers, parse
from rustcare_sdk.contracts import audit, compliance, crypto, fhir
from rustcare_sdk.errors import RustCareError

from tests.support.plugins import write_plugin

IDENTITY = """
    from rustcare_sdk import Message, Plugin, serve
    from rustcare_sdk.contracts.compliance import VERIFY_COMPONENTS, ComponentsReply, ComponentsRequest

    class Subject(Plugin):
        @serve(VERIFY_COMPONENTS)
        async def verify(self, message: Message[ComponentsRequest]) -> ComponentsReply:
            asked = message.data
            known = {("password", "horse"), ("totp", "123456")}
            verified = [one.kind for one in asked.components if (one.kind, one.value) in known]
            return ComponentsReply(verified, "Dr. Grey", asked.session == "s")
"""
PASSWORD, CODE = compliance.Component("password", "horse"), compliance.Component("totp", "123456")
RECORD = b"what was measured"


async def prepare(kernel: Kernel, folder: Path) -> None:
    """A hospital with somebody who knows its people."""
    for name in ("crypto", "audit", "fhir"):
        await kernel.install(f"installed:{name}", consent=True)
    use = "bus:serve@identity.verify-components"
    await kernel.install(str(write_plugin(folder, IDENTITY, capabilities=[use])), consent=True)
    patient = {"resourceType": "Patient", "id": "p1", "gender": "other"}
    await kernel.request(fhir.STORE, fhir.StoreRequest("m1", [patient], "test"), principal="feeder")


async def sign(kernel: Kernel, *components: compliance.Component) -> compliance.RecordSignature:
    """Sign an observation."""
    asked = compliance.SignRecordRequest(
        "Observation/7", "approval", list(components), RECORD, session="s", patient="Patient/p1"
    )
    found: compliance.RecordSignature = await kernel.request(
        compliance.SIGN_RECORD, asked, principal="grey", type=compliance.RecordSignature
    )
    return found


async def verify(kernel: Kernel, id_: str, data: bytes = RECORD) -> compliance.VerifySignatureReply:
    """Check a signature."""
    asked = compliance.VerifySignatureRequest(id_, "Observation/7", data)
    found: compliance.VerifySignatureReply = await kernel.request(
        compliance.VERIFY_SIGNATURE, asked, type=compliance.VerifySignatureReply
    )
    return found


async def report(kernel: Kernel, kind: str, **more: Any) -> compliance.ReportReply:
    """A report."""
    asked = compliance.ReportRequest(kind, **more)
    found: compliance.ReportReply = await kernel.request(compliance.REPORT, asked, type=compliance.ReportReply)
    return found


def test_every_operation_here_must_be_on_record() -> None:
    """Reports, signings, holds and disposals are among what must be audited before it happens."""
    must = [parse(text) for text in read_policy({}).must]
    for service in (
        compliance.REPORT,
        compliance.REPORT_SUSPEND,
        compliance.SIGN_RECORD,
        compliance.HOLD_PLACE,
        compliance.HOLD_RELEASE,
        compliance.RETENTION_PLAN,
        compliance.RETENTION_APPLY,
    ):
        assert any(covers(one, Capability("bus", "request", service)) for one in must), service


async def test_signatures_in_a_kernel(tmp_path: Path) -> None:
    """Signed with two components, then one; a restart keeps the signature, and asks for both again."""
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await prepare(kernel, tmp_path)
        signed = await sign(kernel, PASSWORD, CODE)
        assert (signed.signer, signed.name, signed.first) == ("grey", "Dr. Grey", True)
        assert not (await sign(kernel, CODE)).first
        found = await report(kernel, "part11")
        by_control = {finding.control: finding.status for finding in found.findings}
        assert by_control["11.50"] == by_control["11.70"] == by_control["11.200"] == "evidenced"
        uses = await kernel.request(
            audit.SEARCH, audit.SearchRequest(capability="bus:request@audit.sign"), type=audit.SearchReply
        )
        assert [row.entry["who"]["principal"] for row in uses.rows] == ["grey", "grey"]
        assert "horse" not in repr(uses)
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        assert (await verify(kernel, signed.id)).signature == signed
        with pytest.raises(RustCareError) as wrong:
            await verify(kernel, signed.id, RECORD + b"!")
        assert wrong.value.code == "audit.signature-invalid"
        with pytest.raises(RustCareError) as refused:
            await sign(kernel, CODE)
        assert refused.value.code == SignatureRefused.code


async def test_holds_and_disposal_in_a_kernel(tmp_path: Path) -> None:
    """A hold outlives a restart; the plan tells what it keeps; a released patient is not shredded before the time."""
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await prepare(kernel, tmp_path)
        asked = compliance.HoldRequest("litigation", patient="Patient/p1")
        placed = await kernel.request(compliance.HOLD_PLACE, asked, type=compliance.Hold)
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        held = await kernel.request(compliance.HOLDS, compliance.HoldsRequest(), type=compliance.HoldsReply)
        assert held.holds == [placed]
        later = compliance.PlanRequest("2090-01-01")
        plan = await kernel.request(compliance.RETENTION_PLAN, later, type=compliance.RetentionPlan)
        assert plan.blocked_by.endswith(f"held by {placed.id}")
        assert plan.subjects == []
        release = compliance.ReleaseRequest(placed.id, "settled")
        await kernel.request(compliance.HOLD_RELEASE, release)
        plan = await kernel.request(compliance.RETENTION_PLAN, later, type=compliance.RetentionPlan)
        assert plan.prune_before >= placed.index
        assert plan.subjects == [placed.pseudonym]
        with pytest.raises(RustCareError) as refused:
            await kernel.request(compliance.RETENTION_APPLY, compliance.ApplyRequest("erasure", subject="patient/p1"))
        assert refused.value.code == "audit.disposal-refused"
        verified = await kernel.request(audit.VERIFY, audit.VerifyRequest(), type=audit.VerifyReply)
        assert verified.ok


async def test_reports_in_a_kernel(tmp_path: Path) -> None:
    """Each report can be made from the installed package, on the page too, and its checkpoint is signed by the log's key."""
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await prepare(kernel, tmp_path)
        told = audit.DisclosureRequest("Patient/p1", "Registry", "report", "PUBHLTH")
        await kernel.request(audit.DISCLOSE, told)
        for kind in ("hipaa-security", "sox-itgc", "gdpr", "part11"):
            found = await report(kernel, kind, format="html")
            assert found.text.startswith("<!DOCTYPE html>")
            assert found.summary["contradicted"] == 0
        mine = await report(kernel, "hipaa-disclosures", patient="Patient/p1", format="csv")
        assert [row.cells[1] for row in mine.tables[0].rows] == ["Registry"]
        shred = crypto.ShredRequest("patient/p1", "erasure")
        await kernel.request(crypto.SUBJECT_SHRED, shred)
        gone = await report(kernel, "hipaa-disclosures", patient="Patient/p1")
        assert gone.tables[0].rows == []
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:  # by now it is on record that it succeeded
        found = await report(kernel, "gdpr")
        assert next(one.status for one in found.findings if one.control == "Art. 17") == "evidenced"
