"""Pages of sandboxed plugins, in a real browser: they come from the address where people are signed in."""

from __future__ import annotations

import json
import re

from playwright.async_api import expect
from rustcare_sdk.contracts.http import HttpResponse

from tests.support.browser import browser
from tests.support.gateway_plugin import credential, gateway_plugin, row

_SCRIPT = """
const seen = {};
try { seen.cookie = document.cookie; } catch (error) { seen.cookie = error.name; }
try { const answer = await fetch("/me", {credentials: "include"}); seen.me = await answer.text(); }
catch (error) { seen.me = error.name; }
try { const answer = await fetch("/me", {method: "POST", credentials: "include", mode: "no-cors"}); seen.post = answer.type; }
catch (error) { seen.post = error.name; }
document.title = JSON.stringify(seen);
"""


async def test_a_page_of_a_sandboxed_plugin_does_nothing_in_its_readers_name() -> None:
    """A trusted plugin's page reads and does what its reader may; a sandboxed one's cannot, from the same host."""
    done: list[str] = []
    rows = [
        row("GET", "/me"),
        row("POST", "/me"),
        row("GET", "/trusted", public=True),
        row("GET", "/foreign", public=True, sandboxed=True),
        row("GET", "/page.js", public=True),
    ]
    async with gateway_plugin(*rows, insecure_cookies=True) as gate, browser() as chromium:
        gate.person("ann")
        gate.answer("/me", lambda message: HttpResponse(text="Ann's"))
        gate.answer("/me", lambda message: done.append(message.principal) or HttpResponse(text="done"), "POST")
        page_text = HttpResponse(
            text="<!doctype html><script type=module src=/page.js></script>", media_type="text/html"
        )
        gate.answer("/trusted", page_text)
        gate.answer("/foreign", page_text)
        headers = {
            "Access-Control-Allow-Origin": "*"
        }  # modules are asked for by their page's origin, which is none there
        gate.answer("/page.js", HttpResponse(text=_SCRIPT, media_type="text/javascript", headers=headers))
        context = await chromium.new_context()
        await context.add_cookies([{"name": "rustcare", "value": credential("ann"), "url": gate.url}])
        page = await context.new_page()
        seen = {}
        for path in ("/trusted", "/foreign"):
            await page.goto(gate.url + path)
            await expect(page).to_have_title(re.compile("^{"))
            seen[path] = json.loads(await page.title())
        await context.close()
    assert seen["/trusted"]["me"] == "Ann's"
    assert "Ann" not in seen["/foreign"]["me"]
    assert seen["/foreign"]["cookie"] == "SecurityError"
    assert done == ["user/ann"], "once, by the trusted page"
