"""People look after their own factors through services: on record, told, and in nobody else's name."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.errors import NotSignedIn, PasswordRefused
from rustcare_plugin_identity.factors.refusals import EnrolmentUnknown, FactorUnknown, LastFactor
from rustcare_plugin_identity.factors.totp import code_at, step_of
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError

from tests.support.authenticator import Authenticator
from tests.support.people import ORIGIN, PASSWORD, House, house


@pytest.fixture
async def home() -> AsyncIterator[House]:
    """A house with mail."""
    async with house() as found:
        yield found


async def ask(home: House, account: Account, service: str, data: Any) -> Any:
    """Ask a service in an account's name."""
    return await home.h.request(service, data, principal=account.principal, tenant=account.tenant)


async def add_app(home: House, account: Account) -> tuple[bytes, str]:
    """An app through the services; its secret and its id."""
    begun = await ask(home, account, identity.MFA_TOTP_BEGIN, identity.TotpBeginRequest("Phone"))
    secret = base64.b32decode(begun.secret + "=" * (-len(begun.secret) % 8))
    done = identity.TotpConfirmRequest(begun.enrolment, home.code(secret))
    return secret, (await ask(home, account, identity.MFA_TOTP_CONFIRM, done)).factor.id


async def test_adding_and_removing_is_told_and_mailed(home: House) -> None:
    """Each change of the ways to sign in is a security event and a mail to the owner, without names of what was added."""
    ann = await home.person()
    _, app = await add_app(home, ann)
    mail = await home.mail.next()
    assert "ways to sign in" in mail["subject"]
    assert "an authenticator app was added to" in mail.get_content()
    device = Authenticator(ORIGIN)
    begun = await ask(home, ann, identity.MFA_PASSKEY_BEGIN, identity.PasskeyBeginRequest(ORIGIN))
    made = identity.PasskeyFinishRequest(ORIGIN, device.create(begun.options), "Top secret bunker")
    passkey = (await ask(home, ann, identity.MFA_PASSKEY_FINISH, made)).factor
    assert (passkey.kind, passkey.name) == ("passkey", "Top secret bunker")
    assert "a passkey was added to" in (await home.mail.next()).get_content()
    await ask(home, ann, identity.MFA_RECOVERY_GENERATE, identity.RecoveryRequest())
    assert "new recovery codes" in (await home.mail.next()).get_content()
    left = await ask(home, ann, identity.MFA_REMOVE, identity.RemoveFactorRequest(app))
    assert [factor.id for factor in left.factors] == [passkey.id]
    assert "was removed from" in (await home.mail.next()).get_content()
    told = [(event.action, event.details.get("kind")) for event in home.events("mfa.added", "mfa.removed")]
    assert told == [("mfa.added", "totp"), ("mfa.added", "passkey"), ("mfa.removed", "totp")]
    assert {event.account for event in home.events("mfa.added", "mfa.recovery-generated")} == {ann.id}
    home.unsaid("Top secret bunker", "Phone")


async def test_secrets_are_in_no_repr_and_no_log(home: House) -> None:
    """The app's secret, its codes, recovery codes and browsers' answers are left out of whatever may be written down."""
    ann = await home.person()
    begun = await ask(home, ann, identity.MFA_TOTP_BEGIN, identity.TotpBeginRequest())
    codes = await ask(home, ann, identity.MFA_RECOVERY_GENERATE, identity.RecoveryRequest())
    confirm = identity.TotpConfirmRequest(begun.enrolment, "123456")
    finish = identity.PasskeyFinishRequest(ORIGIN, "the answer")
    text = repr((begun, codes, confirm, finish))
    for secret in (begun.secret, begun.uri, "123456", "the answer", *codes.codes):
        assert secret not in text
    home.unsaid(begun.secret, *codes.codes)


async def test_one_s_factors_are_one_s_own(home: House) -> None:
    """Nobody renames, removes or confirms what is another's, of the same tenant or of another; nobody known has none."""
    ann, bob = await home.person("ann"), await home.person("bob")
    await home.h.request(identity.TENANT_PUT, identity.TenantRequest("clinic"))
    cat = await home.person("cat", tenant="clinic")
    _, app = await add_app(home, ann)
    begun = await ask(home, ann, identity.MFA_TOTP_BEGIN, identity.TotpBeginRequest())
    for other in (bob, cat):
        with pytest.raises(FactorUnknown):
            await ask(home, other, identity.MFA_RENAME, identity.RenameFactorRequest(app, "mine"))
        with pytest.raises(FactorUnknown):
            await ask(home, other, identity.MFA_REMOVE, identity.RemoveFactorRequest(app))
        with pytest.raises(EnrolmentUnknown):
            await ask(home, other, identity.MFA_TOTP_BEGIN, identity.TotpBeginRequest(enrolment=begun.enrolment))
        assert (await ask(home, other, identity.MFA_LIST, identity.FactorsRequest())).factors == []
    for principal in ("", "user/nobody", "service/x"):
        with pytest.raises(NotSignedIn):
            await home.h.request(identity.MFA_RECOVERY_GENERATE, identity.RecoveryRequest(), principal=principal)
    renamed = await ask(home, ann, identity.MFA_RENAME, identity.RenameFactorRequest(app, "New phone"))
    assert renamed.factor.name == "New phone"


async def test_the_factors_of_others_are_for_administrators_of_their_tenant(home: House) -> None:
    """What somebody signs in with, and what they call it, is nobody else's to know."""
    ann, bob = await home.person("ann"), await home.person("bob")
    root = await home.person("root", roles=["administrator"])
    await home.h.request(identity.TENANT_PUT, identity.TenantRequest("clinic"))
    far = await home.person("far", tenant="clinic", roles=["administrator"])
    _, app = await add_app(home, ann)
    asked = identity.FactorsRequest(ann.id)
    for who in (ann, root):
        assert [one.id for one in (await ask(home, who, identity.MFA_LIST, asked)).factors] == [app]
    for who, code in ((bob, "identity.session-forbidden"), (far, "identity.account-unknown")):
        with pytest.raises(RustCareError) as caught:
            await ask(home, who, identity.MFA_LIST, asked)
        assert caught.value.code == code


async def test_what_the_tenant_says_holds_for_its_passkeys(home: House) -> None:
    """Name, domain and AAL3 come from the tenant's settings; so does that the last factor stays."""
    await home.settings(passkeys={"name": "St. Mary", "rp_id": "clinic.example", "aal3": True}, mfa="required")
    ann = await home.person()
    begun = await ask(home, ann, identity.MFA_PASSKEY_BEGIN, identity.PasskeyBeginRequest(ORIGIN))
    assert begun.options["rp"] == {"id": "clinic.example", "name": "St. Mary"}
    device = await home.passkey(ann)
    login = identity.PasskeyLoginRequest(await home.answer(device), home.client())
    reply = await home.h.request(identity.LOGIN_PASSKEY, login)
    assert reply.session is not None
    assert reply.session.aal == 3
    (factor,) = (await ask(home, ann, identity.MFA_LIST, identity.FactorsRequest())).factors
    with pytest.raises(LastFactor):
        await ask(home, ann, identity.MFA_REMOVE, identity.RemoveFactorRequest(factor.id))


async def test_a_first_code_may_be_given_on(home: House) -> None:
    """Confirmed without being spent, a code proves more in the session at once; then it is spent as any other."""
    ann = await home.person()
    reply = await home.sign_in()
    assert reply.session is not None
    begun = await ask(home, ann, identity.MFA_TOTP_BEGIN, identity.TotpBeginRequest())
    secret = base64.b32decode(begun.secret + "=" * (-len(begun.secret) % 8))
    code = home.code(secret)
    await ask(home, ann, identity.MFA_TOTP_CONFIRM, identity.TotpConfirmRequest(begun.enrolment, code, spend=False))
    step_up = identity.StepUpRequest(reply.session.id, "totp", code, home.client())
    results = await asyncio.gather(
        *(ask(home, ann, identity.LOGIN_STEP_UP, step_up) for _ in range(3)), return_exceptions=True
    )
    raised = [item for item in results if isinstance(item, identity.LoginReply) and item.credential]
    assert len(raised) == 1
    assert raised[0].session is not None
    assert raised[0].session.aal == 2


async def test_an_administrator_s_reset_takes_all_factors(home: House) -> None:
    """After it the account has none, codes of before are worth nothing, and who signs in is not asked for any."""
    ann = await home.person()
    secret, _ = await add_app(home, ann)
    await home.h.request(
        identity.ACCOUNT_RESET_MFA, identity.AccountRequest("anna"), principal="operator", source="kernel"
    )
    assert (await ask(home, ann, identity.MFA_LIST, identity.FactorsRequest())).factors == []
    result = await home.plugin.factors.verify(ann, "totp", code_at(secret, step_of(home.plugin.time()) + 1), {})
    assert not result.ok


async def test_factors_survive_a_restart(home: House) -> None:
    """Secrets are opened, codes and challenges known again, by the plugin's next start: their keys are not its memory's."""
    ann = await home.person()
    secret, _ = await add_app(home, ann)
    codes = (await ask(home, ann, identity.MFA_RECOVERY_GENERATE, identity.RecoveryRequest())).codes
    device = await home.passkey(ann)
    options = (await home.h.request(identity.PASSKEY_OPTIONS, identity.PasskeyOptionsRequest(ORIGIN))).options
    await home.h.restart()
    home.h.advance(30)
    assert (await home.plugin.factors.verify(ann, "totp", home.code(secret), {})).ok
    assert (await home.plugin.factors.verify(ann, "recovery", codes[5], {})).ok
    assert (await home.plugin.factors.discover("default", device.get(options), ORIGIN)).account == ann.id


async def test_a_short_password_never_stands_alone(home: House) -> None:
    """A password may be short where the tenant demands a second factor; one's own factor, which may go again, is not enough."""
    ann = await home.person()
    await add_app(home, ann)
    short = identity.ChangePasswordRequest("nine kettles", PASSWORD, "", home.client())
    with pytest.raises(PasswordRefused):
        await ask(home, ann, identity.ACCOUNT_PASSWORD, short)
    await home.settings(mfa="required")
    changed = await ask(home, ann, identity.ACCOUNT_PASSWORD, short)
    assert changed.account.id == ann.id
