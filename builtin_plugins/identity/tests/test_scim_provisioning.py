"""SCIM's changes: made to what was read, whoever else changes it meanwhile; and who is to be out is out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from rustcare_plugin_identity.scim.errors import InvalidValue, PreconditionFailed
from rustcare_plugin_identity.scim.provisioning import Asking, Provisioning
from rustcare_plugin_identity.scim.schemas import ENTERPRISE, GROUPS, USERS
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
        yield h


@pytest.fixture
def scim(h: PluginHarness) -> Client:
    """A client of the tenant default."""
    return Client(h)


def elsewhere(h: PluginHarness, first: str, meanwhile: Callable[[], Awaitable[Any]]) -> Provisioning:
    """Provisioning as in another process (it knows nothing of the turns here); before its first request of the
    service `first` something else happens."""
    plugin: Any = h.plugin
    todo = [meanwhile]

    async def ask(service: str, data: Any, *, type: type[Any]) -> Any:
        if service == first and todo:
            await todo.pop()()
        return await h.request(service, data, source="kernel")

    return Provisioning(ask, plugin.scim_directory, plugin.accounts, plugin.groups)


def patch_of(path: str, value: Any) -> dict[str, Any]:
    """One operation that replaces."""
    return {"op": "replace", "path": path, "value": value}


async def test_who_disables_does_not_undo_what_another_changes_meanwhile(h: PluginHarness, scim: Client) -> None:
    """Between the reading and the disabling another client writes: both changes are there in the end."""
    ada = await scim.make("ada")
    path = f"/Users/{ada['id']}"
    other = elsewhere(h, identity.ACCOUNT_DISABLE, lambda: scim.patch(path, patch_of("nickName", "Countess")))
    sent = {"Operations": [patch_of("active", False), patch_of("title", "Chief")]}
    shown = await other.patch(Asking("default", BASE), USERS, ada["id"], sent)
    found = (await scim.ask("GET", path))[1]
    assert found == shown.resource
    assert (found["active"], found["title"], found["nickName"]) == (False, "Chief", "Countess")


async def test_with_if_match_nothing_is_disabled_that_is_another_by_now(h: PluginHarness, scim: Client) -> None:
    """The version that If-Match names is changed between the check and the disabling: refused, and still active."""
    ada = await scim.make("ada")
    path, asking = f"/Users/{ada['id']}", Asking("default", BASE, (), (ada["meta"]["version"],))
    other = elsewhere(h, identity.ACCOUNT_DISABLE, lambda: scim.patch(path, patch_of("nickName", "Countess")))
    with pytest.raises(PreconditionFailed):
        await other.patch(asking, USERS, ada["id"], {"Operations": [patch_of("active", False)]})
    assert (await scim.ask("GET", path))[1]["active"] is True


async def test_with_if_match_nothing_is_deleted_that_is_another_by_now(h: PluginHarness, scim: Client) -> None:
    """A user and a group are changed between the check and the deletion: refused, and still there."""
    ada, ward = await scim.make("ada"), await scim.group("Ward")
    for kind, made, service, change in (
        (USERS, ada, identity.ACCOUNT_DELETE, patch_of("title", "Chief")),
        (GROUPS, ward, identity.GROUP_PUT, patch_of("externalId", "E1")),
    ):
        path = f"{kind.endpoint}/{made['id']}"

        async def change_it(path: str = path, change: dict[str, Any] = change) -> None:
            assert (await scim.patch(path, change))[0] == 200

        other = elsewhere(h, service, change_it)
        with pytest.raises(PreconditionFailed):
            await other.delete(Asking("default", BASE, (), (made["meta"]["version"],)), kind, made["id"])
        assert (await scim.ask("GET", path))[0] == 200


async def test_without_if_match_a_deletion_is_not_put_off_by_a_change(h: PluginHarness, scim: Client) -> None:
    """Another change in between is read again, and then it is deleted."""
    ada = await scim.make("ada")
    path = f"/Users/{ada['id']}"
    other = elsewhere(h, identity.ACCOUNT_DELETE, lambda: scim.patch(path, patch_of("title", "Chief")))
    await other.delete(Asking("default", BASE), USERS, ada["id"])
    assert (await scim.ask("GET", path))[0] == 404


async def test_a_group_is_not_gone_when_a_member_is(h: PluginHarness, scim: Client) -> None:
    """Somebody is deleted while they are made a member: `invalidValue`, and not 404, which is said of groups that are gone."""
    ada, ward = await scim.make("ada"), await scim.group("Ward")
    other = elsewhere(h, identity.GROUP_PUT, lambda: scim.ask("DELETE", f"/Users/{ada['id']}"))
    sent = {"Operations": [{"op": "add", "path": "members", "value": [{"value": ada["id"]}]}]}
    with pytest.raises(InvalidValue):
        await other.patch(Asking("default", BASE), GROUPS, ward["id"], sent)
    assert (await scim.ask("GET", f"/Groups/{ward['id']}"))[1] == ward


async def test_a_manager_who_is_gone_keeps_nobody_in(h: PluginHarness, scim: Client) -> None:
    """When a user's manager has been deleted the user is still disabled, by PATCH and by PUT; a new manager must be one."""
    boss = await scim.make("boss")
    for name, method in (("ada", "PATCH"), ("bob", "PUT")):
        manager = {ENTERPRISE.id: {"manager": {"value": boss["id"]}}}
        made = await scim.make(name, password=PASSWORD, **manager)
        account = await h.plugin.accounts.get("default", made["id"])  # type: ignore[attr-defined]
        _, credential = await signed_in(h, account)
        if name == "ada":
            assert (await scim.ask("DELETE", f"/Users/{boss['id']}"))[0] == 204
        body: dict[str, Any] = {"userName": name, "active": False, **manager}
        if method == "PATCH":
            body = {"Operations": [patch_of("active", False)]}
        status, after, _ = await scim.ask(method, f"/Users/{made['id']}", body)
        assert (status, after["active"]) == (200, False), after
        assert await h.plugin.sessions.find(credential) is None  # type: ignore[attr-defined]
        wrong = patch_of(f"{ENTERPRISE.id}:manager.value", "nobody")
        assert (await scim.patch(f"/Users/{made['id']}", wrong))[1]["scimType"] == "invalidValue"
        boss = await scim.make("boss2") if name == "ada" else boss


async def test_service_accounts_in_a_group_are_no_hindrance(h: PluginHarness, scim: Client) -> None:
    """They are not shown, not found and not taken out; users come and go beside them."""
    robot = await person(h, "robot", kind="service")
    ada, bob = await scim.make("ada"), await scim.make("bob")
    group = await h.plugin.groups.create("default", name="Ward", members=[robot.id, ada["id"]])  # type: ignore[attr-defined]
    path = f"/Groups/{group.id}"
    assert [item["value"] for item in (await scim.ask("GET", path))[1]["members"]] == [ada["id"]]
    assert await scim.find(f'members.value eq "{robot.id}"', "/Groups") == []
    status, after = await scim.patch(path, {"op": "add", "path": "members", "value": [{"value": bob["id"]}]})
    assert (status, len(after["members"])) == (200, 2)
    assert (await scim.patch(path, {"op": "remove", "path": f'members[value eq "{ada["id"]}"]'}))[0] == 200
    status, after, _ = await scim.ask("PUT", path, {"displayName": "Ward", "members": []})
    assert (status, after.get("members")) == (200, None)
    left = await h.plugin.groups.get("default", group.id)  # type: ignore[attr-defined]
    assert left.members == (robot.id,)
    joining = {"op": "add", "path": "members", "value": [{"value": robot.id}]}
    assert (await scim.patch(path, joining))[1]["scimType"] == "invalidValue"


async def test_who_leaves_a_group_loses_what_it_gave_and_the_others_nothing(h: PluginHarness, scim: Client) -> None:
    """A member who is taken out of a group that gives a role is signed out at once; who stays, or comes in, is not."""
    users = [await scim.make(name) for name in ("ada", "bob", "eve")]
    members = [user["id"] for user in users[:2]]
    group = await h.plugin.groups.create(  # type: ignore[attr-defined]
        "default", name="Ward", roles=["clinician"], members=members
    )
    credentials = []
    for user in users:
        account = await h.plugin.accounts.get("default", user["id"])  # type: ignore[attr-defined]
        credentials.append((await signed_in(h, account))[1])
    ada, _, eve = (user["id"] for user in users)
    joining = {"op": "add", "path": "members", "value": [{"value": eve}]}
    leaving = {"op": "remove", "path": f'members[value eq "{ada}"]'}
    assert (await scim.patch(f"/Groups/{group.id}", joining, leaving))[0] == 200
    left = [await h.plugin.sessions.find(credential) is not None for credential in credentials]  # type: ignore[attr-defined]
    assert left == [False, True, True]


async def test_who_joins_and_who_leaves_a_group_is_on_record(h: PluginHarness, scim: Client) -> None:
    """By ids, at most a hundred in one event: when a group is made, changed and deleted."""
    users = [(await scim.make(f"user{number}"))["id"] for number in range(120)]

    def told(since: int) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for message in h.published[since:]:
            if message.subject == identity.EVENT and message.data.action in ("group.joined", "group.left"):
                ids = message.data.details["accounts"].split()
                assert len(ids) <= 100
                assert message.data.details["group"] == ward["id"]
                assert message.data.account == (ids[0] if len(ids) == 1 else "")
                found.setdefault(message.data.action, []).extend(ids)
        return found

    before = len(h.published)
    ward = await scim.group("Ward", *users[:110])
    assert told(before) == {"group.joined": sorted(users[:110])}
    before = len(h.published)
    change = {"op": "replace", "path": "members", "value": [{"value": id} for id in users[1:111]]}
    assert (await scim.patch(f"/Groups/{ward['id']}", change))[0] == 200
    assert told(before) == {"group.joined": [users[110]], "group.left": [users[0]]}
    before = len(h.published)
    assert (await scim.ask("DELETE", f"/Groups/{ward['id']}"))[0] == 204
    assert told(before) == {"group.left": sorted(users[1:111])}


async def test_a_group_is_another_when_a_member_is_deleted(scim: Client) -> None:
    """Who knows the group with the member is not told that nothing has changed."""
    ada = await scim.make("ada")
    ward = await scim.group("Ward", ada["id"])
    assert (await scim.ask("DELETE", f"/Users/{ada['id']}"))[0] == 204
    status, now, _ = await scim.ask("GET", f"/Groups/{ward['id']}", if_none_match=ward["meta"]["version"])
    assert (status, "members" in now) == (200, False)


async def test_what_is_asked_wrongly_changes_nothing(scim: Client) -> None:
    """A selection that is none is refused before anything is made, replaced or patched."""
    ada = await scim.make("ada")
    for query in ("?attributes=1a", "?attributes=userName&excludedAttributes=title"):
        assert (await scim.ask("POST", f"/Users{query}", {"userName": "bob"}))[0] == 400
        assert (await scim.ask("PUT", f"/Users/{ada['id']}{query}", {"userName": "eve"}))[0] == 400
        assert (await scim.patch(f"/Users/{ada['id']}{query}", patch_of("title", "x")))[0] == 400
    assert await scim.find("id pr") == ["ada"]
    assert (await scim.ask("GET", f"/Users/{ada['id']}"))[1] == ada


async def test_what_changes_nothing_makes_no_new_version(h: PluginHarness, scim: Client) -> None:
    """An account that was made elsewhere, with an address of its own, is patched to what it is: the same version."""
    made = await h.plugin.accounts.create("default", name="ada", email="ada@b.org")  # type: ignore[attr-defined]
    before = (await scim.ask("GET", f"/Users/{made.id}"))[1]
    assert before["emails"] == [{"value": "ada@b.org", "primary": True}]
    status, after = await scim.patch(f"/Users/{made.id}", patch_of("userName", "ada"))
    assert (status, after) == (200, before)


async def test_two_who_take_a_name_at_once(scim: Client) -> None:
    """Of twenty clients who make the same user, and the same group, one does; the others are told 409 `uniqueness`."""
    users = [scim.ask("POST", "/Users", {"userName": "ada"}) for _ in range(20)]
    groups = [scim.ask("POST", "/Groups", {"displayName": "Ward"}) for _ in range(20)]
    found = await asyncio.gather(*users, *groups)
    for some in (found[:20], found[20:]):
        assert sorted(status for status, _, _ in some) == [201] + [409] * 19
        assert {body["scimType"] for status, body, _ in some if status == 409} == {"uniqueness"}
