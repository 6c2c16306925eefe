"""A SCIM client of the identity plugin under the harness: its requests are handled as those that come over HTTP."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from rustcare_plugin_identity.scim.patch import PATCH_SCHEMA
from rustcare_plugin_identity.scim.schemas import GROUPS, USERS
from rustcare_sdk.contracts.http import Caller, HttpResponse
from rustcare_sdk.testing import PluginHarness

__all__ = ["Client"]


class Client:
    """A SCIM client of one tenant."""

    def __init__(self, h: PluginHarness, tenant: str = "default", *scopes: str, principal: str = "service/dir") -> None:
        self.h = h
        self.caller = Caller(principal, tenant, "key", scopes or ("scim.read", "scim.write"))

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, HttpResponse]:
        """The status, the body as JSON, the answer."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/scim+json"} if body is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.h.http(
            method, f"/scim/v2{path}", body=data, headers=sent, caller=self.caller, base="https://clinic.example"
        )
        if response.body:
            assert response.media_type == "application/scim+json"
        return response.status, json.loads(response.body) if response.body else None, response

    async def make(self, name: str, **fields: Any) -> dict[str, Any]:
        """A new user."""
        status, made, _ = await self.ask("POST", "/Users", {"schemas": [USERS.core.id], "userName": name, **fields})
        assert status == 201, made
        return dict(made)

    async def group(self, name: str, *members: str) -> dict[str, Any]:
        """A new group."""
        sent = {"schemas": [GROUPS.core.id], "displayName": name, "members": [{"value": id} for id in members]}
        status, made, _ = await self.ask("POST", "/Groups", sent)
        assert status == 201, made
        return dict(made)

    async def find(self, filter_: str, path: str = "/Users", **parameters: Any) -> list[str]:
        """The names of what a filter finds."""
        query = "&".join(f"{name}={quote(str(value))}" for name, value in {"filter": filter_, **parameters}.items())
        status, found, _ = await self.ask("GET", f"{path}?{query}")
        assert status == 200, found
        return [item.get("userName") or item["displayName"] for item in found["Resources"]]

    async def patch(self, path: str, *operations: dict[str, Any], **headers: str) -> tuple[int, Any]:
        """The status and the body."""
        status, body, _ = await self.ask(
            "PATCH", path, {"schemas": [PATCH_SCHEMA], "Operations": list(operations)}, **headers
        )
        return status, body
