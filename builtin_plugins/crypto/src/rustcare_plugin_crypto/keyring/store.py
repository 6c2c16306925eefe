"""The SQL of the keyring. Everything secret that passes here is wrapped already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from rustcare_sdk import Database, Logger, RustCareError

from .effects import Effect

__all__ = ["KeyringRow", "Store", "StoredKey"]


class KeyringRow(Struct, frozen=True):
    """The keyring key, wrapped; `root`: the root's description as JSON; `since`: when it was wrapped, RFC 3339."""

    id: int
    root: str
    wrapped: bytes
    since: str


class StoredKey(Struct, frozen=True):
    """A key as it lies in the store: its record (JSON), the code over it, and its wrapped versions by number."""

    record: str
    mac: bytes
    wrapped: dict[int, bytes]


class Store:
    """The keyring's tables."""

    def __init__(self, db: Database, log: Logger) -> None:
        self.db = db
        self._log = log
        #: Whether something destroyed may still be in the database's files.
        self.unscrubbed = False

    # the keyring key

    async def keyring(self) -> KeyringRow | None:
        row = await self.db.fetch_one("SELECT id, root, wrapped, since FROM keyring ORDER BY id DESC LIMIT 1")
        return None if row is None else KeyringRow(row["id"], row["root"], bytes(row["wrapped"]), row["since"])

    async def insert_keyring(self, row: KeyringRow) -> None:
        """The first one. Of two that start at the same time one fails here."""
        await self.db.execute(
            "INSERT INTO keyring (id, root, wrapped, since) VALUES (?, ?, ?, ?)",
            (row.id, row.root, row.wrapped, row.since),
        )

    async def replace_keyring(
        self, old: int, row: KeyringRow, rewrapped: Sequence[tuple[str, str, StoredKey]], effect: Effect
    ) -> None:
        """Another wrapping, and every key that was wrapped anew with it, in one commit."""
        async with self.db.transaction() as tx:
            await effect.note(tx)
            await tx.execute("DELETE FROM keyring WHERE id = ?", (old,))
            await tx.execute(
                "INSERT INTO keyring (id, root, wrapped, since) VALUES (?, ?, ?, ?)",
                (row.id, row.root, row.wrapped, row.since),
            )
            for tenant, name, key in rewrapped:
                await tx.execute("UPDATE keys SET mac = ? WHERE tenant = ? AND name = ?", (key.mac, tenant, name))
                await tx.execute_many(
                    "UPDATE versions SET wrapped = ? WHERE tenant = ? AND name = ? AND version = ?",
                    [(wrapped, tenant, name, version) for version, wrapped in key.wrapped.items()],
                )

    # keys

    async def key(self, tenant: str, name: str) -> StoredKey | None:
        """One key, of one moment."""
        rows = await self.db.fetch(
            "SELECT k.record AS record, k.mac AS mac, v.version AS version, v.wrapped AS wrapped FROM keys k"
            " LEFT JOIN versions v ON v.tenant = k.tenant AND v.name = k.name WHERE k.tenant = ? AND k.name = ?",
            (tenant, name),
        )
        if not rows:
            return None
        wrapped = {row["version"]: bytes(row["wrapped"]) for row in rows if row["version"] is not None}
        return StoredKey(rows[0]["record"], bytes(rows[0]["mac"]), wrapped)

    async def names(self, tenants: Sequence[str], after: str, limit: int) -> list[tuple[str, str]]:
        """(tenant, name) of keys, by name."""
        marks = ", ".join("?" * len(tenants))
        rows = await self.db.fetch(
            f"SELECT tenant, name FROM keys WHERE tenant IN ({marks}) AND name > ? ORDER BY name, tenant LIMIT ?",
            (*tenants, after, limit),
        )
        return [(row["tenant"], row["name"]) for row in rows]

    async def all_names(self) -> list[tuple[str, str]]:
        rows = await self.db.fetch("SELECT tenant, name FROM keys ORDER BY tenant, name")
        return [(row["tenant"], row["name"]) for row in rows]

    async def insert_key(self, tenant: str, name: str, key: StoredKey, effect: Effect) -> None:
        """A new key; durable on return."""
        async with self.db.transaction() as tx:
            await effect.note(tx)
            await tx.execute(
                "INSERT INTO keys (tenant, name, record, mac) VALUES (?, ?, ?, ?)", (tenant, name, key.record, key.mac)
            )
            await tx.execute_many(
                "INSERT INTO versions (tenant, name, version, wrapped) VALUES (?, ?, ?, ?)",
                _rows(tenant, name, key.wrapped),
            )

    async def update_key(
        self,
        tenant: str,
        name: str,
        key: StoredKey,
        added: Mapping[int, bytes],
        gone: Iterable[int],
        effect: Effect,
    ) -> None:
        """A changed record, new versions, and versions whose secret is destroyed; durable on return."""
        destroyed = list(gone)
        async with self.db.transaction() as tx:
            await effect.note(tx)
            await tx.execute(
                "UPDATE keys SET record = ?, mac = ? WHERE tenant = ? AND name = ?", (key.record, key.mac, tenant, name)
            )
            if added:
                await tx.execute_many(
                    "INSERT INTO versions (tenant, name, version, wrapped) VALUES (?, ?, ?, ?)",
                    _rows(tenant, name, added),
                )
            for version in destroyed:
                await tx.execute(
                    "UPDATE versions SET wrapped = ? WHERE tenant = ? AND name = ? AND version = ?",
                    (os.urandom(64), tenant, name, version),
                )
                await tx.execute(
                    "DELETE FROM versions WHERE tenant = ? AND name = ? AND version = ?", (tenant, name, version)
                )
        if destroyed:
            await self.scrub()

    async def replace_key(self, tenant: str, name: str, key: StoredKey, effect: Effect) -> None:
        """Another key in the place of one, in one commit."""
        async with self.db.transaction() as tx:
            await effect.note(tx)
            await tx.execute("DELETE FROM versions WHERE tenant = ? AND name = ?", (tenant, name))
            await tx.execute(
                "UPDATE keys SET record = ?, mac = ? WHERE tenant = ? AND name = ?", (key.record, key.mac, tenant, name)
            )
            await tx.execute_many(
                "INSERT INTO versions (tenant, name, version, wrapped) VALUES (?, ?, ?, ?)",
                _rows(tenant, name, key.wrapped),
            )
        await self.scrub()

    async def scrub(self) -> bool:
        """Take what was destroyed out of the database's files; False when a reader kept us from it, for now."""
        self.unscrubbed = True  # until it is done: also when this is cancelled half way
        try:
            await self.db.scrub()
        except RustCareError as error:
            self._log.warning("destroyed keys may still be in the database's log", code=error.code)
            return False
        self.unscrubbed = False
        return True


def _rows(tenant: str, name: str, wrapped: Mapping[int, bytes]) -> list[tuple[Any, ...]]:
    return [(tenant, name, version, blob) for version, blob in wrapped.items()]
