"""A session as it is stored, and what it says of itself at a point in time."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

import msgspec
from rustcare_sdk.contracts.identity import SessionInfo

from rustcare_plugin_identity.rows import from_row

from .limits import Limits

__all__ = ["Session", "digest_of", "session_of"]


def digest_of(credential: str) -> str:
    """What is stored of a credential, and what a gateway keeps it under: its SHA-256, hex."""
    return sha256(credential.encode("utf-8", "surrogatepass")).hexdigest()


class Session(msgspec.Struct, frozen=True):
    """A row. `kind` `browser`: its credential is a cookie; `token`: tokens carry its id as `sid`, and it has no cookie.
    `aal` 0: its user must enrol a second factor first, and may do nothing else.

    `authenticated`: when its user last proved who they are, to the level `aal` by the methods `amr` (RFC 8176). `expires`:
    the latest end there can be. `parent`: a session that it ends with. `elevation`: the one in force in it, if any.
    """

    id: str
    tenant: str
    account: str
    kind: Literal["browser", "token"]
    aal: int
    amr: tuple[str, ...]
    device: str
    address: str
    created: float
    authenticated: float
    seen: float
    expires: float
    parent: str = ""
    elevation: str = ""
    ended: float = 0.0
    reason: str = ""

    def expires_at(self, limits: Limits) -> float:
        """When it ends, however much it is used."""
        if self.kind == "token":
            return self.expires
        # A session may be older than the level that it was raised to may last: that counts from the proof.
        return min(self.expires, max(self.created, self.authenticated) + limits.absolute)

    def idle_at(self, limits: Limits) -> float:
        """When it ends unless it is used. Tokens have limits of their own (`tokens.refresh`)."""
        return self.expires if self.kind == "token" else min(self.seen + limits.idle, self.expires_at(limits))

    def alive(self, limits: Limits, now: float) -> bool:
        """Whether it is still good, as far as it knows."""
        return not self.ended and now < self.idle_at(limits)

    def level(self, limits: Limits, now: float) -> int:
        """The assurance level that still holds: one above 1 wears off when who it is was proved too long ago."""
        return self.aal if now < self.authenticated + limits.absolute else min(self.aal, 1)

    def info(self, limits: Limits, current: str = "") -> SessionInfo:
        """As it is told. `current`: the id of the session that asks."""
        return SessionInfo(
            self.id,
            self.account,
            self.tenant,
            self.aal,
            list(self.amr),
            self.device,
            self.address,
            self.created,
            self.seen,
            self.idle_at(limits),
            self.expires_at(limits),
            self.id == current,
        )


def session_of(row: Mapping[str, Any]) -> Session:
    """A session from its row."""
    return from_row(Session, row, "amr")
