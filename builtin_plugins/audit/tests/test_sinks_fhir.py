"""AuditEvents, held against what the StructureDefinitions of IHE BALP 1.1 and of FHIR R4 say."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rustcare_plugin_audit.entry import Change, Entry, What, Which, Who
from rustcare_plugin_audit.plugin import Audit
from rustcare_plugin_audit.sinks.event import Event, Subject
from rustcare_plugin_audit.sinks.fhir import BALP, audit_events
from rustcare_sdk.contracts import audit, fhir
from rustcare_sdk.testing import harness

from tests.support.keyring import MemoryKeyring

T = "http://terminology.hl7.org/CodeSystem/"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
REST = "http://hl7.org/fhir/restful-interaction"
SOURCE, DESTINATION, APPLICATION = (DCM, "110153"), (DCM, "110152"), (DCM, "110150")
CUSTODIAN = (T + "provenance-participant-type", "custodian")
PARTICIPATION = T + "v3-ParticipationType"
READERS = {(PARTICIPATION, "IRCP")}
WRITERS = {(PARTICIPATION, code) for code in ("AUT", "INF", "CST")}
DOMAIN = {(T + "object-role", code) for code in ("4", "3", "20")}
QUERY = {(T + "object-role", "24")}

# Profile → type, subtypes of which one must be there, action, client, server, types of a user, roles of its data.
PROFILES: dict[str, tuple[Any, set[str], str, Any, Any, set[Any], set[Any]]] = {
    "Create": ((T + "audit-event-type", "rest"), {"create"}, "C", SOURCE, DESTINATION, WRITERS, DOMAIN),
    "Read": ((T + "audit-event-type", "rest"), {"read", "vread"}, "R", DESTINATION, SOURCE, READERS, DOMAIN),
    "Update": ((T + "audit-event-type", "rest"), {"update", "patch"}, "U", SOURCE, DESTINATION, WRITERS, DOMAIN),
    "Delete": ((T + "audit-event-type", "rest"), {"delete"}, "D", APPLICATION, CUSTODIAN, WRITERS, DOMAIN),
    "Query": (
        (T + "audit-event-type", "rest"),
        {"search", "search-type", "search-system"},
        "E",
        SOURCE,
        DESTINATION,
        READERS,
        QUERY,
    ),
}

# R4: the elements of an AuditEvent with their cardinality (minimum, many), and of what it holds.
R4: dict[str, dict[str, tuple[int, bool]]] = {
    "": {
        "resourceType": (1, False),
        "id": (0, False),
        "meta": (0, False),
        "type": (1, False),
        "subtype": (0, True),
        "action": (0, False),
        "recorded": (1, False),
        "outcome": (0, False),
        "outcomeDesc": (0, False),
        "purposeOfEvent": (0, True),
        "agent": (1, True),
        "source": (1, False),
        "entity": (0, True),
    },
    "agent": {
        "type": (0, False),
        "role": (0, True),
        "who": (0, False),
        "altId": (0, False),
        "name": (0, False),
        "requestor": (1, False),
        "network": (0, False),
        "purposeOfUse": (0, True),
    },
    "source": {"site": (0, False), "observer": (1, False), "type": (0, True)},
    "entity": {
        "what": (0, False),
        "type": (0, False),
        "role": (0, False),
        "securityLabel": (0, True),
        "name": (0, False),
        "description": (0, False),
        "query": (0, False),
        "detail": (0, True),
    },
    "detail": {"type": (1, False), "valueString": (1, False)},
    "network": {"address": (0, False), "type": (0, False)},
    "coding": {"system": (0, False), "code": (0, False), "display": (0, False)},
    "reference": {"reference": (0, False), "type": (0, False), "identifier": (0, False), "display": (0, False)},
}
KINDS = {"detail": "detail", "network": "network", "agent": "agent", "source": "source", "entity": "entity"}


def check_r4(value: dict[str, Any], kind: str = "") -> None:
    """Hold an element against R4: known names, cardinalities, forms of the simple types."""
    for name, (least, many) in R4[kind].items():
        found = value.get(name)
        assert found is not None or not least, f"{kind}.{name} is missing"
        assert found is None or isinstance(found, list) == many, f"{kind}.{name}"
        assert found not in ([], {}, ""), f"{kind}.{name} is empty"
    assert set(value) <= set(R4[kind]), f"{kind}: {set(value) - set(R4[kind])}"
    for name, found in value.items():
        for item in found if isinstance(found, list) else [found]:
            if name in KINDS:
                check_r4(item, KINDS[name])
            if isinstance(item, str):
                assert item.strip() == item
                assert not re.search(r"[\x00-\x1f]", item)
    if kind == "entity":
        assert not ("name" in value and "query" in value), "sev-1: either a name or a query"
    for name in ("who", "what", "observer"):
        if name in value:
            check_r4(value[name], "reference")
    if not kind:
        assert value["resourceType"] == "AuditEvent"
        assert re.fullmatch(r"[A-Za-z0-9.-]{1,64}", value["id"])
        assert value["action"] in "CRUDE"
        assert value["outcome"] in ("0", "4", "8", "12")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", value["recorded"])
        for coding in (value["type"], *value["subtype"]):
            check_r4(coding, "coding")
            assert re.fullmatch(r"[^\s]+( [^\s]+)*", coding["code"])


def code(coding: dict[str, Any]) -> tuple[str, str]:
    """System and code."""
    return coding["system"], coding["code"]


def agent_types(event: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The agents by their type."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for agent in event["agent"]:
        for coding in agent["type"].get("coding", ()):
            found.setdefault(code(coding), []).append(agent)
    return found


def check_balp(event: dict[str, Any]) -> str:
    """Hold an AuditEvent against the profile that it claims; the profile's short name."""
    check_r4(event)
    (claimed,) = event["meta"]["profile"]
    assert claimed.startswith(BALP)
    short = claimed.removeprefix(BALP)
    assert event["outcome"] == "0"
    patients = [one for one in event["entity"] if code(one["type"]) == (T + "audit-entity-type", "1")]
    agents = agent_types(event)
    if short == "PrivacyDisclosure.Source":
        assert code(event["type"]) == (DCM, "110106")
        assert event["action"] == "R"
        assert sum(code(one) == (T + "iso-21089-lifecycle", "disclose") for one in event["subtype"]) == 1
        (source,), (recipient,) = agents[SOURCE], agents[DESTINATION]
        assert source["who"] == event["source"]["observer"]
        assert source["network"]
        assert recipient["who"]
        assert recipient["network"]
        assert len(event["entity"]) >= 2
    else:
        base = short.removeprefix("Patient")
        type_, subtypes, action, client_type, server_type, users, roles = PROFILES[base]
        assert code(event["type"]) == type_
        assert sum(one["system"] == REST and one["code"] in subtypes for one in event["subtype"]) == 1
        assert event["action"] == action
        (client,), (server,) = agents[client_type], agents[server_type]
        for one in (client, server):
            assert one["who"]
            assert one["network"]
        named = [one for type_, found in agents.items() if type_[0] == PARTICIPATION for one in found]
        assert len(named) <= 1
        for one in named:
            assert {code(coding) for coding in one["type"]["coding"]} <= users
            assert one["who"]
            assert one["requestor"] is True
            assert "network" not in one
        (data,) = [one for one in event["entity"] if code(one["type"]) == (T + "audit-entity-type", "2")]
        assert code(data["role"]) in roles
        if base == "Query":
            assert base64.b64decode(data["query"], validate=True)
            assert not {"what", "detail", "lifecycle"} & set(data)
        else:
            assert data["what"]
        for one in event["entity"]:
            if one["type"]["code"] == "XrequestId":
                assert one["what"]["identifier"]["value"]
    if short.startswith(("Patient", "Privacy")):
        (patient,) = patients
        assert code(patient["role"]) == (T + "object-role", "1")
        assert patient["what"].get("reference", "Patient/").startswith("Patient/")
        assert patient["what"]["type"] == "Patient"
    else:
        assert not patients
    return short


def event_of(
    service: str = "fhir.read",
    action: str = "read",
    type_: str = "",
    subjects: tuple[Subject, ...] = (),
    outcome: str = "success",
    **fields: Any,
) -> Event:
    """An event with everything in it that an entry can have."""
    entry = Entry(
        v=1,
        id="0" * 31 + "7",
        time=1_800_000_000_000_000,
        kind="use",
        who=Who("acme.app", "1.2.0", "sha256:ab", "dr.jekyll", "hyde"),
        what=What(action, f"bus:request@{service}", service),
        which=Which("default", type_),
        why="TREAT",
        trace="4bf92f35",
        changes=[Change("name")],
        **fields,
    )
    return Event(7, entry, b"\x01" * 32, outcome, settled=9, subjects=subjects, origin="log.example/a", size=10)


CLOSED = Subject("ab" * 32)
OPEN = Subject("ab" * 32, "open", "Patient/p1", ("Observation/o1",))


@pytest.mark.parametrize("subjects", [(), (CLOSED,), (OPEN,)], ids=["nobody", "closed", "open"])
@pytest.mark.parametrize(
    ("service", "action", "profile"),
    [
        ("fhir.create", "create", "Create"),
        ("fhir.read", "read", "Read"),
        ("fhir.update", "update", "Update"),
        ("fhir.store", "update", "Update"),
        ("fhir.delete", "delete", "Delete"),
        ("fhir.export", "read", "Query"),
        ("fhir.count", "read", "Query"),
    ],
)
def test_interactions_claim_their_profile(
    service: str, action: str, profile: str, subjects: tuple[Subject, ...]
) -> None:
    """A success claims the profile of its interaction, that of a patient when one is known, and conforms to it."""
    (found,) = audit_events(event_of(service, action, "Observation", subjects))
    known = bool(subjects) and subjects[0].state == "open"
    assert check_balp(found) == ("Patient" if known else "") + profile


def test_a_failure_claims_no_profile() -> None:
    """The profiles are of success only; a failure follows the pattern, with its code, and claims nothing."""
    (found,) = audit_events(event_of(outcome="failure"))
    check_r4(found)
    assert "meta" not in found
    assert found["outcome"] == "4"


def test_a_counted_disclosure_is_one() -> None:
    """A disclosure that the log counted claims PrivacyDisclosure.Source, and names recipient and number."""
    told = Subject("ab" * 32, "open", "Patient/p1", recipient="Dr Who, Gallifrey", disclosed=True, n=3)
    (found,) = audit_events(event_of(subjects=(told,)))
    assert check_balp(found) == "PrivacyDisclosure.Source"
    assert "Dr Who, Gallifrey" in str(found["agent"])
    details = [one for entity in found["entity"] for one in entity.get("detail", ())]
    assert {"type": "disclosure", "valueString": "3"} in details


def test_each_patient_has_an_audit_event() -> None:
    """An event about several patients becomes one AuditEvent for each, with ids of their own (BALP: one each)."""
    others = tuple(Subject(f"{n:064x}", "open", f"Patient/p{n}", (f"Observation/o{n}",)) for n in range(3))
    found = audit_events(event_of("fhir.store", "update", subjects=others))
    assert [check_balp(one) for one in found] == ["PatientUpdate"] * 3
    assert len({one["id"] for one in found}) == 3
    for number, one in enumerate(found):
        text = str(one)
        assert f"Patient/p{number}" in text
        assert not any(f"Patient/p{other}" in text for other in range(3) if other != number)


def test_closed_subjects_are_pseudonyms() -> None:
    """Without opening, nothing but the pseudonym is said of a patient; a type that is Patient makes it one."""
    (found,) = audit_events(event_of(type_="Patient", subjects=(CLOSED,)))
    assert check_balp(found) == "PatientRead"
    assert "reference" not in str(found["entity"][0]["what"].keys())
    assert found["entity"][0]["what"]["identifier"]["value"] == "ab" * 32


def test_who_acted_for_whom() -> None:
    """The user asks, the plugin is the application, and on whose behalf is an agent too; one alone is the requestor."""
    (found,) = audit_events(event_of())
    assert [one["requestor"] for one in found["agent"]].count(True) == 1
    assert [one["name"] for one in found["agent"] if "name" in one] == ["acme.app 1.2.0", "dr.jekyll", "hyde"]
    assert found["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"


def test_operations_are_plain_audit_events() -> None:
    """What is no interaction of FHIR claims no profile, is well formed, and says where its proof is."""
    entry = Entry(v=1, id="a" * 32, time=5, kind="operation", what=What("plugin.install", subject="acme.app"))
    (found,) = audit_events(Event(3, entry, b"\x05" * 32, origin="log.example/a", size=4, root=b"\x06" * 32))
    check_r4(found)
    assert "meta" not in found
    assert found["subtype"][0]["code"] == "plugin.install"
    evidence = found["entity"][-1]
    assert evidence["what"]["identifier"]["value"] == "3"
    assert {"type": "leaf", "valueString": "05" * 32} in evidence["detail"]


async def test_what_is_really_recorded_conforms(tmp_path: Path) -> None:
    """Real requests, recorded, sealed, settled, opened for the sink: each becomes AuditEvents that conform."""
    patients = [{"resourceType": "Patient", "id": f"p{n}"} for n in range(2)]
    observation = {"resourceType": "Observation", "id": "o1", "subject": {"reference": "Patient/p1"}}
    asked: list[tuple[str, Any, str, list[str]]] = [
        ("fhir.store", fhir.StoreRequest("k", [*patients, observation], "s"), "TREAT", ["PatientUpdate"] * 2),
        ("fhir.read", fhir.ReadRequest("Patient", "p1"), "TREAT", ["PatientRead"]),
        ("fhir.read", fhir.ReadRequest("Patient", "p1"), "PUBHLTH", ["PrivacyDisclosure.Source"]),
        ("fhir.read", fhir.ReadRequest("Observation", "o1"), "TREAT", ["Read"]),
        ("fhir.create", fhir.CreateRequest(observation), "TREAT", ["PatientCreate"]),
        ("fhir.update", fhir.UpdateRequest(patients[0]), "TREAT", ["PatientUpdate"]),
        ("fhir.delete", fhir.DeleteRequest("Patient", "p0"), "", ["PatientDelete"]),
        ("fhir.export", fhir.ExportRequest(["Patient"]), "TREAT", ["Query"]),
    ]
    attempts = [
        audit.Attempt(
            f"{number:032x}",
            1_800_000_000_000_000 + number,
            "use",
            capability=f"bus:request@{service}",
            subject=service,
            plugin="acme.app",
            version="1.0.0",
            digest="sha256:" + "ab" * 32,
            principal="dr.jekyll",
            purpose=purpose,
            data=data,
        )
        for number, (service, data, purpose, _) in enumerate(asked)
    ]
    path = tmp_path / "events.jsonl"
    sink = {"name": "f", "format": "fhir", "to": "file", "path": str(path), "personal": "opened"}
    double = harness(Audit, config={"sinks": [sink]})
    MemoryKeyring().attach(double)
    async with double as h:
        places = (await h.request(audit.RECORD, audit.RecordRequest(attempts))).indices
        rows = [audit.Outcome(one.id, place) for one, place in zip(attempts, places, strict=True)]
        await h.request(audit.SETTLE, audit.SettleRequest(rows))
        async with asyncio.timeout(30):
            while (await h.plugin.sinks.status())[0].lag:
                await h.plugin.sinks.feeds[0].changed.wait()
    found = [check_balp(json.loads(line)) for line in path.read_text().splitlines()]
    assert found == [profile for *_, profiles in asked for profile in profiles]
