"""The plugin's tables, and all of its SQL, in the subset that SQLite and PostgreSQL both speak."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rustcare_sdk.context import Database, Queries

__all__ = ["Current", "ResourceStore", "Version"]

CHUNK = 512


@dataclass(frozen=True, slots=True)
class Current:
    """Where a resource stands. `content` is its text where a request needs it to merge, else empty."""

    version: int
    deleted: bool
    digest: str
    content: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One version to be written."""

    tenant: str
    ref: str
    type: str
    version: int
    deleted: bool
    digest: str
    updated: str
    source: str
    content: str


def _padded(values: Sequence[Any]) -> Iterable[list[Any]]:
    """Values for `IN (…)`, in pieces of 1, 2, 4, … 512 (the last value repeated): a few statements, prepared once."""
    for at in range(0, len(values), CHUNK):
        part = list(values[at : at + CHUNK])
        yield part + [part[-1]] * ((1 << (len(part) - 1).bit_length()) - len(part))


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


class ResourceStore:
    """What the plugin asks of its database."""

    def __init__(self, db: Database) -> None:
        self.db = db

    # writing: inside of one transaction

    async def replies(self, tx: Queries, tenant: str, keys: Sequence[str]) -> dict[str, str]:
        """What was answered to requests with these keys."""
        found: dict[str, str] = {}
        for part in _padded(keys):
            rows = await tx.fetch(
                f"SELECT request_key, reply FROM requests WHERE tenant = ? AND request_key IN ({_marks(part)})",
                (tenant, *part),
            )
            found.update((row["request_key"], row["reply"]) for row in rows)
        return found

    async def current(self, tx: Queries, tenant: str, refs: Sequence[str]) -> dict[str, Current]:
        """Where these resources stand; those that never were are left out."""
        found: dict[str, Current] = {}
        for part in _padded(refs):
            rows = await tx.fetch(
                f"SELECT ref, version, deleted, digest FROM resources WHERE tenant = ? AND ref IN ({_marks(part)})",
                (tenant, *part),
            )
            found.update((row["ref"], Current(row["version"], bool(row["deleted"]), row["digest"])) for row in rows)
        return found

    async def contents(self, tx: Queries, tenant: str, refs: Sequence[str]) -> dict[str, str]:
        """The current texts of these resources."""
        found: dict[str, str] = {}
        for part in _padded(refs):
            rows = await tx.fetch(
                "SELECT v.ref, v.content FROM resources r "
                "JOIN versions v ON v.tenant = r.tenant AND v.ref = r.ref AND v.version = r.version "
                f"WHERE r.tenant = ? AND r.ref IN ({_marks(part)})",
                (tenant, *part),
            )
            found.update((row["ref"], row["content"]) for row in rows)
        return found

    async def write(self, tx: Queries, versions: Sequence[Version]) -> None:
        """Write versions and make each the current one. A version that another process wrote first breaks a constraint."""
        await tx.execute_many(
            "INSERT INTO versions (tenant, ref, type, version, deleted, digest, updated, source, content) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (v.tenant, v.ref, v.type, v.version, int(v.deleted), v.digest, v.updated, v.source, v.content)
                for v in versions
            ],
        )
        latest = {(v.tenant, v.ref): v for v in versions}
        await tx.execute_many(
            "INSERT INTO resources (tenant, ref, type, version, deleted, digest) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (tenant, ref) DO UPDATE SET version = excluded.version, deleted = excluded.deleted, "
            "digest = excluded.digest",
            [(v.tenant, v.ref, v.type, v.version, int(v.deleted), v.digest) for v in latest.values()],
        )

    async def answer(self, tx: Queries, rows: Sequence[tuple[str, str, str, str]]) -> None:
        """Remember what was answered: (tenant, key, reply, time)."""
        await tx.execute_many("INSERT INTO requests (tenant, request_key, reply, stored) VALUES (?, ?, ?, ?)", rows)

    async def took_effect(self, tx: Queries, attempts: Sequence[str], when: str) -> None:
        """Note, in the transaction that is the effect, under which ids it is on record."""
        await tx.execute_many(
            "INSERT INTO effects (attempt, stored) VALUES (?, ?) ON CONFLICT DO NOTHING",
            [(attempt, when) for attempt in attempts],
        )

    # effects

    async def effects(self, attempts: Sequence[str]) -> list[str]:
        """Those of the attempts that took effect."""
        found: list[str] = []
        for part in _padded(list(attempts)):
            rows = await self.db.fetch(f"SELECT attempt FROM effects WHERE attempt IN ({_marks(part)})", part)
            found += [row["attempt"] for row in rows]
        return found

    async def forget_effects(self, before: str) -> None:
        """What was noted before is settled."""
        await self.db.execute("DELETE FROM effects WHERE stored < ?", (before,))

    # reading

    async def read(self, tenant: str, ref: str, version: int | None) -> Mapping[str, Any] | None:
        """One version, or the current one: `version`, `deleted`, `content`."""
        if version is None:
            return await self.db.fetch_one(
                "SELECT v.version, v.deleted, v.content FROM resources r "
                "JOIN versions v ON v.tenant = r.tenant AND v.ref = r.ref AND v.version = r.version "
                "WHERE r.tenant = ? AND r.ref = ?",
                (tenant, ref),
            )
        return await self.db.fetch_one(
            "SELECT version, deleted, content FROM versions WHERE tenant = ? AND ref = ? AND version = ?",
            (tenant, ref, version),
        )

    async def history(self, tenant: str, ref: str, before: int, limit: int) -> list[Mapping[str, Any]]:
        """Versions, newest first."""
        return await self.db.fetch(
            "SELECT version, deleted, content FROM versions WHERE tenant = ? AND ref = ? AND version < ? "
            "ORDER BY version DESC LIMIT ?",
            (tenant, ref, before, limit),
        )

    async def export(self, tenant: str, types: Sequence[str], after: int, limit: int) -> list[Mapping[str, Any]]:
        """Current versions of resources that are not deleted, in the order they were written."""
        condition = f"AND v.type IN ({_marks(types)}) " if types else ""
        return await self.db.fetch(
            "SELECT v.seq, v.content FROM versions v "
            "JOIN resources r ON r.tenant = v.tenant AND r.ref = v.ref AND r.version = v.version "
            f"WHERE v.tenant = ? AND v.seq > ? AND v.deleted = 0 {condition}ORDER BY v.seq LIMIT ?",
            (tenant, after, *types, limit),
        )

    async def count(self, tenant: str, types: Sequence[str]) -> dict[str, int]:
        """Resources by type."""
        condition = f"AND type IN ({_marks(types)}) " if types else ""
        rows = await self.db.fetch(
            f"SELECT type, COUNT(*) AS n FROM resources WHERE tenant = ? AND deleted = 0 {condition}"
            "GROUP BY type ORDER BY type",
            (tenant, *types),
        )
        return {row["type"]: int(row["n"]) for row in rows}
