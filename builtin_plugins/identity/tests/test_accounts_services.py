"""Accounts and groups as administrators look after them: what is taken away is gone everywhere before the answer."""

from __future__ import annotations

import asyncio

import pytest
from rustcare_plugin_identity.errors import (
    AccountExists,
    AccountUnknown,
    GroupUnknown,
    InvalidAccount,
    InvalidGroup,
    LastAdministrator,
    LinkUnknown,
    LoginFailed,
    PasswordRefused,
    RoleUnknown,
    TicketUnknown,
    VersionConflict,
)
from rustcare_sdk import Message
from rustcare_sdk.contracts import crypto, identity
from rustcare_sdk.errors import RustCareError, StoreError

from tests.support.people import PASSWORD, House, house

OTHER = "nine brass kettles whistle"


async def info(home: House, account: str = "anna", tenant: str = "default") -> identity.AccountInfo:
    """The account as it is told."""
    reply: identity.AccountReply = await home.h.request(
        identity.ACCOUNT_READ, identity.AccountRequest(account), tenant=tenant
    )
    return reply.account


async def update(home: House, account: str = "anna", **changes: object) -> identity.AccountInfo:
    """Change an account."""
    asked = identity.UpdateAccountRequest(account, **changes)  # type: ignore[arg-type]
    reply: identity.AccountReply = await home.h.request(identity.ACCOUNT_UPDATE, asked)
    return reply.account


async def put_group(home: House, **fields: object) -> identity.GroupInfo:
    """Make or change a group."""
    reply: identity.GroupsReply = await home.h.request(identity.GROUP_PUT, identity.GroupRequest(**fields))  # type: ignore[arg-type]
    return reply.groups[0]


async def test_an_account_with_a_password() -> None:
    """It can sign in at once; the password keeps the rules; it is told that there is a new account, not which."""
    async with house() as home:
        group = await put_group(home, name="Ward 3", roles=["clinician"])
        for password in ("short", "annaannaannaannaanna"):
            with pytest.raises(PasswordRefused):
                await home.h.request(identity.ACCOUNT_CREATE, identity.CreateAccountRequest("anna", password=password))
        asked = identity.CreateAccountRequest("anna", password=PASSWORD, groups=[group.id], roles=["auditor"])
        reply = await home.h.request(identity.ACCOUNT_CREATE, asked)
        made = reply.account
        assert (made.state, made.groups, reply.link) == ("active", [group.id], "")
        assert (made.own_roles, made.roles) == (["auditor"], ["auditor", "clinician"])
        assert made.scopes == ["audit.read", "fhir.read", "fhir.write"]
        assert made.factors == ["password"]
        assert (await home.sign_in()).credential
        assert home.events("account.created")[0].account == made.id
        home.unsaid("anna", PASSWORD)


async def test_nothing_of_an_account_that_was_refused_is_left() -> None:
    """With a role or a group that there is not, or a name that is taken, nothing is made."""
    async with house() as home:
        await home.person("bob")
        for asked, error in (
            (identity.CreateAccountRequest("anna", roles=["king"]), RoleUnknown),
            (identity.CreateAccountRequest("anna", groups=["0" * 32]), GroupUnknown),
            (identity.CreateAccountRequest("anna", "bob@clinic.example"), AccountExists),
            (identity.CreateAccountRequest("BOB"), AccountExists),
            (identity.CreateAccountRequest("anna", mail=True), InvalidAccount),
        ):
            with pytest.raises(error):
                await home.h.request(identity.ACCOUNT_CREATE, asked)
        with pytest.raises(AccountUnknown):
            await info(home)
        rows = await home.plugin.ctx.db.fetch("SELECT key FROM identifiers")
        assert {row["key"] for row in rows} == {"bob", "bob@clinic.example"}


async def test_disabling_ends_everything_before_it_is_answered() -> None:
    """Sessions, logins under way, links; nobody signs in until it is enabled; the reason is on record."""
    async with house() as home:
        await home.person()
        session = await home.sign_in()
        await home.h.request(identity.LOGIN_RECOVER, identity.RecoverRequest("anna"))
        heard: list[bool] = []
        home.h.subscribe(identity.REVOKED, lambda message: heard.append(message.data.kind == "account"))
        asked = identity.DisableRequest("anna", reason="laptop stolen")
        reply = await home.h.request(identity.ACCOUNT_DISABLE, asked)
        assert reply.account.state == "disabled"
        assert heard == [True]
        assert not await home.alive(session.credential)
        assert await home.plugin.ctx.db.fetch("SELECT hash FROM links WHERE purpose = 'recover'") == []
        with pytest.raises(LoginFailed):
            await home.sign_in()
        assert home.events("account.disabled")[0].details == {"reason": "laptop stolen", "sessions": "1"}
        await home.h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest("anna", False))
        assert not await home.alive(session.credential)
        assert (await home.sign_in()).credential


@pytest.mark.parametrize("what", ["disabled", "deleted", "password", "own password", "roles", "group", "import"])
async def test_what_is_taken_and_what_ends_by_it_are_one_commit(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When sessions cannot be ended nothing has changed: no crash leaves an account disabled whose tokens go on."""
    async with house() as home:
        anna = await home.person(roles=["clinician"])
        group = await put_group(home, name="g", roles=["auditor"], members=[anna.id])
        session = await home.sign_in()
        before = await info(home)
        line = '{"type":"account","name":"anna","email":"anna@clinic.example","state":"disabled"}'
        service, asked = {
            "disabled": (identity.ACCOUNT_DISABLE, identity.DisableRequest("anna")),
            "deleted": (identity.ACCOUNT_DELETE, identity.AccountRequest("anna")),
            "password": (identity.ACCOUNT_UPDATE, identity.UpdateAccountRequest("anna", password=OTHER)),
            "own password": (identity.ACCOUNT_PASSWORD, identity.ChangePasswordRequest(OTHER, PASSWORD)),
            "roles": (identity.ACCOUNT_UPDATE, identity.UpdateAccountRequest("anna", roles=[])),
            "group": (identity.GROUP_PUT, identity.GroupRequest(group.id, delete=True)),
            "import": (identity.ACCOUNT_IMPORT, identity.ImportRequest(line, update=True)),
        }[what]

        async def full(*_: object, **__: object) -> None:
            raise StoreError("no space left")

        with monkeypatch.context() as patch:
            patch.setattr(home.plugin.sessions, "_close", full)
            with pytest.raises(RustCareError):
                await home.h.request(service, asked, principal=anna.principal)
        assert await info(home) == before
        assert await home.alive(session.credential)
        assert (await home.sign_in()).credential


async def test_disabling_ends_a_login_between_its_factors() -> None:
    """The ticket of the first factor is worth nothing, also after it is enabled again."""
    async with house() as home:
        anna = await home.person()
        secret = await home.app(anna)
        first = await home.sign_in()
        await home.h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest("anna"))
        await home.h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest("anna", False))
        asked = identity.FactorLoginRequest(first.ticket, "totp", home.code(secret), home.client())
        with pytest.raises(TicketUnknown):
            await home.h.request(identity.LOGIN_FACTOR, asked)


async def test_an_account_that_was_deleted_is_gone() -> None:
    """Its sessions end, its name is free, and who takes the name next has nothing of it."""
    async with house() as home:
        anna = await home.person()
        await home.passkey(anna)
        ticket = await home.sign_in()
        session, credential = await home.plugin.sessions.begin(anna, aal=2, amr=("hwk",), address="", agent="")
        was = (await home.h.request(identity.ACCOUNT_DELETE, identity.AccountRequest("anna"))).account
        assert (was.id, was.factors) == (anna.id, ["password", "passkey"])
        assert not await home.alive(credential)
        with pytest.raises(AccountUnknown):
            await info(home, session.account)
        with pytest.raises(TicketUnknown):
            await home.h.request(identity.LOGIN_FACTOR, identity.FactorLoginRequest(ticket.ticket, "totp", "0"))
        again = await home.person()
        assert again.id != anna.id
        assert (await info(home)).factors == ["password"]


async def test_a_change_names_the_version_it_is_of() -> None:
    """What is not said stays; another version changes nothing, not even the groups."""
    async with house() as home:
        anna = await home.person()
        group = await put_group(home, name="g")
        after = await update(home, display_name="Anna", groups=[group.id], version=anna.version)
        assert (after.display_name, after.email, after.groups) == ("Anna", "anna@clinic.example", [group.id])
        with pytest.raises(VersionConflict):
            await update(home, display_name="B", groups=[], version=anna.version)
        assert (await info(home)).groups == [group.id]
        with pytest.raises(GroupUnknown):
            await update(home, display_name="B", groups=["0" * 32])
        assert (await info(home)).display_name == "Anna"


@pytest.mark.parametrize("how", ["roles", "groups", "group's roles", "group's members", "group deleted"])
async def test_who_loses_rights_loses_what_was_opened_under_them(how: str) -> None:
    """Sessions end before the change is answered; who only gains rights goes on."""
    async with house() as home:
        anna = await home.person(roles=["clinician"] if how == "roles" else [])
        group = await put_group(home, name="g", roles=["clinician"], members=[] if how == "roles" else [anna.id])
        session = await home.sign_in()
        await update(home, roles=["clinician", "auditor"] if how == "roles" else ["auditor"])
        assert await home.alive(session.credential)
        if how == "roles":
            await update(home, roles=["auditor"])
        elif how == "groups":
            await update(home, groups=[])
        elif how == "group's roles":
            await put_group(home, id=group.id, roles=[])
        elif how == "group's members":
            await put_group(home, id=group.id, remove=[anna.id])
        else:
            await put_group(home, id=group.id, delete=True)
        assert not await home.alive(session.credential)
        assert (await info(home)).scopes == ["audit.read"]


async def test_which_rights_are_given_is_on_record() -> None:
    """An event says which roles and groups an account has from now on; of what was not changed it says nothing."""
    async with house() as home:
        group = await put_group(home, name="g", roles=["clinician"])
        asked = identity.CreateAccountRequest("anna", password=PASSWORD, roles=["auditor"])
        anna = (await home.h.request(identity.ACCOUNT_CREATE, asked, source="rustcare.admin")).account
        await update(home, display_name="Anna")
        await update(home, roles=["auditor", "operator"], groups=[group.id])
        await update(home, groups=[])
        assert home.events("account.created")[-1].details["roles"] == "auditor"
        assert [event.details for event in home.events("account.updated") if event.account == anna.id] == [
            {"what": "display_name"},
            {"what": "groups roles", "roles": "auditor operator", "groups": group.id},
            {"what": "groups", "groups": ""},
        ]
        assert home.events("group.created")[-1].details == {"group": group.id, "roles": "clinician"}


async def test_a_password_of_an_administrator_ends_sessions_and_locks() -> None:
    """It keeps the rules; taken away, no password lets in."""
    async with house() as home:
        await home.person()
        session = await home.sign_in()
        with pytest.raises(PasswordRefused):
            await update(home, password="short")
        assert await home.alive(session.credential)
        await update(home, password=OTHER)
        assert not await home.alive(session.credential)
        assert (await home.sign_in("anna", OTHER)).credential
        assert (await update(home, password="")).factors == []
        with pytest.raises(LoginFailed):
            await home.sign_in("anna", "")


async def test_an_administrator_is_always_left() -> None:
    """The last one of the tenant `default` is neither disabled nor deleted nor loses the role; the operator may."""
    async with house() as home:
        root = await home.person("root", roles=["administrator"])
        group = await put_group(home, name="admins", roles=["administrator"])
        for service, asked in (
            (identity.ACCOUNT_DISABLE, identity.DisableRequest("root")),
            (identity.ACCOUNT_DELETE, identity.AccountRequest("root")),
            (identity.ACCOUNT_UPDATE, identity.UpdateAccountRequest("root", roles=[])),
        ):
            with pytest.raises(LastAdministrator):
                await home.h.request(service, asked, source="rustcare.admin", principal=root.principal)
        assert (await info(home, "root")).state == "active"
        anna = await home.person()
        await put_group(home, id=group.id, add=[anna.id])
        await home.h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest("root"), source="rustcare.admin")
        for change in ({"remove": [anna.id]}, {"members": []}, {"roles": []}, {"delete": True}):
            asked_group = identity.GroupRequest(group.id, **change)  # type: ignore[arg-type]
            with pytest.raises(LastAdministrator):
                await home.h.request(identity.GROUP_PUT, asked_group, source="rustcare.admin")
        with pytest.raises(LastAdministrator):
            await home.h.request(
                identity.ACCOUNT_UPDATE, identity.UpdateAccountRequest("anna", groups=[]), source="rustcare.admin"
            )
        asked = identity.DisableRequest("anna")
        await home.h.request(identity.ACCOUNT_DISABLE, asked, source="kernel", principal="operator")
        assert (await info(home)).state == "disabled"


async def test_of_two_that_take_one_administrator_each_one_is_refused() -> None:
    """At the same time too, whether it is a group that goes or an account: somebody is left."""
    async with house() as home:
        for number, change in enumerate(({"delete": True}, {"roles": []}, {"members": []})):
            groups = [
                await put_group(
                    home,
                    name=f"admins {number} {name}",
                    roles=["administrator"],
                    members=[(await home.person(f"{name}{number}")).id],
                )
                for name in ("anna", "bob")
            ]
            asked = [identity.GroupRequest(group.id, **change) for group in groups]  # type: ignore[arg-type]
            done = await asyncio.gather(
                *(home.h.request(identity.GROUP_PUT, one, source="rustcare.admin") for one in asked),
                return_exceptions=True,
            )
            assert [type(one) for one in done].count(LastAdministrator) == 1
            left = await home.plugin.accounts.holders("default", "administrator")
            assert len(left) == 1
            await home.h.request(
                identity.ACCOUNT_DISABLE, identity.DisableRequest(left[0]), source="kernel", principal="operator"
            )


async def test_a_machine_is_no_administrator_who_is_left() -> None:
    """A service account with the role looks after nothing by itself; and it does not stand in the way of the setup link."""
    async with house() as home:
        made = identity.CreateServiceRequest("robot", roles=["administrator"])
        await home.h.request(identity.SERVICE_CREATE, made)
        asked = identity.SetupRequest()
        assert (await home.h.request(identity.SETUP_LINK, asked, source="kernel", principal="operator")).link
        await home.person("root", roles=["administrator"])
        assert not (await home.h.request(identity.SETUP_LINK, asked, source="kernel", principal="operator")).link
        with pytest.raises(LastAdministrator):
            await home.h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest("root"), source="rustcare.admin")
        disable = identity.DisableRequest("robot")
        reply = await home.h.request(identity.ACCOUNT_DISABLE, disable, source="rustcare.admin")
        assert reply.account.state == "disabled"


@pytest.mark.parametrize("how", ["update", "invitation"])
async def test_who_is_disabled_while_their_password_is_set_stays_disabled(how: str) -> None:
    """A first password makes an account active; not one that was disabled while the password was being hashed."""
    async with house() as home:
        made = await home.h.request(identity.ACCOUNT_CREATE, identity.CreateAccountRequest("anna"))
        secret = made.link.rpartition("/")[2]
        hash_, type_ = home.h._answers[crypto.PASSWORD_HASH]

        async def disabled(message: Message[crypto.PasswordHashRequest]) -> crypto.PasswordHashReply:
            # As far as the commit: what else is ended follows it.
            await home.plugin.accounts.update("default", made.account.id, {"state": "disabled"})
            found: crypto.PasswordHashReply = hash_(message)
            return found

        home.h.answer(crypto.PASSWORD_HASH, disabled, type=type_)
        if how == "update":
            assert (await update(home, password=PASSWORD)).state == "disabled"
        else:
            asked = identity.AcceptInviteRequest(secret, PASSWORD, client=home.client())
            with pytest.raises(LinkUnknown):
                await home.h.request(identity.ACCOUNT_ACCEPT_INVITE, asked)
        assert (await info(home)).state == "disabled"


async def test_a_reset_of_factors() -> None:
    """All are gone, sessions too, and the link lets set new credentials once."""
    async with house() as home:
        anna = await home.person()
        await home.app(anna)
        _, credential = await home.plugin.sessions.begin(anna, aal=2, amr=("pwd", "otp"), address="", agent="")
        reply = await home.h.request(identity.ACCOUNT_RESET_MFA, identity.AccountRequest("anna"))
        assert reply.account.factors == ["password"]
        assert not await home.alive(credential)
        secret = reply.link.rpartition("/")[2]
        accepted = identity.AcceptInviteRequest(secret, OTHER, client=home.client())
        assert (await home.h.request(identity.ACCOUNT_ACCEPT_INVITE, accepted)).credential
        with pytest.raises(LinkUnknown):
            await home.h.request(identity.ACCOUNT_ACCEPT_INVITE, accepted)


async def test_machines_are_accounts_without_a_password() -> None:
    """No password lets a service account in, none is set for it by an invitation."""
    async with house() as home:
        asked = identity.CreateServiceRequest("lab-feed", "Lab feed", ["clinician"])
        made = (await home.h.request(identity.SERVICE_CREATE, asked)).account
        assert (made.kind, made.principal, made.scopes) == (
            "service",
            f"service/{made.id}",
            ["fhir.read", "fhir.write"],
        )
        with pytest.raises(InvalidAccount):
            await home.h.request(identity.ACCOUNT_INVITE, identity.InviteRequest("lab-feed"))
        with pytest.raises(LoginFailed):
            await home.sign_in("lab-feed", "")
        listed = await home.h.request(identity.ACCOUNT_LIST, identity.AccountsRequest(kind="service"))
        assert [one.id for one in listed.accounts] == [made.id]


async def test_tenants_are_apart() -> None:
    """No service finds, changes or lists anything of another tenant."""
    async with house() as home:
        await home.settings("ward")
        anna = await home.person()
        group = await put_group(home, name="g", members=[anna.id])
        for service, asked in (
            (identity.ACCOUNT_READ, identity.AccountRequest(anna.id)),
            (identity.ACCOUNT_UPDATE, identity.UpdateAccountRequest(anna.id, display_name="x")),
            (identity.ACCOUNT_DISABLE, identity.DisableRequest(anna.id)),
            (identity.ACCOUNT_DELETE, identity.AccountRequest(anna.id)),
            (identity.ACCOUNT_UNLOCK, identity.AccountRequest(anna.id)),
            (identity.ACCOUNT_RESET_MFA, identity.AccountRequest(anna.id)),
            (identity.ACCOUNT_INVITE, identity.InviteRequest(anna.id)),
        ):
            with pytest.raises(AccountUnknown):
                await home.h.request(service, asked, tenant="ward")
        for asked_group in (identity.GroupRequest(group.id, name="x"), identity.GroupRequest(group.id, delete=True)):
            with pytest.raises(GroupUnknown):
                await home.h.request(identity.GROUP_PUT, asked_group, tenant="ward")
        assert (await home.h.request(identity.ACCOUNT_LIST, identity.AccountsRequest(), tenant="ward")).total == 0
        assert (await home.h.request(identity.GROUP_LIST, identity.GroupRequest(), tenant="ward")).groups == []
        assert (await info(home)).version == anna.version


async def test_groups_by_id_and_name() -> None:
    """One, or all; a new one needs a name."""
    async with house() as home:
        group = await put_group(home, name="Ward 3", external_id="x-1")
        for asked in (identity.GroupRequest(group.id), identity.GroupRequest(name="WARD 3"), identity.GroupRequest()):
            assert (await home.h.request(identity.GROUP_LIST, asked)).groups == [group]
        with pytest.raises(GroupUnknown):
            await home.h.request(identity.GROUP_LIST, identity.GroupRequest("0" * 32))
        with pytest.raises(InvalidGroup):
            await put_group(home)


async def test_a_page_of_many_costs_no_more_queries_than_one_of_few() -> None:
    """With their groups, rights and factors."""
    async with house() as home:
        group = await put_group(home, name="g", roles=["clinician"])
        counts = []
        for _ in range(2):
            for number in range(len(counts) * 3, len(counts) * 20 + 3):
                await home.person(f"user{number}", email="")
            anna = await home.person(f"anna{len(counts)}", email="")
            await home.app(anna)
            await put_group(home, id=group.id, add=[anna.id])
            used = len(home.h.capabilities_used)
            listed = (await home.h.request(identity.ACCOUNT_LIST, identity.AccountsRequest())).accounts
            counts.append(len([use for use in home.h.capabilities_used[used:] if use.capability.kind == "db"]))
            (found,) = [one for one in listed if one.id == anna.id]
            assert found == await info(home, anna.id)
            assert (found.factors, found.scopes) == (["password", "totp"], ["fhir.read", "fhir.write"])
        assert counts[0] == counts[1]
        assert len(listed) == 25
