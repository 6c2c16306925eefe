"""Links: recovery, registration, invitations, the first administrator, one's own password and address."""

from __future__ import annotations

import asyncio

import pytest
from rustcare_plugin_identity.errors import (
    AccountExists,
    InvalidAccount,
    LinkUnknown,
    LoginFailed,
    MailUnavailable,
    NotSignedIn,
    OperatorOnly,
    PasswordRefused,
    RegistrationClosed,
    SystemTenantOnly,
)
from rustcare_sdk.contracts import identity

from tests.support.people import ORIGIN, PASSWORD, House, house
from tests.support.smtp_server import link_in

OTHER = "nine brass kettles whistle"


async def recover(home: House, name: str = "anna", tenant: str = "default") -> float:
    """Ask for a link; what is told to wait."""
    asked = identity.RecoverRequest(name, home.client())
    return float((await home.h.request(identity.LOGIN_RECOVER, asked, tenant=tenant)).retry_after)


async def reset(home: House, secret: str, password: str = OTHER, tenant: str = "default") -> identity.LoginReply:
    """Set a password through a link."""
    asked = identity.ResetPasswordRequest(secret, password, home.client())
    found: identity.LoginReply = await home.h.request(identity.LOGIN_RESET, asked, tenant=tenant)
    return found


async def accept(home: House, secret: str, password: str = PASSWORD, **more: str) -> identity.LoginReply:
    """Take an invitation."""
    asked = identity.AcceptInviteRequest(secret, password, client=home.client(), **more)
    found: identity.LoginReply = await home.h.request(identity.ACCOUNT_ACCEPT_INVITE, asked)
    return found


def secret_of(link: str) -> str:
    """The secret in a link."""
    return link.rpartition("/")[2]


async def test_a_new_password_through_a_mail() -> None:
    """The link works once; every session from before ends; the owner is told; the new password lets in."""
    async with house() as home:
        await home.person()
        before = await home.sign_in()
        assert await recover(home) == 0
        message = await home.mail.next()
        assert message["To"] == "anna@clinic.example"
        assert f"{ORIGIN}/identity/links/recover/" in message.get_content()
        secret = link_in(message)
        shown: identity.LinkReply = await home.h.request(identity.LINK, identity.LinkRequest(secret))
        assert (shown.purpose, shown.name, shown.minimum) == ("recover", "anna", 15)
        reply = await reset(home, secret)
        assert await home.alive(reply.credential)
        assert not await home.alive(before.credential)
        subjects = {(await home.mail.next())["Subject"] for _ in range(2)}
        assert subjects == {"Your password at RustCare was changed", "New sign-in to your account at RustCare"}
        with pytest.raises(LinkUnknown):
            await reset(home, secret)
        with pytest.raises(LoginFailed):
            await home.sign_in("anna", PASSWORD)
        assert (await home.sign_in("anna", OTHER)).credential
        home.unsaid(secret, OTHER, "clinic.example")


async def test_a_second_factor_stays_after_a_recovery() -> None:
    """Who can read somebody's mail is not in yet: the factor is asked for."""
    async with house() as home:
        anna = await home.person()
        secret = await home.app(anna)
        await recover(home)
        reply = await reset(home, link_in(await home.mail.next()), OTHER)
        assert not reply.credential
        assert reply.factors == ["totp"]
        asked = identity.FactorLoginRequest(reply.ticket, "totp", home.code(secret), home.client())
        assert (await home.h.request(identity.LOGIN_FACTOR, asked)).session.aal == 2


@pytest.mark.parametrize("who", ["nobody", "unverified", "disabled", "machine", "elsewhere", "without"])
async def test_who_cannot_be_written_to_is_answered_the_same(who: str) -> None:
    """The answer is the same, as much is written, and nothing is sent."""
    async with house() as home:
        await home.person()
        await home.person("unverified", email_verified=False)
        await home.person("disabled", state="disabled")
        await home.person("machine", kind="service")
        await home.person("without", email="")
        await home.settings("ward")
        await home.person("elsewhere", tenant="ward")
        uses = []
        for name in ("anna", who):
            used = len(home.h.capabilities_used)
            assert await recover(home, name) == 0
            own = [use.capability for use in home.h.capabilities_used[used:] if use.capability.kind != "net"]
            uses.append([use for use in own if (use.kind, use.action) != ("db", "read")])
        await home.mail.next()
        await home.plugin.mails.flush()
        assert home.mail.waiting == 0
        assert len(await home.plugin.ctx.db.fetch("SELECT id FROM mails")) == 0
        assert {use.scope for use in uses[0]} == {use.scope for use in uses[1]}


async def test_links_cannot_be_asked_for_without_end() -> None:
    """Two at once, then ever more slowly, for a name that nobody has too."""
    async with house() as home:
        await home.person()
        for name in ("anna", "nobody"):
            waits = [await recover(home, name) for _ in range(5)]
            assert [wait > 0 for wait in waits] == [False, False, False, True, True]
        for _ in range(3):
            await home.mail.next()
        await home.plugin.mails.flush()
        assert home.mail.waiting == 0


async def test_a_link_is_of_its_tenant_its_purpose_and_its_time() -> None:
    """Elsewhere, for something else or too late it is nothing; a newer one takes its place; a wrong password uses none up."""
    async with house() as home:
        await home.person()
        await recover(home)
        first = link_in(await home.mail.next())
        await recover(home)
        second = link_in(await home.mail.next())
        await home.settings("ward")
        with pytest.raises(LinkUnknown):
            await reset(home, first)
        with pytest.raises(LinkUnknown):
            await reset(home, second, tenant="ward")
        with pytest.raises(LinkUnknown):
            await accept(home, second)
        with pytest.raises(PasswordRefused):
            await reset(home, second, "password")
        home.h.advance(3601)
        with pytest.raises(LinkUnknown):
            await reset(home, second)


async def test_a_link_to_an_address_that_has_changed_is_nothing() -> None:
    """It went to somebody who is not its reader any more."""
    async with house() as home:
        anna = await home.person()
        await recover(home)
        secret = link_in(await home.mail.next())
        await home.plugin.accounts.update("default", anna.id, {"email": "new@clinic.example", "email_verified": True})
        with pytest.raises(LinkUnknown):
            await reset(home, secret)


async def test_asking_for_links_locks_nobody() -> None:
    """However often somebody asks for a mail to an account, it is not shown as locked, and its password lets in."""
    async with house() as home:
        anna = await home.person()
        for _ in range(12):
            await recover(home)
            home.h.advance(901)
        home.h.advance(-900)
        assert await recover(home) > 0
        shown = (await home.h.request(identity.ACCOUNT_READ, identity.AccountRequest(anna.id))).account
        assert shown.state == "active"
        assert (await home.sign_in()).credential


@pytest.mark.parametrize("what", ["invitation", "change of address", "page"])
async def test_a_link_of_an_address_that_an_administrator_has_changed_is_nothing(what: str) -> None:
    """Who reads the mail of the address before gets no account by it; and nobody puts another one in its place again."""
    async with house() as home:
        if what == "change of address":
            anna = await home.person()
            asked = identity.ChangeEmailRequest("eve@clinic.example", home.client())
            await home.h.request(identity.ACCOUNT_EMAIL, asked, principal=anna.principal)
        else:
            made = identity.CreateAccountRequest("anna", "typo@clinic.example", mail=True)
            await home.h.request(identity.ACCOUNT_CREATE, made)
        secret = link_in(await home.mail.next())
        change = identity.UpdateAccountRequest("anna", email="right@clinic.example")
        await home.h.request(identity.ACCOUNT_UPDATE, change)
        service, follow = {
            "invitation": (identity.ACCOUNT_ACCEPT_INVITE, identity.AcceptInviteRequest(secret, PASSWORD)),
            "change of address": (identity.ACCOUNT_VERIFY_EMAIL, identity.VerifyEmailRequest(secret)),
            "page": (identity.LINK, identity.LinkRequest(secret)),
        }[what]
        with pytest.raises(LinkUnknown):
            await home.h.request(service, follow)
        after = (await home.h.request(identity.ACCOUNT_READ, identity.AccountRequest("anna"))).account
        assert (after.email, after.email_verified) == ("right@clinic.example", False)


async def test_a_tenant_that_is_switched_off_lets_nobody_in_by_a_link() -> None:
    """No mail goes out of it, and links from before do nothing."""
    async with house() as home:
        await home.settings("ward", registration="open")
        await home.person(tenant="ward")
        await recover(home, tenant="ward")
        secret = link_in(await home.mail.next())
        invited = await home.h.request(identity.ACCOUNT_CREATE, identity.CreateAccountRequest("bob"), tenant="ward")
        register = identity.RegisterRequest("new@clinic.example", "", home.client())
        await home.h.request(identity.ACCOUNT_REGISTER, register, tenant="ward")
        joining = link_in(await home.mail.next())
        await home.h.request(identity.TENANT_PUT, identity.TenantRequest("ward", enabled=False))
        with pytest.raises(LinkUnknown):
            await reset(home, secret, tenant="ward")
        for given in (secret_of(invited.link), joining):
            asked = identity.AcceptInviteRequest(given, PASSWORD, client=home.client())
            with pytest.raises(LinkUnknown):
                await home.h.request(identity.ACCOUNT_ACCEPT_INVITE, asked, tenant="ward")
        with pytest.raises(RegistrationClosed):
            await home.h.request(identity.ACCOUNT_REGISTER, register, tenant="ward")
        await recover(home, tenant="ward")
        await home.plugin.mails.flush()
        assert home.mail.waiting == 0


async def test_of_two_that_follow_one_link_one_sets_the_password() -> None:
    """At the same time too."""
    async with house() as home:
        await home.person()
        await recover(home)
        secret = link_in(await home.mail.next())
        done = await asyncio.gather(*(reset(home, secret) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in done].count(LinkUnknown) == 2


async def test_without_a_mail_server_nobody_is_promised_mail() -> None:
    """Whoever asks, for whatever name, hears that no mail can be sent."""
    async with house(mail=False) as home:
        await home.person()
        for name in ("anna", "nobody"):
            with pytest.raises(MailUnavailable):
                await recover(home, name)


async def test_registration_is_closed_unless_it_is_opened() -> None:
    """By default nobody registers, and an invitation of an administrator is the way in."""
    async with house() as home:
        asked = identity.RegisterRequest("new@clinic.example", "New", home.client())
        with pytest.raises(RegistrationClosed):
            await home.h.request(identity.ACCOUNT_REGISTER, asked)
        await home.settings(registration="open")
        assert await home.h.request(identity.ACCOUNT_REGISTER, asked) == identity.SentReply()
        assert await home.plugin.accounts.find("default", "new@clinic.example") is None
        secret = link_in(await home.mail.next())
        shown = await home.h.request(identity.LINK, identity.LinkRequest(secret))
        assert (shown.purpose, shown.email, shown.display_name) == ("register", "new@clinic.example", "New")
        reply = await accept(home, secret)
        assert await home.alive(reply.credential)
        made = await home.plugin.accounts.find("default", "new@clinic.example")
        assert (made.state, made.email_verified, made.display_name, made.roles) == ("active", True, "New", ())
        with pytest.raises(LinkUnknown):
            await accept(home, secret)


async def test_registering_an_address_that_is_taken_tells_its_owner_alone() -> None:
    """The answer is the same; the mail says that there is an account, and has no link that does anything."""
    async with house() as home:
        await home.settings(registration="open")
        await home.person()
        asked = identity.RegisterRequest("ANNA@clinic.example", "", home.client())
        assert await home.h.request(identity.ACCOUNT_REGISTER, asked) == identity.SentReply()
        message = await home.mail.next()
        assert message["To"] == "anna@clinic.example"
        assert "There is one already" in message.get_content()
        assert "/identity/links/" not in message.get_content()
        for email in ("", "x", "a b@c.example"):
            with pytest.raises(InvalidAccount):
                await home.h.request(identity.ACCOUNT_REGISTER, identity.RegisterRequest(email))


async def test_a_registration_that_was_closed_meanwhile_is_over() -> None:
    """The link makes no account any more."""
    async with house() as home:
        await home.settings(registration="open")
        await home.h.request(identity.ACCOUNT_REGISTER, identity.RegisterRequest("new@clinic.example"))
        secret = link_in(await home.mail.next())
        await home.settings(registration="invite")
        with pytest.raises(LinkUnknown):
            await accept(home, secret)
        assert await home.plugin.accounts.find("default", "new@clinic.example") is None


async def test_a_registration_that_somebody_was_faster_with() -> None:
    """The address was taken in between: the link makes no second account."""
    async with house() as home:
        await home.settings(registration="open")
        await home.h.request(identity.ACCOUNT_REGISTER, identity.RegisterRequest("anna@clinic.example"))
        secret = link_in(await home.mail.next())
        await home.person()
        with pytest.raises(AccountExists):
            await accept(home, secret)


@pytest.mark.parametrize("mail", [True, False])
async def test_an_invitation(mail: bool) -> None:
    """By mail, which verifies the address, or by a link that the administrator hands over."""
    async with house() as home:
        asked = identity.CreateAccountRequest("anna", "anna@clinic.example", roles=["clinician"], mail=mail)
        made: identity.CreateAccountReply = await home.h.request(identity.ACCOUNT_CREATE, asked)
        assert made.account.state == "invited"
        assert bool(made.link) is not mail
        secret = link_in(await home.mail.next()) if mail else secret_of(made.link)
        with pytest.raises(PasswordRefused):
            await accept(home, secret, "anna@clinic.example")
        reply = await accept(home, secret, display_name="Anna S.")
        assert await home.alive(reply.credential)
        after = (await home.h.request(identity.ACCOUNT_READ, identity.AccountRequest("anna"))).account
        assert (after.state, after.email_verified, after.display_name) == ("active", mail, "Anna S.")
        assert after.factors == ["password"]
        assert (await home.sign_in()).credential


async def test_an_invitation_without_a_password_lets_add_a_passkey() -> None:
    """The session is there to add one in; afterwards the passkey is the way in, and no password is."""
    async with house() as home:
        made = await home.h.request(identity.ACCOUNT_CREATE, identity.CreateAccountRequest("anna"))
        reply = await accept(home, secret_of(made.link), "")
        assert reply.session is not None
        assert reply.session.amr == ["link"]
        anna = await home.plugin.accounts.get("default", reply.account)
        key = await home.passkey(anna)
        with pytest.raises(LoginFailed):
            await home.sign_in("anna", "")
        answer = identity.PasskeyLoginRequest(await home.answer(key), home.client())
        assert (await home.h.request(identity.LOGIN_PASSKEY, answer)).session.aal == 2


async def test_where_invitations_are_closed_too() -> None:
    """Accounts come with a password, or from elsewhere; no link is made."""
    async with house() as home:
        await home.settings(registration="closed")
        made = await home.h.request(identity.ACCOUNT_CREATE, identity.CreateAccountRequest("anna"))
        assert made.link == ""
        with pytest.raises(RegistrationClosed):
            await home.h.request(identity.ACCOUNT_INVITE, identity.InviteRequest("anna"))
        asked = identity.CreateAccountRequest("bob", "bob@clinic.example", mail=True)
        with pytest.raises(RegistrationClosed):
            await home.h.request(identity.ACCOUNT_CREATE, asked)
        assert await home.plugin.accounts.find("default", "bob") is None


async def setup_link(home: House) -> str:
    """The secret of the link that the operator sees."""
    asked = identity.SetupRequest()
    reply = await home.h.request(identity.SETUP_LINK, asked, source="kernel", principal="operator")
    return secret_of(reply.link)


async def test_the_first_administrator() -> None:
    """Made through a link that the operator alone gets, once; afterwards there is no link any more."""
    async with house() as home:
        with pytest.raises(OperatorOnly):
            await home.h.request(identity.SETUP_LINK, identity.SetupRequest(), source="acme.plugin")
        with pytest.raises(OperatorOnly):
            await home.h.request(identity.SETUP_LINK, identity.SetupRequest(), source="kernel", principal="user/x")
        first, second = await setup_link(home), await setup_link(home)
        with pytest.raises(LinkUnknown):
            await home.h.request(identity.SETUP_FINISH, identity.SetupFinishRequest(first, "root", password=PASSWORD))
        await home.settings("ward")
        asked = identity.SetupFinishRequest(
            second, "root", "root@clinic.example", password=PASSWORD, client=home.client()
        )
        with pytest.raises(SystemTenantOnly):
            await home.h.request(identity.SETUP_FINISH, asked, tenant="ward")
        weak = identity.SetupFinishRequest(second, "root", password="short")
        with pytest.raises(PasswordRefused):
            await home.h.request(identity.SETUP_FINISH, weak)
        reply = await home.h.request(identity.SETUP_FINISH, asked)
        assert await home.alive(reply.credential)
        made = (await home.h.request(identity.ACCOUNT_READ, identity.AccountRequest("root"))).account
        assert (made.roles, made.scopes) == (["administrator"], ["admin"])
        with pytest.raises(LinkUnknown):
            await home.h.request(identity.SETUP_FINISH, asked)
        assert await setup_link(home) == ""


async def test_another_password_for_oneself() -> None:
    """With the one before; other sessions end, the own one goes on; rules hold; wrong ones are counted."""
    async with house() as home:
        anna = await home.person()
        own, other = await home.sign_in(), await home.sign_in()
        assert own.session is not None

        async def change(current: str, password: str) -> None:
            asked = identity.ChangePasswordRequest(password, current, own.session.id, home.client())  # type: ignore[union-attr]
            await home.h.request(identity.ACCOUNT_PASSWORD, asked, principal=anna.principal)

        with pytest.raises(LoginFailed):
            await change("wrong", OTHER)
        with pytest.raises(PasswordRefused):
            await change(PASSWORD, "annaannaannaanna")
        assert await home.alive(other.credential)
        await change(PASSWORD, OTHER)
        assert await home.alive(own.credential)
        assert not await home.alive(other.credential)
        assert (await home.sign_in("anna", OTHER)).credential
        for _ in range(4):
            with pytest.raises(LoginFailed):
                await change("wrong", PASSWORD)
        with pytest.raises(LoginFailed) as waits:
            await change(OTHER, "five wide rivers freeze")  # it is not looked at, and that is said
        assert waits.value.hint == "wait 1 seconds, then try again"
        with pytest.raises(NotSignedIn):
            await home.h.request(identity.ACCOUNT_PASSWORD, identity.ChangePasswordRequest(OTHER), principal="user/x")


async def test_another_address_for_oneself() -> None:
    """It holds when its link was followed; the one before hears of it; one that somebody has is not told apart."""
    async with house() as home:
        anna, _ = await home.person(), await home.person("bob", "other green lamps hum")
        asked = identity.ChangeEmailRequest("Anna.New@clinic.example", home.client())
        await home.h.request(identity.ACCOUNT_EMAIL, asked, principal=anna.principal)
        message = await home.mail.next()
        assert message["To"] == "Anna.New@clinic.example"
        kept = await home.plugin.accounts.get("default", anna.id)
        assert kept.email == "anna@clinic.example"
        reply = await home.h.request(identity.ACCOUNT_VERIFY_EMAIL, identity.VerifyEmailRequest(link_in(message)))
        assert (reply.account.email, reply.account.email_verified) == ("Anna.New@clinic.example", True)
        told = await home.mail.next()
        assert told["To"] == "anna@clinic.example"
        assert "another e-mail address" in told.get_content()
        taken = identity.ChangeEmailRequest("bob@clinic.example", home.client())
        assert await home.h.request(identity.ACCOUNT_EMAIL, taken, principal=anna.principal) == identity.SentReply()
        await home.plugin.mails.flush()
        assert home.mail.waiting == 0


async def test_an_address_of_ones_own_is_verified() -> None:
    """The same way, without a change."""
    async with house() as home:
        anna = await home.person(email_verified=False)
        asked = identity.ChangeEmailRequest("anna@clinic.example", home.client())
        await home.h.request(identity.ACCOUNT_EMAIL, asked, principal=anna.principal)
        secret = link_in(await home.mail.next())
        reply = await home.h.request(identity.ACCOUNT_VERIFY_EMAIL, identity.VerifyEmailRequest(secret))
        assert reply.account.email_verified
        with pytest.raises(LinkUnknown):
            await home.h.request(identity.ACCOUNT_VERIFY_EMAIL, identity.VerifyEmailRequest(secret))


async def test_links_begin_with_the_tenants_own_address() -> None:
    """Its first host, else the server's with the tenant's prefix, else the path alone."""
    async with house() as home:
        await home.h.request(identity.TENANT_PUT, identity.TenantRequest("ward", hosts=["ward.example"]))
        await home.h.request(identity.TENANT_PUT, identity.TenantRequest("plain"))
        for tenant, begin in (
            ("ward", "https://ward.example/"),
            ("plain", f"{ORIGIN}/t/plain/"),
            ("default", f"{ORIGIN}/"),
        ):
            asked = identity.CreateAccountRequest("anna")
            link = (await home.h.request(identity.ACCOUNT_CREATE, asked, tenant=tenant)).link
            assert link.startswith(f"{begin}identity/links/invite/")
    async with house(url="") as home:
        link = (await home.h.request(identity.ACCOUNT_CREATE, identity.CreateAccountRequest("anna"))).link
        assert link.startswith("/identity/links/invite/")
