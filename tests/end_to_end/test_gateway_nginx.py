"""Forward authentication with a real nginx: another service stands behind it, and the gateway says who may come in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from rustcare_sdk.contracts import identity

from tests.support.front_door import FrontDoor, front_door
from tests.support.nginx import nginx

SERVER = """
    location = /_auth {{
      internal;
      proxy_pass http://127.0.0.1:{gateway}/auth/check?scope=audit.read&limit=read;
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Original-Method $request_method;
      proxy_set_header X-Original-URI $request_uri;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
    location / {{
      auth_request /_auth;
      auth_request_set $principal $upstream_http_x_auth_principal;
      auth_request_set $tenant $upstream_http_x_auth_tenant;
      auth_request_set $scopes $upstream_http_x_auth_scopes;
      proxy_set_header X-Auth-Principal $principal;
      proxy_set_header X-Auth-Tenant $tenant;
      proxy_set_header X-Auth-Scopes $scopes;
      proxy_set_header Authorization "";
      proxy_set_header X-API-Key "";
      proxy_pass http://127.0.0.1:{service};
    }}
"""


class Service:
    """The service behind nginx: it knows nothing of RustCare, and answers with the header that it was sent."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.requests.append(head)
        writer.write(f"HTTP/1.0 200 OK\r\nContent-Length: {len(head)}\r\n\r\n{head}".encode("latin-1"))
        await writer.drain()
        writer.close()


@pytest.fixture
async def behind(tmp_path: Path) -> AsyncIterator[tuple[FrontDoor, str, Service]]:
    """A server, an nginx that asks it, and a service behind that."""
    service = Service()
    listener = await asyncio.start_server(service, "127.0.0.1", 0)
    gateway = {"limits": {"read": [{"by": "principal", "rate": 5, "per": 60}]}, "drain": 2}
    async with (
        listener,
        front_door(tmp_path / "data", gateway=gateway, plugins=("crypto", "identity", "gateway")) as door,
    ):
        server = SERVER.format(gateway=door.port, service=listener.sockets[0].getsockname()[1])
        async with nginx(tmp_path / "nginx", server) as url:
            yield door, url, service


async def key_of(door: FrontDoor, role: str, tenant: str = "default") -> dict[str, str]:
    """A key of a service account with a role."""
    asked = identity.CreateServiceRequest(f"{role}-machine", roles=[role])
    made = await door.kernel.request(identity.SERVICE_CREATE, asked, type=identity.AccountReply, tenant=tenant)
    wanted = identity.CreateKeyRequest(made.account.id, "for the test")
    key = await door.kernel.request(identity.KEY_CREATE, wanted, type=identity.CreateKeyReply, tenant=tenant)
    return {"x-api-key": key.secret}


async def test_nginx_lets_in_who_the_gateway_lets_in(behind: tuple[FrontDoor, str, Service]) -> None:
    """401 and 403 end at nginx; who may pass is announced to the service, without the credential."""
    door, url, service = behind
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/files/7")).status_code == 401
        forged = {"x-auth-principal": "user/root", "x-auth-scopes": "admin"}
        assert (await client.get("/files/7", headers=forged)).status_code == 401
        assert (await client.get("/files/7", headers={"x-api-key": "rck_nonsense"})).status_code == 401
        assert (await client.get("/files/7", headers=await key_of(door, "clinician"))).status_code == 403
        assert service.requests == []
        answer = await client.get("/files/7?a=b", headers={**(await key_of(door, "auditor")), **forged})
        assert answer.status_code == 200
        head = answer.text.lower()
        assert head.startswith("get /files/7?a=b ")
        assert "x-auth-principal: service/" in head
        assert "x-auth-tenant: default" in head
        assert "x-auth-scopes: audit.read" in head
        assert "root" not in head
        assert "rck_" not in head


async def test_tenants_and_limits_hold_behind_nginx(behind: tuple[FrontDoor, str, Service]) -> None:
    """A key of another tenant passes only where its tenant is meant; too many requests end at nginx."""
    door, url, _ = behind
    await door.tenant("north")
    key = await key_of(door, "auditor", "north")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        assert (await client.get("/t/north/files", headers=key)).status_code == 200
        assert (await client.get("/t/default/files", headers=key)).status_code in (401, 403)
        answers = [(await client.get("/files", headers=key)).status_code for _ in range(6)]
    # nginx answers 500 for whatever is neither 2xx, 401 nor 403.
    assert answers[0] == 200
    assert answers[-1] == 500


async def test_a_session_passes_where_its_pages_are(behind: tuple[FrontDoor, str, Service]) -> None:
    """A browser's session may read; it may write only from a page of the origin that nginx serves."""
    door, url, _ = behind
    browser = await door.first_administrator()
    async with contextlib.aclosing(browser):
        cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
    async with httpx.AsyncClient(base_url=url, trust_env=False, headers=cookie) as client:
        assert (await client.get("/files")).status_code == 200
        assert (await client.post("/files")).status_code == 403
        assert (await client.post("/files", headers={"origin": "https://evil.example"})).status_code == 403
        assert (await client.post("/files", headers={"origin": url})).status_code == 200
