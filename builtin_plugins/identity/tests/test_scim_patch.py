"""SCIM PATCH: what operations make of a resource, and which are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.scim.errors import (
    InvalidPath,
    InvalidSyntax,
    InvalidValue,
    NoTarget,
    NotMutable,
    ScimError,
    TooMany,
)
from rustcare_plugin_identity.scim.filters import parse_path
from rustcare_plugin_identity.scim.patch import MAX_LOOKED_AT, PATCH_SCHEMA, apply_patch
from rustcare_plugin_identity.scim.schemas import ENTERPRISE, GROUPS, USERS

USER: dict[str, Any] = {
    "schemas": [USERS.core.id],
    "id": "1",
    "userName": "ada",
    "name": {"familyName": "Lovelace", "givenName": "Ada"},
    "emails": [
        {"type": "work", "value": "work@b.org", "primary": True},
        {"type": "home", "value": "home@b.org"},
    ],
    "active": True,
}
GROUP: dict[str, Any] = {
    "schemas": [GROUPS.core.id],
    "id": "9",
    "displayName": "Ward",
    "members": [{"value": "1", "type": "User"}, {"value": "2", "type": "User"}],
}


def patch(*operations: dict[str, Any], of: dict[str, Any] = USER) -> dict[str, Any]:
    """A resource after operations; the one that they are applied to stays as it was."""
    kind = USERS if of is USER else GROUPS
    before = copy.deepcopy(of)
    after = apply_patch(kind, of, {"schemas": [PATCH_SCHEMA], "Operations": list(operations)})
    assert of == before
    return after


def op(verb: str, path: str | None = None, *value: Any) -> dict[str, Any]:
    """An operation."""
    found: dict[str, Any] = {"op": verb}
    if path is not None:
        found["path"] = path
    if value:
        found["value"] = value[0]
    return found


def test_add_sets_extends_and_merges() -> None:
    """A single value is set, parts of a complex one are merged, values are added to those that there are, each once."""
    assert patch(op("add", "nickName", "Countess"))["nickName"] == "Countess"
    assert patch(op("add", "name", {"middleName": "King"}))["name"] == {
        "familyName": "Lovelace",
        "givenName": "Ada",
        "middleName": "King",
    }
    more = op("add", "emails", [{"type": "other", "value": "o@b.org"}])
    assert len(patch(more)["emails"]) == 3
    assert patch(more, more) == patch(more)
    assert patch(op("ADD", "NAME.familyname", "King"))["name"]["familyName"] == "King"


def test_a_part_of_nothing_is_taken_away_and_the_others_stay() -> None:
    """`null` for a part of a complex attribute is for that part; for all of them, or for the whole, the attribute goes."""
    assert patch(op("replace", "name", {"givenName": None}))["name"] == {"familyName": "Lovelace"}
    assert patch(op("replace", "name", {"givenName": None, "middleName": "K"}))["name"] == {
        "familyName": "Lovelace",
        "middleName": "K",
    }
    assert patch(op("replace", "name", {"unknown": "x"}))["name"] == USER["name"]
    for whole in (None, {}, {"givenName": None, "familyName": None}):
        assert "name" not in patch(op("replace", "name", whole))
    assert patch(op("add", "name", {"givenName": None})) == USER


def test_a_new_primary_value_is_the_only_one() -> None:
    """RFC 7644, section 3.5.2: when a value becomes primary, the one before it no longer is."""
    added = patch(op("add", "emails", [{"value": "o@b.org", "primary": True}]))["emails"]
    assert [item.get("primary") for item in added] == [False, None, True]
    turned = patch(op("replace", 'emails[type eq "home"].primary', True))["emails"]
    assert [item.get("primary") for item in turned] == [False, True]
    with pytest.raises(InvalidValue):
        patch(op("replace", "emails", [{"value": "a@b.c", "primary": True}, {"value": "d@e.f", "primary": True}]))


def test_without_a_path_every_name_is_a_path() -> None:
    """The value's names are attributes, paths, URIs of an extension or attributes of one; what is read-only is left alone."""
    after = patch(
        op(
            "add",
            None,
            {
                "id": "2",
                "meta": {"version": "x"},
                "displayname": "Ada L.",
                "name.givenName": "Augusta",
                'emails[type eq "home"].value': "new@b.org",
                'phoneNumbers[type eq "work"].value': "1",
                ENTERPRISE.id: {"department": "Ward 3"},
                f"{ENTERPRISE.id}:costCenter": "7",
                "unknown": 1,
            },
        )
    )
    assert (after["id"], after["displayName"], after["name"]["givenName"]) == ("1", "Ada L.", "Augusta")
    assert after[ENTERPRISE.id] == {"department": "Ward 3", "costCenter": "7"}
    assert after["emails"] == [USER["emails"][0], {"type": "home", "value": "new@b.org"}]
    assert after["phoneNumbers"] == [{"type": "work", "value": "1"}]
    assert "meta" not in after
    assert "unknown" not in after


def test_replace_with_a_filter_changes_what_it_selects() -> None:
    """A sub-attribute of the selected values, or the whole of them; nothing selected is `noTarget`."""
    after = patch(op("replace", 'emails[type eq "home"].value', "new@b.org"))
    assert [item["value"] for item in after["emails"]] == ["work@b.org", "new@b.org"]
    after = patch(op("replace", 'emails[type eq "home"]', {"value": "only@b.org"}))
    assert after["emails"][1] == {"value": "only@b.org"}
    with pytest.raises(NoTarget):
        patch(op("replace", 'emails[type eq "other"].value', "x@b.org"))


def test_add_with_a_filter_that_selects_nothing_makes_the_value() -> None:
    """`emails[type eq "other"].value` is an address of type other; what `eq` does not describe is `noTarget`."""
    after = patch(op("add", 'emails[type eq "other"].value', "o@b.org"))
    assert after["emails"][2] == {"type": "other", "value": "o@b.org"}
    with pytest.raises(NoTarget):
        patch(op("add", 'emails[type sw "oth"].value', "o@b.org"))


def test_remove_takes_values_parts_and_attributes() -> None:
    """By filter, by value, a part of each, or the whole; without a path, or with a filter that selects nothing: `noTarget`."""
    assert patch(op("remove", 'emails[type eq "home"]'))["emails"] == [USER["emails"][0]]
    assert "emails" not in patch(op("remove", "emails[value pr]"))
    assert "emails" not in patch(op("remove", "emails"))
    assert [set(item) for item in patch(op("remove", "emails.type"))["emails"]] == [{"value", "primary"}, {"value"}]
    assert "name" not in patch(op("remove", "name.familyName"), op("remove", "name.givenName"))
    assert patch(op("remove", "title")) == USER
    for wrong in (op("remove"), op("remove", 'emails[type eq "other"]')):
        with pytest.raises(NoTarget):
            patch(wrong)
    assert patch(op("remove", "members", [{"value": "1"}]), of=GROUP)["members"] == [GROUP["members"][1]]


def test_what_is_to_be_removed_is_known_by_its_value() -> None:
    """However a client writes a member's `$ref`, `type` and `display`, the member goes; another kind of value does not."""
    shown = {"value": "1", "$ref": "https://elsewhere/Users/1", "type": "user", "display": "Ada"}
    assert patch(op("remove", "members", [shown]), of=GROUP)["members"] == [GROUP["members"][1]]
    assert patch(op("remove", "members", ["2"]), of=GROUP)["members"] == [GROUP["members"][0]]
    assert len(patch(op("remove", "emails", [{"value": "WORK@b.org", "type": "home"}]))["emails"]) == 2
    assert len(patch(op("remove", "emails", [{"value": "WORK@b.org"}]))["emails"]) == 1
    for nobody in ([], "", [None], [{}], [{"value": "3"}]):
        assert patch(op("remove", "members", nobody), of=GROUP) == GROUP
    assert "members" not in patch(op("remove", "members", None), of=GROUP)
    with pytest.raises(InvalidValue):
        patch(op("remove", "members", [{"type": str(number)} for number in range(20)]), of=GROUP)


def test_a_value_that_is_there_gets_what_else_is_said_of_it() -> None:
    """The same address for the same purpose is there once; when it becomes primary the one before no longer is."""
    again = op("add", "emails", [{"type": "Home", "value": "HOME@b.org", "primary": True, "display": "x"}])
    assert patch(again)["emails"] == [
        {"type": "work", "value": "work@b.org", "primary": False},
        {"type": "Home", "value": "HOME@b.org", "primary": True, "display": "x"},
    ]
    other = op("add", "emails", [{"type": "other", "value": "home@b.org"}])
    assert len(patch(other)["emails"]) == 3
    where = op("add", "addresses", [{"locality": "Berlin"}, {"locality": "Berlin"}, {"locality": "Bonn"}])
    assert patch(where, where)["addresses"] == [{"locality": "Berlin"}, {"locality": "Bonn"}]


def test_values_are_added_once_however_many() -> None:
    """What is there already is not there twice."""
    for many in (3, 300):
        fresh = [{"type": "other", "value": f"{number}@b.org"} for number in range(many)]
        after = patch(op("add", "emails", [*fresh, *fresh, USER["emails"][1]]))["emails"]
        assert after == [*USER["emails"], *fresh]


def test_no_operation_compares_each_with_each() -> None:
    """Of ten thousand members 500 go one by one, 500 at once, and 1,000 come: no value is compared with every other.

    Counted, not timed: a value knows how often it was compared.
    """
    compared = 0

    class Id(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        def __deepcopy__(self, memo: Any) -> Id:
            return self

    members = [{"value": Id(number), "type": "User"} for number in range(10_000)]
    group = {**GROUP, "members": members}
    one_by_one = [op("remove", f'members[value eq "{number}"]') for number in range(500)]
    apply_patch(GROUPS, group, {"Operations": one_by_one})
    assert compared <= 500 * 10_000
    compared = 0
    at_once = op("remove", "members", [{"value": str(number)} for number in range(500, 1000)])
    joining = op("add", "members", [{"value": str(number), "type": "User"} for number in range(9_500, 10_500)])
    after = apply_patch(GROUPS, group, {"Operations": [at_once, joining]})
    assert len(after["members"]) == 10_000
    assert compared < 20_000


def test_filters_look_at_so_many_values_and_no_more() -> None:
    """What is not selected by `value eq` costs more; a request whose filters would look at too many values is `tooMany`."""
    group = {**GROUP, "members": [{"value": str(number), "type": "User"} for number in range(10_000)]}
    costly = op("replace", 'members[value sw "9"].type', "User")
    few, many = ({"Operations": [costly] * number} for number in (2, MAX_LOOKED_AT // 10_000 + 1))
    assert apply_patch(GROUPS, group, few) == group
    with pytest.raises(TooMany):
        apply_patch(GROUPS, group, many)


def test_errors_do_not_repeat_what_a_filter_compares_with() -> None:
    """It may be somebody's address: the error names the place alone, and so does what stands in a log."""
    for operation in (
        op("replace", 'emails[value eq "mallory@b.org"].type', "x"),
        op("add", 'title[value eq "mallory"]', "x"),
    ):
        with pytest.raises(ScimError) as caught:
            patch(operation)
        assert "mallory" not in str(caught.value)
    assert "mallory" not in repr(parse_path('emails[value eq "mallory@b.org"]'))


def test_an_extension_can_be_given_and_taken_as_a_whole() -> None:
    """The URI of an extension is a path; when nothing of it is left, it is gone."""
    given_ = op("add", ENTERPRISE.id, {"department": "Ward 3"})
    assert patch(given_)[ENTERPRISE.id] == {"department": "Ward 3"}
    assert ENTERPRISE.id not in patch(given_, op("remove", ENTERPRISE.id))
    assert ENTERPRISE.id not in patch(given_, op("remove", f"{ENTERPRISE.id}:department"))
    assert patch(op("replace", f"{ENTERPRISE.id}:manager.value", "7"))[ENTERPRISE.id] == {"manager": {"value": "7"}}


@pytest.mark.parametrize(
    "operation",
    [
        op("replace", "id", "2"),
        op("add", "groups", [{"value": "1"}]),
        op("replace", "meta.version", "x"),
        op("remove", "userName"),
        op("replace", "userName", None),
        op("replace", f"{ENTERPRISE.id}:manager.displayName", "x"),
    ],
)
def test_what_cannot_be_changed_is_mutability(operation: dict[str, Any]) -> None:
    """Read-only attributes are not written, required ones not taken away."""
    with pytest.raises(NotMutable):
        patch(operation)


def test_a_members_value_does_not_change() -> None:
    """`members.value` is immutable: a member goes and another comes, but none becomes another."""
    with pytest.raises(NotMutable):
        patch(op("replace", 'members[value eq "1"].value', "3"), of=GROUP)
    after = patch(op("replace", 'members[value eq "1"].value', "1"), op("add", "members", {"value": "3"}), of=GROUP)
    assert [item["value"] for item in after["members"]] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (op("move", "title", "x"), InvalidSyntax),
        ({"path": "title", "value": "x"}, InvalidSyntax),
        (op("add", "nothing", "x"), InvalidPath),
        (op("add", 'title[value eq "x"]', "x"), InvalidPath),
        (op("add", 'emails[nothing eq "x"]', {}), InvalidPath),
        (op("add", 'emails[type eq "home"].nothing', "x"), InvalidPath),
        (op("add", "title", 1), InvalidValue),
        (op("add", "title", "a\x00b"), InvalidValue),
        (op("add", "active", "perhaps"), InvalidValue),
        (op("add", None, "x"), InvalidValue),
        (op("add", "title"), InvalidValue),
        (op("replace", "emails"), InvalidValue),
        (op("add", "name", "x"), InvalidValue),
        (op("add", "x509Certificates", [{"value": "no base64"}]), InvalidValue),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_the_rfc(operation: dict[str, Any], error: type[ScimError]) -> None:
    """Each kind of mistake has its `scimType`."""
    with pytest.raises(error):
        patch(operation)


def test_all_operations_or_none() -> None:
    """When the second operation fails, nothing of the first is left."""
    with pytest.raises(NotMutable):
        patch(op("replace", "name.familyName", "King"), op("remove", "userName"))


paths = st.sampled_from(
    [
        "userName",
        "name",
        "name.familyName",
        "emails",
        'emails[type eq "work"]',
        'emails[type eq "home"].value',
        "active",
        "emails.value",
        "groups",
        "meta",
        ENTERPRISE.id,
        f"{ENTERPRISE.id}:manager",
        "members",
        "x",
        "emails[value pr].primary",
    ]
)
json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["value", "type", "primary", "familyName", "department", "manager"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"op": st.sampled_from(["add", "replace", "remove"])}, optional={"path": paths, "value": json}
        ),
        max_size=4,
    )
)
def test_no_operation_breaks_the_engine(operations: list[dict[str, Any]]) -> None:
    """Whatever is sent: a resource in its one form comes out, or an error of SCIM, and the original is as it was."""
    before = copy.deepcopy(USER)
    try:
        after = apply_patch(USERS, USER, {"Operations": operations})
    except ScimError:
        after = USER
    assert before == USER
    assert after["userName"]
    assert all(value not in (None, [], {}) for value in after.values())
    assert sum(item.get("primary") is True for item in after.get("emails", [])) <= 1
