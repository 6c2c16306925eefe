"""What is installed, at which digest, enabled or not, with which configuration and grants. It is *desired state*.

One SQLite file, written durably (`synchronous=FULL`) before anything is acknowledged. After a crash the kernel starts from
it and nothing else: an upgrade is either in it or never happened.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import msgspec

from .errors import CatalogCorrupt, PluginUnknown
from .grants import Grant

__all__ = ["Catalog", "Entry", "current_operations"]

#: The operations that are under way in this task, outermost first: whatever is written meanwhile is their effect.
current_operations: ContextVar[tuple[str, ...]] = ContextVar("rustcare_current_operations", default=())

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plugins (
  id TEXT PRIMARY KEY,
  digest TEXT NOT NULL,
  version TEXT NOT NULL,
  runtime TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  config TEXT NOT NULL DEFAULT '{}',
  previous TEXT NOT NULL DEFAULT '[]',
  quarantine TEXT NOT NULL DEFAULT '',
  changed REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (
  id TEXT PRIMARY KEY,
  plugin TEXT NOT NULL,
  digest TEXT NOT NULL,
  body TEXT NOT NULL,
  seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS grants_by_package ON grants (plugin, digest);
CREATE TABLE IF NOT EXISTS tenants_with_a_say (plugin TEXT, tenant TEXT, PRIMARY KEY (plugin, tenant)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS audit_journal (
  seq INTEGER PRIMARY KEY,
  id TEXT UNIQUE NOT NULL,
  attempt TEXT NOT NULL,
  marked INTEGER NOT NULL,
  effect INTEGER NOT NULL DEFAULT 0,
  place INTEGER,
  outcome TEXT
);
CREATE TABLE IF NOT EXISTS snapshots (
  plugin TEXT PRIMARY KEY, digest TEXT NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL
) WITHOUT ROWID;
"""
_VERSION = "1"
# Made here and not at the first use: that is in a thread, and msgspec 0.22 crashes when two threads meet a type at once.
_grant = msgspec.json.Decoder(Grant)


class Entry(msgspec.Struct, frozen=True):
    """One plugin as the operator wants it. `previous` lists (version, digest, runtime), newest first."""

    id: str
    digest: str
    version: str
    runtime: str
    enabled: bool
    config: dict[str, Any] = {}
    previous: tuple[tuple[str, str, str], ...] = ()
    quarantine: str = ""
    changed: float = 0.0


class Catalog:
    """The catalog file. Its methods block on the disk: the kernel calls those that write from a worker thread.

    Raises CatalogCorrupt when the file is not a catalog, or one of a newer kernel.
    """

    KEPT = 5  # how many earlier versions of a plugin can be rolled back to

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        #: Held by whoever writes grants, from looking at those in force to the end of the write: so that what is revoked
        #: meanwhile is dropped after that write, and not revived by it.
        self.grants_lock = asyncio.Lock()
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA busy_timeout=5000")
            self._db.executescript(_SCHEMA)
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?), ('revision', '0')", (_VERSION,))
            found = self._db.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if hasattr(self, "_db"):
                self._db.close()
            raise CatalogCorrupt(
                f"the catalog cannot be read: {error}", hint="restore it from a backup", address=str(path)
            ) from None
        if found != _VERSION:
            self._db.close()
            raise CatalogCorrupt(
                f"the catalog has schema {found}, this kernel reads schema {_VERSION}",
                hint="start the kernel that wrote it",
                address=str(path),
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                # In the same commit, so that after a crash it is certain whether an operation had its effect.
                for operation in current_operations.get():
                    self._db.execute("UPDATE audit_journal SET effect = 1 WHERE id = ?", (operation,))
                self._db.execute(
                    "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE key = 'revision'"
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a failed commit may have ended it already
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def journal(self) -> Iterator[sqlite3.Connection]:
        """A durable write to the audit journal alone: it is no change of what is installed."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, params: Iterable[Any] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, tuple(params)).fetchall()

    @property
    def revision(self) -> int:
        """Grows with every change."""
        return int(self._rows("SELECT value FROM meta WHERE key = 'revision'")[0][0])

    # plugins

    def entries(self) -> list[Entry]:
        """All plugins, by id."""
        return [_entry(row) for row in self._rows("SELECT * FROM plugins ORDER BY id")]

    def get(self, plugin_id: str) -> Entry:
        """One plugin. Raises PluginUnknown."""
        rows = self._rows("SELECT * FROM plugins WHERE id = ?", (plugin_id,))
        if not rows:
            known = ", ".join(entry.id for entry in self.entries()) or "none"
            raise PluginUnknown(f"plugin {plugin_id!r} is not installed; installed are: {known}")
        return _entry(rows[0])

    def put(
        self, entry: Entry, grants: Iterable[Grant] = (), handed_over: tuple[int, str | None] | None = None
    ) -> None:
        """Write a plugin's desired state together with new grants, in one commit.

        `handed_over` is the state that goes with it: its version and JSON text, or None when there is none any more.
        """
        with self._write() as db:
            if handed_over is not None:
                _write_snapshot(db, entry.id, entry.digest, *handed_over)
            db.execute(
                "INSERT OR REPLACE INTO plugins VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.id,
                    entry.digest,
                    entry.version,
                    entry.runtime,
                    int(entry.enabled),
                    json.dumps(entry.config),
                    json.dumps(entry.previous[: self.KEPT]),
                    entry.quarantine,
                    time.time(),
                ),
            )
            _insert_grants(db, grants)

    def quarantine(self, plugin_id: str, why: str) -> None:
        """Write down that a plugin is quarantined; nothing else of its entry is touched, and a removed one stays so."""
        with self._write() as db:
            db.execute("UPDATE plugins SET quarantine = ?, changed = ? WHERE id = ?", (why, time.time(), plugin_id))

    def remove(self, plugin_id: str) -> None:
        """Forget a plugin and all its grants."""
        with self._write() as db:
            for table in ("plugins WHERE id", "grants WHERE plugin", "snapshots WHERE plugin"):
                db.execute(f"DELETE FROM {table} = ?", (plugin_id,))
            db.execute("DELETE FROM tenants_with_a_say WHERE plugin = ?", (plugin_id,))

    # grants

    def grants(self) -> list[Grant]:
        """All grants that were not revoked, parents before children."""
        rows = self._rows("SELECT body FROM grants ORDER BY seq")
        return [_grant.decode(body) for (body,) in rows]

    def add_grants(self, grants: Iterable[Grant]) -> None:
        """Write grants down; they may come into force after that."""
        with self._write() as db:
            _insert_grants(db, grants)

    def drop_grants(self, ids: Iterable[str]) -> None:
        """Write down that grants fell."""
        with self._write() as db:
            db.executemany("DELETE FROM grants WHERE id = ?", [(grant_id,) for grant_id in ids])

    def tenants_with_a_say(self) -> list[tuple[str, str]]:
        """Which tenant has spoken about which plugin: (plugin, tenant)."""
        return [(plugin, tenant) for plugin, tenant in self._rows("SELECT plugin, tenant FROM tenants_with_a_say")]

    # hand-over

    def save_snapshot(self, plugin_id: str, digest: str, version: int, state: str | None) -> None:
        """Keep the state that a plugin handed over or saved when it stopped (JSON text); None when it had none."""
        with self._write() as db:
            _write_snapshot(db, plugin_id, digest, version, state)

    def snapshot(self, plugin_id: str) -> tuple[str, int, str] | None:
        """The kept state of a plugin: digest, state version, JSON text."""
        rows = self._rows("SELECT digest, version, state FROM snapshots WHERE plugin = ?", (plugin_id,))
        return tuple(rows[0]) if rows else None


def _write_snapshot(db: sqlite3.Connection, plugin_id: str, digest: str, version: int, state: str | None) -> None:
    if state is None:
        db.execute("DELETE FROM snapshots WHERE plugin = ?", (plugin_id,))
    else:
        db.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)", (plugin_id, digest, version, state))


def _insert_grants(db: sqlite3.Connection, grants: Iterable[Grant]) -> None:
    for grant in grants:
        db.execute(
            "INSERT OR IGNORE INTO grants SELECT ?, ?, ?, ?, COALESCE(MAX(seq), 0) + 1 FROM grants",
            (grant.id, grant.plugin, grant.digest, msgspec.json.encode(grant).decode()),
        )
        if grant.issuer == "tenant" and grant.tenant is not None:
            db.execute("INSERT OR IGNORE INTO tenants_with_a_say VALUES (?, ?)", (grant.plugin, grant.tenant))


def _entry(row: Any) -> Entry:
    plugin_id, digest, version, runtime, enabled, config, previous, quarantine, changed = row
    return Entry(
        plugin_id,
        digest,
        version,
        runtime,
        bool(enabled),
        json.loads(config),
        tuple((str(v), str(d), str(r)) for v, d, r in json.loads(previous)),
        quarantine,
        changed,
    )
