"""Accounts as SCIM users: what is the account's own, what is kept beside it, and what is neither."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.scim.mapping import user_fields, user_resource
from rustcare_plugin_identity.scim.schemas import ENTERPRISE, USERS
from rustcare_plugin_identity.scim.values import Selection, read_resource
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin
from tests.support.scim_harness import Client

ADA: dict[str, Any] = {
    "userName": "ada",
    "externalId": "E1",
    "displayName": "Ada",
    "active": True,
    "name": {"familyName": "L."},
    "emails": [{"value": "ada@b.org", "primary": True}, {"value": "straße@b.org"}],
    "title": "Chief",
    ENTERPRISE.id: {"department": "Ward 3", "manager": {"value": "7"}},
}

anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["value", "primary", "manager", "x"]), inner)
    ),
    max_leaves=5,
)
names = st.sampled_from([*(item.name for item in USERS.attributes), ENTERPRISE.id, "activeUnassigned", "foo"])


@pytest.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """The plugin."""
    async with identity_plugin() as h:
        yield h


def test_what_is_read_is_what_was_written() -> None:
    """A resource becomes fields of an account, and these the resource again."""
    fields = user_fields(read_resource(USERS, ADA))
    account = Account(
        "1", "default", "user", "ada", fields.email, fields.display_name, external_id="E1", attributes=fields.attributes
    )
    shown = user_resource(account, (), "https://x")
    found = Selection(unwanted=["id", "meta"]).show(USERS, shown.resource)
    manager = {"value": "7", "$ref": "https://x/Users/7"}
    assert found == {
        "id": "1", "schemas": [USERS.core.id, ENTERPRISE.id], **ADA,
        ENTERPRISE.id: {"department": "Ward 3", "manager": manager},
    }  # fmt: skip


@given(st.dictionaries(names, anything, max_size=5))
def test_whatever_is_kept_of_a_user_is_shown(kept: dict[str, Any]) -> None:
    """An account whose attributes are of another making is a user; what is the account's own is the account's."""
    account = Account("1", "default", "user", "ada", email="ada@b.org", attributes={"scim": kept})
    found = Selection().show(USERS, user_resource(account, (), "https://x").resource)
    assert (found["id"], found["userName"], found.get("groups"), found.get("password")) == ("1", "ada", None, None)
    assert "foo" not in found


async def test_one_strange_account_hides_no_other(h: PluginHarness) -> None:
    """Lists, filters and sorting go over it, whatever an import has brought."""
    scim = Client(h)
    await scim.make("ada", title="Chief")
    for number, kept in enumerate(
        ({"foo": 1}, {"emails": "x"}, {"id": "z", "meta": 1, "userName": "eve"}, {"name": []})
    ):
        await h.plugin.accounts.create(  # type: ignore[attr-defined]
            "default", name=f"bob{number}", attributes={"scim": kept}
        )
    everybody = ["ada", *(f"bob{number}" for number in range(4))]
    assert await scim.find("id pr", sortBy="emails") == everybody
    assert await scim.find("title pr or not (name.familyName pr)") == everybody
    assert (await scim.ask("GET", "/Users"))[1]["totalResults"] == 5
