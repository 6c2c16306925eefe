"""The SQL of subjects' keys. Names come here as keyed hashes (`lookup`), keys wrapped."""

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec import Struct
from rustcare_sdk import Database

from rustcare_plugin_crypto.keyring import Effect

__all__ = ["Certificate", "SubjectRow", "SubjectStore"]

_CHUNK = 400  # placeholders of one statement


class SubjectRow(Struct, frozen=True):
    """A key, or, without `id` and `wrapped`, the tombstone of one; `created` is then the day it was destroyed."""

    lookup: bytes
    id: bytes | None
    tenant: str
    wrapped: bytes | None
    created: str


class Certificate(Struct, frozen=True):
    """The certificate of a destroyed key; `destroyed`: RFC 3339; `envelope`: DSSE as JSON."""

    pseudonym: str
    destroyed: str
    envelope: str


class SubjectStore:
    """The tables `subjects`, `shredded` and `certificates`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def by_lookup(self, lookups: Sequence[bytes]) -> list[SubjectRow]:
        return await self._rows("lookup", lookups)

    async def by_id(self, ids: Sequence[bytes]) -> list[SubjectRow]:
        return await self._rows("id", ids)

    async def _rows(self, column: str, values: Sequence[bytes]) -> list[SubjectRow]:
        found: list[SubjectRow] = []
        for start in range(0, len(values), _CHUNK):
            part = values[start : start + _CHUNK]
            rows = await self._db.fetch(
                f"SELECT lookup, id, tenant, wrapped, created FROM subjects WHERE {column} IN ({_marks(part)})", part
            )
            found += [
                SubjectRow(
                    bytes(row["lookup"]), _bytes(row["id"]), row["tenant"], _bytes(row["wrapped"]), row["created"]
                )
                for row in rows
            ]
        return found

    async def shredded(self, ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids whose keys are destroyed."""
        found: set[bytes] = set()
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            rows = await self._db.fetch(f"SELECT id FROM shredded WHERE id IN ({_marks(part)})", part)
            found |= {bytes(row["id"]) for row in rows}
        return found

    async def add(self, rows: Sequence[SubjectRow]) -> None:
        """New keys in one durable write; where there is one (or a tombstone) of a lookup already, that stays."""
        await self._db.execute_many(
            "INSERT INTO subjects (lookup, id, tenant, wrapped, created) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (lookup) DO NOTHING",
            [(row.lookup, row.id, row.tenant, row.wrapped, row.created) for row in rows],
        )

    async def destroy(self, row: SubjectRow, day: str, certificate: Certificate, effect: Effect) -> None:
        """Overwrite and delete a key; leave its tombstone, its id among the shredded, and the certificate. One commit."""
        assert row.wrapped is not None
        async with self._db.transaction() as tx:
            await effect.note(tx)
            await tx.execute(
                "UPDATE subjects SET wrapped = ? WHERE lookup = ?", (os.urandom(len(row.wrapped)), row.lookup)
            )
            await tx.execute("DELETE FROM subjects WHERE lookup = ?", (row.lookup,))
            await tx.execute(
                "INSERT INTO subjects (lookup, id, tenant, wrapped, created) VALUES (?, ?, ?, ?, ?)",
                (row.lookup, None, row.tenant, None, day),
            )
            await tx.execute("INSERT INTO shredded (id) VALUES (?)", (row.id,))
            await tx.execute(
                "INSERT INTO certificates (pseudonym, destroyed, envelope, told) VALUES (?, ?, ?, 0)",
                (certificate.pseudonym, certificate.destroyed, certificate.envelope),
            )

    async def untold(self) -> list[Certificate]:
        """Certificates whose event may not have been published."""
        rows = await self._db.fetch("SELECT pseudonym, destroyed, envelope FROM certificates WHERE told = 0")
        return [Certificate(row["pseudonym"], row["destroyed"], row["envelope"]) for row in rows]

    async def told(self, pseudonym: str) -> None:
        """The event was published."""
        await self._db.execute("UPDATE certificates SET told = 1 WHERE pseudonym = ?", (pseudonym,))


def _marks(values: Sequence[bytes]) -> str:
    return ", ".join("?" * len(values))


def _bytes(value: bytes | memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)
