"""One's own account, sessions and keys: whoever is known may look, and end what is their own."""

from __future__ import annotations

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.contracts.http import HttpRequest

from rustcare_plugin_identity.keys.errors import KeyUnknown

from .base import ACCOUNT, KEY, SESSION, ApiBase, changes, checked, number, reads, words
from .types import Me, NewKey, OwnChanges

__all__ = ["OwnRoutes"]

Request = Message[HttpRequest[None]]


class OwnRoutes(ApiBase):
    """`/identity/v1/me`."""

    @reads("/me", "Who I am", ACCOUNT, scope="")
    async def api_me(self, message: Request) -> Me:
        """The caller's account, and what they may do."""
        caller = message.data.caller
        account = await self.own_account(message)
        return Me(
            await self.api_read(account.id),
            list(caller.scopes),
            list(caller.roles),
            caller.aal,
            caller.session,
            caller.authenticated,
            caller.on_behalf,
            caller.purpose,
        )

    @changes("PATCH", "/me", "Change my account", ACCOUNT, scope="", aal=1)
    async def api_me_change(self, message: Message[HttpRequest[OwnChanges]]) -> c.AccountReply:
        """Another shown name."""
        account = await self.own_account(message)
        asked = c.UpdateAccountRequest(
            account.id, display_name=checked(message.data.content.display_name, "display_name")
        )
        reply: c.AccountReply = await self.ctx.request(c.ACCOUNT_UPDATE, asked, type=c.AccountReply)
        return reply

    @reads("/me/sessions", "My sessions", SESSION, scope="")
    async def api_my_sessions(self, message: Request) -> c.SessionsReply:
        """Newest first; the one that asks is marked."""
        account = await self.own_account(message)
        asked = c.SessionsRequest(account.id, message.data.caller.session)
        reply: c.SessionsReply = await self.ctx.request(c.SESSION_LIST, asked, type=c.SessionsReply)
        return reply

    @changes("DELETE", "/me/sessions", "End my other sessions", SESSION, scope="", aal=1)
    async def api_my_sessions_end(self, message: Request) -> c.RevokeReply:
        """All but the one that asks, with their tokens."""
        account = await self.own_account(message)
        return await self._api_end_own(account.id, "", message.data.caller.session)

    @changes("DELETE", "/me/sessions/{session}", "End one of my sessions", SESSION, scope="", aal=1)
    async def api_my_session_end(self, message: Request) -> c.RevokeReply:
        """One, with its tokens."""
        account = await self.own_account(message)
        return await self._api_end_own(account.id, self.api_part(message, "session"), "")

    async def _api_end_own(self, account: str, session: str, keep: str) -> c.RevokeReply:
        asked = c.RevokeRequest(account, session, keep, "own")
        reply: c.RevokeReply = await self.ctx.request(c.SESSION_REVOKE, asked, type=c.RevokeReply)
        return reply

    @reads("/me/keys", "My API keys", KEY, scope="")
    async def api_my_keys(self, message: Request) -> c.KeysReply:
        """Without their secrets."""
        account = await self.own_account(message)
        reply: c.KeysReply = await self.ctx.request(c.KEY_LIST, c.KeysRequest(account.id), type=c.KeysReply)
        return reply

    @changes("POST", "/me/keys", "Make an API key of mine", KEY, scope="", status=201)
    async def api_my_key_create(self, message: Message[HttpRequest[NewKey]]) -> c.CreateKeyReply:
        """The key itself is in this answer alone. It takes AAL2: a key outlives the session that made it."""
        account = await self.own_account(message)
        sent = message.data.content
        asked = c.CreateKeyRequest(
            account.id,
            checked(sent.name, "name"),
            self.api_scopes(message, words(sent.scopes, "scopes") or []),
            number(sent.expires_in, "expires_in"),
        )
        reply: c.CreateKeyReply = await self.ctx.request(c.KEY_CREATE, asked, type=c.CreateKeyReply)
        return reply

    @changes("DELETE", "/me/keys/{key}", "End an API key of mine", KEY, scope="", aal=1)
    async def api_my_key_revoke(self, message: Request) -> c.KeysReply:
        """It is refused from now on."""
        account = await self.own_account(message)
        asked = c.KeysRequest(key=self.api_part(message, "key"))
        found: c.KeysReply = await self.ctx.request(c.KEY_LIST, asked, type=c.KeysReply)
        if any(key.account != account.id for key in found.keys):
            raise KeyUnknown("expected a key of one's own account, got another", address="key")
        reply: c.KeysReply = await self.ctx.request(c.KEY_REVOKE, asked, type=c.KeysReply)
        return reply
