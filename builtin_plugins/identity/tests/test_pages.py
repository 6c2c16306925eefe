"""The pages by their handlers: what they show, what they hide, and that they ask services for whatever they do."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from rustcare_plugin_identity.factors.totp import code_at, step_of
from rustcare_plugin_identity.pages.rendering import moment
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import Caller, HttpRequest, HttpResponse
from rustcare_sdk.testing import PluginHarness

from tests.support.authenticator import Authenticator
from tests.support.identity_plugin import caller_of, identity_plugin

PASSWORD = "seven purple anvils sing"
BASE = "https://test.example"


@pytest.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """The plugin, with one account that has a password."""
    async with identity_plugin({"settings": {"registration": "open"}}) as harness:
        made = identity.CreateAccountRequest("ann", "ann@clinic.example.org", "Ann <i>Lee</i>", PASSWORD)
        await harness.request(identity.ACCOUNT_CREATE, made, principal="operator", source="kernel")
        yield harness


def cookies_of(*answers: HttpResponse) -> dict[str, str]:
    """The cookies that a browser has after some answers."""
    found: dict[str, str] = {}
    for answer in answers:
        for cookie in answer.set_cookies:
            name, _, value = cookie.partition(";")[0].partition("=")
            found[name] = value
            if "Max-Age=0" in cookie:
                del found[name]
    return found


async def signed_in(h: PluginHarness, name: str = "ann") -> tuple[Caller, HttpResponse]:
    """Sign in by the form; the caller that the gateway makes of the cookie."""
    answer = await h.http("POST", "/login", form={"name": name, "password": PASSWORD})
    assert answer.status == 303, answer.text
    return await caller_of(h, cookies_of(answer)["__Host-rustcare"]), answer


def asked(h: PluginHarness) -> list[str]:
    """The services of identity that were asked on the bus."""
    return [message.subject for message in h.requested if message.subject.startswith("identity.")]


def plain(page: HttpResponse) -> str:
    """A page without what is random in it."""
    return re.sub(r"data-options=\"[^\"]*\"", "", page.text)


async def test_a_name_is_asked_for_its_password_whether_there_is_such_an_account_or_not(h: PluginHarness) -> None:
    """The page for the password, and the answer to a wrong one, are the same but for the name that was typed."""
    for form in ({"name": "ann"}, {"name": "ann", "password": "not the right one at all"}):
        known = await h.http("POST", "/login", form=form)
        unknown = await h.http("POST", "/login", form={**form, "name": "bob"})
        assert known.status == unknown.status
        assert plain(known).replace("ann", "bob") == plain(unknown)
        assert known.headers == unknown.headers
        assert known.set_cookies == unknown.set_cookies == []


async def test_recovery_and_registration_tell_nothing(h: PluginHarness) -> None:
    """Without mail both say so to everybody, with the same words."""
    for path, there, not_there in (
        ("/recover", {"name": "ann"}, {"name": "bob"}),
        ("/register", {"email": "ann@clinic.example.org"}, {"email": "bob@clinic.example.org"}),
    ):
        first, second = await h.http("POST", path, form=there), await h.http("POST", path, form=not_there)
        assert first.status == second.status
        assert plain(first).replace("ann", "bob") == plain(second)


async def test_what_people_type_is_escaped(h: PluginHarness) -> None:
    """Names are text, wherever they are shown: in pages, in attributes, in the QR code's address."""
    caller, _ = await signed_in(h)
    page = await h.http("GET", "/account", caller=caller)
    assert "Ann &lt;i&gt;Lee&lt;/i&gt;" in page.text
    assert "<i>" not in page.text
    typed = await h.http("POST", "/login", form={"name": '"><script>alert(1)</script>'})
    assert "<script>alert" not in typed.text
    assert "&#34;&gt;&lt;script&gt;" in typed.text


async def test_what_is_done_goes_over_the_bus(h: PluginHarness) -> None:
    """Each thing that a page does is a request to a service, so that it is on record before it happens."""
    caller, _ = await signed_in(h)
    h.requested.clear()
    await h.http("POST", "/account/sessions/revoke-others", caller=caller)
    await h.http("POST", "/account/recovery-codes", caller=caller)
    await h.http("POST", "/account/totp", form={"name": ""}, caller=caller)
    await h.http("POST", "/account/password", form={"current": PASSWORD, "password": "x"}, caller=caller)
    await h.http("POST", "/logout", caller=caller)
    wanted = {
        identity.SESSION_REVOKE,
        identity.MFA_RECOVERY_GENERATE,
        identity.MFA_TOTP_BEGIN,
        identity.ACCOUNT_PASSWORD,
    }
    assert wanted <= set(asked(h))


async def test_a_passkey_is_added_and_signs_in(h: PluginHarness) -> None:
    """From the page's options through a device to the next sign-in, with the messages that browsers send."""
    caller, _ = await signed_in(h)
    device = Authenticator(BASE)
    page = await h.http("GET", "/account/passkey", caller=caller)
    assert 'data-passkey="create"' in page.text
    begun = await h.request(
        identity.MFA_PASSKEY_BEGIN,
        identity.PasskeyBeginRequest(BASE),
        principal=caller.principal,
        type=identity.PasskeyBeginReply,
    )
    form = {"answer": device.create(begun.options), "name": "Laptop"}
    done = await h.http("POST", "/account/passkey", form=form, caller=caller)
    assert (done.status, done.headers["location"]) == (303, "/account?done=passkey")
    options = await h.request(identity.PASSKEY_OPTIONS, identity.PasskeyOptionsRequest(BASE))
    answer = await h.http("POST", "/login/passkey", form={"answer": device.get(options.options)})
    assert answer.status == 303
    assert (await caller_of(h, cookies_of(answer)["__Host-rustcare"])).aal == 2


async def test_a_second_factor_is_asked_for(h: PluginHarness) -> None:
    """After the password there is a ticket, no session; the code makes the session; the ticket's cookie goes."""
    caller, _ = await signed_in(h)
    begun = await h.http("POST", "/account/totp", form={"name": "Phone"}, caller=caller)
    shown = await h.http("GET", begun.headers["location"], caller=caller)
    found = re.search(r'class="secret"[^>]*>([A-Z2-7 ]+)<', shown.text)
    assert found
    secret = base64.b32decode(found[1].replace(" ", ""))
    wrong = await h.http("POST", begun.headers["location"], form={"code": "12"}, caller=caller)
    assert (wrong.status, found[1] in wrong.text) == (422, True)
    form = {"code": code_at(secret, step_of(h.now.timestamp()))}
    done = await h.http("POST", begun.headers["location"], form=form, caller=caller)
    assert done.headers["location"] == "/account?done=totp"
    h.advance(30)
    first = await h.http("POST", "/login", form={"name": "ann", "password": PASSWORD, "next": "/device"})
    assert first.headers["location"] == "/login/factor?next=%2Fdevice"
    kept = cookies_of(first)
    assert list(kept) == ["__Host-rustcare-login"]
    page = await h.http("GET", "/login/factor?next=/device", cookies=kept)
    assert 'autocomplete="one-time-code"' in page.text
    form = {"kind": "totp", "answer": code_at(secret, step_of(h.now.timestamp())), "next": "/device"}
    second = await h.http("POST", "/login/factor", form=form, cookies=kept)
    assert second.headers["location"] == "/device"
    assert any(item.startswith("__Host-rustcare-login=;") for item in second.set_cookies)
    assert (await caller_of(h, cookies_of(second)["__Host-rustcare"])).aal == 2


async def test_where_passkeys_do_not_work_another_factor_is_asked_for(h: PluginHarness) -> None:
    """At a bare address the page asks for what works there; who wants the passkey is told why it does not."""
    caller, _ = await signed_in(h)
    device = Authenticator(BASE)
    begun = await h.request(identity.MFA_PASSKEY_BEGIN, identity.PasskeyBeginRequest(BASE), principal=caller.principal)
    await h.http("POST", "/account/passkey", form={"answer": device.create(begun.options)}, caller=caller)
    await h.http("POST", "/account/recovery-codes", caller=replace(caller, aal=2))
    bare = "http://127.0.0.1:8080"
    first = await h.http("POST", "/login", form={"name": "ann", "password": PASSWORD}, base=bare)
    kept = cookies_of(first)
    page = await h.http("GET", "/login/factor", cookies=kept, base=bare)
    assert "Recovery code" in page.text
    assert "data-passkey=" not in page.text
    asked_for = await h.http("GET", "/login/factor?kind=passkey", cookies=kept, base=bare)
    assert "Passkeys work only at a host name" in asked_for.text
    assert "data-passkey=" not in asked_for.text


async def test_a_link_s_secret_is_put_away_at_once(h: PluginHarness) -> None:
    """A link answers with a cookie and an address without the secret; what it is for is done when its form is sent."""
    made = await h.request(
        identity.ACCOUNT_CREATE, identity.CreateAccountRequest("bob"), principal="operator", source="kernel"
    )
    moved = await h.http("GET", made.link)
    assert (moved.status, moved.headers["location"]) == (303, "/invite")
    assert moved.headers["referrer-policy"] == "no-referrer"
    kept = cookies_of(moved)
    for _ in range(2):  # looking uses nothing up
        page = await h.http("GET", "/invite", cookies=kept)
        assert page.status == 200
        assert 'value="bob"' in page.text
        assert made.link.rpartition("/")[2] not in page.text
    done = await h.http("POST", "/invite", form={"password": PASSWORD}, cookies=kept)
    assert (done.status, done.headers["location"]) == (303, "/account")
    assert "__Host-rustcare" in cookies_of(done)
    again = await h.http("POST", "/invite", form={"password": PASSWORD}, cookies=kept)
    assert again.status == 410


@pytest.mark.parametrize("path", ["/setup", "/invite", "/recover/reset", "/verify-email"])
async def test_without_a_link_there_is_nothing_to_see(h: PluginHarness, path: str) -> None:
    """A page that a link leads to says the same for no link, a wrong one, one of another purpose, and one that was used."""
    made = await h.request(
        identity.ACCOUNT_CREATE, identity.CreateAccountRequest("bob"), principal="operator", source="kernel"
    )
    secret = made.link.rpartition("/")[2]
    pages = [await h.http("GET", path), await h.http("GET", path, cookies={"__Host-rustcare-link": "x" * 43})]
    if path != "/invite":
        pages.append(await h.http("GET", path, cookies={"__Host-rustcare-link": secret}))
    assert {page.status for page in pages} == {410}
    assert len({page.text for page in pages}) == 1
    assert (await h.http("GET", f"/identity/links/unheard-of/{secret}")).status == 410


async def test_the_owner_sees_what_happened_and_nobody_else_s(h: PluginHarness) -> None:
    """The account's page lists its own events, newest first."""
    await h.request(
        identity.ACCOUNT_CREATE,
        identity.CreateAccountRequest("bob", password=PASSWORD),
        principal="operator",
        source="kernel",
    )
    h.advance(60)
    ann, _ = await signed_in(h)
    h.advance(60)
    await h.http("POST", "/account/recovery-codes", caller=ann)
    page = (await h.http("GET", "/account", caller=ann)).text
    made, signed = page.index("Made new recovery codes"), page.index("Signed in")
    assert made < signed
    bob, _ = await signed_in(h, "bob")
    assert "Made new recovery codes" not in (await h.http("GET", "/account", caller=bob)).text


async def test_one_ends_one_s_own_sessions_alone(h: PluginHarness) -> None:
    """A session of somebody else, named in the form, goes on."""
    await h.request(
        identity.ACCOUNT_CREATE,
        identity.CreateAccountRequest("bob", password=PASSWORD),
        principal="operator",
        source="kernel",
    )
    ann, _ = await signed_in(h)
    bob, answer = await signed_in(h, "bob")
    await h.http("POST", "/account/sessions/revoke", form={"session": bob.session}, caller=ann)
    assert (await caller_of(h, cookies_of(answer)["__Host-rustcare"])).session == bob.session


async def test_a_tenant_s_prefix_stays(h: PluginHarness) -> None:
    """Links, forms and redirects of a page that was reached under a prefix lead to pages under it."""
    pages: Any = h.plugin
    request: HttpRequest[Any] = HttpRequest("GET", "/recover", base=BASE, prefix="/t/clinic")
    shown = pages.message_page(request, "Title", "Text", links=(("/login", "Sign in"),))
    paths = re.findall(r'(?:href|action|src)="(/[^"]*)"', shown.text)
    assert "/t/clinic/login" in paths
    assert all(path.startswith("/t/clinic/") for path in paths)
    assert pages.go(request, "/account", query={"done": "x"}).headers["location"] == "/t/clinic/account?done=x"
    assert pages.next_of(request, "/t/clinic/device") == "/device"


async def test_files_of_pages_are_kept_by_browsers(h: PluginHarness) -> None:
    """Style sheet, scripts and icon have a tag; a browser that has them gets nothing again; nothing else is served. At the
    address that pages say, which changes with the content, they are kept for good."""
    page = (await h.http("GET", "/login")).text
    for address in re.findall(r'(?:href|src)="(/identity/assets/[^"]*)"', page):
        assert "immutable" in (await h.http("GET", address)).headers["cache-control"], address
    for name in ("identity.css", "forms.js", "passkey.js", "icon.svg"):
        first = await h.http("GET", f"/identity/assets/{name}")
        assert (first.status, first.headers["cache-control"]) == (200, "public, max-age=3600")
        assert f"/identity/assets/{name}?v=" in page
        other = await h.http("GET", f"/identity/assets/{name}?v=of-another-version")
        assert (other.body, other.headers["cache-control"]) == (first.body, "no-store")
        again = await h.http("GET", f"/identity/assets/{name}", headers={"if-none-match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
    for name in ("base.html", "..", "base.py"):
        assert (await h.http("GET", f"/identity/assets/{name}")).status == 404


def test_times_are_for_people() -> None:
    """A point in time says its zone."""
    assert moment(0) == "1 Jan 1970, 00:00 UTC"
