"""Which recorded attempts took effect: their ids are noted in the transaction that is the effect."""

from __future__ import annotations

from collections.abc import Sequence

from rustcare_sdk import Database
from rustcare_sdk.context import Queries

__all__ = ["Effect", "effects_among", "forget_effects"]

_CHUNK = 400  # placeholders of one statement


class Effect:
    """What a change is on record as: `attempt` is the message's id, empty when it did not have to be on record."""

    __slots__ = ("attempt", "time")

    def __init__(self, attempt: str, time: str) -> None:
        self.attempt = attempt
        self.time = time

    async def note(self, tx: Queries) -> None:
        """Write it down, in the change's own transaction."""
        if self.attempt:
            await tx.execute(
                "INSERT INTO effects (attempt, stored) VALUES (?, ?) ON CONFLICT (attempt) DO NOTHING",
                (self.attempt, self.time),
            )


async def effects_among(db: Database, attempts: Sequence[str]) -> list[str]:
    """Those of the attempts that took effect."""
    found: list[str] = []
    for start in range(0, len(attempts), _CHUNK):
        part = attempts[start : start + _CHUNK]
        marks = ", ".join("?" * len(part))
        rows = await db.fetch(f"SELECT attempt FROM effects WHERE attempt IN ({marks})", part)
        found += [row["attempt"] for row in rows]
    return found


async def forget_effects(db: Database, before: str) -> None:
    """What was noted before is settled."""
    await db.execute("DELETE FROM effects WHERE stored < ?", (before,))
