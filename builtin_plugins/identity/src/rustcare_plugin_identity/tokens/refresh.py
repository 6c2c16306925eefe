"""Families of refresh tokens: each token is used once, and one that is used again ends them all.

A family is a session of kind `token` with a counter, its generation. The token of a generation is computed, not stored:
`rcr_<family>.<generation>.<code>`, the code by a key of the keyring over the two. So

- the store holds nothing that could be used, not even a hash;
- the successor of a token is the same whoever asks for it, which makes the grace idempotent: a client whose answer was lost,
  or whose other tab was faster, gets the very token that the first one got.

| a token of generation | comes when the family's generation is | |
|---|---|---|
| n | n | the generation becomes n + 1 in one compare-and-set; the answer is token n + 1 |
| n - 1 | n, for the grace since it became n | nothing changes; the answer is token n |
| n - 1 | n, later | reuse: the family, and the tokens made of it, end |
| any other | n | reuse |
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from rustcare_sdk import Database, RustCareError
from rustcare_sdk.contracts.identity import Revocation

from rustcare_plugin_identity.rows import from_row, insert
from rustcare_plugin_identity.sessions.model import Session, session_of
from rustcare_plugin_identity.sessions.sessions import Sessions

from .errors import RefreshRefused, RefreshReused
from .jose import b64u
from .lifetimes import TokenSettings, settings_under
from .vault import REFRESH_KEY, Vault

__all__ = ["Families", "Family", "Turned", "family_of"]

_TOKEN = re.compile(r"rcr_([A-Za-z0-9_-]{22})\.(0|[1-9][0-9]{0,15})\.([A-Za-z0-9_-]{43})")
_LONGEST_TOKEN = 200
#: The keyring's word for a version that was disabled or destroyed, and with it the tokens that it computed.
_KEY_GONE = "crypto.key-state"


class Family(msgspec.Struct, frozen=True):
    """A family: `generation` is that of the token that is good, `rotated` since when."""

    id: str
    generation: int
    rotated: float
    expires: float
    ended: float
    version: int
    audience: str
    scopes: tuple[str, ...]


class Turned(msgspec.Struct, frozen=True):
    """A rotation: the session, the family, and the token to use next. `won`: this call made it; else it was the grace."""

    session: Session
    family: Family
    token: str
    won: bool

    def __repr__(self) -> str:
        return f"Turned(session={self.session.id!r}, generation={self.family.generation}, won={self.won})"


def family_of(token: str) -> str:
    """The family that a text of the form of a refresh token names, else empty."""
    found = _TOKEN.fullmatch(token) if len(token) <= _LONGEST_TOKEN else None
    return found[1] if found else ""


class Families:
    """All families.

    Args:
        settings: those of a tenant; of the empty one, those that hold for all.
        tell: tells everybody of revocations that are committed.
        grace: seconds after a rotation in which the token before is answered with the same successor.
    """

    def __init__(
        self,
        db: Database,
        time: Callable[[], float],
        vault: Vault,
        sessions: Sessions,
        settings: Callable[[str], TokenSettings],
        tell: Callable[[Sequence[Revocation]], Awaitable[None]],
        grace: float = 10.0,
    ) -> None:
        self._db = db
        self._time = time
        self._vault = vault
        self._sessions = sessions
        self._settings = settings
        self._tell = tell
        self._grace = grace
        self._version = 0

    async def open(self) -> None:
        """Make the key at the first start, and learn which version is to be used."""
        await self._vault.make(REFRESH_KEY, "hmac-sha256")
        self._version = await self._vault.primary(REFRESH_KEY)

    def lifetimes(self, tenant: str) -> TokenSettings:
        """Those of a tenant."""
        return settings_under(self._settings, tenant)

    async def _tokens(self, family: str, version: int, generations: Sequence[int]) -> list[str]:
        covered = [f"rustcare refresh\0{family}\0{generation}".encode() for generation in generations]
        codes = await self._vault.codes(REFRESH_KEY, version, covered)
        return [f"rcr_{family}.{generation}.{b64u(code)}" for generation, code in zip(generations, codes, strict=True)]

    async def begin(self, session: Session, audience: str, scopes: Sequence[str]) -> tuple[Family, str]:
        """A family of a new session of kind `token`, and its first token; both are written in one transaction.

        Its end is that of the session, at most `refresh_absolute` from now.
        """
        now = self._time()
        limit = self.lifetimes(session.tenant).refresh_absolute
        session = msgspec.structs.replace(session, expires=min(session.expires or now + limit, now + limit))
        family = Family(session.id, 0, now, session.expires, 0.0, self._version, audience, tuple(scopes))
        token = (await self._tokens(family.id, family.version, [0]))[0]
        async with self._db.transaction() as tx:
            await self._sessions.insert(tx, session)
            await insert(tx, "families", family, "scopes")
        return family, token

    async def _genuine(self, token: str) -> tuple[Family, Session, int, str] | None:
        """The family, session and generation of a token that is one of ours, and its successor."""
        found = _TOKEN.fullmatch(token) if len(token) <= _LONGEST_TOKEN else None
        if found is None:
            return None
        row = await self._db.fetch_one("SELECT * FROM families WHERE id = ?", (found[1],))
        held = await self._db.fetch_one("SELECT * FROM sessions WHERE id = ?", (found[1],))
        if row is None or held is None:
            return None
        family, generation = _family(row), int(found[2])
        try:
            presented, successor = await self._tokens(family.id, family.version, [generation, generation + 1])
        except RustCareError as error:
            if error.code != _KEY_GONE:
                raise
            return None
        if not hmac.compare_digest(presented, token):
            return None
        return family, session_of(held), generation, successor

    async def named(self, token: str) -> Session | None:
        """The session of a genuine token, whatever has become of either."""
        found = await self._genuine(token)
        return None if found is None else found[1]

    async def turn(self, token: str, allowed: Callable[[Session, Family], Awaitable[bool]]) -> Turned:
        """Use a token.

        Args:
            allowed: whether the session's holder may still have one; asked before anything changes, and what it raises
                leaves all as it was.

        Raises:
            RefreshRefused: it is none of ours, or its family has ended, or its holder may not.
            RefreshReused: it was used before; its family has ended now.
        """
        genuine = await self._genuine(token)
        if genuine is None:
            raise _refused()
        family, session, generation, successor = genuine
        if not family.ended and not await allowed(session, family):
            raise _refused()
        lifetimes = self.lifetimes(session.tenant)
        idle, absolute = lifetimes.refresh_idle, session.created + lifetimes.refresh_absolute
        now = self._time()
        told: list[Revocation] = []
        outcome: Literal["won", "grace", "reused", "refused"] = "refused"
        async with self._db.transaction() as tx:
            row = await tx.fetch_one("SELECT * FROM families WHERE id = ?", (family.id,))
            if row is not None:
                family = _family(row)
                family = msgspec.structs.replace(family, expires=min(family.expires, absolute))
                outcome = _outcome(family, generation, now, idle, self._grace)
            if outcome == "won" and not await tx.execute(
                "UPDATE families SET generation = generation + 1, rotated = ? WHERE id = ? AND generation = ? AND ended = 0",
                (now, family.id, generation),
            ):
                outcome = "refused"  # it cannot happen while transactions are serial; if it does, nobody has won
            if outcome == "won":
                await tx.execute("UPDATE sessions SET seen = ? WHERE id = ?", (now, family.id))
                family = msgspec.structs.replace(family, generation=generation + 1, rotated=now)
                session = msgspec.structs.replace(session, seen=now)
            if outcome == "reused":
                _, told = await self._sessions.end(
                    tx, tenant=session.tenant, session=session.id, reason="refresh token reused"
                )
        if outcome == "refused":
            raise _refused()
        if outcome == "reused":
            await self._tell(told)
            raise RefreshReused(
                "expected a refresh token that was not used before; all tokens of its family have ended",
                hint="sign in again",
            )
        return Turned(session, family, successor, outcome == "won")


def _outcome(
    family: Family, generation: int, now: float, idle: float, grace: float
) -> Literal["won", "grace", "reused", "refused"]:
    if family.ended or now >= family.expires:
        return "refused"
    if generation == family.generation:
        # Who comes too late is refused; that is no reuse, so the family is left to lie.
        return "won" if now < family.rotated + idle else "refused"
    if generation == family.generation - 1 and now <= family.rotated + grace:
        return "grace"
    return "reused"


def _refused() -> RefreshRefused:
    return RefreshRefused("expected a refresh token that is good", hint="sign in again")


def _family(row: Mapping[str, Any]) -> Family:
    return from_row(Family, row, "scopes")
