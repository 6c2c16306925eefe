"""Signing in: password, second factor, passkey, step-up."""

from __future__ import annotations

import asyncio

import bcrypt
import pytest
from rustcare_plugin_identity.errors import LoginFailed, NotSignedIn, TicketUnknown
from rustcare_sdk import Message
from rustcare_sdk.contracts import crypto, identity
from rustcare_sdk.errors import AuditUnavailable, ServiceError

from tests.support.people import ORIGIN, PASSWORD, House, house


async def wrong(home: House, name: str, count: int = 1, *, device: str = "", address: str = "192.0.2.7") -> list[float]:
    """Wrong passwords for a name; the waits that were told (0: it was looked at)."""
    waits = []
    for _ in range(count):
        try:
            reply = await home.sign_in(name, "wrong", device=device, address=address)
        except LoginFailed:
            waits.append(0.0)
        else:
            assert not reply.credential
            waits.append(reply.retry_after)
    return waits


async def test_a_password_lets_in_and_is_on_record_before() -> None:
    """By name or address, in any case; the session is AAL1, and its begin was told."""
    async with house() as home:
        anna = await home.person()
        for name in ("anna", "ANNA@clinic.example", " Anna "):
            reply = await home.sign_in(name)
            assert reply.session is not None
            assert (reply.session.aal, reply.session.amr, reply.session.device) == (1, ["pwd"], "Firefox on Linux")
            assert await home.alive(reply.credential)
        told = home.events("login.succeeded")
        assert [(event.account, event.address) for event in told] == [(anna.id, "192.0.2.7")] * 3
        home.h.assert_capabilities_within_manifest()
        home.unsaid("clinic.example", PASSWORD, reply.credential)


async def test_nothing_that_is_not_on_record_happens() -> None:
    """When the log cannot be written there is no session, not even one that nobody knows of."""
    async with house() as home:
        anna = await home.person()

        def full(message: object) -> None:
            raise AuditUnavailable("the log cannot be written")

        home.h.subscribe(identity.EVENT, full)
        with pytest.raises(ServiceError, match=r"login\.succeeded"):
            await home.sign_in()
        assert await home.plugin.sessions.of("default", anna.id) == []


@pytest.mark.parametrize("who", ["nobody", "anna", "disabled", "invited", "service", "without", "elsewhere"])
async def test_what_was_wrong_is_not_said(who: str) -> None:
    """An unknown name, a wrong password, an account that may not be used, one of another tenant: one error, word for word."""
    async with house() as home:
        await home.person()
        await home.person("disabled", state="disabled")
        await home.person("invited", state="invited", password="")
        await home.person("service", kind="service", email="")
        await home.person("without", password="")
        await home.settings("ward")
        await home.person("elsewhere", tenant="ward")
        with pytest.raises(LoginFailed) as failed:
            await home.sign_in(who, "wrong" if who == "anna" else PASSWORD)
        assert str(failed.value) == str(LoginFailed())
        (told,) = home.events("login.failed")
        assert told.code == "identity.login-failed"
        home.unsaid("wrong", PASSWORD, *([who] if who in ("nobody", "elsewhere") else []))


async def test_everything_about_an_unknown_name_is_as_about_a_known_one() -> None:
    """Waits, locks and their events come at the same tries, and as many statements are sent to the database."""
    async with house() as home:
        await home.person()
        await home.sign_in()  # who is first pays for what is made once
        seen = []
        for name in ("anna", "nobody"):
            used = len(home.h.capabilities_used)
            waits = await wrong(home, name, 6)
            uses = [use.capability for use in home.h.capabilities_used[used:]]
            seen.append((waits, uses))
        assert seen[0] == seen[1]
        for name in ("anna", "nobody"):
            for _ in range(6):
                home.h.advance(31)
                await wrong(home, name)
        locked = home.events("account.locked")
        assert len(locked) == 2
        assert [bool(event.account) for event in locked] == [True, False]


async def test_a_locked_name_is_not_looked_at_and_opens_again() -> None:
    """Not even for the right password, until the lock has ended; its account is shown as locked meanwhile."""
    async with house() as home:
        anna = await home.person()
        while not home.events("account.locked"):
            await wrong(home, "anna")
            home.h.advance(31)
        home.h.advance(-30)
        asked = identity.AccountRequest("anna")
        info = (await home.h.request(identity.ACCOUNT_READ, asked)).account
        assert (info.state, info.id) == ("locked", anna.id)
        locked = (await home.h.request(identity.ACCOUNT_LIST, identity.AccountsRequest(state="locked"))).accounts
        assert [one.id for one in locked] == [anna.id]
        reply = await home.sign_in()
        assert 0 < reply.retry_after <= 300
        assert not reply.credential
        home.h.advance(reply.retry_after + 1)
        assert (await home.sign_in()).credential


async def test_a_lock_keeps_no_session_and_no_passkey_out() -> None:
    """Who tries passwords of somebody else ends nothing of theirs: sessions go on, a passkey and a known browser let in."""
    async with house() as home:
        anna = await home.person()
        before = await home.sign_in()
        key = await home.passkey(anna)
        while not home.events("account.locked"):
            await wrong(home, "anna", address="198.51.100.9")
            home.h.advance(31)
        home.h.advance(-30)
        assert (await home.sign_in()).retry_after > 0
        assert await home.alive(before.credential)
        answer = await home.answer(key)
        reply = await home.h.request(identity.LOGIN_PASSKEY, identity.PasskeyLoginRequest(answer, home.client()))
        assert reply.credential
        known = await home.sign_in(device=before.device)
        assert known.ticket or known.credential


async def test_an_administrator_unlocks() -> None:
    """Then the right password lets in at once."""
    async with house() as home:
        await home.person()
        while not home.events("account.locked"):
            await wrong(home, "anna")
            home.h.advance(31)
        home.h.advance(-30)
        await home.h.request(identity.ACCOUNT_UNLOCK, identity.AccountRequest("anna"))
        assert (await home.sign_in()).credential
        assert home.events("account.unlocked")[0].details == {"failures": "10"}


async def test_one_address_cannot_try_all_names() -> None:
    """After so many failures an hour it waits, whatever names it tries; others do not; it is told once."""
    async with house() as home:
        await home.settings(lockout={"address_rate": 10})
        waits = [(await wrong(home, f"name{number}"))[0] for number in range(15)]
        assert waits[:10] == [0.0] * 10
        assert all(wait > 0 for wait in waits[10:])
        assert len(home.events("login.flood")) == 1
        await home.person()
        assert (await home.sign_in()).retry_after > 0
        assert (await home.sign_in(address="192.0.2.8")).credential


async def test_a_password_that_could_not_be_compared_is_no_failure() -> None:
    """When the keyring has too much to do the try is not counted, and the caller hears of it."""
    async with house() as home:
        await home.person()
        await home.sign_in()
        compare = home.h._answers[crypto.PASSWORD_VERIFY]
        home.h.answer(crypto.PASSWORD_VERIFY, ServiceError("crypto.overloaded", "too many passwords at once"))
        for _ in range(20):
            with pytest.raises(ServiceError) as busy:
                await home.sign_in()
            assert busy.value.code == "crypto.overloaded"
        home.h.answer(crypto.PASSWORD_VERIFY, compare[0], type=compare[1])
        assert (await home.sign_in()).credential


@pytest.mark.parametrize("factor", [False, True])
@pytest.mark.parametrize("what", ["disabled", "disabled and enabled", "password", "deleted"])
async def test_nobody_slips_in_while_the_door_is_shut(what: str, factor: bool) -> None:
    """What ends an account's sessions while its password is being compared ends the one that would come of it."""
    async with house() as home:
        anna = await home.person()
        if factor:
            await home.app(anna)
        compare, type_ = home.h._answers[crypto.PASSWORD_VERIFY]

        async def shut(message: Message[crypto.PasswordVerifyRequest]) -> crypto.PasswordVerifyReply:
            if what == "deleted":
                await home.h.request(identity.ACCOUNT_DELETE, identity.AccountRequest(anna.id))
            elif what == "password":
                change = identity.UpdateAccountRequest(anna.id, password="nine brass kettles whistle")
                await home.h.request(identity.ACCOUNT_UPDATE, change)
            else:
                await home.h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(anna.id))
                if what != "disabled":
                    await home.h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(anna.id, False))
            found: crypto.PasswordVerifyReply = compare(message)
            assert found.valid
            return found

        home.h.answer(crypto.PASSWORD_VERIFY, shut, type=type_)
        with pytest.raises(LoginFailed):
            await home.sign_in()
        assert await home.plugin.sessions.of("default", anna.id) == []
        assert await home.plugin.ctx.db.fetch("SELECT hash FROM tickets") == []
        assert home.events("login.succeeded") == []


async def test_a_hash_of_another_system_is_replaced() -> None:
    """Its owner signs in as ever; from then on there is one of ours, and the version of the account is the same."""
    async with house() as home:
        foreign = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        made = await home.plugin.accounts.create("default", name="anna", password=foreign)
        assert (await home.sign_in()).credential
        after = await home.plugin.accounts.get("default", made.id)
        assert after.password.startswith("$test$")
        assert after.version == made.version
        assert after.last_login > 0
        assert (await home.sign_in()).credential


async def test_two_who_move_a_hash_at_the_same_time_are_both_in() -> None:
    """A hash that is made anew while another login of its owner is under way is no change of the password."""
    async with house() as home:
        foreign = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        await home.plugin.accounts.create("default", name="anna", password=foreign)
        replies = await asyncio.gather(*(home.sign_in() for _ in range(4)))
        assert all(reply.credential for reply in replies)


async def test_a_second_factor_is_demanded_where_there_is_one() -> None:
    """The password gives a ticket, the code a session of AAL2; the ticket is spent then."""
    async with house() as home:
        anna = await home.person()
        secret = await home.app(anna)
        first = await home.sign_in()
        assert (first.credential, first.session) == ("", None)
        assert first.factors == ["totp"]
        asked = identity.FactorLoginRequest(first.ticket, "totp", home.code(secret), home.client())
        reply = await home.h.request(identity.LOGIN_FACTOR, asked)
        assert (reply.session.aal, reply.session.amr) == (2, ["pwd", "otp", "mfa"])
        assert await home.alive(reply.credential)
        home.h.advance(30)
        again = identity.FactorLoginRequest(first.ticket, "totp", home.code(secret), home.client())
        with pytest.raises(TicketUnknown):
            await home.h.request(identity.LOGIN_FACTOR, again)


async def test_a_wrong_code_is_told_and_gets_nowhere() -> None:
    """So many answers and no more for one ticket; the ticket is of one tenant."""
    async with house() as home:
        anna = await home.person()
        secret = await home.app(anna)
        first = await home.sign_in()
        with pytest.raises(LoginFailed):
            await home.h.request(
                identity.LOGIN_FACTOR, identity.FactorLoginRequest(first.ticket, "totp", "000000", home.client())
            )
        assert home.events("login.factor-failed")[0].account == anna.id
        right = identity.FactorLoginRequest(first.ticket, "totp", home.code(secret), home.client())
        await home.settings("ward")
        with pytest.raises(TicketUnknown):
            await home.h.request(identity.LOGIN_FACTOR, right, tenant="ward")
        assert (await home.h.request(identity.LOGIN_FACTOR, right)).credential


async def test_one_code_at_the_same_moment_is_one_session() -> None:
    """Of many that answer with one ticket and one code one gets in."""
    async with house() as home:
        anna = await home.person()
        secret = await home.app(anna)
        first = await home.sign_in()
        asked = identity.FactorLoginRequest(first.ticket, "totp", home.code(secret), home.client())
        done = await asyncio.gather(
            *(home.h.request(identity.LOGIN_FACTOR, asked) for _ in range(4)), return_exceptions=True
        )
        assert len([one for one in done if isinstance(one, identity.LoginReply) and one.credential]) == 1


async def test_a_passkey_lets_in_alone() -> None:
    """Without a name, at AAL2; bound to one device at AAL3 where the tenant says so. Its answer counts once."""
    async with house() as home:
        anna = await home.person(password="")
        key = await home.passkey(anna)
        answer = await home.answer(key)
        asked = identity.PasskeyLoginRequest(answer, home.client())
        reply = await home.h.request(identity.LOGIN_PASSKEY, asked)
        assert (reply.account, reply.session.aal, reply.session.amr) == (anna.id, 2, ["hwk", "mfa"])
        with pytest.raises(LoginFailed):
            await home.h.request(identity.LOGIN_PASSKEY, asked)
        await home.settings(passkeys={"aal3": True})
        again = identity.PasskeyLoginRequest(await home.answer(key), home.client())
        assert (await home.h.request(identity.LOGIN_PASSKEY, again)).session.aal == 3


async def test_a_passkey_is_a_second_factor_too() -> None:
    """With the options for the ticket."""
    async with house() as home:
        key = await home.passkey(await home.person())
        first = await home.sign_in()
        assert first.factors == ["passkey"]
        answer = await home.answer(key, ticket=first.ticket)
        asked = identity.FactorLoginRequest(first.ticket, "passkey", answer, home.client())
        assert (await home.h.request(identity.LOGIN_FACTOR, asked)).session.amr == ["pwd", "hwk", "mfa"]


async def test_where_a_factor_is_demanded_a_password_alone_is_good_for_adding_one() -> None:
    """The session has AAL 0 until then; giving the password again does not change that."""
    async with house() as home:
        anna = await home.person()
        await home.settings(mfa="required")
        reply = await home.sign_in()
        assert reply.enrol
        assert reply.session is not None
        assert reply.session.aal == 0
        asked = identity.StepUpRequest(reply.session.id, "password", PASSWORD, home.client())
        again = await home.h.request(identity.LOGIN_STEP_UP, asked, principal=anna.principal)
        assert again.session.aal == 0
        secret = await home.app(anna)
        asked = identity.StepUpRequest(reply.session.id, "totp", home.code(secret), home.client())
        raised = await home.h.request(identity.LOGIN_STEP_UP, asked, principal=anna.principal)
        assert raised.session.aal == 2


async def test_a_password_too_short_to_stand_alone_is_good_for_adding_a_factor() -> None:
    """One of eight characters whose second factor is gone, or that came from another system, lets in no further."""
    async with house() as home:
        anna = await home.person(password="xk7vp2qr")
        secret = await home.app(anna)
        first = await home.sign_in("anna", "xk7vp2qr")
        assert first.factors == ["totp"]
        (factor,) = await home.plugin.factors.infos(anna.id)
        await home.plugin.factors.remove(anna, factor.id)
        reply = await home.sign_in("anna", "xk7vp2qr")
        assert reply.enrol
        assert reply.session is not None
        assert reply.session.aal == 0
        assert secret


async def test_more_proof_raises_a_session_and_changes_its_secret() -> None:
    """The credential before is worth nothing; how it was proved is noted; it is told first."""
    async with house() as home:
        anna = await home.person()
        reply = await home.sign_in()
        assert reply.session is not None
        secret = await home.app(anna)
        asked = identity.StepUpRequest(reply.session.id, "totp", home.code(secret), home.client())
        raised = await home.h.request(identity.LOGIN_STEP_UP, asked, principal=anna.principal)
        assert (raised.session.id, raised.session.aal, raised.session.amr) == (reply.session.id, 2, ["pwd", "otp"])
        assert await home.alive(raised.credential)
        assert not await home.alive(reply.credential)
        assert [event.outcome for event in home.events("login.step-up")] == ["success"]


async def test_a_step_up_is_of_ones_own_session() -> None:
    """Another's session, another's factor, a wrong password: nothing is raised."""
    async with house() as home:
        anna, bob = await home.person(), await home.person("bob", "other green lamps hum")
        reply = await home.sign_in()
        assert reply.session is not None
        for principal, kind, answer, error in (
            (bob.principal, "password", "other green lamps hum", NotSignedIn),
            ("", "password", PASSWORD, NotSignedIn),
            (anna.principal, "password", "wrong", LoginFailed),
            (anna.principal, "totp", "123456", LoginFailed),
            (anna.principal, "nothing", "", LoginFailed),
        ):
            asked = identity.StepUpRequest(reply.session.id, kind, answer, home.client())
            with pytest.raises(error):
                await home.h.request(identity.LOGIN_STEP_UP, asked, principal=principal)
        assert await home.alive(reply.credential)


async def test_guesses_in_a_session_are_told() -> None:
    """Whoever has found an open session and tries passwords in it is stopped; the owner's password lets in meanwhile."""
    async with house() as home:
        anna = await home.person()
        reply = await home.sign_in()
        assert reply.session is not None
        asked = identity.StepUpRequest(reply.session.id, "password", "wrong", home.client())
        for _ in range(10):
            home.h.advance(31)
            with pytest.raises(LoginFailed):
                await home.h.request(identity.LOGIN_STEP_UP, asked, principal=anna.principal)
        assert [event.account for event in home.events("account.locked")] == [anna.id]
        assert (await home.h.request(identity.LOGIN_STEP_UP, asked, principal=anna.principal)).retry_after > 0
        assert (await home.sign_in()).credential


async def test_a_password_that_could_not_be_compared_in_a_session_is_no_failure() -> None:
    """As at the door: who is told that there is too much to do has lost no try."""
    async with house() as home:
        anna = await home.person()
        reply = await home.sign_in()
        assert reply.session is not None
        compare = home.h._answers[crypto.PASSWORD_VERIFY]
        home.h.answer(crypto.PASSWORD_VERIFY, ServiceError("crypto.overloaded", "too many passwords at once"))
        step = identity.StepUpRequest(reply.session.id, "password", PASSWORD, home.client())
        change = identity.ChangePasswordRequest("nine brass kettles whistle", PASSWORD, reply.session.id, home.client())
        for service, asked in ((identity.LOGIN_STEP_UP, step), (identity.ACCOUNT_PASSWORD, change)) * 5:
            with pytest.raises(ServiceError):
                await home.h.request(service, asked, principal=anna.principal)
        home.h.answer(crypto.PASSWORD_VERIFY, compare[0], type=compare[1])
        assert (await home.h.request(identity.LOGIN_STEP_UP, step, principal=anna.principal)).credential


async def test_a_new_device_is_told_by_mail() -> None:
    """Not the first, not one that is known; the mail names it, and nothing is sent where the tenant does not want it."""
    async with house() as home:
        await home.person(display_name="Anna Schmidt")
        first = await home.sign_in()
        await home.sign_in(device=first.device)
        assert home.mail.waiting == 0
        second = await home.sign_in()
        message = await home.mail.next()
        assert message["To"] == "anna@clinic.example"
        assert all(word in message.get_content() for word in ("Anna Schmidt", "Firefox on Linux", "192.0.2.7"))
        await home.sign_in(device=second.device)
        await home.settings(sign_in_notices=False)
        await home.sign_in()
        await home.plugin.mails.flush()
        assert home.mail.waiting == 0


async def test_who_is_in_a_tenant_that_is_switched_off_is_out() -> None:
    """Nobody signs in to it."""
    async with house() as home:
        await home.settings("ward")
        await home.person(tenant="ward")
        assert (await home.sign_in(tenant="ward")).credential
        await home.h.request(identity.TENANT_PUT, identity.TenantRequest("ward", enabled=False))
        with pytest.raises(LoginFailed):
            await home.sign_in(tenant="ward")
        # Nor is it told that a password was right, by asking for a second factor.
        bob = await home.person("bob", tenant="ward")
        await home.app(bob)
        with pytest.raises(LoginFailed):
            await home.sign_in("bob", tenant="ward")


async def test_a_very_long_password_is_wrong_and_no_more() -> None:
    """It is not hashed whole."""
    async with house() as home:
        await home.person()
        with pytest.raises(LoginFailed):
            await home.sign_in("anna", PASSWORD + "x" * 500_000)
        with pytest.raises(LoginFailed):
            await home.sign_in("a" * 500_000, PASSWORD)


def test_the_origin_is_that_of_passkeys() -> None:
    """The tests' browser is at a host that passkeys may be made for."""
    assert ORIGIN.startswith("https://")
