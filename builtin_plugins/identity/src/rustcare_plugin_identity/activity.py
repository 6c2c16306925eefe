"""What happened with an account, for its owner to look at: the last hundred things, for half a year.

What failed is counted apart from what was done: who tries a hundred passwords does not push out how they came in.

The audit log is the record; this is a view of it that needs no rights, so whoever sees something strange can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct
from rustcare_sdk.context import Database

from .base import Services

__all__ = ["Activities", "Activity", "ActivityServices"]

_KEPT = 100  # of each account and outcome
_DAYS = 180.0


class Activity(Struct, frozen=True):
    """One thing that happened. `action` and `outcome` are those of the `SecurityEvent`, with its `kind` behind a colon."""

    action: str
    outcome: str
    address: str
    at: float


class Activities:
    """The last things that happened with each account (ids are never used again, and no two tenants share one)."""

    def __init__(self, db: Database, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self._db = db
        self._now = now
        self._random = random

    async def add(self, account: str, action: str, outcome: str, address: str) -> None:
        """Note something; what is too old, or too much, goes."""
        now = self._now()
        async with self._db.transaction() as tx:
            await tx.execute(
                "INSERT INTO activity (id, account, action, outcome, address, at) VALUES (?, ?, ?, ?, ?, ?)",
                (self._random(12).hex(), account, action, outcome, address, now),
            )
            await tx.execute(
                "DELETE FROM activity WHERE account = ? AND (at < ? OR id IN ("
                "SELECT id FROM activity WHERE account = ? AND outcome = ? ORDER BY at DESC, id LIMIT 1000 OFFSET ?))",
                (account, now - _DAYS * 86400, account, outcome, _KEPT),
            )

    async def last(self, account: str, limit: int = 20) -> list[Activity]:
        """Newest first."""
        rows = await self._db.fetch(
            "SELECT action, outcome, address, at FROM activity WHERE account = ? ORDER BY at DESC, id LIMIT ?",
            (account, limit),
        )
        return [Activity(row["action"], row["outcome"], row["address"], row["at"]) for row in rows]


class ActivityServices(Services):
    """Notes what is told of an account."""

    activities: Activities

    def start_activity(self) -> None:
        """Build the view."""
        self.activities = Activities(self.ctx.db, self.time, self.ctx.random)

    async def event(
        self,
        action: str,
        *,
        outcome: Literal["success", "failure"] = "success",
        account: str = "",
        session: str = "",
        code: str = "",
        address: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Tell what concerns security, as `Services.event` does, and note it for the account's owner."""
        await super().event(
            action, outcome=outcome, account=account, session=session, code=code, address=address, details=details
        )
        if account:
            kind = (details or {}).get("kind", "")
            await self.activities.add(account, f"{action}:{kind}" if kind else action, outcome, address)
