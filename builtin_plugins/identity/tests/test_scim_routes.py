"""SCIM over HTTP, from the request to the services and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from rustcare_plugin_identity.scim.bulk import BULK_REQUEST, MAX_PAYLOAD
from rustcare_plugin_identity.scim.schemas import ENTERPRISE, USERS
from rustcare_sdk.contracts import identity
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin, person, signed_in
from tests.support.scim_harness import Client

BASE = "https://clinic.example/scim/v2"
PASSWORD = "correct horse battery staple"


@pytest.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """The plugin."""
    async with identity_plugin() as h:
        await h.plugin.tenants.put(identity.TenantRequest("other"))  # type: ignore[attr-defined]
        yield h


@pytest.fixture
def scim(h: PluginHarness) -> Client:
    """A client of the tenant default."""
    return Client(h)


async def test_a_user_is_created_as_it_is_shown(scim: Client) -> None:
    """201 with Location and ETag; the body is the whole user, but never a password; the account is there."""
    sent = {
        "schemas": [USERS.core.id, ENTERPRISE.id],
        "userName": "ada",
        "externalId": "E1",
        "displayName": "Ada L.",
        "name": {"familyName": "Lovelace"},
        "emails": [{"value": "home@example.org", "type": "home"}, {"value": "ada@example.org", "primary": True}],
        "phoneNumbers": [{"value": "tel:+1-201-555-0123"}],
        "password": PASSWORD,
        ENTERPRISE.id: {"department": "Ward 3"},
    }
    status, made, response = await scim.ask("POST", "/Users", sent)
    assert status == 201, made
    assert response.headers["Location"] == made["meta"]["location"] == f"{BASE}/Users/{made['id']}"
    assert response.headers["ETag"] == made["meta"]["version"] == 'W/"1"'
    assert "password" not in made
    assert made["active"] is True
    for name in set(sent) - {"password"}:
        assert made[name] == sent[name], name
    assert (await scim.ask("GET", f"/Users/{made['id']}"))[1] == made
    account = await scim.h.plugin.accounts.get("default", made["id"])  # type: ignore[attr-defined]
    assert (account.email, account.state, bool(account.password)) == ("ada@example.org", "active", True)


async def test_what_is_unique_is_taken_once(scim: Client) -> None:
    """A second userName, in any case, and a second group's name: 409 `uniqueness`; the other tenant may have them."""
    await scim.make("ada")
    await scim.group("Ward")
    for path, body in (("/Users", {"userName": "ADA"}), ("/Groups", {"displayName": "ward"})):
        status, error, _ = await scim.ask("POST", path, body)
        assert (status, error["status"], error["scimType"]) == (409, "409", "uniqueness")
    await Client(scim.h, "other").make("ada")


async def test_a_tenant_sees_nothing_of_another(scim: Client) -> None:
    """Users and groups of another tenant are not there: not by id, not in lists, not as members or managers."""
    ada, ward = await scim.make("ada"), await scim.group("Ward")
    other = Client(scim.h, "other")
    for path in (f"/Users/{ada['id']}", f"/Groups/{ward['id']}"):
        for method, body in (("GET", None), ("PUT", {"userName": "x", "displayName": "x"}), ("DELETE", None)):
            assert (await other.ask(method, path, body))[0] == 404
        assert (await other.patch(path, {"op": "add", "path": "externalId", "value": "x"}))[0] == 404
    assert (await other.ask("GET", ""))[1]["totalResults"] == 0
    assert await other.find("id pr or not (id pr)") == []
    sent = {"displayName": "Theirs", "members": [{"value": ada["id"]}]}
    assert (await other.ask("POST", "/Groups", sent))[1]["scimType"] == "invalidValue"
    manager = {"userName": "bob", ENTERPRISE.id: {"manager": {"value": ada["id"]}}}
    assert (await other.ask("POST", "/Users", manager))[1]["scimType"] == "invalidValue"
    assert (await scim.ask("GET", f"/Users/{ada['id']}"))[0] == 200


async def test_filters_find_in_pages(scim: Client) -> None:
    """What the database decides and what it does not gives the same pages; counts are of all that was found."""
    for number in range(12):
        await scim.make(f"user{number:02}", title="Nurse" if number % 2 else "Doctor", externalId=f"E{number}")
    assert await scim.find('userName sw "USER0"', count=3, startIndex=2) == ["user01", "user02", "user03"]
    nurses = [f"user{number:02}" for number in range(1, 12, 2)]
    assert await scim.find('title eq "nurse"') == nurses
    assert await scim.find('title eq "nurse"', count=2, startIndex=3) == nurses[2:4]
    assert await scim.find('title eq "nurse" and userName gt "user05"') == nurses[3:]
    assert await scim.find('externalId eq "E3" or externalId eq "E5"') == ["user03", "user05"]
    for filter_ in ('title eq "nurse"', 'userName sw "user" and not (externalId eq "E0")'):
        found = (await scim.ask("GET", f"/Users?count=1&startIndex=4&filter={quote(filter_)}"))[1]
        assert (found["totalResults"], found["itemsPerPage"], found["startIndex"]) == (
            6 if "title" in filter_ else 11, 1, 4,
        )  # fmt: skip
    assert (await scim.ask("GET", "/Users?count=0"))[1]["totalResults"] == 12
    assert len((await scim.ask("GET", "/Users?count=-5&startIndex=-3"))[1]["Resources"]) == 0
    assert len((await scim.ask("GET", f"/Users?count={10**30}&startIndex=0"))[1]["Resources"]) == 12
    assert (await scim.ask("GET", f"/Users?startIndex={10**30}"))[1]["Resources"] == []


async def test_sorting(scim: Client) -> None:
    """By any attribute, in both orders, whatever the case; what has no value comes last, or first when turned around."""
    for name, title in (("b", "Zoo"), ("a", "ape"), ("c", None), ("d", "Bee")):
        await scim.make(name, **({"title": title} if title else {}))
    assert await scim.find("id pr", sortBy="userName") == ["a", "b", "c", "d"]
    assert await scim.find("id pr", sortBy="userName", sortOrder="descending") == ["d", "c", "b", "a"]
    assert await scim.find("id pr", sortBy="title") == ["a", "d", "b", "c"]
    assert await scim.find("id pr", sortBy="title", sortOrder="descending", count=2) == ["c", "b"]
    assert (await scim.ask("GET", "/Users?sortBy=name"))[1]["scimType"] == "invalidPath"
    assert (await scim.ask("GET", "/Users?sortBy=password"))[0] == 400
    assert (await scim.ask("GET", "/Users?sortOrder=up"))[0] == 400


async def test_searching_by_post_and_over_all_kinds(scim: Client) -> None:
    """`/.search` takes the query in its body; at the root it finds users and groups in one list."""
    ada = await scim.make("ada")
    await scim.group("Ward", ada["id"])
    search = {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:SearchRequest"],
        "attributes": ["userName", "displayName"],
    }
    status, found, _ = await scim.ask("POST", "/.search", search)
    assert (status, found["totalResults"]) == (200, 2)
    assert [set(item) for item in found["Resources"]] == [
        {"schemas", "id", "userName"},
        {"schemas", "id", "displayName"},
    ]
    found = (await scim.ask("POST", "/.search", {"filter": 'displayName eq "ward"', "startIndex": 1, "count": 5}))[1]
    assert [item["displayName"] for item in found["Resources"]] == ["Ward"]
    found = (await scim.ask("POST", "/.search", {"sortBy": "displayName", "sortOrder": "descending", "count": 1}))[1]
    assert (found["totalResults"], found["itemsPerPage"]) == (2, 1)
    found = (await scim.ask("POST", "/Users/.search", {"filter": f'groups.value pr and id eq "{ada["id"]}"'}))[1]
    assert found["totalResults"] == 1
    assert (await scim.ask("POST", "/.search", {"count": "many"}))[1]["scimType"] == "invalidValue"
    assert (await scim.ask("POST", "/.search", {"schemas": ["x"]}))[1]["scimType"] == "invalidSyntax"


async def test_groups_and_users_show_each_other(scim: Client) -> None:
    """A group's members refer to users, and users to their groups; both are found by it; roles of groups are held."""
    ada, bob = await scim.make("ada"), await scim.make("bob")
    ward = await scim.group("Ward", ada["id"], ada["id"])
    assert ward["members"] == [{"value": ada["id"], "$ref": f"{BASE}/Users/{ada['id']}", "type": "User"}]
    shown = (await scim.ask("GET", f"/Users/{ada['id']}"))[1]
    assert shown["groups"] == [
        {"value": ward["id"], "$ref": f"{BASE}/Groups/{ward['id']}", "display": "Ward", "type": "direct"}
    ]
    assert await scim.find(f'members eq "{ada["id"]}"', "/Groups") == ["Ward"]
    assert await scim.find(f'groups.value eq "{ward["id"]}"') == ["ada"]
    path = f"/Groups/{ward['id']}"
    status, after = await scim.patch(path, {"op": "add", "path": "members", "value": [{"value": bob["id"]}]})
    assert (status, len(after["members"])) == (200, 2)
    status, after = await scim.patch(path, {"op": "remove", "path": f'members[value eq "{ada["id"]}"]'})
    assert [item["value"] for item in after["members"]] == [bob["id"]]
    assert (await scim.patch(path, {"op": "remove", "path": "members"}))[1].get("members") is None
    wrong = {"op": "add", "path": "members", "value": [{"value": "nobody"}]}
    assert (await scim.patch(path, wrong))[1]["scimType"] == "invalidValue"
    nested = {"op": "add", "path": "members", "value": [{"value": ward["id"], "type": "Group"}]}
    assert (await scim.patch(path, nested))[1]["scimType"] == "invalidValue"
    assert (await scim.ask("DELETE", path))[0] == 204
    assert (await scim.ask("GET", path))[0] == 404


async def test_replacing_a_user(scim: Client) -> None:
    """PUT makes the user what was sent; what is read-only or was not said of `active` and `password` stays."""
    ada = await scim.make("ada", title="Chief", emails=[{"value": "a@example.org"}], password=PASSWORD, active=False)
    status, after, _ = await scim.ask("PUT", f"/Users/{ada['id']}", {"userName": "ada2", "id": "mine", "nickName": "A"})
    assert status == 200
    assert (after["id"], after["userName"], after["nickName"], after["active"]) == (ada["id"], "ada2", "A", False)
    assert "title" not in after
    assert "emails" not in after
    account = await scim.h.plugin.accounts.get("default", ada["id"])  # type: ignore[attr-defined]
    assert (account.email, bool(account.password)) == ("", True)
    assert (await scim.ask("PUT", f"/Users/{ada['id']}", {"title": "x"}))[1]["scimType"] == "invalidValue"


async def test_active_is_whether_the_account_is_disabled(scim: Client) -> None:
    """`active` false disables: sessions end at once; true enables; taken away, it says nothing until the next change."""
    ada = await scim.make("ada", password=PASSWORD)
    path = f"/Users/{ada['id']}"
    account = await scim.h.plugin.accounts.get("default", ada["id"])  # type: ignore[attr-defined]
    _, credential = await signed_in(scim.h, account)
    status, after = await scim.patch(path, {"op": "Replace", "path": "active", "value": "False"})
    assert (status, after["active"]) == (200, False)
    assert await scim.h.plugin.sessions.find(credential) is None  # type: ignore[attr-defined]
    assert await scim.find("active eq false") == ["ada"]
    status, after = await scim.patch(path, {"op": "replace", "value": {"active": True}})
    assert (status, after["active"]) == (200, True)
    status, after = await scim.patch(path, {"op": "remove", "path": "active"})
    assert (status, "active" in after) == (200, False)
    assert "active" not in (await scim.patch(path, {"op": "add", "path": "title", "value": "x"}))[1]
    await scim.h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(ada["id"]), source="kernel")
    assert (await scim.ask("GET", path))[1]["active"] is False


async def test_changes_are_on_record(scim: Client) -> None:
    """Every change is a request to one of the services that the audit policy names."""
    ada = await scim.make("ada")
    await scim.patch(f"/Users/{ada['id']}", {"op": "add", "path": "title", "value": "x"})
    await scim.patch(f"/Users/{ada['id']}", {"op": "add", "path": "active", "value": False})
    ward = await scim.group("Ward", ada["id"])
    await scim.patch(f"/Groups/{ward['id']}", {"op": "remove", "path": "members"})
    await scim.ask("DELETE", f"/Groups/{ward['id']}")
    await scim.ask("DELETE", f"/Users/{ada['id']}")
    asked = [item.subject for item in scim.h.requested if item.subject.startswith("identity.")]
    assert [name for name in asked if name.startswith(("identity.account.", "identity.group."))] == [
        identity.ACCOUNT_CREATE, identity.ACCOUNT_UPDATE, identity.ACCOUNT_DISABLE,
        identity.GROUP_PUT, identity.GROUP_PUT, identity.GROUP_PUT, identity.ACCOUNT_DELETE,
    ]  # fmt: skip
    before = len(scim.h.requested)
    bob = await scim.make("bob")
    await scim.patch(f"/Users/{bob['id']}", {"op": "replace", "path": "userName", "value": "bob"})
    changed = [item.subject for item in scim.h.requested[before:] if item.subject.startswith("identity.account.")]
    assert changed == [identity.ACCOUNT_CREATE]
    scim.h.assert_capabilities_within_manifest()


async def test_a_password_keeps_the_rules(scim: Client) -> None:
    """A password that users could not set themselves is `invalidValue`; a new one is in force."""
    status, error, _ = await scim.ask("POST", "/Users", {"userName": "ada", "password": "short"})
    assert (status, error["scimType"]) == (400, "invalidValue")
    assert "short" not in error["detail"].split()
    ada = await scim.make("ada", password=PASSWORD)
    before = (await scim.h.plugin.accounts.get("default", ada["id"])).password  # type: ignore[attr-defined]
    status, after = await scim.patch(
        f"/Users/{ada['id']}", {"op": "replace", "path": "password", "value": PASSWORD + "!"}
    )
    assert (status, "password" in after) == (200, False)
    assert (await scim.h.plugin.accounts.get("default", ada["id"])).password != before  # type: ignore[attr-defined]


async def test_versions(scim: Client) -> None:
    """If-Match of another version is 412 and changes nothing; If-None-Match of this one is 304; `*` of what is there 412."""
    ada = await scim.make("ada")
    path, tag = f"/Users/{ada['id']}", ada["meta"]["version"]
    status, after = await scim.patch(path, {"op": "add", "path": "title", "value": "x"}, if_match=f'"x", {tag}')
    assert (status, after["meta"]["version"] != tag) == (200, True)
    for method, body in (("PUT", {"userName": "bob"}), ("DELETE", None)):
        assert (await scim.ask(method, path, body, if_match=tag))[0] == 412
        assert (await scim.ask(method, path, body, if_none_match="*"))[0] == 412
    assert (await scim.patch(path, {"op": "remove", "path": "title"}, if_match=tag))[0] == 412
    now = after["meta"]["version"]
    status, body, response = await scim.ask("GET", path, if_none_match=f"{now}, x")
    assert (status, body, response.headers["ETag"]) == (304, None, now)
    await scim.group("Ward", ada["id"])
    assert (await scim.ask("GET", path, if_none_match=now))[0] == 200
    assert (await scim.ask("DELETE", path, if_match="*"))[0] == 204


async def test_changes_at_the_same_time_are_all_made(scim: Client) -> None:
    """Fifty who add themselves to a group, or an address to a user, at once: none is lost, none is refused."""
    users = [await scim.make(f"user{number}") for number in range(50)]
    ward, ada = await scim.group("Ward"), users[0]
    joins = [
        scim.patch(f"/Groups/{ward['id']}", {"op": "add", "path": "members", "value": [{"value": user["id"]}]})
        for user in users
    ]
    phones = [
        scim.patch(f"/Users/{ada['id']}", {"op": "add", "path": "phoneNumbers", "value": [{"value": str(number)}]})
        for number in range(50)
    ]
    assert {status for status, _ in await asyncio.gather(*joins, *phones)} == {200}
    assert len((await scim.ask("GET", f"/Groups/{ward['id']}"))[1]["members"]) == 50
    assert len((await scim.ask("GET", f"/Users/{ada['id']}"))[1]["phoneNumbers"]) == 50


async def test_me_is_the_callers_own_user(scim: Client) -> None:
    """`/Me` is the user of the caller; a service account has none."""
    ada = await scim.make("ada")
    own = Client(scim.h, "default", "nothing", principal=f"user/{ada['id']}")
    status, me, response = await own.ask("GET", "/Me?attributes=userName")
    assert (status, me["id"], me["userName"]) == (200, ada["id"], "ada")
    assert response.headers["Content-Location"] == ada["meta"]["location"]
    assert (await own.patch("/Me", {"op": "add", "path": "title", "value": "x"}))[1]["title"] == "x"
    assert (await scim.ask("GET", "/Me"))[0] == 404


async def test_bulk_requests_refer_to_what_they_make(scim: Client) -> None:
    """A group that refers to a user made later in the request; one answer each, with location and version."""
    operations = [
        {
            "method": "POST",
            "path": "/Groups",
            "bulkId": "g",
            "data": {"displayName": "W", "members": [{"value": "bulkId:u"}]},
        },
        {"method": "POST", "path": "/Users", "bulkId": "u", "data": {"userName": "ada"}},
        {
            "method": "PATCH",
            "path": "/Users/bulkId:u",
            "data": {"Operations": [{"op": "add", "path": "title", "value": "x"}]},
        },
        {"method": "POST", "path": "/Users", "bulkId": "v", "data": {"userName": "ADA"}},
        {"method": "DELETE", "path": "/Users/nobody"},
        {"method": "PUT", "path": "/Users", "data": {}},
        {"method": "PUT", "path": "/Users/bulkId:u", "version": 'W/"77"', "data": {"userName": "bob"}},
    ]
    status, answer, _ = await scim.ask("POST", "/Bulk", {"schemas": [BULK_REQUEST], "Operations": operations})
    assert status == 200
    said = answer["Operations"]
    assert [item["status"] for item in said] == ["201", "201", "200", "409", "404", "400", "412"]
    assert said[3]["response"]["scimType"] == "uniqueness"
    assert said[1]["location"].startswith(f"{BASE}/Users/")
    group = (await scim.ask("GET", said[0]["location"].removeprefix(BASE)))[1]
    assert group["members"][0]["$ref"] == said[1]["location"]
    assert (await scim.ask("POST", "/Bulk", b" " * MAX_PAYLOAD + b'{"Operations": []}'))[0] == 413


async def test_discovery(scim: Client) -> None:
    """What the server is, its types and schemas, one by one and all; a filter there is 403."""
    assert (await scim.ask("GET", "/ServiceProviderConfig"))[1]["patch"] == {"supported": True}
    for path in ("/ResourceTypes", "/Schemas"):
        found = (await scim.ask("GET", path))[1]
        assert found["totalResults"] == len(found["Resources"]) > 1
        for item in found["Resources"]:
            assert item["meta"]["location"] == f"{BASE}{path}/{item['id']}"
            assert (await scim.ask("GET", f"{path}/{item['id']}"))[1] == item
        assert (await scim.ask("GET", f"{path}/nothing"))[0] == 404
        assert (await scim.ask("GET", f"{path}?filter=id%20pr"))[0] == 403


async def test_errors_have_the_form_of_the_rfc(scim: Client) -> None:
    """What is no endpoint, no method of one, no JSON, no media type of SCIM: each an Error with its status."""
    for method, path, body, status in (
        ("GET", "/nothing", None, 404),
        ("POST", "/Groups/a/b", {}, 404),
        ("DELETE", "/Schemas", None, 405),
        ("PUT", "/ServiceProviderConfig", {}, 405),
        ("PATCH", "/Users", {}, 405),
        ("POST", "/Users", b"{", 400),
        ("POST", "/Users", b"\xff", 400),
        ("POST", "/Users", b"[" * 5000, 400),
        ("POST", "/Users", b'{"userName": "\\ud800"}', 400),
        ("POST", "/Users", {"userName": "a\x00"}, 400),
        ("POST", "/Users", {"userName": "x" * 5000}, 400),
        ("POST", "/Groups", {"displayName": "x", "externalId": "a\nb"}, 400),
        ("POST", "/Groups", {"displayName": "x", "externalId": "x" * 257}, 400),
        ("POST", "/Users", {"userName": "ok", "emails": [{"value": "none"}]}, 400),
        ("GET", "/Users?filter=x", None, 400),
        ("GET", "/Users?filter=password%20pr", None, 400),
        ("GET", "/Users?count=1.5", None, 400),
        ("GET", "/Users?attributes=a&excludedAttributes=b", None, 400),
        ("GET", "/Users/%00", None, 404),
    ):
        got, error, _ = await scim.ask(method, path, body)
        assert got == status, (method, path, error)
        assert error["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert error["status"] == str(status)
    assert (await scim.ask("POST", "/Users", {"userName": "ada"}, content_type="text/plain"))[0] == 415
    assert (await scim.ask("POST", "/Users", {"userName": "ada"}, content_type="application/json"))[0] == 201


@pytest.mark.parametrize(("role", "scope"), [("administrator", "admin"), ("operator", "admin.plugins")])
async def test_who_looks_after_the_system_is_out_of_reach(scim: Client, role: str, scope: str) -> None:
    """A client without the scopes of administration neither changes who has them nor who is in a group that gives them.

    Who may install plugins may do everything with one; so it is not the scope `admin` alone.
    """
    root = await person(scim.h, "root", [role])
    admins = await scim.h.plugin.groups.create("default", name="Admins", roles=[role])  # type: ignore[attr-defined]
    ada = await scim.make("ada")
    steal = {"op": "replace", "path": "password", "value": PASSWORD}
    join = {"op": "add", "path": "members", "value": [{"value": ada["id"]}]}
    assert (await scim.patch(f"/Users/{root.id}", steal))[0] == 403
    assert (await scim.ask("DELETE", f"/Users/{root.id}"))[0] == 403
    assert (await scim.patch(f"/Groups/{admins.id}", join))[0] == 403
    assert (await scim.ask("DELETE", f"/Groups/{admins.id}"))[0] == 403
    assert (await scim.ask("GET", f"/Users/{root.id}"))[0] == 200
    holder = Client(scim.h, "default", *((scope, "admin.read") if scope != "admin" else (scope,)))
    status, after = await holder.patch(f"/Groups/{admins.id}", join)
    assert (status, len(after["members"])) == (200, 1)
