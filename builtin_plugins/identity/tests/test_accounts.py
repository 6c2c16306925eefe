"""The repository of accounts: identifiers, versions, rights, pages, and the walls between tenants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from rustcare_plugin_identity.accounts import Account, Accounts, Groups
from rustcare_plugin_identity.accounts.roles import grants, scopes
from rustcare_plugin_identity.errors import (
    AccountExists,
    AccountUnknown,
    GroupExists,
    GroupUnknown,
    InvalidAccount,
    InvalidGroup,
    RoleUnknown,
    VersionConflict,
)
from rustcare_sdk.contracts.identity import TenantRequest

from tests.support.identity_plugin import identity_plugin


@asynccontextmanager
async def repositories() -> AsyncIterator[tuple[Accounts, Groups]]:
    """Both, in a plugin with a second tenant that has a role of its own."""
    async with identity_plugin() as h:
        await h.plugin.tenants.put(TenantRequest("ward", settings={"roles": {"nurse": ["fhir.read"]}}))  # type: ignore[attr-defined]
        yield h.plugin.accounts, h.plugin.groups  # type: ignore[attr-defined]


async def test_an_account_is_found_by_all_that_is_its_own() -> None:
    """By id, name and address; in the latter two neither case nor look-alikes matter."""
    async with repositories() as (accounts, _):
        made = await accounts.create("default", name="Anna", email="Anna.S@Clinic.example")
        for who in (made.id, "anna", "АNNА", "anna.s@clinic.EXAMPLE"):
            found = await accounts.find("default", who)
            assert found is not None, who
            assert found.id == made.id
        for who in ("ann", "", "anna\x00", made.id.upper()):
            assert await accounts.find("default", who) is None, who


async def test_tenants_do_not_see_each_other() -> None:
    """The same names live in two tenants; nothing of one is found, changed or deleted in the other."""
    async with repositories() as (accounts, groups):
        here = await accounts.create("default", name="anna", email="a@b.example")
        there = await accounts.create("ward", name="anna", email="a@b.example")
        assert here.id != there.id
        assert await accounts.get("ward", here.id) is None
        assert (await accounts.need("ward", "anna")).id == there.id
        with pytest.raises(AccountUnknown):
            await accounts.update("ward", here.id, {"name": "bob"})
        assert not await accounts.delete("ward", here.id)
        with pytest.raises(AccountUnknown):
            await groups.create("ward", name="g", members=[here.id])
        group = await groups.create("default", name="g", members=[here.id])
        assert await groups.get("ward", group.id) is None
        with pytest.raises(GroupUnknown):
            await groups.update("ward", group.id, {"name": "x"})
        with pytest.raises(GroupUnknown):
            await groups.delete("ward", group.id)
        found, following, total = await accounts.page("ward")
        assert [one.id for one in found] == [there.id]
        assert (following, total) == ("", 1)


async def test_no_name_is_another_accounts_address() -> None:
    """Names and addresses of a tenant are one space: neither can be taken twice, in whatever field."""
    async with repositories() as (accounts, _):
        anna = await accounts.create("default", name="anna", email="anna@b.example")
        for name, email in (
            ("ANNA", ""),
            ("аnnа".replace("n", "n"), ""),
            ("bob", "ANNA@b.example"),
            ("anna@b.example", ""),
        ):
            with pytest.raises((AccountExists, InvalidAccount)):
                await accounts.create("default", name=name, email=email)
        bob = await accounts.create("default", name="bob@b.example", email="bob@b.example")
        with pytest.raises(AccountExists) as taken:
            await accounts.update("default", bob.id, {"email": "anna@b.example"})
        assert taken.value.address == "email"
        assert "anna" not in str(taken.value)
        await accounts.update("default", anna.id, {"name": "annette", "email": ""})
        again = await accounts.create("default", name="anna", email="anna@b.example")
        assert (await accounts.need("default", "anna")).id == again.id


async def test_of_two_that_take_one_name_one_gets_it() -> None:
    """At the same time too."""
    async with repositories() as (accounts, _):
        made = await asyncio.gather(
            *(accounts.create("default", name="anna") for _ in range(5)), return_exceptions=True
        )
        assert [type(one) for one in made].count(Account) == 1
        assert [type(one) for one in made].count(AccountExists) == 4


async def test_a_change_is_of_the_version_that_was_read() -> None:
    """Each change raises the version; one of an older version changes nothing; 0 changes any."""
    async with repositories() as (accounts, _):
        made = await accounts.create("default", name="anna")
        first = await accounts.update("default", made.id, {"display_name": "A"}, version=1)
        assert first.version == 2
        with pytest.raises(VersionConflict, match="expected version 1, got 2"):
            await accounts.update("default", made.id, {"display_name": "B"}, version=1)
        kept = await accounts.get("default", made.id)
        assert kept is not None
        assert (kept.display_name, kept.version) == ("A", 2)
        assert (await accounts.update("default", made.id, {"display_name": "C"})).version == 3


async def test_another_address_is_not_verified() -> None:
    """An address that is changed has not been shown to be its account's, unless the change says so."""
    async with repositories() as (accounts, _):
        made = await accounts.create("default", name="anna", email="a@b.example", email_verified=True)
        same = await accounts.update("default", made.id, {"email": "a@b.example"})
        assert same.email_verified
        assert not (await accounts.update("default", made.id, {"email": "x@b.example"})).email_verified


async def test_what_is_not_known_is_refused() -> None:
    """Fields, roles and attributes that are not what they should be."""
    async with repositories() as (accounts, _):
        made = await accounts.create("ward", name="anna", roles=["nurse", "user", "nurse"])
        assert made.roles == ("nurse", "user")
        with pytest.raises(RoleUnknown):
            await accounts.create("default", name="anna", roles=["nurse"])
        with pytest.raises(InvalidAccount):
            await accounts.update("ward", made.id, {"id": "x"})
        with pytest.raises(InvalidAccount):
            await accounts.update("ward", made.id, {"attributes": {"a": "x" * 70_000}})


async def test_rights_come_from_roles_and_groups() -> None:
    """An account's roles are its own and its groups'; its scopes are theirs, without those that a wider one includes."""
    async with repositories() as (accounts, groups):
        made = await accounts.create("ward", name="anna", roles=["nurse"])
        group = await groups.create("ward", name="Ward 3", roles=["auditor"], members=[made.id])
        assert await accounts.roles_of(made) == ["auditor", "nurse"]
        assert accounts.scopes_of("ward", await accounts.roles_of(made)) == ["audit.read", "fhir.read"]
        change = await groups.update("ward", group.id, {}, remove=[made.id])
        assert (change.group.members, change.joined, change.left, change.touched) == ((), (), (made.id,), (made.id,))
        assert await accounts.roles_of(made) == ["nurse"]


def test_a_scope_includes_those_below_it() -> None:
    """`a` grants `a.b`, not `ab`; `admin` grants all."""
    assert grants("fhir", "fhir.read")
    assert grants("fhir.read", "fhir.read")
    assert grants("admin", "x.y")
    assert not grants("fhir", "fhirx.read")
    assert not grants("fhir.read", "fhir")
    assert not grants("administrator", "x")
    assert scopes(["administrator", "clinician"], {}) == ["admin"]
    assert scopes(["x"], {"x": ("a", "a.b", "ab")}) == ["a", "ab"]


async def test_pages_hold_every_account_once() -> None:
    """By name, each page from where the one before ended, with what was asked for."""
    async with repositories() as (accounts, _):
        names = [f"user{number:02}" for number in range(25)]
        for name in reversed(names):
            await accounts.create("default", name=name, display_name=f"Name {name[-1]}", email=f"{name}@b.example")
        found, after = [], ""
        while True:
            page, after, total = await accounts.page("default", limit=7, after=after)
            assert total == 25
            found += [one.name for one in page]
            if not after:
                break
        assert found == names
        assert [one.name for one in (await accounts.page("default", query="R1"))[0]] == names[10:20]
        assert (await accounts.page("default", query="%"))[2] == 0
        assert (await accounts.page("default", query="NAME 3"))[2] == 3
        assert (await accounts.page("default", state="disabled"))[2] == 0


async def test_a_deleted_account_leaves_nothing() -> None:
    """Its name is free, its groups have lost a member, its id is never used again."""
    async with repositories() as (accounts, groups):
        made = await accounts.create("default", name="anna")
        group = await groups.create("default", name="g", members=[made.id])
        assert await accounts.delete("default", made.id)
        assert not await accounts.delete("default", made.id)
        assert await accounts.find("default", "anna") is None
        left = await groups.get("default", group.id)
        assert left is not None
        assert left.members == ()
        assert (await accounts.create("default", name="anna")).id != made.id


async def test_groups_have_names_of_their_own() -> None:
    """A name is taken once (case does not matter), and is not empty; versions count."""
    async with repositories() as (_, groups):
        one = await groups.create("default", name="Ward 3")
        with pytest.raises(GroupExists):
            await groups.create("default", name="WARD 3")
        with pytest.raises(InvalidGroup):
            await groups.create("default", name=" ")
        two = await groups.create("default", name="Ward 4")
        with pytest.raises(GroupExists):
            await groups.update("default", two.id, {"name": "ward 3"})
        with pytest.raises(VersionConflict):
            await groups.update("default", one.id, {"name": "x"}, version=7)
        found, total = await groups.page("default", limit=1, offset=1)
        assert ([group.name for group in found], total) == (["Ward 4"], 2)


async def test_an_account_shows_nothing_of_itself_by_accident() -> None:
    """Its `repr`, which may end in a log, has neither name nor address nor hash."""
    async with repositories() as (accounts, _):
        made = await accounts.create("default", name="anna", email="a@b.example", password="$hash")
        assert not any(word in repr(made) for word in ("anna", "a@b", "$hash"))
