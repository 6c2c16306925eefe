"""What a message says about what is stored already: HL7's explicit null, and events that undo. Null tells the store."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_hl7_to_fhir import transform
from rustcare_plugin_hl7_to_fhir.tables import DELETIONS

Resource = dict[str, Any]
RELIGION = "http://hl7.org/fhir/StructureDefinition/patient-religion"
VISIT = "PV1|1|I|W1|||||||||||||||||V1^^^CITY"


def run(*segments: str, kind: str = "ADT^A08") -> dict[str, Resource]:
    """The resources of a message, the last of each type."""
    header = rf"MSH|^~\&|APP|NORTH|||20260314091500||{kind}|1|P|2.5.1"
    return {one["resourceType"]: one for one in transform("\r".join((header, *segments)))["resources"]}


def pid(**fields: str) -> str:
    """A PID with an identifier and these fields (`f8="F"`)."""
    return segment("PID", f3="7^^^CITY", **fields)


def segment(name: str, **fields: str) -> str:
    """A segment of these fields."""
    values = [""] * 60
    for key, value in fields.items():
        values[int(key[1:])] = value
    return "|".join((name, *values[1:])).rstrip("|")


@pytest.mark.parametrize(
    ("field", "element"),
    [
        (5, "name"),
        (7, "birthDate"),
        (8, "gender"),
        (11, "address"),
        (13, "telecom"),
        (15, "communication"),
        (16, "maritalStatus"),
        (24, "multipleBirthBoolean"),
        (29, "deceasedDateTime"),
    ],
)
def test_an_explicit_null_deletes_the_element(field: int, element: str) -> None:
    """`""` becomes null; an empty field says nothing, so the element is absent."""
    assert run(pid(**{f"f{field}": '""'}))["Patient"][element] is None
    assert element not in run(pid(f1="1"))["Patient"]


def test_an_explicit_null_of_one_extension_deletes_no_other() -> None:
    """Extensions of a patient come from many fields, so each is deleted by its url."""
    patient = run(pid(f6="Roe", f17='""'))["Patient"]
    assert [one for one in patient["extension"] if len(one) == 1] == [{"url": RELIGION}]
    assert len(patient["extension"]) == 2


def test_the_null_of_a_second_field_of_a_list_deletes_nothing() -> None:
    """Without a work number (PID-14) there may be a home number that this message does not repeat."""
    assert "telecom" not in run(pid(f14='""'))["Patient"]
    assert run(pid(f13='""', f14="555"))["Patient"]["telecom"][0]["value"] == "555"


def test_identifiers_are_not_deleted_by_a_null() -> None:
    """Who somebody is does not depend on a field of a message."""
    assert [one["value"] for one in run(pid(f2='""', f4='""', f19='""'))["Patient"]["identifier"]] == ["7"]


def test_a_part_of_a_visit_is_deleted_alone() -> None:
    """The end of a period can be deleted without its beginning."""
    encounter = run(pid(), segment("PV1", f2="I", f19="V", f10='""', f36='""', f45='""'))["Encounter"]
    assert encounter["period"] == {"end": None}
    assert encounter["hospitalization"] == {"dischargeDisposition": None}
    assert encounter["serviceType"] is None
    begun = run(pid(), segment("PV1", f2="I", f19="V", f44="2026", f45='""'))["Encounter"]
    assert begun["period"] == {"start": "2026", "end": None}


def test_what_a_later_segment_says_is_kept() -> None:
    """PV1-3 is deleted, PV2-1 names another place: the list has that one."""
    found = run(pid(), segment("PV1", f2="I", f3='""', f7='""', f19="V"), segment("PV2", f1="W2", f13="9^Osei"))
    assert len(found["Encounter"]["location"]) == 1
    assert len(found["Encounter"]["participant"]) == 1


def test_a_visit_has_a_status_and_a_class_whatever_is_deleted() -> None:
    """FHIR demands both."""
    encounter = run(pid(), segment("PV1", f2='""', f19="V"))["Encounter"]
    assert (encounter["status"], encounter["class"]["code"]) == ("unknown", "UNK")


def test_a_cancelled_discharge_takes_its_time_back() -> None:
    """A13 reopens the visit, also when the sender leaves the discharge fields empty."""
    encounter = run(pid(), segment("PV1", f2="I", f19="V", f44="2026"), kind="ADT^A13")["Encounter"]
    assert encounter["status"] == "in-progress"
    assert encounter["period"] == {"start": "2026", "end": None}
    assert encounter["hospitalization"] == {"dischargeDisposition": None}


def test_unlinking_takes_links_back() -> None:
    """A37 undoes A24."""
    assert run(pid(), "PID|2||8^^^CITY", kind="ADT^A37")["Patient"]["link"] is None


def test_a_record_that_is_added_is_active() -> None:
    """A28 brings back what A29 ended; other events say nothing about it, so a merged patient stays inactive."""
    assert [run(pid(), kind=f"ADT^{event}")["Patient"].get("active") for event in ("A28", "A29", "A08")] == [
        True,
        False,
        None,
    ]


def test_a_result_does_not_say_how_a_visit_stands() -> None:
    """It may come after the discharge: its patient class would reopen the visit."""
    kind = "ORU^R01"
    assert run(pid(), VISIT, kind=kind)["Encounter"]["status"] == "unknown"
    assert run(pid(), VISIT, kind="ADT^A08")["Encounter"]["status"] == "in-progress"
    assert run(pid(), segment("PV1", f2="I", f19="V", f45="2026"), kind=kind)["Encounter"]["status"] == "finished"


@given(st.dictionaries(st.integers(4, 52), st.just('""')), st.dictionaries(st.integers(4, 52), st.just('""')))
def test_any_nulls_in_any_fields_are_harmless(patient: dict[int, str], visit: dict[int, str]) -> None:
    """Whatever is deleted, the message is mapped, and nothing but elements that fields can delete becomes null."""
    found = run(
        pid(**{f"f{number}": text for number, text in patient.items()}),
        segment("PV1", **{f"f{number}": text for number, text in visit.items()} | {"f2": "I", "f19": "V"}),
    )
    deletable = {element for rows in DELETIONS.values() for _, element, _ in rows}
    nulls = {name for one in found.values() for name, value in one.items() if value is None}
    assert nulls <= deletable
    assert {"Patient", "Encounter"} <= found.keys()
