"""Tenants as services: who looks after the whole makes and changes them, everybody who routes by them hears of it."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import identity

from .accounts.roles import scopes
from .base import Services
from .settings import Settings

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

        Who has lost rights by what it now says of roles, or would have to show a second factor and has not, is signed out.

        Raises:
            SystemTenantOnly, InvalidTenant, InvalidSettings, HostTaken, VersionConflict.
        """
        self.need_system(message)
        before = self.tenants.get(message.data.id)
        said = self.tenants.settings(message.data.id)
        made = await self.tenants.put(message.data)
        delivery = await self.ctx.publish(identity.TENANT_CHANGED, made, confirm=True)
        if delivery.failures:
            self.ctx.log.error("a change of a tenant was not handled", tenant=made.id, codes=list(delivery.failures))
        details = {"tenant": made.id, "enabled": str(made.enabled).lower()}
        if before is None:
            await self.event("tenant.created", details=details)
            return identity.TenantReply(made)
        ended = await self._tenants_end_lost(made.id, said) + await self._tenants_end_weak(made.id, said)
        what = [
            name for name in ("name", "enabled", "hosts", "settings") if getattr(made, name) != getattr(before, name)
        ]
        await self.event("tenant.changed", details={**details, "what": " ".join(what), "sessions": str(ended)})
        return identity.TenantReply(made)

    async def _tenants_end_lost(self, tenant: str, said: Settings) -> int:
        """End what was opened under roles that give less now; how many sessions."""
        now = self.tenants.settings(tenant)
        lesser = {role for role, held in said.roles.items() if not set(held) <= set(now.roles.get(role, ()))}
        ended = 0
        for id in sorted({id for role in lesser for id in await self.accounts.holders(tenant, role, machines=True)}):
            account = await self.accounts.get(tenant, id)
            if account is None:
                continue
            roles = await self.accounts.roles_of(account)
            if not set(scopes(roles, said.roles)) <= set(scopes(roles, now.roles)):
                ended += len(await self.sessions.revoke(tenant=tenant, account=id, reason="rights taken away"))
        return ended

    async def _tenants_end_weak(self, tenant: str, said: Settings) -> int:
        """End what was opened with a password alone, where a second factor is demanded from now on; how many sessions."""
        if self.tenants.settings(tenant).mfa != "required" or said.mfa == "required":
            return 0
        ended = 0
        for id in await self.sessions.at_level(tenant, 1):
            ended += len(await self.sessions.revoke(tenant=tenant, session=id, reason="a second factor is demanded"))
        return ended
