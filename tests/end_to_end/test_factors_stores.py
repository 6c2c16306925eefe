"""Second factors over HTTP by a client that is no browser, on each store."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rustcare_kernel import Kernel
from rustcare_plugin_identity.factors.totp import code_at, step_of
from rustcare_sdk.contracts import identity

from tests.support.authenticator import Authenticator
from tests.support.front_door import PASSWORD, PLUGINS, FrontDoor, front_door


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a kernel on each store."""
    return {"store": request.getfixturevalue("postgres_dsn")} if request.param == "postgres" else {}


@pytest.fixture(autouse=True)
async def purged(tmp_path: Path, where: dict[str, Any]) -> AsyncIterator[None]:
    """What a test has left in a server that others use too goes at its end."""
    yield
    if where:
        async with Kernel(tmp_path, log_level="silent", only=(), **where) as kernel:
            for plugin in reversed(PLUGINS):
                await kernel.remove(f"rustcare.{plugin}", purge=True)


def options_of(page: httpx.Response) -> dict[str, Any]:
    """What the page tells its script."""
    found = re.search(r'data-options="([^"]*)"', page.text)
    assert found, page.text
    options: dict[str, Any] = json.loads(html.unescape(found[1]))
    return options


async def enrolled(client: httpx.AsyncClient) -> tuple[bytes, str]:
    """An authenticator app: its secret, and the code that confirmed it."""
    begun = await client.post("/account/totp", data={"name": "Phone"})
    page = await client.get(begun.headers["location"])
    found = re.search(r'class="secret"[^>]*>([A-Z2-7 ]+)<', page.text)
    assert found, page.text
    secret = base64.b32decode(found[1].replace(" ", ""))
    code = code_at(secret, step_of(time.time()))
    done = await client.post(begun.headers["location"], data={"code": code})
    assert done.headers["location"] == "/account?done=totp"
    return secret, code


async def answered(door: FrontDoor, name: str, kind: str, answer: str) -> httpx.Response:
    """Sign in with the password and one answer for a second factor, with a browser of its own."""
    async with door.client() as client:
        assert (await door.log_in(client, name)).headers["location"].startswith("/login/factor")
        return await client.post("/login/factor", data={"kind": kind, "answer": answer})


async def test_factors_on_each_store(tmp_path: Path, where: dict[str, Any]) -> None:
    """Apps, passkeys and recovery codes are added, used once and removed; what a restart finds is what was there before."""
    name = "ann"
    async with front_door(tmp_path, **where) as door:
        await door.account(name)
        async with door.client() as client:
            await door.log_in(client, name)
            secret, spent = await enrolled(client)
            device = Authenticator(door.url)
            made = device.create(options_of(await client.get("/account/passkey")))
            done = await client.post("/account/passkey", data={"answer": made, "name": "Soft"})
            assert done.headers["location"] == "/account?done=passkey", done.text
            shown = (await client.post("/account/recovery-codes")).text
            codes = re.findall(r"<li>([0-9A-Z]{4}(?:-[0-9A-Z]{4}){3})</li>", shown)
            assert len(codes) == 10
        # Each answer counts once, however many send it at the same time.
        following = code_at(secret, step_of(time.time()) + 1)
        answers = await asyncio.gather(*(answered(door, name, "totp", following) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [303, 422, 422]
        answers = await asyncio.gather(*(answered(door, name, "recovery", codes[0]) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [303, 422, 422]
        assert (await answered(door, name, "totp", spent)).status_code == 422
        port = door.port
    async with front_door(tmp_path, gateway={"port": port}, **where) as door:
        assert (await answered(door, name, "recovery", codes[0])).status_code == 422
        assert (await answered(door, name, "recovery", codes[1])).status_code == 303
        async with door.client() as client:
            answer = device.get(options_of(await client.get("/login")))
            assert (await client.post("/login/passkey", data={"answer": answer})).headers["location"] == "/account"
            replayed = await client.post("/login/passkey", data={"answer": answer})
            assert replayed.status_code == 422
            page = (await client.get("/account")).text
            assert "8 of 10 left" in page
            for factor in re.findall(r"/account/factors/([0-9a-f]+)/remove", page):
                assert (await client.post(f"/account/factors/{factor}/remove")).headers[
                    "location"
                ] == "/account?done=removed"
        found = await door.kernel.request(
            identity.ACCOUNT_READ, identity.AccountRequest(name), type=identity.AccountReply
        )
        assert found.account.factors == ["password"]
        async with door.client() as client:
            assert (await door.log_in(client, name, PASSWORD)).headers["location"] == "/account"
