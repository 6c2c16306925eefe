"""Every page of accounts as people see it: light and dark, wide and on a phone, with a keyboard, without a mouse.

`RUSTCARE_SCREENSHOTS` names a folder where pictures of all of them are left; else they go to the test's own.
"""

from __future__ import annotations

import base64
import os
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import ConsoleMessage, Response, expect
from rustcare_plugin_identity.factors.totp import code_at, step_of
from rustcare_sdk.contracts import identity

from tests.support.browser import Device, browser, violations
from tests.support.front_door import PASSWORD, FrontDoor, front_door

_SIZES = ({"width": 1100, "height": 800}, {"width": 375, "height": 700})
#: What axe-core calls impacts that keep somebody from using a page.
_BAD = {"serious", "critical"}


class Gallery:
    """Looks at pages in four ways, keeps a picture of each, and collects what is wrong with them."""

    def __init__(self, device: Device, folder: Path) -> None:
        self.device = device
        self.folder = folder
        self.seen: list[str] = []
        self.wrong: list[str] = []
        device.page.on("console", self._console)
        device.page.on("response", self._response)
        device.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))

    def _console(self, message: ConsoleMessage) -> None:
        # A page with an error on it has such a status; the browser says so.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.wrong.append(f"console: {message.text}")

    def _response(self, response: Response) -> None:
        if response.request.resource_type != "document" and response.status >= 400:
            self.wrong.append(f"{urlsplit(response.url).path}: {response.status}")

    async def look(self, name: str) -> None:
        """Look at the page that is open."""
        page = self.device.page
        self.seen.append(name)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            for size in _SIZES:
                await page.set_viewport_size(size)  # type: ignore[arg-type]
                look = f"{name}-{scheme}-{size['width']}"
                await page.screenshot(path=self.folder / f"{look}.png", full_page=True)
                if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                    self.wrong.append(f"{look}: it has to be scrolled sideways")
                self.wrong += [
                    f"{look}: {found.rule} ({found.impact}) {found.where[:2]}"
                    for found in await violations(page)
                    if found.impact in _BAD
                ]


def pictures(tmp_path: Path) -> Path:
    """Where pictures go."""
    folder = Path(os.environ.get("RUSTCARE_SCREENSHOTS") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def signed_out_pages(gallery: Gallery, door: FrontDoor) -> None:
    """Those of who is not known."""
    page = gallery.device.page
    await page.goto(f"{door.url}/login")
    await gallery.look("login")
    await page.get_by_label("Name or e-mail address").fill("nobody")
    await page.get_by_role("button", name="Continue").click()
    await gallery.look("login-password")
    await page.get_by_label("Password").fill("not the password at all")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await gallery.look("login-wrong")
    for name in ("register", "recover"):
        await page.goto(f"{door.url}/{name}")
        await gallery.look(name)
    await page.get_by_label("Name or e-mail address").fill("nobody")
    await page.get_by_role("button", name="Send me a link").click()
    await gallery.look("mail-sent")
    await page.goto(f"{door.url}/setup")
    await gallery.look("link-gone")
    await page.goto(f"{door.url}/no-such-page")
    await gallery.look("not-found")


async def set_up_pages(gallery: Gallery, door: FrontDoor) -> None:
    """The way to the first administrator, with a password that breaks a rule first."""
    page = gallery.device.page
    await page.goto(await door.setup_link())
    await gallery.look("setup")
    await page.get_by_label("Name to sign in with").fill("admin")
    await page.get_by_label("Your name, as others see it").fill("Ada Min")
    await page.get_by_label("New password").fill("password")
    await page.get_by_role("button", name="Create the account").click()
    await gallery.look("setup-wrong")
    await page.get_by_label("New password").fill(PASSWORD)
    await page.get_by_role("button", name="Create the account").click()
    await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
    await gallery.look("account-new")
    await page.goto(f"{door.url}/break-glass")
    assert urlsplit(page.url).path == "/login/step-up"
    await gallery.look("step-up-without")


async def factor_pages(gallery: Gallery, door: FrontDoor, now: float) -> bytes:
    """Adding each factor; the secret of the app."""
    page = gallery.device.page
    await page.goto(f"{door.url}/account/passkey")
    await gallery.look("passkey-new")
    await page.get_by_label("Name of the passkey").fill("Work laptop")
    await page.get_by_role("button", name="Create the passkey").click()
    await expect(page.get_by_role("status")).to_have_text("The passkey was added.")
    # From here on there is a second factor, and whoever changes something shows it.
    await page.goto(f"{door.url}/account/totp")
    assert urlsplit(page.url).path == "/login/step-up"
    await gallery.look("step-up")
    await page.get_by_role("button", name="Use a passkey").click()
    await expect(page.get_by_role("heading", name="Add an authenticator app")).to_be_visible()
    await gallery.look("app-name")
    await page.get_by_role("button", name="Continue").click()
    await gallery.look("app-new")
    text = re.sub(r"\s", "", await page.locator(".secret").inner_text())
    secret = base64.b32decode(text + "=" * (-len(text) % 8))
    await page.get_by_label("Six digits").fill("000000")
    await page.get_by_role("button", name="Add the app").click()
    await gallery.look("app-wrong")
    await page.get_by_label("Six digits").fill(code_at(secret, step_of(now)))
    await page.get_by_role("button", name="Add the app").click()
    await expect(page.get_by_role("status")).to_have_text("The authenticator app was added.")
    await page.goto(f"{door.url}/account/recovery-codes")
    await gallery.look("recovery-codes-ask")
    await page.get_by_role("button", name="Make the codes").click()
    await gallery.look("recovery-codes")
    return secret


async def account_pages(gallery: Gallery, door: FrontDoor) -> None:
    """What one does with an account."""
    page = gallery.device.page
    asked = identity.CreateKeyRequest("admin", "Nightly export", ["fhir.read"])
    await door.kernel.request(identity.KEY_CREATE, asked)
    await page.goto(f"{door.url}/account")
    await gallery.look("account")
    for summary in await page.locator("summary").all():
        await summary.click()
    await gallery.look("account-open")
    await page.goto(f"{door.url}/account/password")
    await gallery.look("password")
    await page.goto(f"{door.url}/account/email")
    await gallery.look("email")
    await page.goto(f"{door.url}/account")
    await page.get_by_role("link", name="Remove Work laptop").click()
    await gallery.look("factor-remove")
    begun = await door.kernel.request(
        identity.DEVICE_BEGIN,
        identity.DeviceBeginRequest("RustCare command line", ["fhir.read"], "", "192.0.2.7"),
        type=identity.DeviceBeginReply,
    )
    await page.goto(f"{door.url}/device")
    await gallery.look("device")
    await page.goto(f"{door.url}/device?code={begun.user_code}")
    await gallery.look("device-ask")
    await page.get_by_role("button", name="Refuse").click()
    await gallery.look("device-refused")


async def emergency_pages(gallery: Gallery, door: FrontDoor) -> None:
    """Break-glass: it wants a reason."""
    page = gallery.device.page
    await page.goto(f"{door.url}/break-glass")
    await expect(page.get_by_role("heading", name="Emergency access")).to_be_visible()
    await gallery.look("emergency")
    await page.get_by_label("Reason").fill("urgent")
    await page.get_by_role("button", name="Begin emergency access").click()
    await gallery.look("emergency-wrong")
    await page.get_by_label("Reason").fill("Unconscious after an accident; allergies are not known here.")
    await page.get_by_role("button", name="Begin emergency access").click()
    await expect(page.get_by_role("status")).to_have_text("The emergency access has begun.")
    await gallery.look("emergency-begun")
    await page.get_by_role("button", name="End it now").click()
    await expect(page.get_by_role("status")).to_have_text("The emergency access was ended.")


async def second_factor_pages(gallery: Gallery, door: FrontDoor) -> None:
    """After the password."""
    page = gallery.device.page
    await page.goto(f"{door.url}/account")
    await page.get_by_role("button", name="Sign out").click()
    await gallery.look("signed-out")
    await page.get_by_label("Name or e-mail address").fill("admin")
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await gallery.look("factor-passkey")
    await page.get_by_role("link", name="Use an authenticator app instead").click()
    await gallery.look("factor-app")
    await page.get_by_role("link", name="Use a recovery code instead").click()
    await gallery.look("factor-recovery")
    await page.get_by_label("Recovery code").fill("wrong")
    await page.get_by_role("button", name="Continue").click()
    await gallery.look("factor-wrong")


async def invitation_pages(gallery: Gallery, door: FrontDoor) -> None:
    """Who was invited, without a password; and who must have a second factor before anything else."""
    page = gallery.device.page
    asked = identity.CreateAccountRequest("bob", display_name="Bob Day")
    made = await door.kernel.request(identity.ACCOUNT_CREATE, asked, type=identity.CreateAccountReply)
    await page.goto(door.url + urlsplit(made.link).path)
    await gallery.look("invitation")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_text("the only way into your account")).to_be_visible()
    await gallery.look("passkey-first")
    await page.get_by_role("button", name="Sign out").click()
    await door.account("cleo")
    await door.tenant("default", mfa="required")
    await page.get_by_label("Name or e-mail address").fill("cleo")
    await page.get_by_role("button", name="Continue").click()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await gallery.look("enrol")


async def test_nothing_on_any_page_keeps_anybody_out(tmp_path: Path) -> None:
    """axe-core finds nothing serious on any page, in light and dark, wide and at phone width; no script fails, no policy is
    broken, nothing has to be scrolled sideways."""
    settings = {"settings": {"registration": "open"}, "url": "https://clinic.example", "mail": {"host": "127.0.0.1"}}
    async with front_door(tmp_path / "data", identity_config=settings) as door, browser() as chromium:
        device = await Device.open(chromium)
        gallery = Gallery(device, pictures(tmp_path))
        await signed_out_pages(gallery, door)
        await set_up_pages(gallery, door)
        await factor_pages(gallery, door, time.time())
        await account_pages(gallery, door)
        await emergency_pages(gallery, door)
        await second_factor_pages(gallery, door)
        await invitation_pages(gallery, door)
        assert not gallery.wrong, "\n".join(gallery.wrong)
        assert len(gallery.seen) == len(set(gallery.seen)) >= 30


async def test_the_keyboard_is_enough(tmp_path: Path) -> None:
    """Signing in takes typing, Enter and Tab; the first thing that Tab reaches leads past the header; an error is announced."""
    async with front_door(tmp_path) as door, browser() as chromium:
        await (await door.first_administrator()).aclose()
        device = await Device.open(chromium, authenticator=False)
        page = device.page
        await page.goto(f"{door.url}/login")
        await page.keyboard.type("admin")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Password")).to_be_focused()
        await page.keyboard.type("wrong, quite wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("do not belong together")
        assert (await page.title()).startswith("Error: ")
        await expect(page.get_by_label("Password")).to_be_focused()
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()


async def test_a_form_is_sent_once_however_often_its_button_is_pressed(tmp_path: Path) -> None:
    """A double click makes one account, and one passkey; the page that follows is the first answer's. A form that was wrong
    can be sent again at once."""
    async with front_door(tmp_path) as door, browser() as chromium:
        device = await Device.open(chromium)
        page = device.page
        sent: list[str] = []
        page.on(
            "request", lambda request: sent.append(urlsplit(request.url).path) if request.method == "POST" else None
        )
        await page.goto(await door.setup_link())
        await page.get_by_label("Name to sign in with").fill("admin")
        await page.get_by_label("New password").fill(PASSWORD)
        await page.get_by_role("button", name="Create the account").dblclick()
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
        assert sent == ["/setup"]
        await page.goto(f"{door.url}/account/passkey")
        await page.get_by_label("Name of the passkey").fill("Key")
        await page.get_by_role("button", name="Create the passkey").dblclick()
        await expect(page.get_by_role("status")).to_have_text("The passkey was added.")
        assert len(await device.passkeys()) == 1
        await page.goto(f"{door.url}/login/step-up?kind=password")
        for _ in range(2):
            await page.get_by_label("Password").fill("wrong, quite wrong")
            await page.get_by_role("button", name="Continue").click()
            await expect(page.get_by_role("alert")).to_be_visible()
        assert sent.count("/login/step-up") == 2


async def test_a_browser_offers_the_passkey_by_itself(tmp_path: Path) -> None:
    """Where browsers fill in passkeys (conditional mediation), the sign-in page lets them: no button is needed."""
    async with front_door(tmp_path) as door, browser() as chromium:
        device = await Device.open(chromium, autofill=True)
        page = device.page
        await page.goto(await door.setup_link())
        await page.get_by_label("Name to sign in with").fill("admin")
        await page.get_by_role("button", name="Create the account").click()
        await page.get_by_label("Name of the passkey").fill("Phone")
        await page.get_by_role("button", name="Create the passkey").click()
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Account security")).to_be_visible()


async def test_at_a_bare_address_there_is_no_button_for_passkeys(tmp_path: Path) -> None:
    """Browsers know no passkeys at an IP address: the page does not offer what cannot work."""
    async with front_door(tmp_path) as door, browser() as chromium:
        device = await Device.open(chromium)
        page = device.page
        await page.goto(f"http://127.0.0.1:{door.port}/login")
        await expect(page.get_by_label("Name or e-mail address")).to_be_visible()
        await expect(page.get_by_role("button", name="Sign in with a passkey")).to_have_count(0)


async def test_a_synced_passkey_works_on_another_device(tmp_path: Path) -> None:
    """A passkey that a cloud carries to a second device signs in there; the page says that it is on all devices."""
    async with front_door(tmp_path) as door, browser() as chromium:
        first = await Device.open(chromium, authenticator=False)
        await first.plug_in(defaultBackupEligibility=True, defaultBackupState=True)
        page = first.page
        await page.goto(await door.setup_link())
        await page.get_by_label("Name to sign in with").fill("admin")
        await page.get_by_role("button", name="Create the account").click()
        await page.get_by_label("Name of the passkey").fill("Cloud")
        await page.get_by_role("button", name="Create the passkey").click()
        await expect(page.get_by_text("on all your devices")).to_be_visible()
        (passkey,) = await first.passkeys()
        second = await Device.open(chromium)
        await second.give(passkey)
        await second.page.goto(f"{door.url}/login")
        await second.page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(second.page.get_by_role("heading", name="Account security")).to_be_visible()
