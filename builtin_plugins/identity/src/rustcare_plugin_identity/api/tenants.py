"""The tenants, for callers of the tenant `default`, who look after the whole."""

from __future__ import annotations

from typing import Any

import msgspec
from rustcare_sdk import Message
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.contracts.http import HttpRequest

from .base import TENANT, ApiBase, InvalidRequest, changes, checked, number, reads, words
from .types import TenantChanges

__all__ = ["TenantRoutes"]

Request = Message[HttpRequest[None]]
_MOST_SETTINGS = 65536


class TenantRoutes(ApiBase):
    """`/identity/v1/tenants`."""

    @reads("/tenants", "List tenants", TENANT, tenant="system", query=("after", "limit"))
    async def api_tenants(self, message: Request) -> c.TenantsReply:
        """A page of tenants, by id."""
        asked = c.TenantsRequest(
            self.api_argument(message, "after"), number(self.api_argument(message, "limit") or 100, "limit", 1, 1000)
        )
        reply: c.TenantsReply = await self.ctx.request(c.TENANTS, asked, type=c.TenantsReply)
        return reply

    @reads("/tenants/{tenant}", "Read a tenant", TENANT, tenant="system")
    async def api_tenant(self, message: Request) -> c.TenantReply:
        """One tenant."""
        return c.TenantReply(self.tenants.need(self.api_part(message, "tenant")))

    @changes("PUT", "/tenants/{tenant}", "Make or change a tenant", TENANT, tenant="system")
    async def api_tenant_put(self, message: Message[HttpRequest[TenantChanges]]) -> c.TenantReply:
        """What is not null is changed."""
        sent = message.data.content
        # Settings say what roles may do: who may not do everything could else let themselves.
        self.api_guard(message).give(["administrator"])
        asked = c.TenantRequest(
            self.api_part(message, "tenant"),
            checked(sent.name, "name"),
            sent.enabled,
            words(sent.hosts, "hosts"),
            _settings(sent.settings),
            number(sent.version, "version"),
        )
        reply: c.TenantReply = await self.ctx.request(c.TENANT_PUT, asked, type=c.TenantReply)
        return reply


def _settings(value: dict[str, Any] | None) -> dict[str, Any] | None:
    if value is not None:
        text = msgspec.json.encode(value)
        if len(text) > _MOST_SETTINGS or b"\\u0000" in text:
            raise InvalidRequest(f"expected at most {_MOST_SETTINGS} bytes and no NUL", address="settings")
    return value
