"""Accounts of people, as administrators handle them, and the sessions of others."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.contracts.http import HttpRequest

from rustcare_plugin_identity.accounts import Account

from .base import ACCOUNT, SESSION, ApiBase, InvalidRequest, changes, checked, number, reads, words
from .types import AccountChanges, Invitation, NewAccount, Reason

__all__ = ["PeopleRoutes"]

Request = Message[HttpRequest[None]]
_Kind = Literal["", "user", "service"]
_State = Literal["", "invited", "active", "locked", "disabled"]
_ONE = "/accounts/{account}"
_LIST = ("query", "kind", "state", "limit", "after")


class PeopleRoutes(ApiBase):
    """`/identity/v1/accounts`. An account is named by its id, name or e-mail address."""

    @reads("/accounts", "List accounts", ACCOUNT, query=_LIST)
    async def api_accounts(self, message: Request) -> c.AccountsReply:
        """A page of accounts, by name."""
        asked = c.AccountsRequest(
            self.api_argument(message, "query"),
            cast(_Kind, _one_of(self.api_argument(message, "kind"), get_args(_Kind), "kind")),
            cast(_State, _one_of(self.api_argument(message, "state"), get_args(_State), "state")),
            number(self.api_argument(message, "limit") or 100, "limit", 1, 1000),
            self.api_argument(message, "after"),
        )
        reply: c.AccountsReply = await self.ctx.request(c.ACCOUNT_LIST, asked, type=c.AccountsReply)
        return reply

    @changes("POST", "/accounts", "Create an account", ACCOUNT, status=201)
    async def api_account_create(self, message: Message[HttpRequest[NewAccount]]) -> c.CreateAccountReply:
        """A new user, invited when no password is given."""
        sent = message.data.content
        guard = self.api_guard(message)
        guard.give(sent.roles)
        for id in words(sent.groups, "groups") or []:
            guard.change_group(await self.groups.get(message.tenant, id))
        asked = c.CreateAccountRequest(
            checked(sent.name, "name"),
            checked(sent.email, "email"),
            checked(sent.display_name, "display_name"),
            checked(sent.password, "password"),
            words(sent.roles, "roles") or [],
            sent.groups,
            sent.mail,
            external_id=checked(sent.external_id, "external_id"),
            disabled=sent.disabled,
        )
        reply: c.CreateAccountReply = await self.ctx.request(c.ACCOUNT_CREATE, asked, type=c.CreateAccountReply)
        return reply

    @reads(_ONE, "Read an account", ACCOUNT)
    async def api_account_read(self, message: Request) -> c.AccountReply:
        """One account."""
        return c.AccountReply(await self.api_read((await self.api_account(message)).id))

    @changes("PATCH", _ONE, "Change an account", ACCOUNT)
    async def api_account_change(self, message: Message[HttpRequest[AccountChanges]]) -> c.AccountReply:
        """What is not null is changed."""
        account = await self.api_account(message, write=True)
        sent = message.data.content
        guard = self.api_guard(message)
        if sent.roles is not None:
            guard.give(sent.roles)
        if sent.groups is not None:
            before = set(await self.groups.of(message.tenant, account.id))
            for id in before.symmetric_difference(words(sent.groups, "groups") or []):
                guard.change_group(await self.groups.get(message.tenant, id))
        asked = c.UpdateAccountRequest(
            account.id,
            checked(sent.name, "name"),
            checked(sent.email, "email"),
            checked(sent.display_name, "display_name"),
            words(sent.roles, "roles"),
            sent.groups,
            number(sent.version, "version"),
            external_id=checked(sent.external_id, "external_id"),
            password=checked(sent.password, "password"),
        )
        reply: c.AccountReply = await self.ctx.request(c.ACCOUNT_UPDATE, asked, type=c.AccountReply)
        return reply

    @changes("POST", f"{_ONE}/disable", "Disable an account at once", ACCOUNT)
    async def api_account_disable(self, message: Message[HttpRequest[Reason]]) -> c.AccountReply:
        """Its sessions, tokens and keys end with this answer."""
        return await self._api_disable(message, True)

    @changes("POST", f"{_ONE}/enable", "Enable an account", ACCOUNT)
    async def api_account_enable(self, message: Message[HttpRequest[Reason]]) -> c.AccountReply:
        """It can be used again."""
        return await self._api_disable(message, False)

    async def _api_disable(self, message: Message[HttpRequest[Reason]], disabled: bool) -> c.AccountReply:
        account = await self.api_account(message, write=True)
        asked = c.DisableRequest(account.id, disabled, checked(message.data.content.reason, "reason"))
        reply: c.AccountReply = await self.ctx.request(c.ACCOUNT_DISABLE, asked, type=c.AccountReply)
        return reply

    @changes("POST", f"{_ONE}/unlock", "Unlock an account", ACCOUNT)
    async def api_account_unlock(self, message: Request) -> c.AccountReply:
        """The failures that locked it are forgotten."""
        account = await self.api_account(message, write=True)
        reply: c.AccountReply = await self._api_asked(c.ACCOUNT_UNLOCK, account, c.AccountReply)
        return reply

    @changes("POST", f"{_ONE}/reset-mfa", "Take away an account's second factors", ACCOUNT)
    async def api_account_reset_mfa(self, message: Request) -> c.ResetReply:
        """And its sessions; the answer holds a link to set new ones."""
        account = await self.api_account(message, write=True)
        reply: c.ResetReply = await self._api_asked(c.ACCOUNT_RESET_MFA, account, c.ResetReply)
        return reply

    @changes("POST", f"{_ONE}/invite", "Invite an account again", ACCOUNT)
    async def api_account_invite(self, message: Message[HttpRequest[Invitation]]) -> c.InviteReply:
        """A new link to set credentials; one before it does not work any more."""
        account = await self.api_account(message, write=True)
        asked = c.InviteRequest(account.id, message.data.content.mail)
        reply: c.InviteReply = await self.ctx.request(c.ACCOUNT_INVITE, asked, type=c.InviteReply)
        return reply

    @changes("DELETE", _ONE, "Delete an account for good", ACCOUNT)
    async def api_account_delete(self, message: Request) -> c.AccountReply:
        """The account as it was."""
        account = await self.api_account(message, write=True)
        reply: c.AccountReply = await self._api_asked(c.ACCOUNT_DELETE, account, c.AccountReply)
        return reply

    async def _api_asked(self, service: str, account: Account, answer: Any) -> Any:
        return await self.ctx.request(service, c.AccountRequest(account.id), type=answer)

    # sessions

    @reads(f"{_ONE}/sessions", "The sessions of an account", SESSION)
    async def api_sessions(self, message: Request) -> c.SessionsReply:
        """Newest first."""
        account = await self.api_account(message)
        asked = c.SessionsRequest(account.id, message.data.caller.session)
        reply: c.SessionsReply = await self.ctx.request(c.SESSION_LIST, asked, type=c.SessionsReply)
        return reply

    @changes("DELETE", f"{_ONE}/sessions", "End all sessions of an account", SESSION)
    async def api_sessions_end(self, message: Request) -> c.RevokeReply:
        """With their tokens."""
        return await self._api_end_sessions(message, "")

    @changes("DELETE", f"{_ONE}/sessions/{{session}}", "End a session of an account", SESSION)
    async def api_session_end(self, message: Request) -> c.RevokeReply:
        """With its tokens."""
        return await self._api_end_sessions(message, self.api_part(message, "session"))

    async def _api_end_sessions(self, message: Request, session: str) -> c.RevokeReply:
        account = await self.api_account(message, write=True)
        asked = c.RevokeRequest(account.id, session, "", "administrator")
        reply: c.RevokeReply = await self.ctx.request(c.SESSION_REVOKE, asked, type=c.RevokeReply)
        return reply


def _one_of(value: str, values: tuple[str, ...], name: str) -> str:
    if value not in values:
        raise InvalidRequest(f"expected one of {', '.join(item for item in values if item)}, got another", address=name)
    return value
