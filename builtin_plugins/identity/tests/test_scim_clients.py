"""What the two most widely used directories send, request by request, and what they need to read in the answers.

The bodies are those of Entra ID (with its compatibility switch and without) and of Okta, with names of our own: operations in
capitals, truth values as text, objects where texts belong, names with dots and brackets, attributes that are read-only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from rustcare_plugin_identity.scim.schemas import ENTERPRISE, GROUPS, USERS
from rustcare_plugin_identity.sessions.errors import CredentialRefused
from rustcare_sdk.contracts import identity
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin, signed_in
from tests.support.scim_harness import Client

BASE = "https://clinic.example/scim/v2"
PASSWORD = "correct horse battery staple"
#: A schema that Entra names beside that of groups.
ENTRA_GROUP = "http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"


@pytest.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """The plugin."""
    async with identity_plugin() as h:
        yield h


@pytest.fixture
def scim(h: PluginHarness) -> Client:
    """A client of the tenant default."""
    return Client(h)


def entra_user(name: str, **more: Any) -> dict[str, Any]:
    """A new user as Entra sends one."""
    return {
        "schemas": [USERS.core.id, ENTERPRISE.id],
        "externalId": f"{name}-object-id",
        "userName": f"{name}@clinic.example",
        "active": "True",
        "displayName": name.title(),
        "emails": [{"primary": True, "type": "work", "value": f"{name}@clinic.example"}],
        "meta": {"resourceType": "User"},
        "name": {"formatted": f"{name.title()} L.", "familyName": "L.", "givenName": name.title()},
        "roles": [],
        **more,
    }


async def open_session(h: PluginHarness, id: str) -> str:
    """The credential of a session that a user has open."""
    account = await h.plugin.accounts.get("default", id)  # type: ignore[attr-defined]
    return (await signed_in(h, account))[1]


async def alive(h: PluginHarness, credential: str) -> bool:
    """Whether a session still lets in."""
    asked = identity.AuthenticateRequest("session", credential, "default")
    try:
        await h.request(identity.AUTHENTICATE, asked)
    except CredentialRefused:
        return False
    return True


async def test_entra_finds_makes_and_matches_users(scim: Client) -> None:
    """The test of the connection finds nobody, in an empty list; who is made is found by each attribute that it matches by."""
    nobody = quote('userName eq "4d7c0a5e-0000-4000-8000-2b7d4c3f7a11"')
    status, found, _ = await scim.ask("GET", f"/Users?filter={nobody}")
    assert (status, found["totalResults"], found["Resources"]) == (200, 0, [])
    boss = (await scim.ask("POST", "/Users", entra_user("boss")))[1]
    status, ada, _ = await scim.ask("POST", "/Users", entra_user("ada", **{ENTERPRISE.id: {"manager": boss["id"]}}))
    assert (status, ada["active"], ada[ENTERPRISE.id]["manager"]["value"]) == (201, True, boss["id"])
    for filter_ in (
        'userName eq "ADA@clinic.example"',
        'externalId eq "ada-object-id"',
        'emails[type eq "work"].value eq "ada@clinic.example"',
    ):
        assert await scim.find(filter_) == ["ada@clinic.example"]
    status, error, _ = await scim.ask("POST", "/Users", entra_user("ada"))
    assert (status, error["scimType"]) == (409, "uniqueness")


async def test_entra_provisions_guests(scim: Client) -> None:
    """A guest's name holds where the guest comes from, between `#`."""
    name = "ada_home.example#EXT#@clinic.example"
    status, made, _ = await scim.ask("POST", "/Users", entra_user("guest", userName=name))
    assert (status, made.get("userName")) == (201, name)
    assert await scim.find(f'userName eq "{name}"') == [name]


@pytest.mark.parametrize("switch", [False, True])
async def test_entra_changes_users(scim: Client, switch: bool) -> None:
    """Without its switch a path for each, in capitals; with it one operation whose names are paths: the same comes of both."""
    boss = (await scim.ask("POST", "/Users", entra_user("boss")))[1]
    ada = (await scim.ask("POST", "/Users", entra_user("ada")))[1]
    path = f"/Users/{ada['id']}"
    new = {
        'emails[type eq "work"].value': "ada.new@clinic.example",
        'emails[type eq "work"].primary': "True",
        'phoneNumbers[type eq "mobile"].value': "+49 30 123",
        'addresses[type eq "work"].streetAddress': "Street 1",
        'addresses[type eq "work"].country': "DE",
        "name.familyName": "King",
        "title": "Chief",
        f"{ENTERPRISE.id}:department": "Ward 3",
        f"{ENTERPRISE.id}:manager": boss["id"],
        'roles[primary eq "True"].display': "Nurse",
        'roles[primary eq "True"].value': "nurse",
    }
    operations = (
        [{"op": "Add", "value": new}]
        if switch
        else [{"op": "Add", "path": name, "value": value} for name, value in new.items()]
    )
    status, after = await scim.patch(path, *operations)
    assert status == 200, after
    assert after["emails"] == [{"primary": True, "type": "work", "value": "ada.new@clinic.example"}]
    assert after["phoneNumbers"] == [{"type": "mobile", "value": "+49 30 123"}]
    assert after["addresses"] == [{"type": "work", "streetAddress": "Street 1", "country": "DE"}]
    assert (after["name"]["familyName"], after["title"]) == ("King", "Chief")
    assert after["roles"] == [{"primary": True, "display": "Nurse", "value": "nurse"}]
    assert after[ENTERPRISE.id]["department"] == "Ward 3"
    assert after[ENTERPRISE.id]["manager"]["value"] == boss["id"]
    account = await scim.h.plugin.accounts.get("default", ada["id"])  # type: ignore[attr-defined]
    assert (account.email, account.roles) == ("ada.new@clinic.example", ())
    gone = {"op": "Replace", "path": f"{ENTERPRISE.id}:manager", "value": ""}
    assert "manager" not in (await scim.patch(path, gone))[1][ENTERPRISE.id]
    old = {"op": "Replace", "path": f"{USERS.core.id}:displayName", "value": [{"$ref": None, "value": "Ada K."}]}
    assert (await scim.patch(path, old))[1]["displayName"] == "Ada K."


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "Replace", "path": "active", "value": "False"},
        {"op": "Replace", "path": "active", "value": [{"$ref": None, "value": "False"}]},
        {"op": "replace", "path": "active", "value": False},
        {"op": "replace", "value": {"active": False}},
        {"op": "Replace", "value": {"Active": "False", "displayName": "gone"}},
        {"op": "Add", "path": f"{USERS.core.id}:active", "value": "false"},
    ],
)
async def test_who_leaves_is_out_however_it_is_written(
    h: PluginHarness, scim: Client, operation: dict[str, Any]
) -> None:
    """Each way in which a directory says that somebody has left disables the account, and its session ends at once."""
    ada = (await scim.ask("POST", "/Users", entra_user("ada", password=PASSWORD)))[1]
    credential = await open_session(h, ada["id"])
    assert await alive(h, credential)
    status, after = await scim.patch(f"/Users/{ada['id']}", operation)
    assert (status, after["active"]) == (200, False)
    assert not await alive(h, credential)
    h.assert_published(identity.REVOKED)
    account = await h.plugin.accounts.get("default", ada["id"])  # type: ignore[attr-defined]
    assert account.state == "disabled"


async def test_entra_looks_after_groups(scim: Client) -> None:
    """Members come and go in both of its forms; groups are read without members; a deleted user is in none."""
    ada, bob, eve = [(await scim.ask("POST", "/Users", entra_user(name)))[1]["id"] for name in ("ada", "bob", "eve")]
    sent = {"schemas": [GROUPS.core.id, ENTRA_GROUP], "externalId": "g-object-id", "displayName": "Ward 3"}
    status, ward, _ = await scim.ask("POST", "/Groups", {**sent, "meta": {"resourceType": "Group"}})
    assert status == 201, ward
    path = f"/Groups/{ward['id']}"
    query = "excludedAttributes=members&filter=" + quote('displayName eq "Ward 3"')
    assert [item["id"] for item in (await scim.ask("GET", f"/Groups?{query}"))[1]["Resources"]] == [ward["id"]]
    adding = {"op": "Add", "path": "members", "value": [{"$ref": None, "value": id} for id in (ada, bob, eve)]}
    assert len((await scim.patch(path, adding))[1]["members"]) == 3
    assert "members" not in (await scim.ask("GET", f"{path}?excludedAttributes=members"))[1]
    for id, count in ((ada, 1), (ward["id"], 0)):
        filter_ = quote(f'id eq "{ward["id"]}" and members eq "{id}"')
        found = (await scim.ask("GET", f"/Groups?excludedAttributes=members&filter={filter_}"))[1]
        assert (found["totalResults"], len(found["Resources"])) == (count, count)
    removing = {"op": "Remove", "path": "members", "value": [{"$ref": None, "value": ada}]}
    assert [item["value"] for item in (await scim.patch(path, removing))[1]["members"]] == sorted([bob, eve])
    removing = {"op": "remove", "path": f'members[value eq "{bob}"]'}
    assert [item["value"] for item in (await scim.patch(path, removing))[1]["members"]] == [eve]
    naming = {"op": "Replace", "path": "displayName", "value": "Ward 4"}
    assert (await scim.patch(path, naming))[1]["displayName"] == "Ward 4"
    assert (await scim.ask("DELETE", f"/Users/{eve}"))[0] == 204
    for method, body in (("GET", None), ("PATCH", {"Operations": [naming]}), ("DELETE", None)):
        assert (await scim.ask(method, f"/Users/{eve}", body))[0] == 404
    assert "members" not in (await scim.ask("GET", path))[1]
    assert (await scim.ask("DELETE", path))[0] == 204
    assert (await scim.ask("GET", path))[0] == 404


def okta_user(name: str, **more: Any) -> dict[str, Any]:
    """A new user as Okta sends one."""
    return {
        "schemas": [USERS.core.id],
        "userName": f"{name}@clinic.example",
        "name": {"givenName": name.title(), "familyName": "User"},
        "emails": [{"primary": True, "value": f"{name}@clinic.example", "type": "work"}],
        "displayName": f"{name.title()} User",
        "locale": "en-US",
        "externalId": f"00u{name}",
        "groups": [],
        "active": True,
        **more,
    }


async def test_okta_makes_reads_and_replaces_users(h: PluginHarness, scim: Client) -> None:
    """It looks for the name, makes the user, and sends the whole user back, with what is read-only; off and on again."""
    query = "startIndex=1&count=100&filter=" + quote('userName eq "ada@clinic.example"')
    assert (await scim.ask("GET", f"/Users?{query}"))[1]["totalResults"] == 0
    status, ada, _ = await scim.ask("POST", "/Users", okta_user("ada", password=PASSWORD))
    assert (status, ada["active"]) == (201, True)
    assert (await scim.ask("GET", f"/Users?{query}"))[1]["Resources"] == [ada]
    await scim.group("Ward 3", ada["id"])
    path = f"/Users/{ada['id']}"
    shown = (await scim.ask("GET", path))[1]
    status, after, _ = await scim.ask("PUT", path, {**shown, "name": {"givenName": "Ada", "familyName": "King"}})
    assert (status, after["name"]["familyName"], after["groups"]) == (200, "King", shown["groups"])
    credential = await open_session(h, ada["id"])
    assert await alive(h, credential)
    status, after, _ = await scim.ask("PUT", path, {**after, "active": False})
    assert (status, after["active"]) == (200, False)
    assert not await alive(h, credential)
    status, after = await scim.patch(path, {"op": "replace", "value": {"active": True}})
    assert (status, after["active"]) == (200, True)
    assert not await alive(h, credential)


async def test_okta_imports_page_by_page(scim: Client) -> None:
    """From 1 on, as many as it asks for: by `startIndex` and `totalResults` it sees every user and group once."""
    for number in range(7):
        await scim.ask("POST", "/Users", okta_user(f"user{number}"))
        await scim.group(f"Ward {number}")
    for path in ("/Users", "/Groups"):
        seen: list[str] = []
        total = 1
        while len(seen) < total:
            status, page, _ = await scim.ask("GET", f"{path}?startIndex={len(seen) + 1}&count=3")
            assert (status, page["startIndex"]) == (200, len(seen) + 1)
            assert page["itemsPerPage"] == len(page["Resources"]) > 0
            total = page["totalResults"]
            seen += [item["id"] for item in page["Resources"]]
        assert len(seen) == len(set(seen)) == total == 7


async def test_okta_pushes_groups(scim: Client) -> None:
    """An empty list of members, members with names, another name beside the id, a whole group: each is what it says."""
    ada, bob = [(await scim.ask("POST", "/Users", okta_user(name)))[1] for name in ("ada", "bob")]
    status, ward, _ = await scim.ask(
        "POST", "/Groups", {"schemas": [GROUPS.core.id], "displayName": "W", "members": []}
    )
    assert (status, "members" in ward) == (201, False)
    path = f"/Groups/{ward['id']}"
    named = [{"value": user["id"], "display": user["userName"]} for user in (ada, bob)]
    status, after = await scim.patch(
        path,
        {"op": "replace", "value": {"id": ward["id"], "displayName": "Ward"}},
        {"op": "add", "path": "members", "value": named},
        {"op": "add", "path": "members", "value": named[:1]},
    )
    assert (status, after["displayName"], len(after["members"])) == (200, "Ward", 2)
    status, after = await scim.patch(path, {"op": "remove", "path": f'members[value eq "{ada["id"]}"]'})
    assert (status, [item["value"] for item in after["members"]]) == (200, [bob["id"]])
    status, after = await scim.patch(path, {"op": "replace", "path": "members", "value": named[:1]})
    assert (status, [item["value"] for item in after["members"]]) == (200, [ada["id"]])
    status, after, _ = await scim.ask("PUT", path, {**after, "displayName": "Ward 3", "members": named})
    assert (status, after["displayName"], len(after["members"])) == (200, "Ward 3", 2)
    assert after["meta"]["location"] == f"{BASE}{path}"
