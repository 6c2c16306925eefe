"""The tables themselves: every rule is well formed, every name in them exists, every map gives FHIR codes."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest
from rustcare_plugin_hl7_to_fhir import tables

PACKAGE = resources.files("rustcare_plugin_hl7_to_fhir")


def load(name: str) -> dict[str, Any]:
    """A table file."""
    loaded: dict[str, Any] = json.loads((PACKAGE / name).read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("name", sorted(name for name in load("datatypes.json") if name != "source"))
def test_every_datatype_compiles(name: str) -> None:
    """A datatype nobody uses yet is checked too."""
    tables.type_of(name)


def test_every_datatype_is_used() -> None:
    """A table that nothing refers to is left over."""
    defined = load("datatypes.json").keys() - {"source"}
    referred = {
        rule.get("as")
        for entry in [*load("segments.json").values(), *(item["rules"] for item in _tables())]
        if isinstance(entry, list)
        for rule in entry
    } | {item["as"] for kinds in load("segments.json")["OBX-5"].values() for item in kinds}
    bases = {item["base"] for item in _tables() if "base" in item}
    assert defined - referred - bases == set()


def _tables() -> list[dict[str, Any]]:
    return [table for name, table in load("datatypes.json").items() if name != "source"]


def test_every_concept_map_is_used() -> None:
    """A map that no rule names is left over (the code systems are used by the datatype itself)."""
    text = json.dumps([load("segments.json"), load("datatypes.json")])
    assert [name for name in tables.CONCEPTS if f'"map": "{name}"' not in text and name != "CodeSystem"] == []


def test_every_file_names_its_source() -> None:
    """The guide is named in every table that follows it."""
    for name in ("segments.json", "datatypes.json", "concepts.json", "events.json"):
        assert "guide" in load(name)["source"]


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("AdministrativeSex", {"male", "female", "other", "unknown"}),
        ("NameType", {"usual", "official", "temp", "nickname", "anonymous", "old", "maiden"}),
        ("AddressUse", {"home", "work", "temp", "old", "billing"}),
        ("AddressType", {"postal", "physical", "both"}),
        ("TelecommunicationSystem", {"phone", "fax", "email", "pager", "url", "sms", "other"}),
        ("TelecommunicationUse", {"home", "work", "temp", "old", "mobile"}),
        (
            "ObservationStatus",
            {"registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error"},
        ),
        (
            "ReportStatus",
            {"registered", "partial", "preliminary", "final", "amended", "corrected", "cancelled", "appended"},
        ),
        ("OrderStatus", {"draft", "active", "on-hold", "revoked", "completed", "entered-in-error", "unknown"}),
        ("ResultToOrderStatus", {"active", "completed", "revoked"}),
        ("OrderPriority", {"routine", "urgent", "asap", "stat"}),
        ("SpecimenStatus", {"available", "unavailable", "unsatisfactory", "entered-in-error"}),
    ],
)
def test_maps_give_codes_of_fhirs_value_sets(name: str, codes: set[str]) -> None:
    """These elements have required bindings: only codes of the value set are valid."""
    assert set(tables.CONCEPTS[name].values()) <= codes


def test_events_give_codes_of_encounter_status() -> None:
    """Encounter.status has a required binding."""
    allowed = {"planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled", "entered-in-error"}
    assert set(tables.EVENTS["encounter-status"].values()) <= allowed
    assert set(tables.CONCEPTS["EncounterStatus"].values()) <= {*allowed, "unknown"}
