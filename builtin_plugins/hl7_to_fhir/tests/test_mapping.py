"""What the tables and the assembly promise, rule by rule, on synthetic messages."""

from __future__ import annotations

from typing import Any

import pytest
from rustcare_plugin_hl7_to_fhir import transform
from rustcare_plugin_hl7_to_fhir.message import CODE
from rustcare_sdk.errors import ServiceError

Resource = dict[str, Any]


def run(
    *segments: str, kind: str = "ADT^A08", control: str = "1", facility: str = "NORTH", **more: Any
) -> list[Resource]:
    """The resources of a message with these segments."""
    header = rf"MSH|^~\&|APP|{facility}|||20260314091500||{kind}|{control}|P|2.5.1"
    found: list[Resource] = transform("\r".join((header, *segments)), **more)["resources"]
    return found


def of(kind: str, resources: list[Resource]) -> list[Resource]:
    """The resources of one type."""
    return [resource for resource in resources if resource["resourceType"] == kind]


def the(kind: str, resources: list[Resource]) -> Resource:
    """The one resource of a type."""
    (found,) = of(kind, resources)
    return found


def field(number: int, value: str, name: str = "PV1", **others: str) -> str:
    """A segment with one field (and others, as `f2="I"`)."""
    fields = [""] * 60
    fields[number] = value
    for key, other in others.items():
        fields[int(key[1:])] = other
    return "|".join((name, *fields[1:])).rstrip("|")


# identity


def test_one_identifier_is_one_patient_in_every_message() -> None:
    """The same PID-3 value of the same authority is the same resource, whatever else the messages say."""
    first = the("Patient", run("PID|1||7^^^CITY^MR||Moe^Ann", control="1"))
    second = the("Patient", run("PID|1||9^^^SSA^SS~7^^^CITY^MR||Moe^Anna", control="2", facility="SOUTH"))
    assert first["id"] == second["id"]


def test_numbers_without_authority_belong_to_their_sender() -> None:
    """Two hospitals that both number a patient 7 mean two people."""
    assert the("Patient", run("PID|1||7"))["id"] != the("Patient", run("PID|1||7", facility="SOUTH"))["id"]


def test_a_patient_without_identifier_is_of_one_message() -> None:
    """A name is no identity: two messages about a Jo Poe are about two people until somebody says otherwise."""
    first, second = (the("Patient", run("PID|1||||Poe^Jo", control=control)) for control in "12")
    assert first["id"] != second["id"]


def test_a_restarted_control_id_is_another_message() -> None:
    """Senders restart their control ids; what is known by its message only also depends on MSH-7."""
    text = r"MSH|^~\&|A|F|||%s||ADT^A08|1|P|2.5" + "\rPID|1||||Poe^Jo"
    assert transform(text % "20260101")["resources"][0]["id"] != transform(text % "20260102")["resources"][0]["id"]


def test_a_corrected_result_replaces_the_preliminary_one() -> None:
    """Results are known by filler number, code, sub-id and time, so a correction is a new version, not a second result."""
    segments = ("PID|1||7", "OBR|1||F1^LAB|24317-0^CBC^LN|||20260301")
    first = run(*segments, "OBX|1|NM|718-7^Hb^LN||9||||||P", kind="ORU^R01", control="1")
    second = run(*segments, "OBX|1|NM|718-7^Hb^LN||13||||||C", kind="ORU^R01", control="2")
    assert the("Observation", first)["id"] == the("Observation", second)["id"]
    assert the("DiagnosticReport", first)["id"] == the("DiagnosticReport", second)["id"]
    assert the("Observation", second)["status"] == "corrected"


def test_repeated_codes_in_one_report_stay_apart() -> None:
    """Two results with the same code and sub-id are two Observations."""
    results = run("PID|1||7", "OBR|1||F1|1^x", "OBX|1|ST|2^y||a", "OBX|2|ST|2^y||b", kind="ORU^R01")
    assert [item["valueString"] for item in of("Observation", results)] == ["a", "b"]
    assert len({item["id"] for item in of("Observation", results)}) == 2


# patients


@pytest.mark.parametrize("segment", ["", "PID", "PID|1", 'PID|1||""||""', "PID|1||^^^CITY||^"])
def test_no_patient_is_made_up(segment: str) -> None:
    """A PID that says nothing about a person makes no Patient."""
    assert of("Patient", run(segment) if segment else run("EVN|A08")) == []


@pytest.mark.parametrize("event", ["A41", "A44", "A45", "A49", "A50"])
def test_events_about_accounts_and_visits_make_no_patient(event: str) -> None:
    """Such an event names a person without telling about them: the visit refers to them by identifier."""
    found = run("PID|1||7^^^CITY^MR||Moe^Ann", field(19, "V1", f2="O"), kind=f"ADT^{event}")
    assert of("Patient", found) == []
    subject = the("Encounter", found)["subject"]
    assert (subject["type"], subject["identifier"]["value"]) == ("Patient", "7")
    assert "reference" not in subject


def test_a_merge_links_both_patients() -> None:
    """A40: the patient of MRG is no longer active and replaced by the patient of PID."""
    kept, gone = of("Patient", run("PID|1||7^^^CITY||Moe^Ann", "MRG|8^^^CITY", kind="ADT^A40"))
    assert gone["active"] is False
    assert gone["link"] == [{"other": {"reference": f"Patient/{kept['id']}"}, "type": "replaced-by"}]
    assert kept["link"] == [{"other": {"reference": f"Patient/{gone['id']}"}, "type": "replaces"}]
    assert gone["id"] == the("Patient", run("PID|1||8^^^CITY"))["id"]


def test_several_merges_in_one_message() -> None:
    """A40 repeats PID and MRG: each pair is a merge of its own."""
    found = run("PID|1||1^^^C", "MRG|2^^^C", "PID|1||3^^^C", "MRG|4^^^C", kind="ADT^A40")
    assert [patient.get("active") for patient in of("Patient", found)] == [None, False, None, False]


def test_a_merge_into_itself_changes_nothing() -> None:
    """MRG with the patient's own identifier is no merge."""
    patient = the("Patient", run("PID|1||7^^^CITY", "MRG|7^^^CITY", kind="ADT^A40"))
    assert "link" not in patient
    assert "active" not in patient


def test_link_and_delete_events() -> None:
    """A24 links two people, A29 ends a record."""
    one, two = of("Patient", run("PID|1||7", "PID|2||8", kind="ADT^A24"))
    assert one["link"] == [{"other": {"reference": f"Patient/{two['id']}"}, "type": "seealso"}]
    assert the("Patient", run("PID|1||7", kind="ADT^A29"))["active"] is False


@pytest.mark.parametrize(
    ("segment", "name", "value"),
    [
        (field(8, "F", "PID"), "gender", "female"),
        (field(8, "A", "PID"), "gender", "other"),
        (field(7, "197001310405-0500", "PID"), "birthDate", "1970-01-31"),
        (field(24, "Y", "PID"), "multipleBirthBoolean", True),
        (field(25, "2", "PID", f24="Y"), "multipleBirthInteger", 2),
        (field(30, "Y", "PID"), "deceasedBoolean", True),
        (field(29, "20260101", "PID", f30="Y"), "deceasedDateTime", "2026-01-01"),
        (field(16, "S", "PID"), "maritalStatus.coding.0.display", "Never Married"),
        (field(11, "1 Road&Main^^Town^^123^^H", "PID"), "address.0.line", ["1 Road", "Main"]),
        (field(11, "^^Town", "PID", f12="Shire"), "address.0.district", "Shire"),
        (field(13, "^^Internet^a@example.org", "PID"), "telecom.0.system", "email"),
        (field(13, "^^^^1^555^0100^9", "PID"), "telecom.0.value", "+1 555 0100 X9"),
        (field(14, "555-0100", "PID"), "telecom.0.use", "work"),
        (field(13, "555-0100^PRS^CP", "PID"), "telecom.0.use", "mobile"),
        (field(5, "Moe^Ann^^^^^D^^^^^^^^Nan", "PID"), "name.0.given", ["Ann", "Nan"]),
        (field(5, "Moe^Ann^^^^^L^^^^^^^^Nan", "PID"), "name.1", {"given": ["Nan"], "use": "nickname"}),
        (field(3, "7^^^&2.999.1&ISO", "PID"), "identifier.0.system", "urn:oid:2.999.1"),
        (field(3, "7^^^City Clinic", "PID"), "identifier.0.system", "urn:id:City-Clinic"),
        (field(19, "123", "PID"), "identifier.0.system", "http://hl7.org/fhir/sid/us-ssn"),
        (field(6, "Roe^Al", "PID"), "extension.0.valueString", "Roe"),
    ],
)
def test_patient_fields(segment: str, name: str, value: object) -> None:
    """PID, field by field, after the guide's table."""
    assert dig(the("Patient", run(segment)), name) == value


def dig(node: Any, path: str) -> Any:
    """A value by its path."""
    for step in path.split("."):
        node = node[int(step)] if step.isdecimal() else node[step]
    return node


# visits


@pytest.mark.parametrize(
    ("event", "segment", "status"),
    [
        ("A01", field(2, "I", f19="V"), "in-progress"),
        ("A03", field(2, "I", f19="V"), "finished"),
        ("A05", field(2, "P", f19="V"), "planned"),
        ("A08", field(2, "P", f19="V"), "planned"),
        ("A08", field(2, "I", f45="20260101"), "finished"),
        ("A11", field(2, "I", f45="20260101"), "cancelled"),
        ("A08", field(19, "V"), "unknown"),
    ],
)
def test_encounter_status(event: str, segment: str, status: str) -> None:
    """The event decides, then the discharge time, then the patient class."""
    encounter = the("Encounter", run("PID|1||7", segment, kind=f"ADT^{event}"))
    assert encounter["status"] == status


def test_an_empty_visit_is_none() -> None:
    """PV1 that only says "not applicable" is there because the structure demands it."""
    assert of("Encounter", run("PID|1||7", "PV1|1|N")) == []


def test_a_visit_is_known_by_its_number() -> None:
    """The same visit number of the same sender is one Encounter from admission to discharge, with all its people."""
    visit = field(2, "I", f3="3W^301^A", f7="11^Doe^Jo~12^Roe^Al", f8="13^Poe^Ed", f19="V1")
    first = run("PID|1||7", visit, kind="ADT^A01", control="1")
    last = run("PID|1||7", visit, kind="ADT^A03", control="2")
    encounter = the("Encounter", first)
    assert encounter["id"] == the("Encounter", last)["id"]
    assert [dig(item, "type.0.coding.0.code") for item in encounter["participant"]] == ["ATND", "ATND", "REF"]
    assert len(of("Practitioner", first)) == 3
    assert the("Location", first)["name"] == "3W 301 A"


# results


@pytest.mark.parametrize(
    ("kind", "value", "element", "expected"),
    [
        ("NM", "13.5", "valueQuantity", {"value": 13.5, "unit": "u"}),
        ("NM", "<5", "valueString", "<5"),
        ("SN", ">^5", "valueQuantity", {"value": 5, "comparator": ">", "unit": "u"}),
        ("SN", "^5^-^7", "valueRange", {"low": {"value": 5, "unit": "u"}, "high": {"value": 7, "unit": "u"}}),
        (
            "SN",
            "^1^:^8",
            "valueRatio",
            {"numerator": {"value": 1, "unit": "u"}, "denominator": {"value": 8, "unit": "u"}},
        ),
        ("SN", "^2^+", "valueString", "2 +"),
        ("SN", "<>^5", "valueString", "<> 5"),
        ("ST", "a^b", "valueString", "a^b"),
        ("TX", r"a\T\b", "valueString", "a&b"),
        (
            "CE",
            "1^one^LN",
            "valueCodeableConcept",
            {"coding": [{"system": "http://loinc.org", "code": "1", "display": "one"}]},
        ),
        ("CWE", "^^^^^^^^words", "valueCodeableConcept", {"text": "words"}),
        ("IS", "POS", "valueCodeableConcept", {"coding": [{"code": "POS"}]}),
        ("TS", "202601020304+0000", "valueDateTime", "2026-01-02T03:04:00Z"),
        ("DT", "not a date", "valueString", "not a date"),
        ("TM", "0304", "valueTime", "03:04:00"),
        ("DR", "2025^2026", "valuePeriod", {"start": "2025", "end": "2026"}),
        ("NR", "1^2", "valueRange", {"low": {"value": 1, "unit": "u"}, "high": {"value": 2, "unit": "u"}}),
        ("XPN", "Doe^Jo", "valueString", "Doe Jo"),
        ("", "free", "valueString", "free"),
    ],
)
def test_result_values(kind: str, value: str, element: str, expected: object) -> None:
    """OBX-5 by OBX-2. What does not fit its declared type is kept as text."""
    found = run("PID|1||7", "OBR|1||F1|1^x", f"OBX|1|{kind}|2^y||{value}|u", kind="ORU^R01")
    assert the("Observation", found)[element] == expected


def test_a_text_keeps_its_unit() -> None:
    """R4 has no unit beside a string; the unit of a result is not lost for that."""
    found = run("PID|1||7", "OBR|1||F1|1^x", "OBX|1|ST|2^y||13.5|g/dL", kind="ORU^R01")
    assert dig(the("Observation", found), "_valueString.extension.0.valueQuantity.unit") == "g/dL"


def test_repeated_values_become_components() -> None:
    """Each repetition of OBX-5 is a component, as the guide has it."""
    found = run("PID|1||7", "OBR|1||F1|1^x", "OBX|1|NM|2^y||1~2", kind="ORU^R01")
    observation = the("Observation", found)
    assert [item["valueQuantity"]["value"] for item in observation["component"]] == [1, 2]


def test_an_empty_result_is_none_but_its_note_is_kept() -> None:
    """An OBX that says nothing makes no Observation; with a note it makes one that carries the note."""
    report = ("PID|1||7", "OBR|1||F1|1^x", "OBX|1|ST|2^y||a", "OBX|2")
    assert len(of("Observation", run(*report, kind="ORU^R01"))) == 1
    first, second = of("Observation", run(*report, "NTE|1||said", kind="ORU^R01"))
    assert "note" not in first
    assert second["note"] == [{"text": "said"}]


def test_a_document_outside_a_report_is_a_document() -> None:
    """ED and RP under a patient make a DocumentReference; inside a report they are that report's results."""
    obx = "OBX|1|RP|2^y||https://example.org/a.png^^image^PNG||||||F"
    document = the("DocumentReference", run("PID|1||7", obx, kind="ORU^R01"))
    assert document["content"] == [{"attachment": {"url": "https://example.org/a.png", "contentType": "image/png"}}]
    found = run("PID|1||7", "OBR|1||F1|1^x", obx, kind="ORU^R01")
    assert dig(the("Observation", found), "extension.0.valueAttachment.contentType") == "image/png"


def test_a_report_ties_its_parts_together() -> None:
    """Report, order, results and specimen refer to each other; a second OBR is a second report."""
    found = run(
        "PID|1||7", field(19, "V1", f2="I"),
        "ORC|RE|P1|F1|||||||||9^Doe^Jo", "OBR|1|||1^x", "OBX|1|ST|2^y||a", "SPM|1|S1||BLD",
        "OBR|2||F2|3^z", "OBX|1|ST|4^w||b",
        kind="ORU^R01",
    )  # fmt: skip
    first, second = of("DiagnosticReport", found)
    one, two = of("Observation", found)
    assert first["result"] == [{"reference": f"Observation/{one['id']}"}]
    assert second["result"] == [{"reference": f"Observation/{two['id']}"}]
    specimen = {"reference": f"Specimen/{the('Specimen', found)['id']}"}
    assert (first["specimen"], one["specimen"]) == ([specimen], specimen)
    assert "specimen" not in second
    assert "specimen" not in two
    assert [item["value"] for item in first["identifier"]] == ["P1", "F1"]
    encounter = {"reference": f"Encounter/{the('Encounter', found)['id']}"}
    assert one["encounter"] == first["encounter"] == encounter
    assert len(of("ServiceRequest", found)) == 2


def test_several_patients_in_one_message_stay_apart() -> None:
    """ORU may repeat PATIENT_RESULT: results belong to the PID before them."""
    found = run(
        "PID|1||7", "OBR|1||F1|1^x", "OBX|1|ST|2^y||a", "PID|2||8", "OBR|1||F2|1^x", "OBX|1|ST|2^y||b", kind="ORU^R01"
    )
    subjects = [item["subject"]["reference"] for item in of("Observation", found)]
    assert subjects == [f"Patient/{patient['id']}" for patient in of("Patient", found)]


# the rest


def test_times_without_offset_take_the_messages_or_the_configured_one() -> None:
    """FHIR demands an offset: the value's own, else MSH-7's, else the configured one."""
    text = r"MSH|^~\&|A|F|||%s||ADT^A08|1|P|2.5" + "\r" + field(29, "202601020304", "PID")

    def died(sent: str) -> str:
        return str(transform(text % sent, timezone="+05:30")["resources"][0]["deceasedDateTime"])

    assert died("20260102") == "2026-01-02T03:04:00+05:30"
    assert died("202601020304-0700") == "2026-01-02T03:04:00-07:00"


def test_a_wrong_timezone_is_refused() -> None:
    """The configuration is checked where it is used, too."""
    with pytest.raises(ServiceError) as caught:
        run("PID|1||7", timezone="Europe/Berlin")
    assert caught.value.address == "config.timezone"


@pytest.mark.parametrize("kind", ["SIU^S12", "ORU^R03", "ORM^O01", "BAR^P01", "", "^A01"])
def test_other_messages_are_unmappable(kind: str) -> None:
    """What is neither ADT nor ORU^R01 is refused by code, for the receiver to keep."""
    with pytest.raises(ServiceError) as caught:
        run("PID|1||7", kind=kind)
    assert caught.value.code == CODE


@pytest.mark.parametrize(("kind", "event"), [("ORU^^ORU_R01", "R01"), ("ADT^^ADT_A01", "A01"), ("ADT", "A31")])
def test_a_missing_event_is_found_elsewhere(kind: str, event: str) -> None:
    """MSH-9.2 may be empty; the structure or EVN-1 says it."""
    text = "\r".join((rf"MSH|^~\&|A|F|||2026||{kind}|1|P|2.5", "EVN|A31"))
    assert transform(text)["event"] == event


def test_a_message_that_says_nothing_gives_nothing() -> None:
    """A well-formed message without anything to map is no error."""
    assert run("EVN|A20", "NPU|3W^301|1", kind="ADT^A20") == []
