"""Cosignatures, durably: one row for each checkpoint and witness, and what each witness was last known to have cosigned."""

from __future__ import annotations

from collections.abc import Sequence

from rustcare_sdk.context import Database

__all__ = ["Cosignatures"]


class Cosignatures:
    """The tables `witnesses` and `cosignatures`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def known(self, witness: str) -> tuple[int, int]:
        """The size of the largest checkpoint that a witness has cosigned, and when (POSIX seconds); zeros for none."""
        row = await self._db.fetch_one("SELECT size, time FROM witnesses WHERE name = ?", (witness,))
        return (row["size"], row["time"]) if row is not None else (0, 0)

    async def has(self, size: int, witness: str) -> bool:
        """Whether there is a cosignature."""
        sql = "SELECT time FROM cosignatures WHERE size = ? AND witness = ?"
        return await self._db.fetch_one(sql, (size, witness)) is not None

    async def add(self, size: int, witness: str, time: int, lines: str) -> None:
        """Keep the cosignature lines of a witness for a checkpoint; durable on return."""
        async with self._db.transaction() as tx:
            await tx.execute(
                "INSERT INTO cosignatures (size, witness, time, line) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (size, witness) DO UPDATE SET time = excluded.time, line = excluded.line",
                (size, witness, time, lines),
            )
            await tx.execute(
                "INSERT INTO witnesses (name, size, time) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET size = excluded.size, time = excluded.time",
                (witness, size, time),
            )

    async def lines(self, size: int) -> list[str]:
        """The cosignature lines for the checkpoint of a size, each with its newline."""
        rows = await self._db.fetch("SELECT line FROM cosignatures WHERE size = ? ORDER BY witness", (size,))
        return [line for row in rows for line in row["line"].splitlines(keepends=True)]

    async def largest(self, witnesses: Sequence[str], quorum: int) -> int:
        """The largest size that a quorum of these witnesses has cosigned, 0 for none."""
        marks = ", ".join("?" for _ in witnesses)
        row = await self._db.fetch_one(
            f"SELECT size FROM cosignatures WHERE witness IN ({marks}) "
            "GROUP BY size HAVING COUNT(*) >= ? ORDER BY size DESC LIMIT 1",
            (*witnesses, quorum),
        )
        return row["size"] if row is not None else 0
