"""Who a credential belongs to: looked up, verified here (tokens), or asked of identity (sessions, keys, certificates).

What was found out is kept until it ends or is revoked. Nothing is accepted that was revoked before it was asked about: an
answer that was under way while its credential was revoked is thrown away, and while a revocation may have been missed nothing
that identity vouches for counts, until the missing ones are known.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rustcare_sdk.context import Context
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.contracts.identity import (
    AUTHENTICATE,
    REVOCATIONS,
    Authenticated,
    AuthenticateRequest,
    JwksReply,
    Revocation,
    RevocationsReply,
    RevocationsRequest,
)
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_gateway.errors import IdentityUnavailable, Unauthenticated

from .cache import Cache, Entry, Kind, digest_of
from .claims import check, text_of
from .issuers import Issuers
from .jws import Jws, TokenRefused, read_token, verified
from .refused import Refused
from .revisions import Revisions
from .revoked import Revoked, account_name

__all__ = ["Authenticator"]

#: Seconds between two questions for revocations, should an event have been missed; and after one that was not answered.
_REFRESH, _AGAIN = 15.0, 1.0
_ASK = 10.0  # seconds that identity has for an answer
_TRIES = 4
_MAX_CREDENTIAL = 4_096  # characters of a session, a key or a fingerprint
_REFUSED_KEPT = 20_000
_REVOKED_KEPT = 200_000
_REFUSED_BY_IDENTITY = "identity.credential-refused"
#: Seconds for which a session that does not exist is remembered as that. Keys and certificates are not: one that was refused
#: may be created, or bound, in the next moment.
_KEEP_SESSION = 2.0
_MET = 60.0  # seconds for which a credential that was refused is known as one that is repeated


class Authenticator:
    """Finds out callers.

    Args:
        config: the plugin's configuration; `tokens` of it counts here.
        clock: Unix seconds. steady: seconds that only grow.

    Raises:
        InvalidSettings: a foreign issuer is configured wrongly.
    """

    def __init__(
        self,
        ctx: Context,
        config: Mapping[str, Any],
        clock: Callable[[], float],
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ctx = ctx
        self._clock = clock
        self._steady = steady
        self._cache = Cache(int(config["tokens"]["cache"]), clock)
        self._refused = Refused(_REFUSED_KEPT, clock)
        self._met = Refused(_REFUSED_KEPT, clock)  # what was refused, to be looked at again, but no guess any more
        self._revoked = Revoked(_REVOKED_KEPT, clock)
        self._revisions = Revisions()
        self._issuers = Issuers(ctx, config["tokens"], steady, self._keys_gone)
        self._asking: dict[tuple[str, bytes, str], asyncio.Task[Caller]] = {}
        self._catching: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._cache)

    # its life

    async def start(self) -> None:
        """Learn what was revoked and the keys, if identity is there already; follow both from now on."""
        try:
            await self._caught_up()
            await self._issuers.load_own()
        except RustCareError as error:
            self._ctx.log.info("identity does not answer yet", code=error.code)
        self._ctx.spawn(self._follow(), name="revocations")

    async def stop(self) -> None:
        """End what is under way, and forget everything."""
        tasks: list[asyncio.Task[Any]] = [*self._asking.values()]
        if self._catching is not None:
            tasks.append(self._catching)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._issuers.close()
        self._cache.clear()
        self._refused.clear()
        self._met.clear()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_AGAIN if self._revisions.behind else _REFRESH)
            try:
                await self._catch_up()
                await self._issuers.load_own()
            except RustCareError as error:
                self._ctx.log.debug("revocations could not be read", code=error.code)

    # the hot path

    def cached(self, kind: Kind, credential: str) -> Caller | None:
        """The caller, if that is known already."""
        return None if self._revisions.behind else self._cache.get(kind, digest_of(credential))

    # the others

    async def authenticate(self, kind: Kind, credential: str, tenant: str, address: str) -> Caller:
        """Find out the caller.

        Args:
            tenant: the one that the request names, empty when it names none.
            address: the client's.

        Raises:
            Unauthenticated: it is nobody's, or not valid (any more).
            IdentityUnavailable, or identity's own error: it cannot be found out now.
        """
        digest = digest_of(credential)
        key = (kind, digest, "" if kind == "token" else tenant)
        refusal = self._refused.get(key)
        if refusal is not None:
            raise _unauthenticated(refusal.text, again=True)
        try:
            if kind == "token":
                return await self._by_token(credential, digest)
            return await self._by_identity(kind, credential, digest, tenant, address)
        except TokenRefused as error:
            again = self._met.get(key) is not None
            self._met.put(key, "", _MET)
            self._refused.put(key, str(error), error.keep)
            raise _unauthenticated(str(error), again) from None

    async def _by_token(self, credential: str, digest: bytes) -> Caller:
        if not credential.isascii():
            raise TokenRefused("expected a token in ASCII")
        jws = read_token(credential.encode())
        name = jws.claims.get("iss")
        if not isinstance(name, str):
            raise TokenRefused("expected a token of an issuer that is known")
        issuer = await self._issuers.find(name)
        if jws.type not in issuer.types:
            raise TokenRefused("expected an access token")
        now = self._clock()
        times = check(
            jws.claims,
            issuer=issuer.name,
            audience=issuer.audience,
            now=now,
            leeway=issuer.leeway,
            grace=issuer.grace,
        )
        while True:
            if issuer.own:
                await self._caught_up()
            key = await issuer.keys.find(jws.kid)
            # From here on nothing waits, so nothing is revoked between the last look and the acceptance.
            if not (issuer.own and self._revisions.behind):
                break
        claims = verified(jws, key)
        caller = issuer.caller(claims)
        by_key = ("key", issuer.name, key.kid)
        if issuer.own:
            names = (by_key, *self._own_names(jws, caller, times.issued))
            ends = times.ends
        else:
            # When its keys are read again, it is looked at again: the issuer may have withdrawn its key.
            names, ends = (by_key,), min(times.ends, now + max(60.0, issuer.keys.expires - self._steady()))
        if ends > now:
            self._cache.put(digest, Entry("token", caller, ends, names))
        return caller

    def _own_names(self, jws: Jws, caller: Caller, issued: float) -> tuple[tuple[str, ...], ...]:
        jti = text_of(jws.claims, "jti")
        if not jti or not issued:
            raise TokenRefused("expected an access token with jti and iat")
        if self._revoked.covers_token(caller, jti, issued):
            raise TokenRefused("the token was revoked")
        session = (("session", caller.session),) if caller.session else ()
        return (account_name(caller), ("token", jti), *session)

    async def _by_identity(self, kind: Kind, credential: str, digest: bytes, tenant: str, address: str) -> Caller:
        if not credential or len(credential) > _MAX_CREDENTIAL or not credential.isascii():
            raise TokenRefused("expected a credential that is valid")
        key = (kind, digest, tenant)
        task = self._asking.get(key)
        if task is None:
            # In a context of its own: who asks first must not lend the others its deadline.
            task = self._asking[key] = asyncio.get_running_loop().create_task(
                self._ask(kind, credential, digest, tenant, address), context=contextvars.Context()
            )
            task.add_done_callback(lambda done: self._asked(key, done))
        return await asyncio.shield(task)

    def _asked(self, key: tuple[str, bytes, str], task: asyncio.Task[Caller]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # it was raised to those who waited, if any still did

    async def _ask(self, kind: Kind, credential: str, digest: bytes, tenant: str, address: str) -> Caller:
        assert kind != "token", "tokens are verified here"
        request = AuthenticateRequest(kind, credential, tenant, address)
        for _ in range(_TRIES):
            await self._caught_up()
            turn = self._revoked.turn
            try:
                found: Authenticated = await self._ctx.request(AUTHENTICATE, request, timeout=_ASK, type=Authenticated)
            except RustCareError as error:
                if error.code != _REFUSED_BY_IDENTITY:
                    raise
                keep = _KEEP_SESSION if kind == "session" else 0.0
                raise TokenRefused("expected a credential that is valid", keep) from None
            caller = _caller(kind, found)
            if self._revisions.behind or self._revoked.since(turn, caller, digest):
                # The answer may be older than what was revoked since the question.
                continue
            if found.keep > self._clock():
                session = (("session", caller.session),) if caller.session else ()
                self._cache.put(digest, Entry(kind, caller, found.keep, (account_name(caller), *session)))
            return caller
        raise IdentityUnavailable("what the caller may do changes too fast to be found out", hint="try again")

    # what changes

    def forget(self, revocation: Revocation) -> None:
        """Something was revoked: it is not accepted any more when this returns."""
        self._apply(revocation)
        self._revisions.heard(revocation.revision)

    def keys_changed(self, reply: JwksReply) -> None:
        """Identity's keys are others now; tokens by keys that are no more are not accepted any more when this returns."""
        self._refused.clear()
        self._issuers.own_changed(reply)

    def _keys_gone(self, issuer: str, kids: Iterable[str]) -> None:
        for kid in kids:
            self._cache.forget(("key", issuer, kid))

    def _apply(self, revocation: Revocation) -> None:
        name = self._revoked.note(revocation)
        if name[0] != "credential":
            self._cache.forget(name)
            return
        try:
            self._cache.forget_credential(bytes.fromhex(name[1]))
        except ValueError:
            self._ctx.log.error("a revocation names no credential", revision=revocation.revision)

    async def _caught_up(self) -> None:
        """Wait until no revocation is missing. Raises identity's error when it does not answer."""
        while self._revisions.behind:
            await self._catch_up()

    async def _catch_up(self) -> None:
        if self._catching is None:
            self._catching = asyncio.get_running_loop().create_task(self._read(), context=contextvars.Context())
        await asyncio.shield(self._catching)

    async def _read(self) -> None:
        try:
            since = self._revisions.ask()
            reply = await self._since(since)
            if reply.revision < since:
                reply = await self._since(0)
            for revocation in reply.revocations:
                self._apply(revocation)
            self._revisions.answered(reply.revision)
        finally:
            self._catching = None

    async def _since(self, revision: int) -> RevocationsReply:
        reply: RevocationsReply = await self._ctx.request(
            REVOCATIONS, RevocationsRequest(revision), timeout=5.0, type=RevocationsReply
        )
        return reply


def _caller(kind: Kind, found: Authenticated) -> Caller:
    return Caller(
        found.principal,
        found.tenant,
        kind,
        tuple(found.scopes),
        tuple(found.roles),
        found.aal,
        found.session,
        found.authenticated,
        found.on_behalf,
        found.purpose,
        found.name,
    )


def _unauthenticated(text: str, again: bool = False) -> Unauthenticated:
    return Unauthenticated(text, error="invalid_token", hint="sign in again, or get another token", again=again)
