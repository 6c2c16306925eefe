"""A real browser for tests: Debian's Chromium, driven by Playwright, with an authenticator of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, async_playwright

from tests.support.packages import Missing, give_up, installed

__all__ = ["Device", "Violation", "browser", "chromium", "violations"]

_ARGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_NO_AUTOFILL = "if (window.PublicKeyCredential) PublicKeyCredential.isConditionalMediationAvailable = async () => false"
_PLACES = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome-stable", "/usr/bin/google-chrome")
_MISSING: list[str] = []


def chromium() -> str:
    """The path of an installed Chromium; it is installed where that can be, else the test is skipped."""
    if not _MISSING:
        try:
            return installed("chromium", _find)
        except Missing as error:
            _MISSING.append(str(error))
    give_up(f"no Chromium: {_MISSING[0]}")


def _find() -> str | None:
    return next((place for place in _PLACES if Path(place).exists()), None)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser, started for this test and ended with it."""
    path = await asyncio.to_thread(chromium)
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=_ARGS, headless=True)
        try:
            yield started
        finally:
            await started.close()


@dataclass
class Device:
    """A person's device: a window of a browser, and an authenticator that makes and keeps passkeys."""

    context: BrowserContext
    page: Page
    session: CDPSession
    authenticator: str = ""

    @classmethod
    async def open(
        cls, browser: Browser, *, authenticator: bool = True, autofill: bool = False, **options: Any
    ) -> Device:
        """A new window with nothing in it. `options` are Playwright's for a context (`color_scheme`, `viewport`, …).

        `autofill`: a form that may be filled in with a passkey is, at once: the authenticator's user agrees to everything.
        """
        context = await browser.new_context(**options)
        context.set_default_timeout(15_000)
        if not autofill:
            await context.add_init_script(_NO_AUTOFILL)
        page = await context.new_page()
        made = cls(context, page, await context.new_cdp_session(page))
        if authenticator:
            await made.plug_in()
        return made

    async def plug_in(self, **options: Any) -> None:
        """Give it an authenticator: built in, with passkeys, whose user shows who they are."""
        await self.session.send("WebAuthn.enable")
        wanted = {
            "protocol": "ctap2",
            "ctap2Version": "ctap2_1",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
            **options,
        }
        made = await self.session.send("WebAuthn.addVirtualAuthenticator", {"options": wanted})
        self.authenticator = made["authenticatorId"]

    async def passkeys(self) -> list[dict[str, Any]]:
        """What the authenticator holds."""
        found = await self.session.send("WebAuthn.getCredentials", {"authenticatorId": self.authenticator})
        credentials: list[dict[str, Any]] = found["credentials"]
        return credentials

    async def give(self, credential: dict[str, Any]) -> None:
        """Put a passkey of another device into this one, as a cloud of passkeys does."""
        await self.session.send(
            "WebAuthn.addCredential", {"authenticatorId": self.authenticator, "credential": credential}
        )

    async def close(self) -> None:
        """End the window."""
        await self.context.close()


@dataclass(frozen=True)
class Violation:
    """A rule of axe-core that a page breaks, how bad that is, and where."""

    rule: str
    impact: str
    where: tuple[str, ...]


async def violations(page: Page) -> list[Violation]:
    """What axe-core finds on a page, WCAG 2.2 AA and best practices."""
    await page.evaluate(AXE_SCRIPT)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        Violation(
            item["id"],
            item["impact"] or "",
            tuple(f"{node['target']} {node['failureSummary']}" for node in item["nodes"]),
        )
        for item in found["violations"]
    ]
