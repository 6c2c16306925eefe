"""Accounts of machines, and the keys of others."""

from __future__ import annotations

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.contracts.http import HttpRequest

from .base import KEY, ApiBase, changes, checked, number, reads, words
from .types import NewKey, NewServiceAccount

__all__ = ["MachineRoutes"]

Request = Message[HttpRequest[None]]


class MachineRoutes(ApiBase):
    """`/identity/v1/service-accounts` and `/identity/v1/keys`."""

    @changes("POST", "/service-accounts", "Create a service account", KEY, status=201)
    async def api_service_create(self, message: Message[HttpRequest[NewServiceAccount]]) -> c.AccountReply:
        """A new account of a machine, which has no key yet."""
        sent = message.data.content
        self.api_guard(message).give(words(sent.roles, "roles") or [])
        asked = c.CreateServiceRequest(
            checked(sent.name, "name"), checked(sent.display_name, "display_name"), sent.roles
        )
        reply: c.AccountReply = await self.ctx.request(c.SERVICE_CREATE, asked, type=c.AccountReply)
        return reply

    @reads("/keys", "The keys of the tenant", KEY)
    async def api_keys(self, message: Request) -> c.KeysReply:
        """Without their secrets, by name."""
        reply: c.KeysReply = await self.ctx.request(c.KEY_LIST, c.KeysRequest(), type=c.KeysReply)
        return reply

    @changes("DELETE", "/keys/{key}", "End a key", KEY)
    async def api_key_revoke(self, message: Request) -> c.KeysReply:
        """It is refused from now on."""
        asked = c.KeysRequest(key=self.api_part(message, "key"))
        found: c.KeysReply = await self.ctx.request(c.KEY_LIST, asked, type=c.KeysReply)
        for key in found.keys:
            await self.api_guard(message).change(await self.accounts.get(message.tenant, key.account))
        reply: c.KeysReply = await self.ctx.request(c.KEY_REVOKE, asked, type=c.KeysReply)
        return reply

    @reads("/accounts/{account}/keys", "The keys of an account", KEY)
    async def api_account_keys(self, message: Request) -> c.KeysReply:
        """Without their secrets, by name."""
        account = await self.api_account(message)
        reply: c.KeysReply = await self.ctx.request(c.KEY_LIST, c.KeysRequest(account.id), type=c.KeysReply)
        return reply

    @changes("POST", "/accounts/{account}/keys", "Make a key for an account", KEY, status=201)
    async def api_key_create(self, message: Message[HttpRequest[NewKey]]) -> c.CreateKeyReply:
        """The key itself is in this answer alone."""
        account = await self.api_account(message, write=True)
        sent = message.data.content
        asked = c.CreateKeyRequest(
            account.id,
            checked(sent.name, "name"),
            words(sent.scopes, "scopes") or [],
            number(sent.expires_in, "expires_in"),
        )
        reply: c.CreateKeyReply = await self.ctx.request(c.KEY_CREATE, asked, type=c.CreateKeyReply)
        return reply
