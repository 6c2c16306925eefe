"""OCSF events, held against what the schema (1.8) requires of each class."""

from __future__ import annotations

from typing import Any

import pytest
from rustcare_plugin_audit.entry import Entry, What, Which, Who
from rustcare_plugin_audit.sinks.event import Event, Subject
from rustcare_plugin_audit.sinks.ocsf import ocsf_event

BASE = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
REQUIRED = {
    3001: {"user"},
    3002: {"user"},
    3004: {"entity"},
    6002: {"app"},
    6003: {"actor", "api", "src_endpoint"},
}
ACTIVITIES = {
    3001: {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99},
    3002: {0, 1, 2, 3, 4, 5, 6, 7, 99},
    3004: {0, *range(1, 14), 99},
    6002: {0, 1, 2, 3, 4, 5, 6, 7, 8, 99},
    6003: {0, 1, 2, 3, 4, 99},
}


def check(found: dict[str, Any]) -> None:
    """Hold an event against the schema's requirements and constraints."""
    class_uid = found["class_uid"]
    assert set(found) >= BASE | REQUIRED[class_uid]
    assert found["category_uid"] == class_uid // 1000
    assert found["activity_id"] in ACTIVITIES[class_uid]
    assert found["type_uid"] == class_uid * 100 + found["activity_id"]
    assert found["severity_id"] in range(7)
    assert found["status_id"] in (0, 1, 2, 99)
    assert isinstance(found["time"], int)
    assert found["metadata"]["version"] == "1.8.0"
    assert found["metadata"]["product"]["name"]
    assert {"process", "user", "invoked_by", "session", "app_name", "app_uid"} & set(found["actor"])
    if class_uid == 6003:
        assert found["api"]["operation"]
        assert found["src_endpoint"]["name"]
    if class_uid == 3002:
        assert {"service", "dst_endpoint"} & set(found)
    for name in ("user", "app", "entity"):
        if name in found:
            assert {"name", "uid"} & set(found[name])
    assert ("src_endpoint" in found) == (class_uid != 6002)
    if "trace" in found:
        assert found["trace"]["uid"]
        assert "trace" in found["metadata"]["profiles"]


@pytest.mark.parametrize(
    ("kind", "action", "type_uid"),
    [
        ("use", "create", 600301),
        ("use", "read", 600302),
        ("use", "update", 600303),
        ("use", "delete", 600304),
        ("use", "execute", 600399),
        ("operation", "plugin.install", 600201),
        ("operation", "plugin.upgrade", 600208),
        ("fact", "plugin.quarantine", 600207),
        ("operation", "grant.give", 300401),
        ("operation", "grant.revoke", 300404),
        ("operation", "auth.login", 300201),
        ("operation", "auth.logout", 300202),
        ("operation", "user.create", 300101),
        ("operation", "user.lock", 300109),
        ("fact", "capability.denied", 600399),
        ("fact", "", 600399),
    ],
)
@pytest.mark.parametrize("outcome", ["success", "failure", "interrupted"])
def test_actions_have_their_class(kind: str, action: str, type_uid: int, outcome: str) -> None:
    """Each action is of its class and activity, and has what the class requires."""
    entry = Entry(
        v=1,
        id="b" * 32,
        time=1_800_000_000_123_456,
        kind=kind,
        who=Who("acme.app", principal="dr", on_behalf="p"),
        what=What(action, "bus:request@fhir.read" if kind == "use" else "", "fhir.read"),
        which=Which("t1", "Patient"),
        trace="abc",
    )
    found = ocsf_event(Event(3, entry, b"\x05" * 32, outcome, settled=6, origin="log.example/a", size=7))
    check(found)
    assert found["type_uid"] == type_uid
    assert found["time"] == 1_800_000_000_123
    assert found["status"] == {"success": "Success", "failure": "Failure"}.get(outcome, "Interrupted")
    assert found["unmapped"]["audit"]["index"] == 3
    assert found["unmapped"]["audit"]["leaf"] == "05" * 32
    assert found["unmapped"]["audit"]["checkpoint"]["size"] == 7


def test_an_entry_with_nothing_in_it_is_an_event() -> None:
    """An entry may lack everything but what every entry has."""
    check(ocsf_event(Event(0, Entry(v=1, id="c", time=0, kind="fact"), b"\x00" * 32)))


def test_subjects_are_pseudonyms_unless_opened() -> None:
    """A closed or shredded subject is its pseudonym alone; an open one has its names."""
    entry = Entry(
        v=1, id="c", time=0, kind="use", what=What("read", "bus:request@fhir.read"), which=Which("t", "Patient")
    )
    subjects = (Subject("aa" * 32, "shredded"), Subject("bb" * 32, "open", "Patient/p2", ("Observation/o",)))
    found = ocsf_event(Event(0, entry, b"\x00" * 32, subjects=subjects))
    names = [one.get("name") or one["uid"] for one in found["resources"]]
    assert names == ["aa" * 32, "Patient/p2", "Observation/o"]
    assert found["unmapped"]["audit"]["shredded"] == ["aa" * 32]
