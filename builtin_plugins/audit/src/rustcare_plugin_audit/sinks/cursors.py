"""Where each sink is, durably: one row for each, in the plugin's own database."""

from __future__ import annotations

from typing import NamedTuple

from rustcare_sdk.context import Database

from .source import Cursor

__all__ = ["Cursors", "State"]


class State(NamedTuple):
    """The cursor, how many events have arrived, and how many had been disposed of before they could be sent."""

    cursor: Cursor
    sent: int = 0
    missed: int = 0


class Cursors:
    """The sinks' rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, name: str) -> State:
        """A sink's state; one that is not there yet begins at the first entry."""
        row = await self._db.fetch_one("SELECT place, part, sent, missed FROM sink_cursors WHERE name = ?", (name,))
        if row is None:
            return State(Cursor(0))
        return State(Cursor(row["place"], row["part"]), row["sent"], row["missed"])

    async def begin(self, name: str, index: int) -> None:
        """Give a sink its first cursor, unless it has one."""
        await self._db.execute(
            "INSERT INTO sink_cursors (name, place, part, sent, missed) VALUES (?, ?, 0, 0, 0) ON CONFLICT DO NOTHING",
            (name, index),
        )

    async def put(self, name: str, state: State) -> None:
        """Durable on return."""
        place, part = state.cursor
        await self._db.execute(
            "INSERT INTO sink_cursors (name, place, part, sent, missed) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET place = excluded.place, part = excluded.part, "
            "sent = excluded.sent, missed = excluded.missed",
            (name, place, part, state.sent, state.missed),
        )
