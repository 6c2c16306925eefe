"""What SCIM reads, where there is much of it: groups of ten thousand, and pages that stay within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from rustcare_plugin_identity.scim.directory import MAX_MEMBERS
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin
from tests.support.scim_harness import Client

LARGE = 10_000


@pytest.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """The plugin."""
    async with identity_plugin() as h:
        yield h


@pytest.fixture
def scim(h: PluginHarness) -> Client:
    """A client of the tenant default."""
    return Client(h)


async def crowd(h: PluginHarness, size: int) -> list[str]:
    """The ids of so many users, sorted."""
    plugin: Any = h.plugin
    async with plugin.ctx.db.transaction() as tx:
        made = [await plugin.accounts.create("default", name=f"user{number}", tx=tx) for number in range(size)]
    return sorted(account.id for account in made)


async def group_of(h: PluginHarness, name: str, members: list[str]) -> str:
    """The id of a group with these members."""
    plugin: Any = h.plugin
    group = await plugin.groups.create("default", name=name)
    async with plugin.ctx.db.transaction() as tx:
        await plugin.groups.join(tx, "default", group.id, members)
    return str(group.id)


async def test_a_group_of_ten_thousand(h: PluginHarness, scim: Client) -> None:
    """It is read, asked about, sent back whole, and changed by one and by hundreds; nobody is lost or there twice."""
    users = await crowd(h, LARGE + 1)
    id = await group_of(h, "Everybody", users[:LARGE])
    path = f"/Groups/{id}"

    async def members() -> list[str]:
        return [item["value"] for item in (await scim.ask("GET", path))[1]["members"]]

    status, shown, _ = await scim.ask("GET", path)
    assert (status, [item["value"] for item in shown["members"]]) == (200, users[:LARGE])
    assert await scim.find(f'members.value eq "{users[7]}"', "/Groups") == ["Everybody"]
    assert await scim.find(f'members.value eq "{users[LARGE]}"', "/Groups") == []
    assert (await scim.ask("PUT", path, shown))[1]["meta"]["version"] == shown["meta"]["version"]
    join = {"op": "add", "path": "members", "value": [{"value": users[LARGE]}]}
    assert (await scim.patch(path, join))[0] == 200
    assert await members() == users
    leave = [{"op": "remove", "path": f'members[value eq "{id}"]'} for id in users[:300]]
    assert (await scim.patch(path, *leave))[0] == 200
    leave = [{"op": "remove", "path": "members", "value": [{"value": id} for id in users[300:600]]}]
    assert (await scim.patch(path, *leave))[0] == 200
    assert await members() == users[600:]
    everybody = [{"value": id} for id in users[:LARGE]]
    assert (await scim.ask("PUT", path, {"displayName": "Everybody", "members": everybody}))[0] == 200
    assert await members() == users[:LARGE]
    status, error, _ = await scim.ask("PUT", path, {"displayName": "Everybody", "members": [*everybody, *everybody]})
    assert (status, error["scimType"]) == (400, "invalidValue")


async def test_a_page_ends_before_it_has_too_many_members(h: PluginHarness, scim: Client) -> None:
    """Fewer groups than asked for are shown then, `itemsPerPage` says how many; going on from there shows each once.

    Without members, as directories ask for them, all are in one page.
    """
    users = await crowd(h, LARGE)
    wards = MAX_MEMBERS // LARGE + 2
    for number in range(wards):
        await group_of(h, f"Ward {number}", users)
    seen: list[str] = []
    pages = 0
    while len(seen) < wards:
        query = "filter=" + quote('displayName sw "Ward"')
        page = (await scim.ask("GET", f"/Groups?count=100&startIndex={len(seen) + 1}&{query}"))[1]
        assert page["totalResults"] == wards
        assert page["itemsPerPage"] == len(page["Resources"]) > 0
        assert sum(len(item["members"]) for item in page["Resources"]) <= MAX_MEMBERS
        seen += [item["displayName"] for item in page["Resources"]]
        pages += 1
    assert (seen, pages) == ([f"Ward {number}" for number in range(wards)], 2)
    for query in ("excludedAttributes=members", "attributes=displayName"):
        page = (await scim.ask("GET", f"/Groups?count=100&{query}"))[1]
        assert page["itemsPerPage"] == wards
        assert all("members" not in item for item in page["Resources"])


@pytest.mark.parametrize(
    "query", ["", "sortBy=title", "filter=not%20(title%20pr)", "sortBy=userName&sortOrder=descending"]
)
async def test_users_in_very_many_groups_do_not_fill_a_page(h: PluginHarness, scim: Client, query: str) -> None:
    """However it is asked for, an answer shows so many memberships; each user is in one page, with all their groups.

    Over all kinds too: groups come when all users have been.
    """
    users = await crowd(h, 8)
    wards = MAX_MEMBERS // 7
    plugin: Any = h.plugin
    async with plugin.ctx.db.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO groups (tenant, id, name, name_key, roles, external_id, created, updated, version)"
            " VALUES ('default', ?, ?, ?, '[]', '', 0, 0, 1)",
            [(f"g{number}", f"Ward {number}", f"ward {number}") for number in range(wards)],
        )
        await tx.execute_many(
            "INSERT INTO memberships (tenant, group_id, account) VALUES ('default', ?, ?)",
            [(f"g{number}", user) for number in range(wards) for user in users],
        )
    for path in ("/Users", "") if query in ("", "sortBy=title") else ("/Users",):
        seen: list[str] = []
        pages = 0
        while len(seen) < 8:
            page = (await scim.ask("GET", f"{path}?startIndex={len(seen) + 1}&count=8&{query}"))[1]
            assert page["itemsPerPage"] == len(page["Resources"]) > 0
            people = [item for item in page["Resources"] if "userName" in item]
            assert people == page["Resources"][: len(people)]
            assert all(len(item["groups"]) == wards for item in people)
            assert pages or len(people) == len(page["Resources"]) == 7
            seen += [item["id"] for item in people]
            pages += 1
        assert (sorted(seen), pages) == (users, 2)


async def test_members_are_there_wherever_they_are_needed(h: PluginHarness, scim: Client) -> None:
    """To decide a filter that the database cannot, and to sort, even where they are not shown; over all kinds too."""
    users = await crowd(h, 3)
    await group_of(h, "Empty", [])
    await group_of(h, "First", users[:1])
    await group_of(h, "Last", users[2:])
    for shown in ({}, {"excludedAttributes": "members"}, {"attributes": "displayName"}):
        found = await scim.find('members.type eq "user" and members.value pr', "/Groups", **shown)
        assert found == ["First", "Last"]
    assert await scim.find("not (members pr)", "/Groups") == ["Empty"]
    assert await scim.find("id pr", "/Groups", sortBy="members", sortOrder="descending") == ["Empty", "Last", "First"]
    found = (await scim.ask("GET", f"?filter={quote('displayName pr')}&sortBy=displayName"))[1]["Resources"]
    assert [len(item.get("members", ())) for item in found] == [0, 1, 1]
