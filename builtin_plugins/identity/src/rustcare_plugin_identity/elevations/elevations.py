"""Elevations: for a time, somebody may do more than they may (break-glass), or act for somebody else (delegation).

A break-glass access is of one session, begins at once, and waits until somebody else has reviewed it. A delegation is given by
the one on whose behalf it is; its delegate takes it up in a session when they act for the other, and lays it down after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from rustcare_sdk import Database
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts.identity import ElevationInfo

from rustcare_plugin_identity.rows import from_row, insert
from rustcare_plugin_identity.tokens.jose import b64u

from .errors import ElevationOver, ElevationUnknown

__all__ = ["Elevation", "Elevations"]

_ID = 16  # bytes
_PAGE = 1000


class Elevation(msgspec.Struct, frozen=True):
    """A row. `account` is who acts; `on_behalf` the account for which (of a delegation); `session` the one it was begun in."""

    id: str
    tenant: str
    kind: Literal["break-glass", "delegation"]
    account: str
    on_behalf: str
    session: str
    role: str
    scopes: tuple[str, ...]
    purpose: str
    patient: str
    reason: str
    begun: float
    ends: float
    ended: float = 0.0
    reviewed_by: str = ""
    reviewed: float = 0.0
    verdict: str = ""
    note: str = ""

    def alive(self, now: float) -> bool:
        """Whether it is in force."""
        return not self.ended and now < self.ends

    def info(self, now: float) -> ElevationInfo:
        """As it is told."""
        return ElevationInfo(
            self.id,
            self.kind,
            self.account,
            self.tenant,
            self.role,
            list(self.scopes),
            self.on_behalf,
            self.reason,
            self.begun,
            self.ended or self.ends,
            not self.alive(now),
            self.reviewed_by,
            self.verdict,
            purpose=self.purpose,
            patient=self.patient,
            note=self.note,
        )


class Elevations:
    """The elevations of all tenants."""

    def __init__(self, db: Database, time: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self._db = db
        self._time = time
        self._random = random

    def new_id(self) -> str:
        """An id for an elevation."""
        return b64u(self._random(_ID))

    async def insert(self, tx: Queries, elevation: Elevation) -> None:
        """Write one down."""
        await insert(tx, "elevations", elevation, "scopes")

    async def get(self, tenant: str, id: str) -> Elevation:
        """One of a tenant. Raises ElevationUnknown."""
        row = await self._db.fetch_one("SELECT * FROM elevations WHERE id = ? AND tenant = ?", (id, tenant))
        if row is None:
            raise ElevationUnknown("there is no such elevation in this tenant")
        return _elevation(row)

    async def in_force(self, id: str) -> Elevation | None:
        """One that is in force, else None."""
        row = await self._db.fetch_one("SELECT * FROM elevations WHERE id = ?", (id,))
        found = None if row is None else _elevation(row)
        return found if found is not None and found.alive(self._time()) else None

    async def in_session(self, session: str, tx: Queries | None = None) -> bool:
        """Whether any is in force in a session."""
        row = await (tx or self._db).fetch_one(
            "SELECT 1 AS there FROM sessions s JOIN elevations e ON e.id = s.elevation"
            " WHERE s.id = ? AND e.ended = 0 AND e.ends > ?",
            (session, self._time()),
        )
        return row is not None

    async def page(self, tenant: str, account: str = "", *, unreviewed: bool = False) -> Sequence[Elevation]:
        """Those of an account (who acts, or for whom), or of the tenant; newest first, at most 1,000.

        `unreviewed`: break-glass accesses that nobody has reviewed.
        """
        where, params = "tenant = ?", [tenant]
        if account:
            where += " AND (account = ? OR on_behalf = ?)"
            params += [account, account]
        if unreviewed:
            where += " AND reviewed = 0 AND kind = 'break-glass'"
        rows = await self._db.fetch(
            f"SELECT * FROM elevations WHERE {where} ORDER BY begun DESC, id LIMIT {_PAGE}", params
        )
        return [_elevation(row) for row in rows]

    async def running(self, tenant: str, account: str, tx: Queries | None = None) -> list[Elevation]:
        """Those in force that an account has to do with: its own, given to it, and given by it."""
        rows = await (tx or self._db).fetch(
            "SELECT * FROM elevations WHERE tenant = ? AND (account = ? OR on_behalf = ?) AND ended = 0 AND ends > ?"
            " ORDER BY begun, id",
            (tenant, account, account, self._time()),
        )
        return [_elevation(row) for row in rows]

    async def end(self, tx: Queries, id: str) -> bool:
        """End one; whether it was in force."""
        now = self._time()
        changed = await tx.execute(
            "UPDATE elevations SET ended = ? WHERE id = ? AND ended = 0 AND ends > ?", (now, id, now)
        )
        return bool(changed)

    async def review(self, tx: Queries, id: str, by: str, verdict: str, note: str) -> None:
        """Put down what somebody else found, once. Raises ElevationOver."""
        changed = await tx.execute(
            "UPDATE elevations SET reviewed_by = ?, reviewed = ?, verdict = ?, note = ? WHERE id = ? AND reviewed = 0",
            (by, self._time(), verdict, note, id),
        )
        if not changed:
            raise ElevationOver("it was reviewed already; a verdict is not changed")


def _elevation(row: Mapping[str, Any]) -> Elevation:
    return from_row(Elevation, row, "scopes")
