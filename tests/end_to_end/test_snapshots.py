"""Messages that say little about a patient take nothing away from what is known; what they delete goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_sdk.contracts.fhir import EXPORT, READ, ExportReply, ExportRequest, ReadRequest, ResourceReply
from rustcare_sdk.contracts.hl7 import Hl7Message


def visit(**fields: str) -> str:
    """The PV1 of one visit with these fields (`f44="20260105"`)."""
    values = [""] * 46
    for name, value in {"f1": "1", "f2": "I", "f19": "V1^^^CITY", **fields}.items():
        values[int(name[1:])] = value
    return "|".join(("PV1", *values[1:])).rstrip("|") + "\r"


PATIENT = "PID|1||7^^^CITY^MR~K9^^^SSA^SS||Moe^Ann||19700131|F|||1 Park Road^^Springfield||555-0100\r"
RICH = PATIENT + visit(f3="W1^101", f7="1001^Osei", f44="20260105")
THIN = "PID|1||7^^^CITY^MR\r" + visit()
RESULT = "OBR|1|O1|L1|718-7^Hemoglobin^LN|||20260106\rOBX|1|NM|718-7^Hemoglobin^LN||{value}|g/dL|||||{status}\r"


class Ward:
    """The store and the transformer, and the messages that come to them."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.count = 0

    async def says(self, kind: str, text: str) -> None:
        """One message, handled to its end."""
        self.count += 1
        type, event = kind.split("^")
        header = f"MSH|^~\\&|A|CITY|||2026010610{self.count:02}||{kind}|{self.count}|P|2.5.1\r"
        message = Hl7Message(
            str(self.count), type, event, str(self.count), "CITY", "2.5.1", "2026-01-06T10:00:00Z", header + text
        )
        done = await self.kernel.publish(f"hl7.{type.lower()}.{event.lower()}", message, confirm=True)
        assert done is not None
        assert done.failures == ()

    async def all(self, type: str) -> list[dict[str, Any]]:
        """The stored resources of a type, in the order they were written last."""
        found: ExportReply = await self.kernel.request(EXPORT, ExportRequest([type]), type=ExportReply)
        return found.resources

    async def the(self, type: str) -> dict[str, Any]:
        """The only one."""
        (found,) = await self.all(type)
        return found


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Ward]:
    """A running kernel with both plugins."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.install("installed:fhir", consent=True)
        await kernel.install("installed:hl7_to_fhir", consent=True, runtime="python")
        yield Ward(kernel)


async def test_a_result_leaves_the_patient_and_the_visit_as_they_are(ward: Ward) -> None:
    """An ORU with nothing but the patient's number changes nothing but the results."""
    await ward.says("ADT^A01", RICH)
    patient, visit = await ward.the("Patient"), await ward.the("Encounter")
    assert (patient["birthDate"], visit["status"]) == ("1970-01-31", "in-progress")
    await ward.says("ORU^R01", THIN + RESULT.format(value=13, status="F"))
    assert await ward.the("Patient") == patient
    assert await ward.the("Encounter") == visit
    assert (await ward.the("Observation"))["subject"] == {"reference": f"Patient/{patient['id']}"}


async def test_a_late_result_does_not_reopen_a_visit(ward: Ward) -> None:
    """The discharge told when the visit ended; a result that comes after it says nothing about that."""
    await ward.says("ADT^A01", RICH)
    await ward.says("ADT^A03", PATIENT + visit(f45="20260107"))
    await ward.says("ORU^R01", THIN + RESULT.format(value=13, status="F"))
    stay = await ward.the("Encounter")
    assert (stay["status"], stay["period"]) == ("finished", {"start": "2026-01-05", "end": "2026-01-07"})
    await ward.says("ADT^A13", THIN)
    stay = await ward.the("Encounter")
    assert (stay["status"], stay["period"]) == ("in-progress", {"start": "2026-01-05"})


async def test_an_explicit_null_deletes(ward: Ward) -> None:
    """The sender's `""` takes the telephone number away, and nothing else."""
    await ward.says("ADT^A01", RICH)
    before = await ward.the("Patient")
    assert "telecom" in before
    await ward.says("ADT^A08", 'PID|1||7^^^CITY^MR||||||||||""\r')
    after = await ward.the("Patient")
    del before["telecom"], before["meta"], after["meta"]
    assert after == before


async def test_a_correction_replaces_a_result(ward: Ward) -> None:
    """The value of another type is not added to the first one."""
    await ward.says("ORU^R01", THIN + RESULT.format(value=13, status="F"))
    await ward.says("ORU^R01", THIN + RESULT.format(value="cancelled", status="C"))
    found = await ward.the("Observation")
    assert (found["status"], found["valueString"]) == ("corrected", "cancelled")
    assert "valueQuantity" not in found


async def test_a_merged_patient_stays_merged(ward: Ward) -> None:
    """A40 ends the one record and links both; a stray message about the old number does not undo that."""
    await ward.says("ADT^A01", RICH)
    old = await ward.the("Patient")
    await ward.says("ADT^A40", "PID|1||8^^^CITY^MR||Moe^Ann\rMRG|7^^^CITY^MR\r")
    await ward.says("ADT^A40", "PID|1||8^^^CITY^MR||Moe^Ann\rMRG|6^^^CITY^MR\r")
    await ward.says("ADT^A08", "PID|1||7^^^CITY^MR||Moe^Anna\r")
    reply = await ward.kernel.request(READ, ReadRequest("Patient", old["id"]), type=ResourceReply)
    gone = reply.resource
    assert gone["active"] is False
    assert gone["birthDate"] == old["birthDate"]
    assert gone["name"] == [{"family": "Moe", "given": ["Anna"]}]
    (kept,) = [one for one in await ward.all("Patient") if "active" not in one]
    assert gone["link"] == [{"other": {"reference": f"Patient/{kept['id']}"}, "type": "replaced-by"}]
    assert [link["type"] for link in kept["link"]] == ["replaces", "replaces"]
