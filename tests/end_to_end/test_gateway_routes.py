"""Plugins' routes through a real kernel and a real socket: typed bodies, errors, and plugins that come, change and go."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rustcare_sdk.contracts import identity
from rustcare_sdk.plugin import Handler

from tests.support.front_door import FrontDoor, front_door
from tests.support.plugins import write_plugin

BEDS = """
    from dataclasses import dataclass

    from rustcare_sdk import Message, Plugin, route
    from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
    from rustcare_sdk.errors import ServiceError

    @dataclass
    class Bed:
        id: str
        ward: int

    class Subject(Plugin):
        @route("GET", "/beds/{id}", scope="beds.read", problems={"test.no-such-bed": 404})
        async def bed(self, message: Message[HttpRequest[None]]) -> Bed:
            if message.data.params["id"] == "none":
                raise ServiceError("test.no-such-bed", "there is no such bed")
            return Bed(message.data.params["id"], 3)

        @route("POST", "/beds", scope="beds.write", status=201)
        async def make(self, message: Message[HttpRequest[Bed]]) -> Bed:
            return message.data.content

        @route("GET", "/who", public=True)
        async def who(self, message: Message[HttpRequest[None]]):
            return {"tenant": message.tenant, "principal": message.principal, "version": VERSION}

        @route("GET", "/broken", public=True)
        async def broken(self, message: Message[HttpRequest[None]]):
            raise ValueError("a secret")

        @route("GET", "/slow", public=True, timeout=0.2)
        async def slow(self, message: Message[HttpRequest[None]]):
            import asyncio
            await asyncio.sleep(30)

    VERSION = "{version}"
"""
CAPABILITIES = tuple(
    f"http:route@{use}" for use in ("GET /beds/*", "POST /beds", "GET /who", "GET /broken", "GET /slow")
)
HIGH = {name: [{"by": "all", "rate": 10_000_000, "per": 1}] for name in ("default", "failures")}


def beds(folder: Path, version: str = "1.0.0") -> Path:
    """A plugin with routes."""
    return write_plugin(folder, BEDS.replace("{version}", version), version=version, capabilities=CAPABILITIES)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[FrontDoor]:
    """A server with the plugin."""
    plugins = ("crypto", "identity", "gateway")
    async with front_door(tmp_path / "data", gateway={"limits": HIGH, "drain": 2}, plugins=plugins) as door:
        await door.kernel.install(beds(tmp_path), consent=True)
        yield door


async def key_of(door: FrontDoor, name: str, *, roles: list[str], tenant: str = "default") -> dict[str, str]:
    """A service account's key, as a header field."""
    asked = identity.CreateServiceRequest(name, roles=roles)
    made = await door.kernel.request(identity.SERVICE_CREATE, asked, type=identity.AccountReply, tenant=tenant)
    wanted = identity.CreateKeyRequest(made.account.id, "for the test")
    key = await door.kernel.request(identity.KEY_CREATE, wanted, type=identity.CreateKeyReply, tenant=tenant)
    return {"x-api-key": key.secret}


async def test_a_plugins_routes_answer_over_http(door: FrontDoor) -> None:
    """Typed answers and bodies, declared errors, and what is wrong with a body, in one run through all layers."""
    key = await key_of(door, "machine", roles=["administrator"])
    async with door.client(headers=key) as client:
        answer = await client.get("/beds/7")
        assert (answer.status_code, answer.json()) == (200, {"id": "7", "ward": 3})
        answer = await client.get("/beds/none")
        assert (answer.status_code, answer.json()["code"]) == (404, "test.no-such-bed")
        answer = await client.post("/beds", json={"id": "8", "ward": 4})
        assert (answer.status_code, answer.json()) == (201, {"id": "8", "ward": 4})
        answer = await client.post("/beds", data={"id": "8", "ward": "4"})
        assert (answer.status_code, answer.json()) == (201, {"id": "8", "ward": 4})
        answer = await client.post("/beds", json={"id": "8", "ward": "secret"})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/ward")
        assert "secret" not in answer.text
        answer = await client.post("/beds", content=b"{", headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, "bus.invalid-payload")
        answer = await client.post("/beds", content=b"x", headers={"content-type": "text/plain"})
        assert answer.status_code == 415
        answer = await client.get("/broken")
        assert (answer.status_code, answer.json()["code"]) == (500, "gateway.failed")
        assert "secret" not in answer.text
        answer = await client.get("/slow")
        assert (answer.status_code, answer.json()["code"]) == (504, "bus.deadline-exceeded")
        document = (await client.get("/openapi.json")).json()
        assert document["paths"]["/beds"]["post"]["requestBody"]["content"]["application/json"]["schema"] == {
            "$ref": "#/components/schemas/Bed"
        }


async def test_the_callers_rights_decide(door: FrontDoor) -> None:
    """Without a credential 401, without the scope 403; a key that is revoked is refused on the very next request."""
    weak = await key_of(door, "weak", roles=["auditor"])
    strong = await key_of(door, "strong", roles=["administrator"])
    async with door.client() as client:
        assert (await client.get("/beds/7")).status_code == 401
        assert (await client.get("/beds/7", headers=weak)).status_code == 403
        assert (await client.get("/beds/7", headers=strong)).status_code == 200
        account = (await client.get("/who", headers=strong)).json()["principal"].removeprefix("service/")
        keys = await door.kernel.request(identity.KEY_LIST, identity.KeysRequest(account), type=identity.KeysReply)
        await door.kernel.request(identity.KEY_REVOKE, identity.KeysRequest(account, keys.keys[0].id))
        assert (await client.get("/beds/7", headers=strong)).status_code == 401


async def test_tenants_do_not_see_each_other(door: FrontDoor) -> None:
    """A key of one tenant is nothing in another, whatever names it; each call is in its caller's tenant."""
    for tenant in ("north", "south"):
        await door.tenant(tenant)
    keys = {
        tenant: await key_of(door, "machine", roles=["administrator"], tenant=tenant) for tenant in ("north", "south")
    }
    async with door.client() as client:
        for tenant, key in keys.items():
            assert (await client.get("/who", headers=key)).json()["tenant"] == tenant
            other = "south" if tenant == "north" else "north"
            assert (await client.get(f"/t/{tenant}/beds/7", headers=key)).status_code == 200
            for path, more in ((f"/t/{other}/beds/7", {}), ("/beds/7", {"x-tenant": other})):
                answer = await client.get(path, headers={**key, **more})
                assert answer.status_code in (401, 403), answer.text
            said = (await client.get(f"/t/{other}/who", headers=key)).json()
            assert (said["tenant"], said["principal"]) == (other, "")


async def test_a_plugin_is_replaced_and_removed_under_load(door: FrontDoor, tmp_path: Path) -> None:
    """Over connections that stay open: no request fails while versions change; without the plugin there is 404 alone."""
    seen: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)  # by version, or by status
    statuses: set[int] = set()
    stop, removed = asyncio.Event(), asyncio.Event()

    async def ask() -> None:
        async with door.client(limits=httpx.Limits(max_connections=1)) as client:
            while not stop.is_set():
                answer = await client.get("/who")
                statuses.add(answer.status_code)
                if answer.status_code == 200:
                    seen[answer.json()["version"]].set()
                else:
                    assert answer.json()["code"] == "gateway.no-route"
                    assert removed.is_set()
                    seen["404"].set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(ask())
        for number in range(2, 7):
            await door.kernel.upgrade(beds(tmp_path, f"{number}.0.0"))
            await seen[f"{number}.0.0"].wait()
        assert statuses == {200}
        removed.set()
        await door.kernel.remove("test.subject", purge=True)
        await seen["404"].wait()
        await door.kernel.install(beds(tmp_path, "9.0.0"), consent=True)
        await seen["9.0.0"].wait()
        stop.set()
    assert statuses == {200, 404}


async def test_access_is_on_record_in_the_tenant_of_each_request(tmp_path: Path) -> None:
    """With the audit log there, answered requests are entries of it, and none of them holds a path."""
    async with front_door(tmp_path / "data", gateway={"access": {"interval": 0.05}, "drain": 2}) as door:
        await door.kernel.install(beds(tmp_path), consent=True)
        seen = asyncio.Event()
        batches: list[Any] = []

        async def note(message: Any) -> None:
            batches.append(message)
            seen.set()

        door.kernel.bus.subscribe(Handler("subscribe", "http.access"), note)
        async with door.client() as client:
            answer = await client.get("/who?name=secret")
        async with asyncio.timeout(10):
            await seen.wait()
        message = batches[0]
        assert message.tenant == message.data.tenant == "default"
        assert message.source == "rustcare.gateway"
        words = message.data.rows[0].split(" ")
        assert words[2:] == [answer.headers["x-request-id"], "-", "GET", "/who", "200", "-"]
