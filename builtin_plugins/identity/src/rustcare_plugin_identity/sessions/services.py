"""Whose credential something is, and sessions as their holders and administrators handle them."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.credentials import READ, WRITE, Credentials
from rustcare_plugin_identity.tenants import DEFAULT

from .errors import CredentialRefused
from .limits import KEEP
from .rights import Held

__all__ = ["SessionServices"]


class SessionServices(Credentials):
    """Authenticate; list, name and end sessions."""

    @serve(identity.AUTHENTICATE)
    async def authenticate(self, message: Message[identity.AuthenticateRequest]) -> identity.Authenticated:
        """Whose it is, and what they may do now. Raises CredentialRefused, always with the same text."""
        asked = message.data
        if asked.kind == "session":
            return await self._by_session(asked)
        key = await self.keys.find(asked.kind, asked.credential)
        account = await self.accounts.get(key.tenant, key.account) if key is not None else None
        if key is None or account is None or not self._good(account, asked.tenant):
            raise _refused()
        held = await self.rights.of(account)
        if key.scopes:
            held = held.only(key.scopes)
        keep = self.time() + KEEP
        return identity.Authenticated(
            account.principal,
            account.tenant,
            held.scopes,
            held.roles,
            session=key.id,
            name=account.display_name or account.name,
            keep=min(keep, key.expires) if key.expires else keep,
        )

    async def _by_session(self, asked: identity.AuthenticateRequest) -> identity.Authenticated:
        session = await self.sessions.find(asked.credential)
        account = await self.accounts.get(session.tenant, session.account) if session is not None else None
        if session is None or account is None or not self._good(account, asked.tenant):
            raise _refused()
        held = await self.rights.of(account, session) if session.aal else Held((), ())
        now = self.time()
        limits = self.sessions.limits(session.tenant, session.aal)
        ends = [now + KEEP, session.idle_at(limits), *([held.until] if held.until else [])]
        return identity.Authenticated(
            account.principal,
            account.tenant,
            held.scopes,
            held.roles,
            session.level(limits, now),
            session.id,
            session.authenticated,
            held.on_behalf,
            held.purpose,
            account.display_name or account.name,
            min(ends),
        )

    def _good(self, account: Account, tenant: str) -> bool:
        # Callers of the default tenant look after the whole; all others are nobody elsewhere.
        return self.may_sign_in(account) and (not tenant or account.tenant in (tenant, DEFAULT))

    @serve(identity.SESSION_LIST)
    async def session_list(self, message: Message[identity.SessionsRequest]) -> identity.SessionsReply:
        """The sessions of the caller, or, for administrators, of another."""
        account = await self.meant(message, message.data.account, READ)
        found = await self.sessions.of(account.tenant, account.id)
        return identity.SessionsReply(
            [one.info(self.sessions.limits(one.tenant, one.aal), message.data.current) for one in found]
        )

    @serve(identity.SESSION_REVOKE)
    async def session_revoke(self, message: Message[identity.RevokeRequest]) -> identity.RevokeReply:
        """End sessions: durable, and everybody was told, when this answers."""
        asked = message.data
        account = asked.account
        if asked.session and not account and await self.holds(message, WRITE):
            session = await self.sessions.get(asked.session)
            if session is None or session.tenant != message.tenant:
                return identity.RevokeReply(0)
            account = session.account
        holder = await self.meant(message, account, WRITE)
        ended = await self.sessions.revoke(
            tenant=holder.tenant, account=holder.id, session=asked.session, keep=asked.keep, reason=asked.reason
        )
        await self.event(
            "session.ended",
            account=holder.id,
            session=asked.session,
            details={"count": str(len(ended)), "by": message.principal or "operator"},
        )
        return identity.RevokeReply(len(ended))

    @serve(identity.SESSION_RENAME)
    async def session_rename(self, message: Message[identity.SessionRenameRequest]) -> identity.SessionReply:
        """Give the device of one's own session a name. Raises SessionUnknown."""
        account = await self.own_account(message)
        session = await self.sessions.rename(account.tenant, account.id, message.data.session, message.data.name)
        return identity.SessionReply(session.info(self.sessions.limits(session.tenant, session.aal)))


def _refused() -> CredentialRefused:
    return CredentialRefused("expected a credential that is good", hint="sign in again")
