"""The conformance checks of scim2-tester against the running server, over the network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rustcare_kernel import Kernel
from rustcare_sdk.contracts import http, identity
from scim2_tester import CheckResult, Status, check_server

from tests.support.scim_client import HttpxScimClient

#: So many may be asked for at once in a test; the defaults are those of a server that is open to the world.
LIMITS = {name: [{"by": "principal", "rate": 1_000_000, "per": 1}] for name in ("default", "read", "write", "bulk")}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """A server with its front door: its URL, and the key of a service account that may provision and no more."""
    config = {
        "rustcare.gateway": {"port": 0, "limits": LIMITS},
        "rustcare.identity": {"settings": {"roles": {"directory": ["scim"]}}},
    }
    async with Kernel(tmp_path, config=config, log_level="error") as kernel:
        for name in ("crypto", "audit", "identity", "gateway"):
            await kernel.install(f"installed:{name}", consent=True)
        made = await kernel.request(
            identity.SERVICE_CREATE,
            identity.CreateServiceRequest("directory", roles=["directory"]),
            type=identity.AccountReply,
        )
        key = await kernel.request(
            identity.KEY_CREATE, identity.CreateKeyRequest(made.account.id, "tests"), type=identity.CreateKeyReply
        )
        status = await kernel.request(http.GATEWAY_STATUS, http.GatewayRequest(), type=http.GatewayStatus)
        yield status.url, key.secret


async def test_every_check_of_scim2_tester_passes(server: tuple[str, str]) -> None:
    """Discovery, create, read, replace, delete, patch of every attribute, selection: none fails, none is skipped."""
    url, key = server

    def run() -> list[CheckResult]:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"{url}/scim/v2", headers=headers, timeout=60) as client:
            return check_server(HttpxScimClient(client))

    results = await asyncio.to_thread(run)
    wrong = [
        f"{item.title} {item.resource_type}: {item.reason}" for item in results if item.status is not Status.SUCCESS
    ]
    assert not wrong, "\n".join(wrong)
    kinds = Counter(str(item.title) for item in results)
    assert {
        "check_add_attribute",
        "check_remove_attribute",
        "check_replace_attribute",
        "search_with_attributes",
    } <= set(kinds)
    assert len(results) > 100


async def test_errors_of_the_gateway_and_of_scim(server: tuple[str, str]) -> None:
    """Without a credential 401; a write with a key that only reads 403; HEAD, ETag and 304 go through the whole stack."""
    url, key = server

    def run() -> dict[str, Any]:
        found: dict[str, Any] = {}
        with httpx.Client(base_url=f"{url}/scim/v2", timeout=60) as client:
            found["nobody"] = client.get("/Users").status_code
            client.headers["Authorization"] = f"Bearer {key}"
            made = client.post("/Users", json={"userName": "head"})
            user = f"/Users/{made.json()['id']}"
            found["made"] = (made.status_code, made.headers["Location"], made.headers["content-type"])
            found["head"] = (client.head(user).status_code, client.head(user).headers["etag"])
            found["known"] = client.get(user, headers={"If-None-Match": made.headers["etag"]}).status_code
            found["method"] = client.delete("/Schemas").status_code
            found["gone"] = (client.delete(user).status_code, client.get(user).status_code)
        return found

    found = await asyncio.to_thread(run)
    assert found["nobody"] == 401
    assert found["made"][0] == 201
    assert found["made"][1].startswith(f"{url}/scim/v2/Users/")
    assert found["made"][2] == "application/scim+json"
    assert found["head"] == (200, 'W/"1"')
    assert (found["known"], found["method"], found["gone"]) == (304, 405, (204, 404))
