"""What a resource must be to be stored, and its stored form."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_fhir.errors import InvalidResource
from rustcare_plugin_fhir.resource import prepare, stored_form
from rustcare_plugin_fhir.types import RESOURCE_TYPES

NOW = "2026-01-01T12:00:00.000Z"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "p1", **more}


def test_the_list_holds_all_concrete_types_of_r4() -> None:
    """148 types less the two abstract ones."""
    assert len(RESOURCE_TYPES) == 146
    assert not {"Resource", "DomainResource"} & RESOURCE_TYPES


@pytest.mark.parametrize(
    ("resource", "address"),
    [
        ([], "r"),
        ({}, "r"),
        ({"resourceType": "patient", "id": "1"}, "r"),
        ({"resourceType": "Resource", "id": "1"}, "r"),
        ({"resourceType": ["Patient"], "id": "1"}, "r"),
        ({"resourceType": "Patient"}, "r.id"),
        ({"resourceType": "Patient", "id": ""}, "r.id"),
        ({"resourceType": "Patient", "id": "a" * 65}, "r.id"),
        ({"resourceType": "Patient", "id": "a/b"}, "r.id"),
        ({"resourceType": "Patient", "id": "a\n"}, "r.id"),
        ({"resourceType": "Patient", "id": "\u00e9"}, "r.id"),
        ({"resourceType": "Patient", "id": 7}, "r.id"),
        (patient(meta=[]), "r.meta"),
        (patient(x=object()), "r"),
        (patient(link=[{"other": {"reference": "#gone"}}]), "r"),
        (patient(link=[{"other": {"reference": "Patient?identifier=1"}}]), "r"),
        (patient(link=[{"other": {"reference": "Martian/1"}}]), "r"),
    ],
)
def test_what_is_not_a_resource_is_refused_with_its_place(resource: Any, address: str) -> None:
    """The error gives the place and never the content."""
    with pytest.raises(InvalidResource) as caught:
        prepare(resource, "r")
    assert caught.value.address == address


def test_errors_do_not_repeat_what_came() -> None:
    """Ids and texts may be patient data."""
    for bad in ({"resourceType": "Jane", "id": "1"}, {"resourceType": "Patient", "id": "Jane Doe"}):
        with pytest.raises(InvalidResource) as caught:
            prepare(bad, "r")
        assert "Jane" not in str(caught.value)


def test_local_references_are_found_wherever_they_are() -> None:
    """At any depth, also versioned; contained and absolute ones need no other resource."""
    resource = patient(
        contained=[{"resourceType": "Organization", "id": "o", "partOf": {"reference": "Organization/x"}}],
        managingOrganization={"reference": "#o"},
        generalPractitioner=[{"reference": "Practitioner/d/_history/2"}, {"reference": "https://x.example/Patient/9"}],
        link=[{"other": {"reference": "urn:uuid:0"}}],
        extension=[{"url": "u", "valueString": '"reference":"Patient/no"'}],
        photo=[{"title": 'say "reference": "Patient/no"'}],
    )
    assert prepare(resource, "r").targets == {"Organization/x", "Practitioner/d"}


@given(st.dictionaries(st.text(), JSON, max_size=6), st.dictionaries(st.text(), JSON, max_size=3))
def test_the_stored_form_is_the_resource_with_its_version(body: dict[str, Any], meta: dict[str, Any]) -> None:
    """Nothing is lost or added but `meta.versionId` and `meta.lastUpdated`."""
    resource = {**body, "resourceType": "Patient", "id": "p1", "meta": meta}
    try:
        prepared = prepare(resource, "r")
    except InvalidResource:
        return  # a text that happens to look like a broken reference, or a lone surrogate
    stored = json.loads(stored_form(prepared, 3, NOW))
    assert stored == {**resource, "meta": {**meta, "versionId": "3", "lastUpdated": NOW}}


@given(st.dictionaries(st.text(), JSON, max_size=6), st.randoms(use_true_random=False))
def test_the_digest_is_that_of_the_content(body: dict[str, Any], random: Any) -> None:
    """The order of keys, and what the server sets, do not count; anything else does."""
    body = {name: value for name, value in body.items() if name not in ("resourceType", "id", "meta")}
    names = list(body)
    random.shuffle(names)
    other = {name: body[name] for name in names}
    try:
        one = prepare({**patient(), **body, "meta": {"versionId": "1"}}, "r")
    except InvalidResource:
        return
    two = prepare({**other, **patient(), "meta": {"lastUpdated": NOW}}, "r")
    assert one.digest == two.digest
    assert one.digest != prepare({**patient(), **body, "new": 1, "meta": {}}, "r").digest or body.get("new") == 1
    assert one.digest != prepare({**patient(), **body, "meta": {"source": "x"}}, "r").digest


def test_decimals_keep_their_digits() -> None:
    """1.50 is not 1.5: in FHIR the precision of a value is part of it."""
    prepared = prepare({"resourceType": "Observation", "id": "o", "valueQuantity": {"value": Decimal("1.50")}}, "r")
    assert '"value":1.50' in stored_form(prepared, 1, NOW)
