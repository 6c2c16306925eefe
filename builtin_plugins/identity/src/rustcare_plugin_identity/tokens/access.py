"""Access tokens: what one says (RFC 9068), made from what its holder may do at this moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from .errors import AudienceInvalid, LifetimeInvalid
from .jose import b64u
from .signing_keys import SigningKeys

__all__ = ["AccessTokens", "Grant", "Minted"]

_JTI = 16  # bytes
_LEAST = 10  # seconds
_AUDIENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9:/._~-]{0,199}")


class Grant(Struct, frozen=True):
    """What a token is to say. `ends`: the latest end (Unix seconds), 0 for none; `not_before`: that of the account.

    `authenticated`: when the holder proved who they are, to the level `aal` by the methods `amr`; 0 when it is a machine.
    """

    principal: str
    tenant: str
    audience: str
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    aal: int = 1
    amr: tuple[str, ...] = ()
    authenticated: float = 0.0
    session: str = ""
    on_behalf: str = ""
    purpose: str = ""
    ends: float = 0.0
    not_before: float = 0.0


class Minted(Struct, frozen=True):
    """A token, its id, and how many seconds it lasts."""

    token: str
    jti: str
    expires_in: int

    def __repr__(self) -> str:
        return f"Minted(jti={self.jti!r}, expires_in={self.expires_in})"


class AccessTokens:
    """Makes tokens.

    Args:
        issuer: their `iss`. audience: their `aud` unless another is asked for.
    """

    def __init__(
        self,
        keys: SigningKeys,
        time: Callable[[], float],
        random: Callable[[int], bytes],
        *,
        issuer: str,
        audience: str,
    ) -> None:
        self._keys = keys
        self._time = time
        self._random = random
        self.issuer = issuer
        self.audience = audience

    def checked_audience(self, asked: str) -> str:
        """An audience that may be in a token; the usual one for none. Raises AudienceInvalid."""
        if asked and not _AUDIENCE.fullmatch(asked):
            raise AudienceInvalid("expected at most 200 letters, digits and : / . _ ~ -", address="audience")
        return asked or self.audience

    @staticmethod
    def checked_lifetime(asked: int, usual: int) -> int:
        """Seconds that may be asked for: at most the usual, which 0 stands for. Raises LifetimeInvalid."""
        if asked < 0:
            raise LifetimeInvalid(f"expected seconds, 0 for the usual, got {asked}", address="lifetime")
        return max(_LEAST, min(asked or usual, usual))

    async def mint(self, grant: Grant, lifetime: int, *, at: float = 0.0) -> Minted:
        """Sign a token.

        Args:
            lifetime: seconds (`checked_lifetime`).
            at: when what it says was looked up, now if 0. A revocation after that also covers this token.
        """
        now = at or self._time()
        # Whole seconds, but where that would make what was begun after a revocation, in the same second, look older than it.
        issued = int(now) if int(now) >= grant.not_before else now
        ends = now + lifetime
        expires = int(min(ends, grant.ends) if grant.ends else ends)
        jti = b64u(self._random(_JTI))
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "sub": grant.principal,
            "aud": grant.audience,
            "exp": expires,
            "iat": issued,
            "nbf": int(now),
            "jti": jti,
            "client_id": grant.principal,
            "tenant": grant.tenant,
            "scope": " ".join(grant.scopes),
            "roles": list(grant.roles),
            "acr": f"aal{grant.aal}",
        }
        optional = {
            "amr": list(grant.amr),
            "auth_time": int(grant.authenticated),
            "sid": grant.session,
            "on_behalf": grant.on_behalf,
            "purpose": grant.purpose,
        }
        claims.update({name: value for name, value in optional.items() if value})
        return Minted(await self._keys.sign(claims), jti, max(0, expires - int(now)))
