"""People and their accounts, in a real browser with an authenticator of its own, against a running server."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect
from rustcare_plugin_identity.factors.totp import PERIOD, code_at, step_of
from rustcare_sdk.contracts import identity

from tests.support.browser import Device, browser
from tests.support.front_door import PASSWORD, FrontDoor, front_door

NAME = "admin"


async def set_up(device: Device, door: FrontDoor, password: str = PASSWORD) -> None:
    """Make the first administrator through the one-time link."""
    page = device.page
    await page.goto(await door.setup_link())
    # The secret is left at once: it is in no address that the browser keeps.
    assert urlsplit(page.url).path == "/setup"
    assert urlsplit(page.url).query == ""
    await page.get_by_label("Name to sign in with").fill(NAME)
    await page.get_by_label("Your name, as others see it").fill("Ada Min")
    await page.get_by_label("New password").fill(password)
    await page.get_by_role("button", name="Create the account").click()


async def sign_in(device: Device, door: FrontDoor, name: str = NAME, password: str = PASSWORD) -> None:
    """Name, then password."""
    page = device.page
    await page.goto(f"{door.url}/login")
    await page.get_by_label("Name or e-mail address").fill(name)
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Sign in", exact=True).click()


async def add_passkey(device: Device, door: FrontDoor, name: str = "Work laptop") -> None:
    """Add a passkey from the page of account security."""
    page = device.page
    await page.goto(f"{door.url}/account")
    await page.get_by_role("link", name="Add a passkey").click()
    await page.get_by_label("Name of the passkey").fill(name)
    await page.get_by_role("button", name="Create the passkey").click()
    await expect(page.get_by_role("status")).to_have_text("The passkey was added.")


async def add_app(device: Device, door: FrontDoor, now: float) -> bytes:
    """Add an authenticator app; its secret."""
    page = device.page
    await page.goto(f"{door.url}/account")
    await page.get_by_role("link", name="Add an authenticator app").click()
    await page.get_by_label("Name of the app or phone").fill("My phone")
    await page.get_by_role("button", name="Continue").click()
    text = re.sub(r"\s", "", await page.locator(".secret").inner_text())
    secret = base64.b32decode(text + "=" * (-len(text) % 8))
    await expect(page.locator("svg.qr")).to_be_visible()
    # A wrong code is told where it is wrong, and the same secret is shown again.
    await page.get_by_label("Six digits").fill("000000")
    await page.get_by_role("button", name="Add the app").click()
    await expect(page.get_by_label("Six digits")).to_have_attribute("aria-invalid", "true")
    assert re.sub(r"\s", "", await page.locator(".secret").inner_text()) == text
    await page.get_by_label("Six digits").fill(code_at(secret, step_of(now)))
    await page.get_by_role("button", name="Add the app").click()
    await expect(page.get_by_role("status")).to_have_text("The authenticator app was added.")
    return secret


async def test_the_first_administrator_from_the_link_to_the_revoked_session(tmp_path: Path) -> None:
    """The whole way: setup link, passkey, signing in with it, an authenticator app, a second device, ending its session."""
    async with front_door(tmp_path) as door, browser() as chromium:
        first = await Device.open(chromium)
        page = first.page
        await set_up(first, door)
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
        await expect(page.get_by_text("protected by a password alone")).to_be_visible()

        await add_passkey(first, door)
        (passkey,) = await first.passkeys()
        assert passkey["isResidentCredential"]
        assert passkey["rpId"] == "localhost"

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("status")).to_have_text("You are signed out.")
        assert not [cookie for cookie in await first.context.cookies() if cookie["name"] == "rustcare"]
        await page.goto(f"{door.url}/account")
        assert urlsplit(page.url).path == "/login"
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
        (used,) = await first.passkeys()
        assert used["signCount"] > passkey["signCount"]
        (cookie,) = [cookie for cookie in await first.context.cookies() if cookie["name"] == "rustcare"]
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")

        now = time.time()
        secret = await add_app(first, door, now)
        account = await door.kernel.request(
            identity.ACCOUNT_READ, identity.AccountRequest(NAME), type=identity.AccountReply
        )
        assert set(account.account.factors) == {"password", "totp", "passkey"}

        second = await Device.open(chromium, authenticator=False, user_agent="Mozilla/5.0 (iPhone) Safari/605")
        await sign_in(second, door)
        await expect(second.page.get_by_role("heading", name="One more step")).to_be_visible()
        await second.page.get_by_role("link", name="Use an authenticator app instead").click()
        # The code that confirmed the app is spent; the next one is within the window.
        await second.page.get_by_label("Code").fill(code_at(secret, step_of(now) + 1))
        await second.page.get_by_role("button", name="Continue").click()
        await expect(second.page.get_by_role("heading", name="Account security")).to_be_visible()

        await page.goto(f"{door.url}/account")
        mine = page.get_by_role("region", name="Where you are signed in")
        await expect(mine.locator("strong", has_text="Safari on iPhone")).to_be_visible()
        await mine.get_by_role("button", name=re.compile("End the session of Safari on iPhone")).click()
        await expect(page.get_by_role("status")).to_have_text("The session was ended.")
        await second.page.goto(f"{door.url}/account")
        assert urlsplit(second.page.url).path == "/login"

        activity = page.get_by_role("region", name="Activity")
        for text in ("Added a passkey", "Added an authenticator app", "Ended a session", "Set up this system"):
            await expect(activity.get_by_text(text).first).to_be_visible()


async def test_an_account_without_a_password_from_the_first_minute(tmp_path: Path) -> None:
    """The setup form's password may stay empty: the passkey is made next, and then it is the one way in, and stays."""
    async with front_door(tmp_path) as door, browser() as chromium:
        device = await Device.open(chromium)
        page = device.page
        await set_up(device, door, password="")
        await page.get_by_label("Name of the passkey").fill("Phone")
        await page.get_by_role("button", name="Create the passkey").click()
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
        await page.get_by_role("link", name="Remove Phone").click()
        await page.get_by_role("button", name="Use a passkey").click()
        await page.get_by_role("button", name="Remove it").click()
        await expect(page.get_by_role("alert")).to_contain_text("Add another passkey")
        await page.get_by_role("button", name="Sign out").click()
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()


async def test_without_scripts_all_but_passkeys_works(tmp_path: Path) -> None:
    """With scripts off: password, authenticator app, recovery codes, naming and ending sessions."""
    async with front_door(tmp_path) as door, browser() as chromium:
        await (await door.first_administrator()).aclose()
        device = await Device.open(chromium, authenticator=False, java_script_enabled=False)
        page = device.page
        await page.goto(f"{door.url}/login")
        await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
        await sign_in(device, door)
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
        secret = await add_app(device, door, time.time())
        await page.get_by_role("link", name="Make recovery codes").click()
        await page.get_by_role("button", name="Make the codes").click()
        codes = await page.locator(".codes li").all_inner_texts()
        assert len(set(codes)) == 10
        await page.get_by_role("link", name="I have kept them").click()
        await expect(page.get_by_text("10 of 10 left")).to_be_visible()

        mine = page.get_by_role("region", name="Where you are signed in")
        await mine.get_by_text("Name this device").first.click()
        await mine.get_by_label("Name").first.fill("The laptop in ward 3")
        await mine.get_by_role("button", name="Save").first.click()
        await expect(mine.locator("strong", has_text="The laptop in ward 3")).to_be_visible()

        await page.get_by_role("button", name="Sign out").click()
        await sign_in(device, door)
        await page.get_by_role("link", name="Use a recovery code instead").click()
        await page.get_by_label("Recovery code").fill(codes[3].lower())
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_text("9 of 10 left")).to_be_visible()
        assert secret

        await page.get_by_role("button", name="End all others").click()
        await expect(page.get_by_role("status")).to_have_text("All other sessions were ended.")
        await expect(mine.get_by_role("button", name="End all others")).to_have_count(0)


async def test_another_password_ends_the_other_sessions(tmp_path: Path) -> None:
    """The password is changed with the one before; the rules are told in words; other sessions are over, this one goes on."""
    async with front_door(tmp_path) as door, browser() as chromium:
        other = await door.first_administrator()
        device = await Device.open(chromium)
        page = device.page
        await sign_in(device, door)
        await page.get_by_role("link", name="Change the password").click()
        await page.get_by_label("The password that you have").fill(PASSWORD)
        await page.get_by_label("New password").fill("password1234567")
        await page.get_by_role("button", name="Save the password").click()
        await expect(page.get_by_label("New password")).to_have_attribute("aria-invalid", "true")
        await page.get_by_label("The password that you have").fill(PASSWORD)
        await page.get_by_label("New password").fill("nine copper kettles whisper")
        await page.get_by_role("button", name="Save the password").click()
        await expect(page.get_by_role("status")).to_contain_text("The password was changed")
        assert (await other.get("/account")).status_code == 303
        await other.aclose()
        await page.get_by_role("button", name="Sign out").click()
        await sign_in(device, door)
        await expect(page.get_by_role("alert")).to_contain_text("do not belong together")


async def test_the_way_back_after_signing_out_shows_nothing(tmp_path: Path) -> None:
    """Who comes to a computer that somebody has signed out of sees nothing of them by going back."""
    async with front_door(tmp_path) as door, browser() as chromium:
        await (await door.first_administrator()).aclose()
        device = await Device.open(chromium, authenticator=False)
        page = device.page
        await sign_in(device, door)
        await page.get_by_role("link", name="Change the password").click()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("status")).to_have_text("You are signed out.")
        for _ in range(2):
            await page.go_back()
            await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
            assert "Ada Min" not in await page.content()


async def test_a_session_that_ends_in_the_middle_of_a_form(tmp_path: Path) -> None:
    """Whoever sends a form after their session has ended signs in and is back at the form, not somewhere else; a page that was
    asked for keeps what its address says."""
    async with front_door(tmp_path) as door, browser() as chromium:
        await (await door.first_administrator()).aclose()
        device = await Device.open(chromium, authenticator=False)
        page = device.page
        await sign_in(device, door)
        await page.get_by_role("link", name="Change the password").click()
        await device.context.clear_cookies()
        await page.get_by_label("The password that you have").fill(PASSWORD)
        await page.get_by_label("New password").fill("nine copper kettles whisper")
        await page.get_by_role("button", name="Save the password").click()
        await page.get_by_label("Name or e-mail address").fill(NAME)
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_role("heading", name="Change the password")).to_be_visible()
        await device.context.clear_cookies()
        await page.goto(f"{door.url}/device?code=BCDF-GHJK")
        await page.get_by_label("Name or e-mail address").fill(NAME)
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await expect(page.get_by_label("Code")).to_have_value("BCDF-GHJK")


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "https://evil.example/x", "/\\evil.example", "/%09/evil.example", "javascript:alert(1)"],
)
async def test_nobody_is_sent_elsewhere_after_signing_in(tmp_path: Path, target: str) -> None:
    """Whatever a link says of where to go on, one stays on this server."""
    async with front_door(tmp_path) as door:
        await (await door.first_administrator()).aclose()
        async with door.client() as client:
            page = await client.get("/login", params={"next": target})
            assert "evil" not in page.text
            form = {"name": NAME, "password": PASSWORD, "next": target}
            answer = await client.post("/login", data=form)
            assert (answer.status_code, answer.headers["location"]) == (303, "/account")


async def test_a_foreign_page_cannot_send_a_form(tmp_path: Path) -> None:
    """A form that another site sends with the browser's cookies changes nothing, signed in or not."""
    async with front_door(tmp_path) as door:
        client = await door.first_administrator()
        foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        for path, form in (
            ("/account/sessions/revoke-others", {}),
            ("/account/factors/name", {"factor": "x", "name": "y"}),
            ("/logout", {}),
            ("/login", {"name": NAME, "password": PASSWORD}),
        ):
            answer = await client.post(path, data=form, headers=foreign)
            assert answer.status_code == 403, path
        assert (await client.get("/account")).status_code == 200
        await client.aclose()


async def test_a_page_says_what_a_browser_may_do_with_it(tmp_path: Path) -> None:
    """Strict policy, no frames, nothing kept; the way of a link's secret tells nobody where it came from."""
    async with front_door(tmp_path) as door:
        link = (await door.setup_link()).removeprefix(door.url)
        async with door.client() as client:
            moved = await client.get(link)
            assert moved.headers["referrer-policy"] == "no-referrer"
            assert link.rpartition("/")[2] not in moved.headers["location"]
            shown = await client.get(moved.headers["location"])
            policy = shown.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert shown.headers["cache-control"] == "no-store"
            assert "<style" not in shown.text
            assert "style=" not in shown.text
            assert not re.search(r"<script(?! src=)", shown.text)
            assert link.rpartition("/")[2] not in shown.text


async def test_an_unlucky_period(tmp_path: Path) -> None:
    """A code counts once: whoever saw it being typed cannot sign in with it, though its thirty seconds are not over."""
    async with front_door(tmp_path) as door, browser() as chromium:
        await (await door.first_administrator()).aclose()
        device = await Device.open(chromium)
        await sign_in(device, door)
        now = time.time()
        secret = await add_app(device, door, now)
        code = code_at(secret, step_of(now) + 1)
        answers = []
        for _ in range(2):
            async with door.client() as client:
                assert (await door.log_in(client, NAME)).headers["location"].startswith("/login/factor")
                answers.append((await client.post("/login/factor", data={"kind": "totp", "answer": code})).status_code)
        assert answers == [303, 422]
        assert time.time() - now < PERIOD


async def test_who_must_have_a_second_factor_gets_one_first(tmp_path: Path) -> None:
    """Where a tenant demands a second factor, an account without one can add one and do nothing else, then goes on."""
    async with front_door(tmp_path) as door, browser() as chromium:
        await door.account("ann")
        await door.tenant("default", mfa="required")
        for way in ("Add an authenticator app", "Add a passkey"):
            device = await Device.open(chromium)
            page = device.page
            await sign_in(device, door, "ann" if "app" in way else "bob")
            await expect(page.get_by_role("heading", name="One thing is missing")).to_be_visible()
            for path in ("/account", "/account/password", "/break-glass", "/account/recovery-codes"):
                await page.goto(f"{door.url}{path}")
                await expect(page.get_by_role("heading", name="One thing is missing")).to_be_visible()
            await page.get_by_role("link", name=way).click()
            if "app" in way:
                await page.get_by_role("button", name="Continue").click()
                text = re.sub(r"\s", "", await page.locator(".secret").inner_text())
                secret = base64.b32decode(text + "=" * (-len(text) % 8))
                await page.get_by_label("Six digits").fill(code_at(secret, step_of(time.time())))
                await page.get_by_role("button", name="Add the app").click()
                await door.account("bob")
            else:
                await page.get_by_label("Name of the passkey").fill("Key")
                await page.get_by_role("button", name="Create the passkey").click()
                await page.get_by_role("button", name="Use a passkey").click()
            await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
            # The last one stays, for the tenant demands it.
            await page.get_by_role("link", name="Remove").click()
            await page.get_by_role("button", name="Remove it").click()
            await expect(page.get_by_role("alert")).to_contain_text("Add another")
            await device.close()


async def test_a_tenant_in_the_path_stays_in_the_path(tmp_path: Path) -> None:
    """Whoever came by `/t/TENANT/…` goes on there, from the sign-in to the account; another tenant's account is unknown."""
    async with front_door(tmp_path) as door:
        await door.tenant("clinic")
        await door.account("ann", tenant="clinic")
        await door.account("bob")
        async with door.client() as client:
            away = await client.get("/t/clinic/account")
            assert away.headers["location"].startswith("/t/clinic/login?next=")
            page = await client.get(away.headers["location"])
            forms = re.findall(r'(?:action|href|src)="(/[^"]*)"', page.text)
            assert forms
            assert all(path.startswith("/t/clinic/") for path in forms)
            form = {"name": "ann", "password": PASSWORD, "next": "/t/clinic/account"}
            answer = await client.post("/t/clinic/login", data=form)
            assert (answer.status_code, answer.headers["location"]) == (303, "/t/clinic/account")
            assert (await client.get("/t/clinic/account")).status_code == 200
            # Without the tenant in the path it is the session's that counts: one's own page, and no other tenant's.
            own = await client.get("/account")
            assert (own.status_code, ">ann<" in own.text) == (200, True)
            assert "bob" not in own.text
            assert (await client.get("/t/default/account")).status_code == 403
        async with door.client() as client:
            answer = await client.post("/t/clinic/login", data={"name": "bob", "password": PASSWORD})
            assert answer.status_code == 422
