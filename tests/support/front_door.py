"""A kernel with its front door in this process: crypto, audit, identity and gateway on a free port, and people who knock.

    async with front_door(tmp_path) as door:
        await door.first_administrator()
        async with door.client() as client:
            await door.log_in(client, "admin", door.password)

Everything is real: the kernel, the keyring, the audit log, the HTTP server on a socket. The origin is `http://localhost:PORT`,
where browsers allow passkeys, and where the cookies have their names for plain http.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from rustcare_kernel import Kernel
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import GATEWAY_STATUS, GatewayRequest, GatewayStatus

__all__ = ["PASSWORD", "PLUGINS", "FrontDoor", "front_door"]

#: A password that keeps the rules.
PASSWORD = "seven purple anvils sing"

#: What stands behind the door, in the order in which it is installed.
PLUGINS = ("crypto", "audit", "identity", "gateway")


@dataclass
class FrontDoor:
    """A running server. `url` is its origin."""

    kernel: Kernel
    url: str
    port: int

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A client of its own, with a cookie jar, that follows no redirects. As browsers do, it says where forms are from."""
        headers = {"origin": self.url, **options.pop("headers", {})}
        return httpx.AsyncClient(base_url=self.url, timeout=30.0, trust_env=False, headers=headers, **options)

    async def setup_link(self) -> str:
        """The whole address with which the first administrator is made."""
        reply = await self.kernel.request(identity.SETUP_LINK, identity.SetupRequest(), type=identity.SetupReply)
        assert reply.link, "there is an administrator already"
        return f"{self.url}{urlsplit(reply.link).path}"  # whatever address the configuration says

    async def first_administrator(self, name: str = "admin", password: str = PASSWORD) -> httpx.AsyncClient:
        """Make the first administrator through the link and the form, as a browser without scripts does; signed in."""
        client = self.client()
        answer = await client.get((await self.setup_link()).removeprefix(self.url))
        assert answer.status_code == 303, answer.text
        form = {"name": name, "email": "admin@clinic.example.org", "display_name": "Ada Min", "password": password}
        answer = await client.post(answer.headers["location"], data=form)
        assert answer.status_code == 303, answer.text
        return client

    async def account(
        self,
        name: str,
        *,
        password: str = PASSWORD,
        roles: Sequence[str] = (),
        tenant: str = "default",
        email: str = "",
    ) -> identity.AccountInfo:
        """A new account, made by the operator."""
        asked = identity.CreateAccountRequest(name, email=email, password=password, roles=list(roles))
        reply = await self.kernel.request(
            identity.ACCOUNT_CREATE, asked, type=identity.CreateAccountReply, tenant=tenant
        )
        account: identity.AccountInfo = reply.account
        return account

    async def log_in(self, client: httpx.AsyncClient, name: str, password: str = PASSWORD) -> httpx.Response:
        """Sign in through the form; the answer to it: a redirect (303), or the form again with what was wrong."""
        return await client.post("/login", data={"name": name, "password": password})

    async def tenant(self, id: str, **settings: Any) -> None:
        """Make or change a tenant."""
        await self.kernel.request(identity.TENANT_PUT, identity.TenantRequest(id, settings=settings))


@asynccontextmanager
async def front_door(
    data: Path,
    *,
    gateway: Mapping[str, Any] | None = None,
    identity_config: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = PLUGINS,
    **options: Any,
) -> AsyncIterator[FrontDoor]:
    """Start a server on a data folder. `options` are the kernel's; the configuration lies over what tests need."""
    config = {
        "rustcare.gateway": {"port": 0, "insecure_cookies": True, **(gateway or {})},
        "rustcare.identity": dict(identity_config or {}),
    }
    options = {"log_level": "error", **options}
    async with Kernel(data, config=config, **options) as kernel:
        known = {status.id for status in kernel.plugins()}
        for name in plugins:
            if f"rustcare.{name.replace('_', '-')}" not in known:
                await kernel.install(f"installed:{name}", consent=True)
        wrong = {status.id: status.reason for status in kernel.plugins() if status.state != "active"}
        assert not wrong, wrong
        status = await kernel.request(GATEWAY_STATUS, GatewayRequest(), type=GatewayStatus)
        yield FrontDoor(kernel, f"http://localhost:{status.port}", status.port)
