"""Who a credential belongs to. Sessions, keys and certificates are asked about (`identity.authenticate`), and the answers kept.

An answer is kept under the SHA-256 of the credential for as long as it says, and dropped the moment that something is revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Literal

from rustcare_sdk.context import Context
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.contracts.identity import AUTHENTICATE, Authenticated, AuthenticateRequest, Revocation
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_gateway.errors import Unauthenticated

__all__ = ["Authenticator"]

Kind = Literal["token", "key", "session", "certificate"]


class Authenticator:
    """Finds out callers. `clock` gives Unix seconds."""

    def __init__(self, ctx: Context, config: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self._ctx = ctx
        self._clock = clock
        self._half = max(1, int(config["tokens"]["cache"]) // 2)
        self._young: dict[bytes, tuple[Caller, float]] = {}
        self._old: dict[bytes, tuple[Caller, float]] = {}

    async def start(self) -> None:
        """Nothing to do beforehand."""

    async def stop(self) -> None:
        """Forget everything."""
        self._young, self._old = {}, {}

    def forget(self, revocation: Revocation) -> None:
        """Something was revoked: every credential is asked about again."""
        self._young, self._old = {}, {}

    def cached(self, kind: Kind, credential: str) -> Caller | None:
        """The caller, if that is known already."""
        key = sha256(credential.encode("latin-1", "replace")).digest()
        found = self._young.get(key) or self._old.get(key)
        return found[0] if found is not None and found[1] > self._clock() else None

    async def authenticate(self, kind: Kind, credential: str, tenant: str, address: str) -> Caller:
        """The caller. Raises Unauthenticated, or what stands in the way of finding out."""
        if kind == "token":
            raise Unauthenticated("expected a session, a key or a certificate", error="invalid_token")
        try:
            found: Authenticated = await self._ctx.request(
                AUTHENTICATE, AuthenticateRequest(kind, credential, tenant, address), type=Authenticated
            )
        except RustCareError as error:
            if not error.code.startswith("identity."):
                raise
            raise Unauthenticated("expected a credential that is valid", error="invalid_token") from error
        caller = Caller(
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
        if found.keep > self._clock():
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}
            self._young[sha256(credential.encode("latin-1", "replace")).digest()] = (caller, found.keep)
        return caller
