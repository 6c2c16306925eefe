"""What must reach the audit log and is not known to be there yet: durable, in the catalog's own file.

Operations of the kernel are written here before they begin. A write of the catalog that belongs to one marks it in the
same commit, so after a crash it is certain whether it had its effect. Facts wait here while there is no log to write to.
Blocking: the gate calls this from a worker thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from rustcare_sdk.contracts.audit import Attempt, Outcome

from rustcare_kernel.catalog import Catalog

__all__ = ["Journal", "Row"]

# Made here and not at the first use: that is in a thread, and msgspec 0.22 crashes when two threads meet a type at once.
_attempt, _outcome = msgspec.json.Decoder(Attempt), msgspec.json.Decoder(Outcome)
_KEPT = 10_000  # rows kept where no recorder was ever installed; older ones give way


class Row(msgspec.Struct, frozen=True):
    """One journaled attempt. `place`: its index in the log; `outcome`: how it ended. None: not known (yet)."""

    id: str
    attempt: Attempt
    marked: bool
    effect: bool
    place: int | None
    outcome: Outcome | None

    def after_crash(self) -> Outcome:
        """The outcome of an operation that never ended: its process did."""
        effect: Literal["yes", "no", "unknown"] = "unknown"
        if self.marked:
            effect = "yes" if self.effect else "no"
        return Outcome(self.id, self.place if self.place is not None else -1, "interrupted", "", effect)


class Journal:
    """The journal of one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def add(self, attempts: Iterable[Attempt], *, marked: bool = False) -> None:
        """Write attempts down; durable on return. `marked`: a write of the catalog will be the effect."""
        rows = [(item.id, msgspec.json.encode(item).decode(), int(marked)) for item in attempts]
        with self._catalog.journal() as db:
            db.executemany("INSERT OR IGNORE INTO audit_journal (id, attempt, marked) VALUES (?, ?, ?)", rows)

    def trim(self) -> None:
        """Let the oldest rows go, where there is no log that they could ever reach."""
        with self._catalog.journal() as db:
            db.execute("DELETE FROM audit_journal WHERE seq <= (SELECT MAX(seq) FROM audit_journal) - ?", (_KEPT,))

    def placed(self, places: Iterable[tuple[str, int]]) -> None:
        """These are in the log."""
        with self._catalog.journal() as db:
            db.executemany("UPDATE audit_journal SET place = ? WHERE id = ?", [(place, item) for item, place in places])

    def ended(self, outcome: Outcome) -> None:
        """An operation has ended."""
        with self._catalog.journal() as db:
            db.execute(
                "UPDATE audit_journal SET outcome = ? WHERE id = ?", (msgspec.json.encode(outcome).decode(), outcome.id)
            )

    def drop(self, ids: Iterable[str]) -> None:
        """The log knows all there is to know about these."""
        with self._catalog.journal() as db:
            db.executemany("DELETE FROM audit_journal WHERE id = ?", [(item,) for item in ids])

    def rows(self, limit: int = 1000) -> list[Row]:
        """The oldest rows, in the order in which they were written."""
        with self._catalog.journal() as db:
            found = db.execute(
                "SELECT id, attempt, marked, effect, place, outcome FROM audit_journal ORDER BY seq LIMIT ?", (limit,)
            ).fetchall()
        return [
            Row(
                item,
                _attempt.decode(attempt),
                bool(marked),
                bool(effect),
                place,
                None if outcome is None else _outcome.decode(outcome),
            )
            for item, attempt, marked, effect, place, outcome in found
        ]

    # the policy

    def policy(self) -> tuple[str, list[str]] | None:
        """The recorder's plugin id and what must be audited, when a recorder is installed."""
        with self._catalog.journal() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'audit'").fetchone()
        if row is None:
            return None
        found = json.loads(row[0])
        return found["recorder"], found["must"]

    def set_policy(self, recorder: str, must: Sequence[str]) -> None:
        """From now on, over restarts, this must be audited."""
        value = json.dumps({"recorder": recorder, "must": list(must)})
        with self._catalog.journal() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('audit', ?)", (value,))

    def lift_policy(self) -> None:
        """The recorder was removed by its operator: nothing must be audited any more."""
        with self._catalog.journal() as db:
            db.execute("DELETE FROM meta WHERE key = 'audit'")
