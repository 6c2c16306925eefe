"""`rustcare up` on a fresh folder: one command, one link, and the first administrator is in."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.async_api import expect

from tests.support.browser import Device, browser


@asynccontextmanager
async def up(data: Path) -> AsyncIterator[dict[str, Any]]:
    """The command, running; what it says when it serves."""
    words = ("-m", "rustcare_cli", "up", "--data", str(data), "--http", "127.0.0.1:0", "--yes", "--json")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, "--log-level", "error", stdout=asyncio.subprocess.PIPE, limit=2**24
    )
    assert process.stdout is not None
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        await process.stdout.read()
        assert await process.wait() == 0


async def test_one_command_one_link(tmp_path: Path) -> None:
    """The first start serves, and says the link once; through it somebody is administrator, with a passkey and no password.
    The next start has no link any more, and knows the passkey."""
    async with browser() as chromium:
        device = await Device.open(chromium)
        page = device.page
        async with up(tmp_path / "data") as said:
            link = said["setup_link"]
            assert urlsplit(link).hostname == "localhost"
            await page.goto(said["url"])
            assert urlsplit(page.url).path == "/login"
            await page.goto(link)
            await page.get_by_label("Name to sign in with").fill("root")
            await page.get_by_role("button", name="Create the account").click()
            await page.get_by_label("Name of the passkey").fill("Key")
            await page.get_by_role("button", name="Create the passkey").click()
            await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
            await page.goto(link)
            await expect(page.get_by_role("heading", name="This link does not work any more")).to_be_visible()
            async with httpx.AsyncClient(base_url=said["url"], trust_env=False) as client:
                assert (await client.get("/readyz")).status_code == 200
                assert (await client.get("/admin/v1/plugins")).status_code == 401
        async with up(tmp_path / "data") as said:
            assert said["setup_link"] == ""
            # The session outlives the server; a cookie knows no port.
            await page.goto(f"{said['url']}/account")
            await page.get_by_role("button", name="Sign out").click()
            await page.get_by_role("button", name="Sign in with a passkey").click()
            await expect(page.get_by_role("heading", name="Account security")).to_be_visible()
            answer = await page.request.get(f"{said['url']}/admin/v1/plugins")
            assert answer.status == 200
