"""Accounts and groups as lines of JSON, out and in."""

from __future__ import annotations

import asyncio
import json

import bcrypt
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rustcare_plugin_identity.errors import ImportRefused, LastAdministrator
from rustcare_sdk.contracts import identity

from tests.support.people import PASSWORD, House, house

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "name", "password", "groups", "x"]), inner, max_size=4)
    ),
)


async def take(home: House, *lines: object, tenant: str = "default", **more: bool) -> identity.ImportReply:
    """Import lines."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    found: identity.ImportReply = await home.h.request(
        identity.ACCOUNT_IMPORT, identity.ImportRequest(text, **more), tenant=tenant
    )
    return found


async def give(home: House, tenant: str = "default", limit: int = 1000) -> list[dict[str, object]]:
    """All lines of an export with passwords, a page at a time."""
    lines: list[dict[str, object]] = []
    after = ""
    while True:
        asked = identity.ExportRequest(after, limit, passwords=True)
        reply: identity.ExportReply = await home.h.request(identity.ACCOUNT_EXPORT, asked, tenant=tenant)
        lines += [json.loads(line) for line in reply.lines.splitlines()]
        after = reply.next
        if not after:
            return lines


def account(name: str, **more: object) -> dict[str, object]:
    """A line."""
    return {"type": "account", "name": name, **more}


async def test_an_export_is_an_import_elsewhere() -> None:
    """What goes out of one tenant comes into another with everything, passwords too, and out again as it was."""
    async with house() as home:
        group = await home.plugin.groups.create("default", name="Ward 3", roles=["clinician"], external_id="g-1")
        anna = await home.person(display_name="Anna", roles=["auditor"], external_id="x", attributes={"a": [1, None]})
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        await home.plugin.accounts.update("default", anna.id, {"password": hashed})
        async with home.plugin.ctx.db.transaction() as tx:
            await home.plugin.groups.assign(tx, "default", anna.id, [group.id])
        for number in range(7):
            await home.person(f"user{number}", password="", state=("invited", "disabled", "active")[number % 3])
        await home.plugin.accounts.create("default", name="feed", kind="service")
        lines = await give(home, limit=3)
        assert len(lines) == 10
        await home.settings("ward")
        reply = await take(home, *lines, tenant="ward")
        assert (reply.created, reply.updated, reply.groups) == (9, 0, 1)
        assert await give(home, "ward") == lines
        assert (await home.sign_in(tenant="ward")).credential
        assert home.events("account.exported")[-1].details == {"accounts": "9", "passwords": "true"}
        home.unsaid("anna", "clinic.example", hashed)


async def test_passwords_go_out_only_when_asked_for() -> None:
    """Without, there is no hash in the lines."""
    async with house() as home:
        await home.person()
        reply = await home.h.request(identity.ACCOUNT_EXPORT, identity.ExportRequest())
        assert "password" not in json.loads(reply.lines)


async def test_users_of_another_system_sign_in_with_what_they_know() -> None:
    """A hash of bcrypt comes in, is right once, and is ours from then on."""
    async with house() as home:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        await take(home, account("anna", password=hashed), account("bob"))
        assert (await home.sign_in()).credential
        states = {line["name"]: (line["state"], str(line.get("password", ""))[:6]) for line in await give(home)}
        assert states == {"anna": ("active", "$test$"), "bob": ("invited", "")}


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (account("bob", password="open sesame"), "line 2, password"),
        (account("bob", pasword="x"), "line 2"),
        (account("two words"), "line 2, name"),
        (account("anna"), "line 2, name"),
        (account("bob", email="anna@clinic.example"), "line 2, email"),
        (account("bob", groups=["nowhere"]), "line 2, groups"),
        (account("bob", roles=["king"]), "line 2, roles"),
        (account("bob", state="locked"), "line 2"),
        ({"type": "thing", "name": "x"}, "line 2"),
        ({"name": "x"}, "line 2"),
        ("[]", "line 2"),
        ("{not json", "line 2"),
    ],
)
async def test_all_lines_or_none(line: object, place: str) -> None:
    """One line that cannot be taken refuses all; the error says which, and nothing of what stands in it."""
    async with house() as home:
        await home.person()
        with pytest.raises(ImportRefused) as refused:
            await take(home, account("carl"), line)
        assert refused.value.address == place
        assert not any(word in str(refused.value) for word in ("open sesame", "two words", "clinic.example", "nowhere"))
        assert [entry["name"] for entry in await give(home)] == ["anna"]


async def test_whom_an_import_gives_rights_is_on_record() -> None:
    """By their ids, a hundred in one event; a check tells nothing."""
    async with house() as home:
        ward = await home.plugin.groups.create("default", name="Ward", roles=["clinician"])
        lines = [account(f"nurse{number:03}", groups=["Ward"]) for number in range(120)]
        lines += [account("root", roles=["administrator"]), account("plain")]
        await take(home, *lines, check=True)
        assert home.events("account.imported") == []
        await take(home, *lines)
        root = await home.plugin.accounts.find("default", "root")
        first, second, third, summary = sorted(
            (event.details for event in home.events("account.imported")),
            key=lambda details: ("created" in details, details.get("roles", "x"), -len(details.get("accounts", ""))),
        )
        assert (first["groups"], first["roles"], len(first["accounts"].split())) == (ward.id, "", 100)
        assert len({*first["accounts"].split(), *second["accounts"].split()}) == 120
        assert third == {"accounts": root.id, "roles": "administrator", "groups": ""}
        assert summary == {"created": "122", "updated": "0", "groups": "0"}


async def test_a_check_keeps_nothing() -> None:
    """It says what would be made, or which line would refuse."""
    async with house() as home:
        reply = await take(home, {"type": "group", "name": "g"}, account("anna", groups=["g"]), check=True)
        assert (reply.created, reply.groups) == (1, 1)
        assert await give(home) == []
        with pytest.raises(ImportRefused):
            await take(home, account("anna"), account("ANNA"), check=True)


async def test_an_update_ends_what_is_not_valid_any_more() -> None:
    """With `update`, accounts that there are take what the lines say; lost rights and other passwords end sessions."""
    async with house() as home:
        await home.person(roles=["clinician"])
        await home.person("bob", roles=["clinician"])
        anna, bob = await home.sign_in(), await home.sign_in("bob")
        reply = await take(
            home,
            account("anna", email="new@clinic.example", roles=[], state="active"),
            account("bob", roles=["clinician", "auditor"], state="active"),
            update=True,
        )
        assert (reply.created, reply.updated) == (0, 2)
        assert not await home.alive(anna.credential)
        assert await home.alive(bob.credential)
        assert (await home.sign_in("bob")).credential


async def test_an_update_that_says_nothing_of_the_state_keeps_it() -> None:
    """Who may sign in may go on to, who may not may not; a first password makes who was invited active."""
    async with house() as home:
        await home.person()
        await home.person("bob", state="disabled")
        await home.person("carl", state="invited", password="")
        await home.person("dora", state="invited", password="")
        session = await home.sign_in()
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        await take(
            home, account("anna"), account("bob"), account("carl"), account("dora", password=hashed), update=True
        )
        states = {line["name"]: line["state"] for line in await give(home)}
        assert states == {"anna": "active", "bob": "disabled", "carl": "invited", "dora": "active"}
        assert await home.alive(session.credential)


@pytest.mark.parametrize("line", [{"roles": []}, {"roles": ["administrator"], "state": "disabled"}])
async def test_an_import_leaves_an_administrator(line: dict[str, object]) -> None:
    """As any other change does; a check says so too, and an import that brings another one may."""
    async with house() as home:
        root = await home.person("root", roles=["administrator"])
        asked = json.dumps(account("root", **line))
        for check in (True, False):
            with pytest.raises(LastAdministrator):
                await home.h.request(
                    identity.ACCOUNT_IMPORT,
                    identity.ImportRequest(asked, update=True, check=check),
                    source="rustcare.admin",
                    principal=root.principal,
                )
        assert await home.plugin.accounts.holders("default", "administrator") == [root.id]
        more = json.dumps(account("anna", roles=["administrator"], state="active"))
        request = identity.ImportRequest(f"{asked}\n{more}", update=True)
        await home.h.request(identity.ACCOUNT_IMPORT, request, source="rustcare.admin", principal=root.principal)
        assert len(await home.plugin.accounts.holders("default", "administrator")) == 1


@hypothesis_settings(max_examples=60, deadline=None)
@given(JSON)
def test_any_json_is_taken_or_refused(line: object) -> None:
    """Nothing that can stand in a line gets another error, or leaves anything half done."""

    async def run() -> None:
        async with house(mail=False) as home:
            before = await give(home)
            try:
                await take(home, line)
            except ImportRefused:
                assert await give(home) == before

    asyncio.run(run())
