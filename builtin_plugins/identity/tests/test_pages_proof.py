"""What pages want to see before something is changed: a session, a second factor where there is one, a fresh proof; and that
one's own pages reach one's own things alone."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.factors.totp import code_at, step_of
from rustcare_plugin_identity.pages import Pages
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import Caller, HttpResponse
from rustcare_sdk.errors import AuditUnavailable, RustCareError
from rustcare_sdk.plugin import handlers_of
from rustcare_sdk.testing import PluginHarness

from tests.support.authenticator import Authenticator
from tests.support.identity_plugin import caller_of, identity_plugin, person, signed_in

PASSWORD = "seven purple anvils sing"
OTHER = "nine copper kettles whisper"
BASE = "https://test.example"


@pytest.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """The plugin."""
    async with identity_plugin() as harness:
        yield harness


async def user(h: PluginHarness, name: str = "ann", roles: tuple[str, ...] = ()) -> Account:
    """An account with a password."""
    made = identity.CreateAccountRequest(name, password=PASSWORD, roles=list(roles))
    await h.request(identity.ACCOUNT_CREATE, made, principal="operator", source="kernel")
    return await account_of(h, name)


async def account_of(h: PluginHarness, name: str) -> Account:
    """The account as it is now."""
    return await h.plugin.accounts.need("default", name)  # type: ignore[attr-defined,no-any-return]


async def add_app(h: PluginHarness, caller: Caller) -> bytes:
    """Give an account an authenticator app; its secret."""
    begun = await h.request(identity.MFA_TOTP_BEGIN, identity.TotpBeginRequest(""), principal=caller.principal)
    secret = base64.b32decode(begun.secret + "=" * (-len(begun.secret) % 8))
    asked = identity.TotpConfirmRequest(begun.enrolment, code_at(secret, step_of(h.now.timestamp())))
    await h.request(identity.MFA_TOTP_CONFIRM, asked, principal=caller.principal)
    return secret


async def alive(h: PluginHarness, credential: str) -> bool:
    """Whether a session's credential is good."""
    try:
        await caller_of(h, credential)
    except RustCareError:
        return False
    return True


def changed(h: PluginHarness) -> list[str]:
    """The services that change something which were asked."""
    reading = {identity.MFA_LIST, identity.SESSION_LIST, identity.KEY_LIST, identity.ELEVATION_LIST}
    return [
        message.subject
        for message in h.requested
        if message.subject.startswith("identity.") and message.subject not in reading
    ]


async def test_tokens_and_keys_open_no_page(h: PluginHarness) -> None:
    """Pages are for sessions: a program with a narrow token could else add a passkey of its own, and be the account."""
    session, credential = await signed_in(h, await user(h), 2)
    known = await caller_of(h, credential)
    h.requested.clear()
    for kind in ("token", "key", "certificate"):
        caller = replace(known, kind=kind, session=session.id if kind == "token" else "")
        for handler in handlers_of(Pages):
            route = handler.route
            assert route is not None
            if not route.public:
                path = re.sub(r"\{[a-z]+\}", "x", route.path)
                form: dict[str, str] | None = {} if route.method == "POST" else None
                assert (await h.http(route.method, path, form=form, caller=caller)).status == 403, (kind, route.use)
    assert changed(h) == []
    assert (await h.http("GET", "/login", caller=replace(known, kind="key", session=""))).status == 200


_CHANGES: tuple[tuple[str, str, dict[str, str] | None], ...] = (
    ("GET", "/account/passkey", None),
    ("POST", "/account/passkey", {"answer": "{}"}),
    ("GET", "/account/totp", None),
    ("POST", "/account/totp", {"name": "x"}),
    ("GET", "/account/totp/x", None),
    ("POST", "/account/totp/x", {"code": "123456"}),
    ("GET", "/account/recovery-codes", None),
    ("POST", "/account/recovery-codes", {}),
    ("GET", "/account/factors/x/remove", None),
    ("POST", "/account/factors/x/remove", {}),
    ("GET", "/account/password", None),
    ("POST", "/account/password", {"current": PASSWORD, "password": OTHER}),
    ("GET", "/account/email", None),
    ("POST", "/account/email", {"email": "eve@example.org"}),
)


@pytest.mark.parametrize("aal", [0, 1])
async def test_who_has_a_second_factor_shows_it_before_they_change_what_they_sign_in_with(
    h: PluginHarness, aal: int
) -> None:
    """A session from before the factor, or of somebody who knows the password alone, changes nothing (SP 800-63B-4, 4.1)."""
    _, credential = await signed_in(h, await user(h), 1)
    caller = await caller_of(h, credential)
    await add_app(h, caller)
    h.requested.clear()
    for method, path, form in _CHANGES:
        if aal == 0 and path.split("/")[2] not in ("passkey", "totp"):
            continue  # the gateway lets nobody there
        answer = await h.http(method, path, form=form, caller=replace(caller, aal=aal))
        assert answer.status == 303, path
        assert answer.headers["location"] == f"/login/step-up?next={path.replace('/', '%2F')}&aal=2"
    assert changed(h) == []
    for method, path, _ in _CHANGES:
        if method == "GET":
            assert (await h.http(method, path, caller=replace(caller, aal=2))).status != 303, path


async def test_who_could_not_sign_in_again_is_told(h: PluginHarness) -> None:
    """An account that was made through a link and has no passkey yet: its page says what happens if it stays so."""
    _, credential = await signed_in(h, await person(h, "ann"))
    page = (await h.http("GET", "/account", caller=await caller_of(h, credential))).text
    assert "could not sign in again" in page
    assert "You sign in with one passkey" not in page


async def test_a_first_password_wants_a_fresh_proof(h: PluginHarness) -> None:
    """Who finds the computer of somebody without a password cannot set one; with one there is the one before to type."""
    account = await person(h, "ann")
    _, credential = await signed_in(h, account)
    caller = await caller_of(h, credential)
    h.advance(1000)
    form = {"password": PASSWORD}
    for method in ("GET", "POST"):
        answer = await h.http(method, "/account/password", form=form if method == "POST" else None, caller=caller)
        assert (answer.status, answer.headers["location"]) == (303, "/login/step-up?next=%2Faccount%2Fpassword")
    assert (await account_of(h, "ann")).password == ""
    _, credential = await signed_in(h, account)
    done = await h.http("POST", "/account/password", form=form, caller=await caller_of(h, credential))
    assert done.headers["location"] == "/account?done=password"
    h.advance(1000)
    shown = await h.http("GET", "/account/password", caller=caller)
    assert (shown.status, 'name="current"' in shown.text) == (200, True)


async def test_one_s_own_pages_end_one_s_own_things_alone(h: PluginHarness) -> None:
    """An administrator's page of their own account is not the way around the level that changing others' things takes."""
    bob = await user(h, "bob")
    made = await h.request(
        identity.KEY_CREATE, identity.CreateKeyRequest(bob.id, "feed"), principal="operator", source="kernel"
    )
    _, his = await signed_in(h, bob, 2)
    his_caller = await caller_of(h, his)
    asked = identity.BreakGlassRequest("unconscious after an accident", session=his_caller.session)
    begun = await h.request(identity.BREAK_GLASS, asked, principal=his_caller.principal)
    _, credential = await signed_in(h, await user(h, "chief", ("administrator",)), 1)
    chief = await caller_of(h, credential)
    answer = await h.http("POST", "/account/keys/revoke", form={"key": made.key.id}, caller=chief)
    assert (answer.status, "The key does not work" in answer.text) == (422, False)
    answer = await h.http("POST", "/break-glass/end", form={"id": begun.id}, caller=chief)
    assert answer.status == 422
    asked_for = identity.AuthenticateRequest("key", made.secret)
    assert (await h.request(identity.AUTHENTICATE, asked_for)).principal == bob.principal
    assert "emergency" in (await caller_of(h, his)).roles
    done = await h.http("POST", "/account/keys/revoke", form={"key": made.key.id}, caller=his_caller)
    assert done.headers["location"] == "/account?done=key"


async def test_a_password_is_not_asked_for_where_it_cannot_be_enough(h: PluginHarness) -> None:
    """A page that wants a second factor says so to who has none, and where to add one; their password would lead nowhere."""
    _, credential = await signed_in(h, await user(h), 1)
    caller = await caller_of(h, credential)
    shown = await h.http("GET", "/login/step-up?next=/break-glass&aal=2", caller=caller)
    assert (shown.status, 'type="password"' in shown.text) == (403, False)
    assert 'href="/account/passkey"' in shown.text
    secret = await add_app(h, caller)
    shown = await h.http("GET", "/login/step-up?next=/break-glass&aal=2", caller=caller)
    assert "Use your password instead" not in shown.text
    form = {"kind": "totp", "answer": "000000", "next": "/break-glass", "aal": "2"}
    wrong = await h.http("POST", "/login/step-up", form=form, caller=caller)
    assert (wrong.status, "Use your password instead" in wrong.text) == (422, False)
    assert 'name="aal" value="2"' in wrong.text
    h.advance(30)
    form["answer"] = code_at(secret, step_of(h.now.timestamp()))
    done = await h.http("POST", "/login/step-up", form=form, caller=caller)
    assert done.headers["location"] == "/break-glass"
    fresh = await h.http("GET", "/login/step-up?next=/account/totp", caller=caller)
    assert "Use your password instead" in fresh.text


@pytest.mark.parametrize("said", ["", "x", "-1", "99999999999999999999", "٣"])
async def test_whatever_level_is_said_there_is_a_page(h: PluginHarness, said: str) -> None:
    """The level in the address only says what to show."""
    _, credential = await signed_in(h, await user(h), 1)
    shown = await h.http("GET", f"/login/step-up?aal={said}", caller=await caller_of(h, credential))
    assert shown.status in (200, 403)


async def test_ending_the_session_that_one_is_in_signs_out(h: PluginHarness) -> None:
    """It is signed out like by the button: the cookie goes, and the page says so."""
    _, credential = await signed_in(h, await user(h), 1)
    caller = await caller_of(h, credential)
    answer = await h.http("POST", "/account/sessions/revoke", form={"session": caller.session}, caller=caller)
    assert answer.headers["location"] == "/login?done=signed-out"
    assert answer.set_cookies[0].startswith("__Host-rustcare=;")
    assert not await alive(h, credential)


async def test_one_can_always_sign_out(h: PluginHarness) -> None:
    """When the end of the session cannot be put on record the cookie goes all the same, and it is said that it did."""
    _, credential = await signed_in(h, await user(h), 1)
    caller = await caller_of(h, credential)

    def full(message: object) -> None:
        raise AuditUnavailable("the log cannot be written")

    h.subscribe(identity.EVENT, full)
    answer = await h.http("POST", "/logout", caller=caller)
    assert (answer.status, "This browser is signed out" in answer.text, "Sign out" in answer.text) == (503, True, False)
    assert answer.set_cookies[0].startswith("__Host-rustcare=;")


async def test_signing_in_ends_the_session_that_the_browser_had(h: PluginHarness) -> None:
    """Whoever signs in where somebody still is ends that session: its cookie is gone, and nobody would sign it out."""
    _, before = await signed_in(h, await user(h, "bob"))
    await user(h, "ann")
    bob = await caller_of(h, before)
    answer = await h.http("POST", "/login", form={"name": "ann", "password": PASSWORD}, caller=bob)
    assert answer.status == 303
    assert not await alive(h, before)
    assert await alive(h, credential_of(answer))


def credential_of(answer: HttpResponse) -> str:
    """The session's credential that a browser was given."""
    (found,) = [item for item in answer.set_cookies if item.startswith("__Host-rustcare=")]
    return found.partition(";")[0].partition("=")[2]


async def test_a_code_that_is_sent_twice_is_no_error(h: PluginHarness) -> None:
    """Who presses the button twice has added their app once, and is not told to begin again."""
    _, credential = await signed_in(h, await user(h), 2)
    caller = await caller_of(h, credential)
    begun = await h.http("POST", "/account/totp", form={"name": "Phone"}, caller=caller)
    where = begun.headers["location"]
    found = re.search(r'class="secret"[^>]*>([A-Z2-7 ]+)<', (await h.http("GET", where, caller=caller)).text)
    assert found
    secret = base64.b32decode(found[1].replace(" ", ""))
    form = {"code": code_at(secret, step_of(h.now.timestamp()))}
    for _ in range(2):
        done = await h.http("POST", where, form=form, caller=caller)
        assert (done.status, done.headers["location"]) == (303, "/account?done=totp")
    assert (await h.http("POST", "/account/totp/unknown", form=form, caller=caller)).status == 422


async def test_who_must_enrol_and_has_to_wait_is_sent_to_show_the_app(h: PluginHarness) -> None:
    """Too many wrong codes before: the app is added, and asked for as soon as codes are looked at again."""
    account = await user(h)
    _, credential = await signed_in(h, account, 1)
    caller = replace(await caller_of(h, credential), aal=0)
    begun = await h.http("POST", "/account/totp", form={"name": ""}, caller=caller)
    where = begun.headers["location"]
    found = re.search(r'class="secret"[^>]*>([A-Z2-7 ]+)<', (await h.http("GET", where, caller=caller)).text)
    assert found
    attempts: Any = h.plugin.factors.attempts  # type: ignore[attr-defined]
    while not await attempts.begin(account.id):
        pass
    form = {"code": code_at(base64.b32decode(found[1].replace(" ", "")), step_of(h.now.timestamp()))}
    answer = await h.http("POST", where, form=form, caller=caller)
    assert answer.headers["location"].startswith("/login/step-up?")


async def test_the_code_that_adds_the_first_app_raises_the_session(h: PluginHarness) -> None:
    """Who has typed their password and the app's first code has shown both: the next page does not ask for another code."""
    _, credential = await signed_in(h, await user(h), 1)
    caller = await caller_of(h, credential)
    begun = await h.http("POST", "/account/totp", form={"name": ""}, caller=caller)
    where = begun.headers["location"]
    found = re.search(r'class="secret"[^>]*>([A-Z2-7 ]+)<', (await h.http("GET", where, caller=caller)).text)
    assert found
    code = code_at(base64.b32decode(found[1].replace(" ", "")), step_of(h.now.timestamp()))
    done = await h.http("POST", where, form={"code": code}, caller=caller)
    assert done.headers["location"] == "/account?done=totp"
    caller = await caller_of(h, credential_of(done))
    assert caller.aal == 2
    assert (await h.http("POST", "/account/recovery-codes", caller=caller)).status == 200
    form = {"kind": "totp", "answer": code}
    assert (await h.http("POST", "/login/step-up", form=form, caller=caller)).status == 422  # it is spent


async def test_emergency_access_is_of_a_session(h: PluginHarness) -> None:
    """At another computer the page offers to begin it there too: what is in force elsewhere helps nobody here."""
    account = await user(h)
    _, one = await signed_in(h, account, 2)
    _, two = await signed_in(h, account, 2)
    here, there = await caller_of(h, one), await caller_of(h, two)
    form = {"reason": "unconscious after an accident", "minutes": "15"}
    assert (await h.http("POST", "/break-glass", form=form, caller=here)).status == 303
    assert "Begin emergency access" not in (await h.http("GET", "/break-glass", caller=here)).text
    assert "Begin emergency access" in (await h.http("GET", "/break-glass", caller=there)).text
    assert (await h.http("POST", "/break-glass", form=form, caller=there)).status == 303


async def test_the_form_for_emergencies_offers_what_the_tenant_allows() -> None:
    """No time beyond the limit, the roles that there are, and how long the reason must be; nothing where there is none."""
    settings = {"elevations": {"minutes": 45, "roles": ["clinician", "auditor"], "reason": 20}}
    async with identity_plugin({"settings": settings}) as h:
        _, credential = await signed_in(h, await user(h), 2)
        caller = await caller_of(h, credential)
        page = (await h.http("GET", "/break-glass", caller=caller)).text
        assert re.findall(r'<option value="(\d+)"', page) == ["15", "30", "45"]
        assert re.findall(r'<option value="([a-z]+)"', page) == ["clinician", "auditor"]
        assert "20 characters" in page
        form = {"reason": "unconscious after an accident", "minutes": "45", "role": "auditor"}
        assert (await h.http("POST", "/break-glass", form=form, caller=caller)).status == 303
        assert "auditor" in (await caller_of(h, credential)).roles
    async with identity_plugin({"settings": {"elevations": {"minutes": 0}}}) as h:
        _, credential = await signed_in(h, await user(h), 2)
        page = (await h.http("GET", "/break-glass", caller=await caller_of(h, credential))).text
        assert "There is no emergency access here" in page
        assert "<textarea" not in page


async def test_a_device_s_code_that_is_not_known_stays_in_its_field(h: PluginHarness) -> None:
    """One letter that was wrong is one letter to be changed."""
    _, credential = await signed_in(h, await user(h))
    page = await h.http("GET", "/device?code=BCDF-GHJX", caller=await caller_of(h, credential))
    assert (page.status, 'value="BCDF-GHJX"' in page.text) == (422, True)


@pytest.mark.parametrize("secret", ["a%3B%20Domain=example.org", "a%20b", "%22", "a%0d%0ab", "%c3%a9", "x" * 300])
async def test_a_link_s_secret_says_nothing_to_the_browser_but_itself(h: PluginHarness, secret: str) -> None:
    """What could be read as more than a cookie's value is no link of ours."""
    answer = await h.http("GET", f"/identity/links/invite/{secret}")
    assert (answer.status, answer.set_cookies) == (410, [])


async def test_a_passkey_is_enough_to_add_another(h: PluginHarness) -> None:
    """Who has shown their second factor adds, renames and removes factors as ever."""
    _, credential = await signed_in(h, await user(h), 1)
    caller = await caller_of(h, credential)
    device = Authenticator(BASE)
    begun = await h.request(identity.MFA_PASSKEY_BEGIN, identity.PasskeyBeginRequest(BASE), principal=caller.principal)
    done = await h.http("POST", "/account/passkey", form={"answer": device.create(begun.options)}, caller=caller)
    assert done.headers["location"] == "/account?done=passkey"
    away = await h.http("GET", "/account/passkey", caller=caller)
    assert away.headers["location"] == "/login/step-up?next=%2Faccount%2Fpasskey&aal=2"
    options = await h.request(
        identity.PASSKEY_OPTIONS, identity.PasskeyOptionsRequest(BASE, own=True), principal=caller.principal
    )
    form = {"kind": "passkey", "answer": device.get(options.options), "next": "/account/passkey"}
    shown = await h.http("POST", "/login/step-up", form=form, caller=caller)
    caller = await caller_of(h, credential_of(shown))
    assert (await h.http("GET", shown.headers["location"], caller=caller)).status == 200
