"""Tenants as services: who looks after the whole makes and changes them, everybody who routes by them hears of it."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import identity

from .base import Services

__all__ = ["TenantServices"]


class TenantServices(Services):
    """List, make and change tenants."""

    @serve(identity.TENANTS)
    async def serve_tenants_list(self, message: Message[identity.TenantsRequest]) -> identity.TenantsReply:
        """The tenants. Only the tenant `default` sees the others."""
        asked, tenants = message.data, self.tenants
        if message.tenant != "default":
            own = tenants.get(message.tenant)
            return identity.TenantsReply([] if own is None else [own], tenants.revision)
        return identity.TenantsReply(tenants.list(asked.after, asked.limit), tenants.revision)

    @serve(identity.TENANT_PUT)
    async def serve_tenant_put(self, message: Message[identity.TenantRequest]) -> identity.TenantReply:
        """Make or change a tenant. All who route by tenants have heard of it when this returns.

        Raises:
            SystemTenantOnly, InvalidTenant, InvalidSettings, HostTaken, VersionConflict.
        """
        self.need_system(message)
        new = self.tenants.get(message.data.id) is None
        made = await self.tenants.put(message.data)
        delivery = await self.ctx.publish(identity.TENANT_CHANGED, made, confirm=True)
        if delivery.failures:
            self.ctx.log.error("a change of a tenant was not handled", tenant=made.id, codes=list(delivery.failures))
        await self.event("tenant.created" if new else "tenant.changed", details={"tenant": made.id})
        return identity.TenantReply(made)
