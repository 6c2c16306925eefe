"""Tokens on the bus: issued, refreshed, ended; the keys they are verified with; what was ended."""

from __future__ import annotations

from msgspec.structs import replace
from rustcare_sdk import Message, RustCareError, serve
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.credentials import ADMIN, Credentials
from rustcare_plugin_identity.keys.api_keys import ApiKey
from rustcare_plugin_identity.sessions.devices import clean_name
from rustcare_plugin_identity.sessions.model import Session
from rustcare_plugin_identity.sessions.rights import Held
from rustcare_plugin_identity.sessions.scopes import checked

from .access import Grant, Minted
from .errors import RefreshReused, ScopeNotHeld, TokenForbidden
from .jose import read
from .lifetimes import settings_under
from .refresh import Family, family_of

__all__ = ["TokenServices"]


class TokenServices(Credentials):
    """Issue, refresh, revoke, rotate; JWKS and revocations."""

    @serve(identity.JWKS)
    async def jwks(self, message: Message[identity.JwksRequest]) -> identity.JwksReply:
        """The keys that tokens are verified with."""
        return identity.JwksReply(self.tokens.issuer, self.signing.jwks())

    @serve(identity.REVOCATIONS)
    async def revocations_since(self, message: Message[identity.RevocationsRequest]) -> identity.RevocationsReply:
        """What was ended since."""
        revision, found = await self.revocations.since(message.data.since)
        return identity.RevocationsReply(revision, found)

    @serve(identity.TOKEN_ISSUE)
    async def token_issue(self, message: Message[identity.IssueRequest]) -> identity.TokenReply:
        """An access token with at most what its holder may do; of another's account for administrators alone."""
        asked = message.data
        now = self.time()
        account = await self.meant(message, asked.account, ADMIN)
        if not self.may_sign_in(account):
            raise TokenForbidden("expected an account that may sign in, got one that may not", address="account")
        session, key = await self._bound(account, asked.session)
        if key is not None and asked.refresh:
            raise TokenForbidden("expected a session, since a refresh token outlives the key it is asked with")
        held = await self.rights.of(account, session)
        if key is not None and key.scopes:
            held = held.only(key.scopes)
        held = narrowed_to(held, asked.scopes)
        audience = self.tokens.checked_audience(asked.audience)
        lifetime = self.tokens.checked_lifetime(
            asked.lifetime, settings_under(self.token_settings, account.tenant).lifetime
        )
        refresh_token = ""
        carrier = session
        if asked.refresh or (session is not None and held.until):
            # What is made under an elevation has a session of its own, so that it can be ended with the elevation.
            carrier = self._child(account, session, asked.device, now, held.until)
            if asked.refresh:
                _, refresh_token = await self.families.begin(carrier, audience, checked(asked.scopes))
                await self.make_room(carrier)
            else:
                carrier = replace(carrier, expires=min(carrier.expires, now + lifetime))  # it is of this one token
                async with self.ctx.db.transaction() as tx:
                    await self.sessions.insert(tx, carrier)
        grant = self.grant(account, carrier, held, audience)
        if key is not None:
            grant = replace(grant, session=key.id, ends=key.expires)
        minted = await self.tokens.mint(grant, lifetime, at=now)
        if message.principal != account.principal:
            await self.event(
                "token.issued", account=account.id, details={"by": message.principal or "operator", "jti": minted.jti}
            )
        return identity.TokenReply(minted.token, minted.expires_in, list(held.scopes), refresh_token)

    async def _bound(self, account: Account, id: str) -> tuple[Session | None, ApiKey | None]:
        """What a token is to end with: a session, or a key or certificate, of this account. Raises TokenForbidden."""
        if not id:
            return None, None
        owner = (account.tenant, account.id)
        session = await self.sessions.get(id)
        if session is not None and (session.tenant, session.account) == owner and session.aal:
            return session, None
        key = await self.keys.good(id) if session is None else None
        if key is not None and (key.tenant, key.account) == owner:
            return None, key
        raise TokenForbidden("expected a session or key of this account that has not ended", address="session")

    def _child(self, account: Account, session: Session | None, device: str, now: float, until: float) -> Session:
        """A session of tokens, that ends with the one it was made in."""
        name = clean_name(device) or (session.device if session is not None else account.name)
        return Session(
            self.sessions.new_id(),
            account.tenant,
            account.id,
            "token",
            session.aal if session is not None else 1,
            session.amr if session is not None else (),
            name,
            session.address if session is not None else "",
            now,
            session.authenticated if session is not None else now,
            now,
            until or now + self.families.lifetimes(account.tenant).refresh_absolute,
            # Never a child of a child: whoever ends the first one ends all that came of it.
            parent=(session.parent or session.id) if session is not None else "",
            elevation=session.elevation if session is not None and until else "",
        )

    def grant(self, account: Account, session: Session | None, held: Held, audience: str) -> Grant:
        """What a token says of an account, in a session."""
        level, ends = 1, held.until
        if session is not None:
            limits = self.sessions.limits(session.tenant, session.aal)
            level = session.level(limits, self.time())
            ends = min(end for end in (held.until, session.expires_at(limits)) if end)
        return Grant(
            account.principal,
            account.tenant,
            audience,
            held.scopes,
            held.roles,
            level,
            session.amr if session is not None else (),
            session.authenticated if session is not None else 0.0,
            session.id if session is not None else "",
            held.on_behalf,
            held.purpose,
            ends,
            account.not_before,
        )

    @serve(identity.TOKEN_REFRESH)
    async def token_refresh(self, message: Message[identity.RefreshRequest]) -> identity.TokenReply:
        """The next pair. Raises RefreshRefused, RefreshReused, ScopeNotHeld."""
        asked = message.data
        now = self.time()
        made: list[tuple[Account, Held, Minted]] = []

        async def allowed(session: Session, family: Family) -> bool:
            account = await self.accounts.get(session.tenant, session.account)
            if account is None or not self.may_sign_in(account) or session.created < account.not_before:
                return False
            if session.tenant != message.tenant or not await self._parent_lives(session):
                return False
            # Made before the family turns: who asks for too much, or finds the keyring away, keeps the token they have.
            held = await self.rights.of(account, session)
            if family.scopes:
                held = held.only(family.scopes)
            held = narrowed_to(held, asked.scopes)
            lifetime = settings_under(self.token_settings, account.tenant).lifetime
            minted = await self.tokens.mint(self.grant(account, session, held, family.audience), lifetime, at=now)
            made.append((account, held, minted))
            return True

        try:
            turned = await self.families.turn(asked.refresh_token, allowed)
        except RefreshReused as error:
            await self.event(
                "token.reused",
                outcome="failure",
                account=made[0][0].id,
                session=family_of(asked.refresh_token),
                code=error.code,
                details={"alert": "refresh token reused"},
            )
            raise
        _, held, minted = made[0]
        return identity.TokenReply(minted.token, minted.expires_in, list(held.scopes), turned.token)

    async def _parent_lives(self, session: Session) -> bool:
        """Whether the session that tokens end with is good; that they are used is use of it."""
        if not session.parent:
            return True
        parent = await self.sessions.get(session.parent)
        return parent is not None and await self.sessions.used(parent) is not None

    @serve(identity.TOKEN_REVOKE)
    async def token_revoke(self, message: Message[identity.RevokeTokenRequest]) -> identity.RevokeReply:
        """End a token: of a family all of it. Who holds it may; what is no token of ours is no error (RFC 7009)."""
        token = message.data.token
        if family_of(token):
            session = await self.families.named(token)
            if session is None or session.tenant != message.tenant:
                return identity.RevokeReply(0)
            ended = await self.sessions.revoke(tenant=session.tenant, session=session.id, reason="token revoked")
            if ended:
                await self.event("token.revoked", account=session.account, session=session.id)
            return identity.RevokeReply(len(ended))
        try:
            parts = read(token)
        except ValueError:
            return identity.RevokeReply(0)
        jti, tenant, expires = (parts.claims.get(name) for name in ("jti", "tenant", "exp"))
        if not (isinstance(jti, str) and isinstance(expires, int) and tenant == message.tenant):
            return identity.RevokeReply(0)
        if expires <= self.time() or not await self.signing.verify(parts.header, parts.signed, parts.signature):
            return identity.RevokeReply(0)
        async with self.ctx.db.transaction() as tx:
            if await self.revocations.has(tx, "token", jti):
                return identity.RevokeReply(0)  # else one token could fill the list
            told = await self.revocations.note(tx, "token", jti, message.tenant, until=float(expires))
        await self.tell([told])
        account = str(parts.claims.get("sub", "")).partition("/")[2]
        await self.event("token.revoked", account=account, details={"jti": jti})
        return identity.RevokeReply(0)

    @serve(identity.TOKEN_ROTATE)
    async def token_rotate(self, message: Message[identity.TokenRotateRequest]) -> identity.JwksReply:
        """A new key to sign with, for administrators of the whole."""
        asked = message.data
        self.need_system(message)
        if not await self.holds(message, ADMIN):
            raise TokenForbidden("expected an administrator, or the operator, got another caller")
        if asked.algorithm and asked.algorithm not in self.signing.algorithms:
            raise TokenForbidden(
                f"expected one of {', '.join(self.signing.algorithms)}, got another", address="algorithm"
            )
        await self.event("token.key-rotated", details={"at_once": str(asked.at_once).lower()})
        try:
            await self.signing.rotate(asked.algorithm, at_once=asked.at_once)
        except RustCareError as error:
            self.ctx.log.error("a key could not be turned over", code=error.code)
            raise
        finally:
            await self.tell_keys()
        return identity.JwksReply(self.tokens.issuer, self.signing.jwks())


def narrowed_to(held: Held, asked: list[str]) -> Held:
    """What is held of what was asked for; all of it when nothing was. Raises ScopeInvalid, ScopeNotHeld."""
    if not asked:
        return held
    found = held.only(checked(asked))
    if not found.scopes:
        raise ScopeNotHeld("expected at least one scope that the account holds, got none", address="scopes")
    return found
