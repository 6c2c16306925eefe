"""SCIM filters: the grammar, its printing, and what they decide, in Python and in SQL alike."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.accounts.names import folded
from rustcare_plugin_identity.scim.errors import InvalidFilter, InvalidPath
from rustcare_plugin_identity.scim.filters import (
    And,
    AttributePath,
    Compare,
    Filter,
    Not,
    Or,
    Present,
    ValuePath,
    parse_attribute,
    parse_filter,
    parse_path,
)
from rustcare_plugin_identity.scim.filters.evaluate import bind
from rustcare_plugin_identity.scim.filters.parser import MAX_TERMS
from rustcare_plugin_identity.scim.filters.sql import USER_COLUMNS, Condition, condition
from rustcare_plugin_identity.scim.mapping import user_fields, user_resource
from rustcare_plugin_identity.scim.schemas import GROUPS, USERS
from rustcare_plugin_identity.scim.values import read_resource

#: The examples of RFC 7644, section 3.4.2.2.
RFC_EXAMPLES = (
    'userName Eq "john"',
    'Username eq "john"',
    'userName eq "bjensen"',
    'name.familyName co "O\'Malley"',
    'userName sw "J"',
    'urn:ietf:params:scim:schemas:core:2.0:User:userName sw "J"',
    "title pr",
    'meta.lastModified gt "2011-05-13T04:42:34Z"',
    'meta.lastModified ge "2011-05-13T04:42:34Z"',
    'meta.lastModified lt "2011-05-13T04:42:34Z"',
    'meta.lastModified le "2011-05-13T04:42:34Z"',
    'title pr and userType eq "Employee"',
    'title pr or userType eq "Intern"',
    'schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"',
    'userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")',
    'userType ne "Employee" and not (emails co "example.com" or emails.value co "example.org")',
    'userType eq "Employee" and (emails.type eq "work")',
    'userType eq "Employee" and emails[type eq "work" and value co "@example.com"]',
    'emails[type eq "work" and value co "@example.com"] or ims[type eq "xmpp" and value co "@foo.com"]',
)

ADA: dict[str, Any] = {
    "schemas": [USERS.core.id, USERS.extensions[0].id],
    "id": "1",
    "externalId": "E1",
    "userName": "Ada",
    "name": {"familyName": "O'Malley"},
    "title": "Chief",
    "active": True,
    "emails": [{"type": "work", "value": "ada@example.com"}, {"type": "home", "value": "a@b.org", "primary": True}],
    "meta": {"lastModified": "2026-01-01T00:00:00.000000Z"},
    USERS.extensions[0].id: {"department": "Ward 3"},
}


def selected(account: Account, found: Condition) -> bool:
    """Whether a database selects an account."""
    database = sqlite3.connect(":memory:")
    database.execute(
        "CREATE TABLE accounts (tenant, id, name_key, email_key, state, created, updated, external_id, attributes)"
    )
    row = (
        account.tenant, account.id, folded(account.name), folded(account.email), account.state, account.created,
        account.updated, account.external_id, msgspec.json.encode(account.attributes).decode(),
    )  # fmt: skip
    database.execute("INSERT INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    answer = database.execute(f"SELECT 1 FROM accounts WHERE {found.sql or '1 = 1'}", found.params).fetchone()
    database.close()
    return answer is not None


def fits(text: str, resource: dict[str, Any] = ADA) -> bool:
    """Whether a user fits a filter."""
    return bind(parse_filter(text), USERS)(resource)


@pytest.mark.parametrize("text", RFC_EXAMPLES)
def test_the_examples_of_the_rfc_are_read(text: str) -> None:
    """Every example filter of RFC 7644 parses, prints to the same tree, and is about attributes that users have."""
    tree = parse_filter(text)
    assert parse_filter(str(tree)) == tree
    bind(tree, USERS)


def test_and_binds_more_tightly_than_or() -> None:
    """`a or b and c` is `a or (b and c)`; parentheses change it; `not` takes the whole of its parentheses."""
    a, b, c = (Present(AttributePath(name)) for name in "abc")
    assert parse_filter("a pr or b pr and c pr") == Or((a, And((b, c))))
    assert parse_filter("(a pr or b pr) and c pr") == And((Or((a, b)), c))
    assert parse_filter("a pr and b pr or c pr") == Or((And((a, b)), c))
    assert parse_filter("not (a pr or b pr) and c pr") == And((Not(Or((a, b))), c))
    assert parse_filter("a pr and (b pr and c pr)") == And((a, b, c))


names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)
uris = st.sampled_from(["", "urn:ietf:params:scim:schemas:core:2.0:User", "urn:acme:x.y:Z"])
values: st.SearchStrategy[Any] = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
)
paths = st.builds(AttributePath, names, st.one_of(st.just(""), names, st.just("$ref")), uris)
plain = st.one_of(
    st.builds(
        Compare, paths, st.sampled_from(["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]), values
    ),
    st.builds(Present, paths),
)  # fmt: skip


def logical(inner: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    """And, or, not of some."""
    several = st.lists(inner, min_size=2, max_size=3)
    return st.one_of(several.map(And.of), several.map(Or.of), st.builds(Not, inner))


inside: st.SearchStrategy[Filter] = st.recursive(plain, logical, max_leaves=5)
value_paths = st.builds(ValuePath, st.builds(AttributePath, names, st.just(""), uris), inside)
filters: st.SearchStrategy[Filter] = st.recursive(st.one_of(plain, value_paths), logical, max_leaves=12)


@given(filters)
def test_what_is_printed_is_read_as_the_same(tree: Filter) -> None:
    """For every tree: print, parse, and it is the tree again."""
    assert parse_filter(str(tree)) == tree


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    """Whatever is sent is either a filter or an InvalidFilter, and either a path or an InvalidPath."""
    with contextlib.suppress(InvalidFilter):
        assert parse_filter(str(parse_filter(text)))
    with contextlib.suppress(InvalidPath):
        assert parse_path(text).place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "userName",
        "userName eq",
        'userName is "x"',
        'eq "x"',
        'userName eq "x',
        "userName eq x",
        "userName eq 01",
        'userName eq "x" and',
        '(userName eq "x"',
        'userName eq "x")',
        'not userName eq "x"',
        'emails[type eq "x"',
        'emails[emails[type eq "x"]]',
        'emails.type[value eq "x"]',
        'userName eq "\\ud800"',
        "userName eq 1e999",
        'name.a.b eq "x"',
        "a pr" + " and a pr" * 2000,
        "a pr" + " or a pr" * MAX_TERMS,
        "(" * 60 + "a pr" + ")" * 60,
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    """What leaves the grammar, is too long or nests too deeply is `invalidFilter`."""
    with pytest.raises(InvalidFilter):
        parse_filter(text)


def test_a_filter_of_many_comparisons_is_read() -> None:
    """As many as there may be, in one row or nested; what is printed of them, where they may be somebody's, is no value."""
    tree = parse_filter('userName eq "mallory" or ' * (MAX_TERMS - 1) + "a pr")
    assert isinstance(tree, Or)
    assert len(tree.items) == MAX_TERMS
    assert "mallory" not in repr(tree) + repr(Condition("x = ?", ("mallory",)))


def test_a_sub_attribute_behind_brackets_is_understood() -> None:
    """A widely used client's form is read as the condition inside of the brackets."""
    assert parse_filter('emails[type eq "work"].value eq "x"') == parse_filter(
        'emails[type eq "work" and value eq "x"]'
    )


def test_paths_of_patch_operations() -> None:
    """An attribute, a sub-attribute, a filter, a sub-attribute behind it; anything else is `invalidPath`."""
    assert parse_path("members").path == AttributePath("members")
    assert parse_path("name.familyName").path == AttributePath("name", "familyName")
    found = parse_path('addresses[type eq "work"].streetAddress')
    assert (found.path.name, str(found.filter), found.sub) == ("addresses", 'type eq "work"', "streetAddress")
    enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
    assert parse_attribute(f"{enterprise}:manager.displayName") == AttributePath("manager", "displayName", enterprise)
    for wrong in ("", "1a", "a[b pr", "a[b pr].", "a.b[c pr]", "a b", "a[b pr]c", "urn:x"):
        with pytest.raises(InvalidPath):
            parse_path(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('username eq "ADA"', True),
        ('externalId eq "e1"', False),
        ('externalId eq "E1"', True),
        ('userName sw "a" and userName ew "A" and userName co "d"', True),
        ('emails.value eq "a@b.org"', True),
        ('emails co "EXAMPLE"', True),
        ('emails[type eq "work" and value eq "a@b.org"]', False),
        ('emails[type eq "home" and primary eq true]', True),
        ('emails[type eq "home" and not (primary eq true)]', False),
        ('emails.type ne "work"', True),
        ("nickName pr", False),
        ('nickName ne "x"', True),
        ("nickName eq null", True),
        ("title ne null", True),
        ("active eq true", True),
        ('active eq "True"', True),
        ('meta.lastModified gt "2025-12-31T23:00:00-02:00"', False),
        ('meta.lastModified ge "2026-01-01T01:00:00+01:00"', True),
        ('urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:Department eq "ward 3"', True),
        ('schemas eq "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"', True),
        ('name.familyName gt "N" and name.familyName lt "P"', True),
        ("groups pr", False),
    ],
)
def test_what_filters_decide(text: str, expected: bool) -> None:
    """Case matters where the schema says so; a filter in brackets is about one value, one without about any."""
    assert fits(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        'nothing eq "x"',
        'name eq "x"',
        'password eq "x"',
        "password pr",
        "userName eq 1",
        "active gt true",
        'active co "t"',
        'meta.lastModified gt "yesterday"',
        "userName gt null",
        'emails[nothing eq "x"]',
        'x509Certificates.value gt "x"',
    ],
)
def test_what_cannot_be_compared_is_refused(text: str) -> None:
    """Unknown attributes, attributes that are never shown, and values of another type are `invalidFilter`."""
    with pytest.raises(InvalidFilter):
        fits(text)


def test_over_several_kinds_what_one_has_not_has_no_value() -> None:
    """RFC 7644, section 3.4.2.1: an attribute of users is no error of a search that is about groups too."""
    assert not bind(parse_filter('userName eq "x"'), GROUPS, lenient=True)({"displayName": "x"})
    assert bind(parse_filter('not (userName eq "x")'), GROUPS, lenient=True)({"displayName": "x"})


@pytest.mark.parametrize("wanted", ["straße@b.org", "STRASSE@b.org", "strasse", "Ｓtra"])
def test_an_address_with_letters_beyond_ascii_is_found(wanted: str) -> None:
    """In whatever way it is written, the condition in SQL selects the account that holds it; and it is not shown twice."""
    sent = {"userName": "ada", "emails": [{"value": "a@b.org", "primary": True}, {"value": "Straße@b.org"}]}
    fields = user_fields(read_resource(USERS, sent))
    account = Account("1", "default", "user", "ada", email=fields.email, attributes=fields.attributes)
    assert user_resource(account, (), "").resource["emails"] == sent["emails"]
    for operator in ("eq", "co", "sw"):
        tree = parse_filter(f'emails.value {operator} "{wanted}"')
        assert selected(account, condition(tree, USERS, USER_COLUMNS)) or not bind(tree, USERS)(
            user_resource(account, (), "").resource
        )
    assert bind(parse_filter(f'emails.value sw "{wanted}"'), USERS)(user_resource(account, (), "").resource)


words = st.sampled_from(["ada", "Ada", "ADA B", "ａda", "straße", "STRASSE", "100%", "a_b", 'q"t', "b\\c", "", "e1"])
accounts = st.builds(
    Account,
    st.just("0" * 32),
    st.just("default"),
    st.just("user"),
    words.filter(bool),
    email=st.sampled_from(["", "ada@example.com", "Strasse@b.org"]),
    display_name=words,
    state=st.sampled_from(["active", "disabled", "invited"]),
    created=st.sampled_from([0.0, 1700000000.123456, 1800000000.5]),
    updated=st.sampled_from([1700000000.25, 1767225600.0]),
    external_id=words,
    attributes=st.one_of(
        st.just({}),
        st.builds(
            lambda word: (
                user_fields(
                    {"userName": "x", "nickName": word or "x", "emails": [{"type": "work", "value": f"{word}@b.org"}]}
                ).attributes
            ),
            words,
        ),
    ),
)
compared = st.one_of(
    st.builds(
        Compare,
        st.sampled_from(["userName", "externalId", "displayName", "nickName", "emails", "id"]).map(AttributePath),
        st.sampled_from(["eq", "ne", "co", "sw", "ew"]),
        words,
    ),
    st.builds(Compare, st.just(AttributePath("active")), st.sampled_from(["eq", "ne"]), st.booleans()),
    st.builds(
        Compare,
        st.sampled_from(["created", "lastModified"]).map(lambda name: AttributePath("meta", name)),
        st.sampled_from(["eq", "ne", "gt", "ge", "lt", "le"]),
        st.sampled_from(["2023-11-14T22:13:20.123456Z", "2023-11-14T22:13:20.25Z", "2026-01-01T00:00:00Z"]),
    ),
    st.builds(Present, st.sampled_from(["externalId", "displayName", "active", "emails"]).map(AttributePath)),
    st.builds(
        ValuePath,
        st.just(AttributePath("emails")),
        st.builds(Compare, st.just(AttributePath("value")), st.sampled_from(["eq", "co"]), words),
    ),
)
decided: st.SearchStrategy[Filter] = st.recursive(compared, logical, max_leaves=5)


@given(accounts, decided)
def test_sql_selects_no_less_and_if_exact_no_more(account: Account, tree: Filter) -> None:
    """For every account and filter: what Python selects, the condition in SQL does; one that says it is exact, only that."""
    wanted = bind(tree, USERS)(user_resource(account, (), "https://x/scim/v2").resource)
    found = condition(tree, USERS, USER_COLUMNS)
    chosen = selected(account, found)
    assert chosen or not wanted
    if found.exact:
        assert chosen == wanted
