"""SCIM resources as they come in and as they are shown."""

from __future__ import annotations

from typing import Any

import pytest
from rustcare_plugin_identity.scim.errors import InvalidSyntax, InvalidValue
from rustcare_plugin_identity.scim.schemas import ENTERPRISE, GROUPS, SCHEMAS, USERS, Attribute
from rustcare_plugin_identity.scim.values import Selection, check_whole, read_resource

SHOWN: dict[str, Any] = {
    "schemas": [USERS.core.id, ENTERPRISE.id],
    "id": "1",
    "userName": "ada",
    "password": "must never be shown",
    "name": {"familyName": "Lovelace", "givenName": "Ada"},
    "emails": [{"type": "work", "value": "a@b.org"}],
    "meta": {"version": 'W/"1"', "location": "https://x"},
    ENTERPRISE.id: {"department": "Ward", "manager": {"value": "2", "displayName": "Bob"}},
}


def show(wanted: str = "", unwanted: str = "") -> dict[str, Any]:
    """The resource by `attributes` and `excludedAttributes`."""
    return Selection(wanted.split(","), unwanted.split(",")).show(USERS, SHOWN)


def test_names_are_spelled_as_in_the_schema() -> None:
    """Names are read in any case; read-only attributes, unknown ones and empty values are left out."""
    found = read_resource(
        USERS,
        {
            "SCHEMAS": [USERS.core.id.upper()],
            "USERNAME": "ada",
            "Name": {"FAMILYNAME": "L", "givenName": None, "unknown": 1},
            "emails": {"value": "a@b.org"},
            "phoneNumbers": [],
            "id": "mine",
            "groups": [{"value": "1"}],
            "meta": {"version": "x"},
            "active": "False",
            ENTERPRISE.id.lower(): {"Department": "Ward", "manager": {"displayName": "Bob"}},
            "acme": {"x": 1},
        },
    )
    assert found == {
        "userName": "ada",
        "name": {"familyName": "L"},
        "emails": [{"value": "a@b.org"}],
        "active": False,
        ENTERPRISE.id: {"department": "Ward"},
    }


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ([], InvalidSyntax),
        ({"schemas": [GROUPS.core.id], "userName": "x"}, InvalidSyntax),
        ({"schemas": "x", "userName": "x"}, InvalidSyntax),
        ({}, InvalidValue),
        ({"userName": 1}, InvalidValue),
        ({"userName": "x", "emails": ["a@b.org", 1]}, InvalidValue),
        ({"userName": "x", "active": 1}, InvalidValue),
        ({"userName": "x", "name": []}, InvalidValue),
        ({"userName": "x", "emails": [{"primary": True}, {"primary": True}]}, InvalidValue),
        ({"userName": "\ud800"}, InvalidValue),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(sent: Any, error: type[Exception]) -> None:
    """Another message is `invalidSyntax`; a missing or misfit value is `invalidValue`."""
    with pytest.raises(error):
        check_whole(USERS, read_resource(USERS, sent))


def test_a_password_is_never_shown() -> None:
    """`returned: never` holds even where it is asked for by name."""
    assert "password" not in show()
    assert "password" not in show("password,userName")


def test_attributes_select_what_is_shown() -> None:
    """What is asked for, and what is always returned; of complex attributes also parts, of extensions too."""
    assert show("username") == {"schemas": SHOWN["schemas"], "id": "1", "userName": "ada"}
    assert show("name.givenName")["name"] == {"givenName": "Ada"}
    assert show(f"{ENTERPRISE.id}:manager.value")[ENTERPRISE.id] == {"manager": {"value": "2"}}
    assert show(ENTERPRISE.id)[ENTERPRISE.id] == SHOWN[ENTERPRISE.id]
    assert show("emails.value")["emails"] == [{"value": "a@b.org"}]
    assert set(show("nothing")) == {"schemas", "id"}


def test_excluded_attributes_are_left_out() -> None:
    """What is excluded is not shown, but for what is always returned."""
    found = show("", f"id,emails,name.givenName,meta.location,{ENTERPRISE.id}:department")
    assert found["id"] == "1"
    assert "emails" not in found
    assert found["name"] == {"familyName": "Lovelace"}
    assert found["meta"] == {"version": 'W/"1"'}
    assert found[ENTERPRISE.id] == {"manager": {"value": "2", "displayName": "Bob"}}
    with pytest.raises(InvalidValue):
        show("userName", "emails")


def test_each_name_is_looked_up_once() -> None:
    """A selection is worked out once for each kind, not for each attribute of each resource; and it has a bound."""
    looked_up = 0

    class Path(str):
        __slots__ = ()

        def lower(self) -> str:
            nonlocal looked_up
            looked_up += 1
            return super().lower()

    selection = Selection(["userName", "displayName"])
    selection._wanted = [type(path)(Path(path.name), path.sub, path.uri) for path in selection._wanted]
    for _ in range(100):
        assert set(selection.show(USERS, SHOWN)) == {"schemas", "id", "userName"}
    assert 0 < looked_up <= 4
    with pytest.raises(InvalidValue):
        Selection(["a"] * 1001)


def test_whether_members_are_asked_for() -> None:
    """By name, by a part, or by saying nothing; not when they are excluded, or others are asked for."""
    for wanted, unwanted, expected in (
        ("", "", True),
        ("members", "", True),
        ("members.value", "", True),
        ("displayName", "", False),
        ("", "members", False),
        ("", "members.value", True),
    ):
        assert Selection(wanted.split(","), unwanted.split(",")).shows(GROUPS, "members") is expected
    assert Selection(["displayName"]).shows(GROUPS, "id")


def test_the_path_of_an_attribute_is_a_name_of_it() -> None:
    """A manager written as an id alone, and by the whole path: as one widely used client sends it."""
    for sent in ({f"{ENTERPRISE.id}:manager": "2"}, {ENTERPRISE.id: {"manager": "2"}}):
        found = read_resource(USERS, {"userName": "x", f"{ENTERPRISE.id}:department": "W", **sent})
        assert found == {"userName": "x", ENTERPRISE.id: {"department": "W", "manager": {"value": "2"}}}


def test_schemas_are_consistent() -> None:
    """Names are unique in any case; complex attributes have parts and others none; the parts of read-only ones are too."""

    def check(attributes: tuple[Attribute, ...], readonly: bool) -> None:
        assert len({item.name.lower() for item in attributes}) == len(attributes)
        for item in attributes:
            assert (item.type == "complex") == bool(item.subs), item.name
            assert not readonly or item.mutability == "readOnly", item.name
            assert item.description, item.name
            check(item.subs, item.mutability == "readOnly")

    for schema in SCHEMAS:
        check(schema.attributes, False)
