"""What was ended, as durable rows with a growing revision, written in the transaction that ends it.

A gateway that was away asks for all revisions above the last it knows. A row goes when nothing that it ended could be valid
any more, so there are as many as the revocations of the last hour or so, whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from rustcare_sdk import Database
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts.identity import Revocation

__all__ = ["Kind", "Revocations"]

Kind = Literal["account", "session", "token", "key", "credential"]


class Revocations:
    """The rows.

    Args:
        lasting: seconds that a token, or what a gateway remembers of a credential, can live at most.
    """

    def __init__(self, db: Database, time: Callable[[], float], lasting: float) -> None:
        self._db = db
        self._time = time
        self._lasting = lasting

    async def note(
        self, tx: Queries, kind: Kind, id: str, tenant: str, *, before: float = 0.0, until: float = 0.0
    ) -> Revocation:
        """Write one down; it counts when `tx` is committed, and is then to be told (`Services.tell`)."""
        await tx.execute("UPDATE revocation_counter SET revision = revision + 1 WHERE id = 1")
        row = await tx.fetch_one("SELECT revision FROM revocation_counter WHERE id = 1")
        assert row is not None, "the migration writes this row"
        made = Revocation(int(row["revision"]), kind, id, tenant, before, until or self._time() + self._lasting)
        await tx.execute(
            "INSERT INTO revocations (revision, kind, id, tenant, before, until) VALUES (?, ?, ?, ?, ?, ?)",
            (made.revision, made.kind, made.id, made.tenant, made.before, made.until),
        )
        return made

    async def has(self, tx: Queries, kind: Kind, id: str) -> bool:
        """Whether one is written down and still matters."""
        row = await tx.fetch_one(
            "SELECT 1 AS there FROM revocations WHERE kind = ? AND id = ? AND until > ?", (kind, id, self._time())
        )
        return row is not None

    async def since(self, revision: int) -> tuple[int, list[Revocation]]:
        """The present revision, and what still matters of those above `revision`, in order."""
        # The counter first: what comes between the two reads is told twice rather than never.
        row = await self._db.fetch_one("SELECT revision FROM revocation_counter WHERE id = 1")
        assert row is not None, "the migration writes this row"
        rows = await self._db.fetch(
            "SELECT revision, kind, id, tenant, before, until FROM revocations"
            " WHERE revision > ? AND until > ? ORDER BY revision",
            (revision, self._time()),
        )
        return int(row["revision"]), [_made(found) for found in rows]

    async def purge(self) -> int:
        """Take away what does not matter any more; how many."""
        return await self._db.execute("DELETE FROM revocations WHERE until <= ?", (self._time(),))


def _made(row: Any) -> Revocation:
    return Revocation(row["revision"], row["kind"], row["id"], row["tenant"], row["before"], row["until"])
