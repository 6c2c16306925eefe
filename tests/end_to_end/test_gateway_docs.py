"""The page of the description in a real browser: it loads from the gateway alone, can be used, and is accessible."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browser import browser, violations
from tests.support.gateway_plugin import gateway_plugin, row

BED = {
    "$ref": "#/$defs/Bed",
    "$defs": {
        "Bed": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "next": {"anyOf": [{"$ref": "#/$defs/Bed"}, {"type": "null"}]}},
        }
    },
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_docs_page_in_a_browser(tmp_path: Path, scheme: str) -> None:
    """Routes are listed by plugin, found by the filter, opened by keyboard; nothing comes from elsewhere; axe finds nothing."""
    rows = [
        row("POST", "/beds", body=BED, answer=BED, summary="Make a bed", scope="beds.write"),
        row("GET", "/beds/{id}", answer=BED, summary="One bed", query=("ward",)),
    ]
    async with gateway_plugin(*rows) as gate, browser() as chromium:
        context = await chromium.new_context(color_scheme=scheme, viewport={"width": 360, "height": 740})
        page = await context.new_page()
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(gate.url + "/docs")
        await page.get_by_role("status").filter(has_text="routes").wait_for()
        await page.get_by_label("Filter").fill("bed")
        assert await page.get_by_role("status").inner_text() == "2 routes"
        summary = page.locator("summary", has_text="/beds/{id}")
        await summary.focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("cell", name="ward").wait_for()
        await page.locator("summary", has_text="Make a bed").click()
        await page.get_by_text("Needs the scope").wait_for()
        assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert await violations(page) == []
        await page.screenshot(path=tmp_path / f"docs-{scheme}.png", full_page=True)
        assert errors == []
        assert all(url.startswith(gate.url + "/") for url in asked)
        await context.close()
