"""What a message is about: by rules as data, for data of trusted and of sandboxed plugins alike."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.describe import Describer, values_at
from rustcare_plugin_audit.entry import Draft
from rustcare_plugin_audit.errors import PolicyInvalid
from rustcare_plugin_audit.policy import MUST, RULES, read_policy
from rustcare_sdk.capability import parse
from rustcare_sdk.contracts import crypto, fhir, http, identity
from rustcare_sdk.contracts.audit import Attempt, DisclosuresRequest, ShowRequest
from rustcare_sdk.contracts.compliance import ReportRequest

PATIENT = {"resourceType": "Patient", "id": "1", "name": [{"family": "Secret"}]}
OBSERVATION = {"resourceType": "Observation", "id": "o1", "subject": {"reference": "Patient/1"}}
ALLERGY = {
    "resourceType": "AllergyIntolerance",
    "id": "a1",
    "patient": {"reference": "https://x.org/fhir/Patient/2/_history/3"},
}
WARD = {"resourceType": "Location", "id": "w1"}


def draft(service: str, data: Any, config: dict[str, Any] | None = None, **who: str) -> Draft:
    """The draft of a request to a service."""
    attempt = Attempt("id", 1, "use", capability=f"bus:request@{service}", subject=service, data=data, **who)
    return Describer(read_policy(config or {}), os.urandom).draft(attempt)


def parts(found: Draft) -> dict[str, dict[str, Any]]:
    """The sealed parts by subject."""
    return {part.subject: part.values for part in found.parts}


def forms(data: Any) -> list[Any]:
    """A message's data as a trusted plugin sends it, as a decoded object, and as a sandbox's JSON."""
    return [data, msgspec.to_builtins(data), msgspec.Raw(msgspec.json.encode(data))]


@pytest.mark.parametrize("form", range(3))
def test_a_store_is_about_every_patient_in_it(form: int) -> None:
    """Patients are those stored and those referred to; each has a part of its own with its resources in it."""
    found = draft("fhir.store", forms(fhir.StoreRequest("k", [PATIENT, OBSERVATION, ALLERGY, WARD], "hl7:k"))[form])
    assert found.entry.what is not None
    assert found.entry.what.action == "update"
    assert parts(found) == {
        "patient/1": {"patient": "Patient/1", "resources": ["Observation/o1", "Location/w1"]},
        "patient/2": {"patient": "Patient/2", "resources": ["AllergyIntolerance/a1"]},
    }
    assert found.entry.which is not None
    assert found.entry.which.types == {"Patient": 1, "Observation": 1, "AllergyIntolerance": 1, "Location": 1}


@pytest.mark.parametrize("form", range(3))
def test_a_read_is_about_one_resource(form: int) -> None:
    """Without a patient a resource's name is sealed under a subject of its own; the version is in clear."""
    found = draft("fhir.read", forms(fhir.ReadRequest("Observation", "o1", "3"))[form])
    assert parts(found) == {"observation/o1": {"resources": ["Observation/o1"]}}
    assert found.entry.which is not None
    assert (found.entry.which.type, found.entry.which.version) == ("Observation", "3")
    assert parts(draft("fhir.read", forms(fhir.ReadRequest("Patient", "1"))[form])) == {
        "patient/1": {"patient": "Patient/1"}
    }


@pytest.mark.parametrize("form", range(3))
def test_an_update_commits_to_its_fields(form: int) -> None:
    """An update has a commitment for each field; salts and values are with the patient."""
    found = draft("fhir.update", forms(fhir.UpdateRequest({**PATIENT, "gender": "female"}, "2"))[form])
    assert [change.field for change in found.entry.changes] == ["gender", "name"]
    assert [row["field"] for row in found.parts[0].values["changes"]] == ["gender", "name"]
    assert found.entry.which is not None
    assert found.entry.which.version == "2"


def test_nothing_personal_is_in_clear() -> None:
    """Neither names of patients and resources nor values are in an entry's clear part."""
    for service, data in [
        ("fhir.store", fhir.StoreRequest("k", [PATIENT, OBSERVATION], "s")),
        ("fhir.update", fhir.UpdateRequest({**PATIENT, "id": "mrn-77"})),
        ("fhir.read", fhir.ReadRequest("Patient", "mrn-77")),
        ("crypto.subject.shred", crypto.ShredRequest("patient/mrn-77", "asked for")),
        ("audit.disclosures", DisclosuresRequest("Patient/mrn-77")),
    ]:
        clear = msgspec.json.encode(draft(service, data).entry)
        assert b"Secret" not in clear
        assert b"mrn-77" not in clear
        assert b"o1" not in clear


def test_reads_for_other_purposes_than_care_are_disclosures() -> None:
    """A principal who reads for a purpose other than treatment, payment, operations discloses; the recipient is sealed."""
    read = fhir.ReadRequest("Patient", "1")
    found = draft("fhir.read", read, principal="dr", on_behalf="Health Department", purpose="PUBHLTH")
    assert found.disclosed == [0]
    assert found.disclosure is not None
    assert found.disclosure.purpose == "PUBHLTH"
    assert found.parts[0].values["recipient"] == "Health Department"
    for who in ({"principal": "dr", "purpose": "TREAT"}, {"purpose": "PUBHLTH"}, {"principal": "dr"}):
        assert draft("fhir.read", read, **who).disclosed == []
    assert draft("fhir.read", read, {"tpo": ["PUBHLTH"]}, principal="dr", purpose="PUBHLTH").disclosed == []


def test_an_export_is_a_disclosure_of_patients_not_named() -> None:
    """Whom an export concerns shows in its answer only: the entry says so, and no patient is counted."""
    found = draft("fhir.export", fhir.ExportRequest(["Patient"]))
    assert found.disclosed == []
    assert found.entry.details == {"disclosure": "of patients not named here"}
    assert found.entry.which is not None
    assert found.entry.which.type == "Patient"


def test_a_shredding_is_sealed_under_the_key_it_destroys() -> None:
    """The entry of a shredding names its subject in a part that the shredding makes unreadable."""
    assert parts(draft("crypto.subject.shred", crypto.ShredRequest("patient/1", "asked for"))) == {
        "patient/1": {"subject": "patient/1"}
    }


@pytest.mark.parametrize("form", range(3))
def test_names_that_are_not_personal_are_in_clear(form: int) -> None:
    """Which key was destroyed, which report was read and which entry was shown stands in the entry; a report's patient is
    sealed."""
    for service, data, name in [
        ("crypto.key.destroy", crypto.KeyDestroyRequest("audit-log", 1), "audit-log"),
        ("audit.show", ShowRequest(12), "12"),
        ("audit.report", ReportRequest("hipaa-disclosures", patient="Patient/1"), "hipaa-disclosures"),
    ]:
        found = draft(service, forms(data)[form])
        assert found.entry.which is not None
        assert found.entry.which.name == name
        assert [part.subject for part in found.parts] == (["patient/1"] if service == "audit.report" else [])


def test_a_rule_of_the_configuration_comes_first() -> None:
    """A site describes messages of its own plugins by rules, without code."""
    rule = {
        "match": "bus:request@acme.lab.*",
        "action": "read",
        "items": "results[*]",
        "type": "=Observation",
        "id": "key",
        "patients": ["who[*].ref"],
        "disclosure": "always",
    }
    data = {"results": [{"key": "r1", "who": [{"ref": "Patient/5"}]}, {"key": "r2", "who": [{"ref": "Patient/6"}]}]}
    found = draft("acme.lab.fetch", data, {"rules": [rule]}, principal="p")
    assert set(parts(found)) == {"patient/5", "patient/6"}
    assert found.disclosed == [0, 1]


@pytest.mark.parametrize(
    "config",
    [
        {"rules": [{"match": "bus:request@x"}]},
        {"rules": [{"match": "nonsense", "action": "read"}]},
        {"rules": [{"match": "bus:request@x", "action": "read", "id": "a..b"}]},
        {"rules": [{"match": "bus:request@x", "action": "read", "other": 1}]},
        {"must": ["clock:read"]},
        {"also": ["fs:write@/tmp/*"]},
        {"also": ["bus:shout@x"]},
    ],
)
def test_a_policy_that_is_not_well_formed_is_refused(config: dict[str, Any]) -> None:
    """What a policy says wrongly is an error at the start, with its place, never a hole in the log."""
    with pytest.raises(PolicyInvalid) as refused:
        read_policy(config)
    assert refused.value.address


def test_the_built_in_policy_is_well_formed() -> None:
    """Every built-in pattern parses, and reading the log is itself on record while writing it is not."""
    policy = read_policy({})
    assert policy.must == MUST
    assert len(policy.rules) == len(RULES)
    for text in MUST:
        parse(text)
    assert "bus:request@audit.search" in MUST
    assert not {"bus:request@audit.record", "bus:request@audit.settle", "bus:request@audit.>"} & set(MUST)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resources", "resource", "resourceType", "id", "subject", "reference", "type", "patient"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(values, st.sampled_from(["fhir.store", "fhir.update", "fhir.read", "crypto.subject.shred", "fhir.export"]))
def test_any_data_can_be_described(data: Any, service: str) -> None:
    """Data of any shape gives a draft, and a sandbox's JSON the same draft as the object: nobody can dodge the log."""
    plain = draft(service, data)
    raw = draft(service, msgspec.Raw(msgspec.json.encode(data)))
    assert parts(plain).keys() == parts(raw).keys()
    assert plain.entry.which == raw.entry.which


def test_json_that_is_none_is_described_as_far_as_it_goes() -> None:
    """Broken JSON, or none at all, is an attempt like any other."""
    assert draft("fhir.read", msgspec.Raw(b"{broken")).parts == []
    assert draft("fhir.read", None).parts == []


def test_paths() -> None:
    """Paths name keys, indices and every item; a value itself begins with `=`; private attributes cannot be reached."""
    data = {"a": [{"b": 1}, {"b": 2}], "c": {"d": "x"}}
    assert list(values_at(data, "a[*].b")) == [1, 2]
    assert list(values_at(data, "a.1.b")) == [2]
    assert list(values_at(data, "c.d")) == ["x"]
    assert list(values_at(data, "=v")) == ["v"]
    assert list(values_at(data, "c.e")) == list(values_at(data, "a.7.b")) == list(values_at(data, "c[*]")) == []
    assert list(values_at(fhir.ReadRequest("T", "1"), "__class__")) == []


@pytest.mark.parametrize("form", range(3))
def test_what_concerns_security_is_kept_in_clear(form: int) -> None:
    """An event of identity says in its entry what happened and to which account; requests say nothing that came with them."""
    said = identity.SecurityEvent("login.failed", "failure", "01J", code="identity.bad-password", address="192.0.2.1")
    attempt = Attempt("id", 1, "use", capability=f"bus:publish@{identity.EVENT}", data=forms(said)[form])
    found = Describer(read_policy({}), os.urandom).draft(attempt)
    assert found.parts == []
    assert found.entry.which is not None
    assert (found.entry.which.type, found.entry.which.name) == ("account", "01J")
    assert found.entry.details == {
        "action": "login.failed",
        "outcome": "failure",
        "account": "01J",
        "code": "identity.bad-password",
        "address": "192.0.2.1",
    }
    made = identity.CreateAccountRequest("jane", "jane@example.org", password="correct horse")
    entry = draft(identity.ACCOUNT_CREATE, forms(made)[form]).entry
    assert entry.what is not None
    assert entry.what.action == "create"
    assert "jane" not in repr(entry)
    assert "horse" not in repr(entry)


def test_requests_over_http_are_kept_row_by_row() -> None:
    """An access batch's rows are in the entry; one that is too large for an entry is left out, and the entry says so."""
    rows = ["1 2 id user/1 GET /lab/{id} 200 s"]
    for batch, expected in ((rows, {"rows": rows}), (rows * 2000, {"left_out": ["rows"]})):
        data = http.AccessBatch("default", batch)
        attempt = Attempt("id", 1, "use", capability=f"bus:publish@{http.ACCESS}", data=data)
        assert Describer(read_policy({}), os.urandom).draft(attempt).entry.details == expected


def test_hostile_sizes_are_cut() -> None:
    """Names of any length and number leave parts that fit into entries."""
    many = [
        {"resourceType": "Observation", "id": f"{n}" * 500, "subject": {"reference": "Patient/1"}} for n in range(2000)
    ]
    found = draft("fhir.store", fhir.StoreRequest("k", many, "s"), principal="p" * 10_000)
    assert max(len(msgspec.json.encode(part.values)) for part in found.parts) < 60_000
    assert len(msgspec.json.encode(found.entry)) < 8_000
