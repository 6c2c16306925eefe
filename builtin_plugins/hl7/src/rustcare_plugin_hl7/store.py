"""The plugin's tables: every acknowledged message, what was refused, and counters. All the SQL of the plugin is here.

Statements stay in the subset that SQLite and PostgreSQL both speak.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from rustcare_sdk.context import Database, Queries

__all__ = ["Incoming", "MessageStore", "Row", "Selection", "base_key", "full_key"]

CHUNK = 512
#: Longer keys are hashed: an index of PostgreSQL takes about 2,700 bytes.
MAX_KEY = 512
_META = (
    "id, base_key, variant, renewed, type, event, control_id, sending_facility, version, codec, received, "
    "status, attempts, error, size"
)


def base_key(application: str, facility: str, control_id: str) -> str:
    """What identifies a message: its sender and its control id, separated by `|`, percent-encoded where needed."""
    key = "|".join(quote(part, safe=" ^&.:-_/()+,") for part in (facility, application, control_id))
    return key if len(key) <= MAX_KEY else f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def full_key(row: Mapping[str, Any]) -> str:
    """The key under which a stored message is published."""
    key: str = row["base_key"]
    if row["variant"]:
        key += f"#{row['variant'][:32]}"
    if row["renewed"]:
        key += f"~{row['renewed']}"
    return key


@dataclass(slots=True)
class Incoming:
    """One well-formed message on its way to disk. `variant` is set while it is stored."""

    key: str
    digest: str
    type: str
    event: str
    control_id: str
    sending_facility: str
    version: str
    codec: str
    received: str
    content: bytes
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One refused message."""

    received: str
    code: str
    error: int
    reason: str
    sending_facility: str
    control_id: str
    digest: str
    size: int
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages: every condition that is given must hold."""

    keys: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    status: tuple[str, ...] = ()
    type: str = ""
    event: str = ""
    since: str = ""
    until: str = ""

    def where(self) -> tuple[list[str], list[Any]]:
        """The conditions in SQL and their parameters; `keys` are base keys."""
        conditions: list[str] = []
        params: list[Any] = []
        lists: tuple[tuple[str, tuple[Any, ...]], ...] = (
            ("base_key", self.keys),
            ("id", self.ids),
            ("status", self.status),
        )
        for column, values in lists:
            if values:
                conditions.append(f"{column} IN ({_marks(values)})")
                params += values
        for condition, value in (
            ("type = ?", self.type),
            ("event = ?", self.event),
            ("received >= ?", self.since),
            ("received < ?", self.until),
        ):
            if value:
                conditions.append(condition)
                params.append(value)
        return conditions, params


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """Values for `IN (…)`, in pieces of 1, 2, 4, … 512 (the last value repeated): a few statements, prepared once."""
    for at in range(0, len(values), CHUNK):
        part = list(values[at : at + CHUNK])
        yield part + [part[-1]] * ((1 << (len(part) - 1).bit_length()) - len(part))


class MessageStore:
    """What the plugin asks of its database."""

    def __init__(self, db: Database) -> None:
        self.db = db

    # receiving

    async def firsts(self, tx: Queries, keys: Sequence[str]) -> dict[str, str]:
        """For each key that is known, the digest of the first message stored under it."""
        found: dict[str, str] = {}
        for part in _chunks(keys):
            rows = await tx.fetch(
                f"SELECT base_key, digest FROM messages WHERE variant = '' AND base_key IN ({_marks(part)})", part
            )
            found.update((row["base_key"], row["digest"]) for row in rows)
        return found

    async def variants(self, tx: Queries, pairs: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of these (key, digest) are stored as a further variant of the key."""
        found: set[tuple[str, str]] = set()
        for part in _chunks(pairs):
            keys, digests = [key for key, _ in part], [digest for _, digest in part]
            rows = await tx.fetch(
                f"SELECT base_key, variant FROM messages WHERE base_key IN ({_marks(keys)}) "
                f"AND variant IN ({_marks(digests)})",
                (*keys, *digests),
            )
            found.update((row["base_key"], row["variant"]) for row in rows)
        return found

    async def insert(self, tx: Queries, messages: Sequence[Incoming]) -> None:
        """Store messages, in this order."""
        await tx.execute_many(
            "INSERT INTO messages (base_key, variant, digest, type, event, control_id, sending_facility, version, "
            "codec, received, size, content, status, attempts, renewed, error, finished) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'received', 0, 0, '', '')",
            [
                (
                    *(m.key, m.variant, m.digest, m.type, m.event, m.control_id, m.sending_facility, m.version),
                    *(m.codec, m.received, len(m.content), m.content),
                )
                for m in messages
            ],
        )

    async def insert_rejected(self, tx: Queries, rows: Sequence[Row]) -> None:
        """Record what was refused."""
        await tx.execute_many(
            "INSERT INTO rejected (received, code, error, reason, sending_facility, control_id, digest, size, content) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (r.received, r.code, r.error, r.reason, r.sending_facility, r.control_id, r.digest, r.size, r.content)
                for r in rows
            ],
        )

    async def add(self, tx: Queries, counts: Mapping[str, int]) -> None:
        """Add to the counters."""
        rows = sorted((name, value) for name, value in counts.items() if value)
        if rows:
            await tx.execute_many(
                "INSERT INTO counters (name, value) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value",
                rows,
            )

    # publishing

    async def pending(self, after: int, limit: int) -> list[Mapping[str, Any]]:
        """Messages that are still to be published, with their content, in the order of their arrival."""
        return await self.db.fetch(
            f"SELECT {_META}, content FROM messages WHERE status = 'received' AND id > ? ORDER BY id LIMIT ?",
            (after, limit),
        )

    async def waiting(self) -> bool:
        """Whether any message is still to be published."""
        return await self.db.fetch_one("SELECT id FROM messages WHERE status = 'received' LIMIT 1") is not None

    async def content(self, id: int) -> bytes:
        """The content of one message."""
        row = await self.db.fetch_one("SELECT content FROM messages WHERE id = ?", (id,))
        return bytes(row["content"]) if row is not None else b""

    async def finish(self, rows: Sequence[tuple[int, str, int, str]], now: str) -> None:
        """Write down what became of messages: (id, status, attempts, error). One durable commit for all."""
        plain = [id for id, status, attempts, _ in rows if status == "done" and attempts == 1]
        others = [(status, attempts, error, now, id) for id, status, attempts, error in rows]
        others = [row for row in others if row[0] != "done" or row[1] != 1]
        async with self.db.transaction() as tx:
            for part in _chunks(plain):
                await tx.execute(
                    f"UPDATE messages SET status = 'done', attempts = 1, error = '', finished = ? "
                    f"WHERE id IN ({_marks(part)})",
                    (now, *part),
                )
            if others:
                await tx.execute_many(
                    "UPDATE messages SET status = ?, attempts = ?, error = ?, finished = ? WHERE id = ?", others
                )

    # services

    async def replay(self, selection: Selection, renew: bool) -> int:
        """Mark messages as still to be published. With `renew` they get a new key."""
        conditions, params = selection.where()
        conditions.append("status <> 'received'")
        renewal = ", renewed = renewed + 1" if renew else ""
        return await self.db.execute(
            f"UPDATE messages SET status = 'received', attempts = 0, error = '', finished = ''{renewal} "
            f"WHERE {' AND '.join(conditions)}",
            params,
        )

    async def replay_keys(self, keys: Sequence[str], selection: Selection, renew: bool) -> int:
        """As `replay`, for the messages of these (full) keys only."""
        ids: list[int] = []
        wanted = set(keys)
        for part in _chunks(sorted({key.split("#", 1)[0].split("~", 1)[0] for key in wanted})):
            conditions, params = replace(selection, keys=tuple(part)).where()
            rows = await self.db.fetch(f"SELECT {_META} FROM messages WHERE {' AND '.join(conditions)}", params)
            ids += [row["id"] for row in rows if full_key(row) in wanted]
        count = 0
        for some in _chunks(ids):
            count += await self.replay(replace(selection, ids=tuple(some)), renew)
        return count

    async def page(self, selection: Selection, after: int, limit: int) -> list[Mapping[str, Any]]:
        """Metadata of messages in the order of their arrival."""
        conditions, params = selection.where()
        return await self.db.fetch(
            f"SELECT {_META} FROM messages WHERE {' AND '.join([*conditions, 'id > ?'])} ORDER BY id LIMIT ?",
            (*params, after, limit),
        )

    async def counts(self) -> dict[str, int]:
        """The counters, and how many messages are pending, failed, unhandled now."""
        counters = await self.db.fetch("SELECT name, value FROM counters")
        found = {str(row["name"]): int(row["value"]) for row in counters}
        for status in ("received", "failed", "unhandled"):
            # Written out, so that the partial indexes answer: they hold only what is not done.
            row = await self.db.fetch_one(f"SELECT COUNT(*) AS n FROM messages WHERE status = '{status}'")
            found[f"status.{status}"] = int(row["n"]) if row is not None else 0
        return found

    async def setting(self, name: str, value: str) -> str:
        """The stored value of a setting; `value` becomes it when there is none yet."""
        await self.db.execute(
            "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, value)
        )
        row = await self.db.fetch_one("SELECT value FROM settings WHERE name = ?", (name,))
        return str(row["value"]) if row is not None else value
