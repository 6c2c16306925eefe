"""Opening and copying the files of a SQLite store, and what SQLite's errors mean. Runs in threads."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path

from ._files import begin_file, discard_file, finish_file, sync_folder
from .errors import (
    BackupFailed,
    BackupInvalid,
    ConstraintViolated,
    StatementInvalid,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValueUnsupported,
)

__all__ = ["APPLICATION_ID", "connect", "create", "explain", "restore_into", "write_backup"]

APPLICATION_ID = 0x52434453  # "RCDS": tells a store's file from any other SQLite file
BUSY_TIMEOUT = 5.0
_TABLES = (
    "CREATE TABLE IF NOT EXISTS _kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS _migrations"
    " (number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL, applied TEXT NOT NULL)",
)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with the store's settings. Transactions are the caller's; so is which thread uses it at a time."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreUnavailable(
                f"SQLite's write-ahead log was expected and the file system allows only {mode}",
                hint="put the data folder on a local file system",
            )
        connection.execute("PRAGMA synchronous = FULL")  # NORMAL would lose acknowledged commits with the power
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten: erasure means erasure
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def create(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """Open the store's file, making it where it is missing: the writer's connection and the reader's."""
    for folder in (path.parent.parent, path.parent):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(folder.parent)
    # Readable by the owner only; SQLite gives its log the same rights as the database has.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    writer = connect(path)
    try:
        if writer.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            writer.execute("BEGIN IMMEDIATE")
            for table in _TABLES:
                writer.execute(table)
            writer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            writer.execute("COMMIT")
            sync_folder(path.parent)
        reader = connect(path, read_only=True)
        # From here on the writer's statements run in the event loop too, which must never wait for another process.
        writer.execute("PRAGMA busy_timeout = 0")
    except BaseException:
        writer.close()
        raise
    return writer, reader


def write_backup(path: Path, target: Path) -> None:
    """Copy a live store to `target`: one snapshot, while the writer goes on."""
    part = begin_file(target)
    try:
        with (
            contextlib.closing(connect(path, read_only=True)) as source,
            contextlib.closing(sqlite3.connect(part)) as copied,
        ):
            source.backup(copied)
            copied.execute("PRAGMA journal_mode = DELETE")  # one file that can be moved anywhere
        finish_file(part, target)
    except (sqlite3.Error, OSError) as error:
        raise BackupFailed(f"SQLite refused with {_name(error)}", address=str(target)) from None
    finally:
        discard_file(part)


def restore_into(writer: sqlite3.Connection, source: Path) -> None:
    """Replace the content of the writer's database by a backup's, in one SQLite transaction."""
    if not source.is_file():
        raise BackupInvalid("there is no such file", address=str(source))
    try:
        with contextlib.closing(
            sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
        ) as backup:
            found = backup.execute("PRAGMA application_id").fetchone()[0]
            if found != APPLICATION_ID:
                raise BackupInvalid(
                    "a backup of a SQLite store was expected and another database came", address=str(source)
                )
            if backup.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise BackupInvalid("SQLite finds the file damaged", hint="take another backup", address=str(source))
            backup.backup(writer)
    except sqlite3.DatabaseError as error:
        if _code(error) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise BackupInvalid(
                f"a backup of a SQLite store was expected and SQLite says {_name(error)}", address=str(source)
            ) from None
        raise


# Texts of SQLite that name the schema only. All others may repeat a piece of the statement, and are not passed on.
_HARMLESS = re.compile(
    r"(UNIQUE|NOT NULL) constraint failed: [\w., ]+|FOREIGN KEY constraint failed|CHECK constraint failed: \w+"
    r"|no such (table|column|function|index): [\w.]+"
    r"|table \w+ has (no column named \w+|\d+ columns but \d+ values were supplied)"
    r"|\d+ values for \d+ columns|(table|index|view) \w+ already exists"
)


def _code(error: BaseException) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _name(error: BaseException) -> str:
    return str(getattr(error, "sqlite_errorname", type(error).__name__))


def explain(error: BaseException, address: str) -> StoreError:
    """The store's error for one of SQLite or of Python's binding of it, without anything of the statement's values."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, (OverflowError, UnicodeEncodeError)):
        return ValueUnsupported(
            "a parameter was not storable",
            hint="integers have 64 bits, text is valid Unicode",
            address=address,
        )
    name, code = _name(error), _code(error)
    text = str(error)
    detail = f"SQLite says {name}: {text}" if _HARMLESS.fullmatch(text) else f"SQLite says {name}"
    if code == sqlite3.SQLITE_CONSTRAINT:
        return ConstraintViolated(detail, hint="nothing of this statement was kept", address=address)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(detail, hint="another process holds the database's file open for writing", address=address)
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(detail, hint="free space on the data folder's disk", address=address)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(detail, hint="restore a backup", address=address)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreUnavailable(detail, hint="check the data folder's disk and its rights", address=address)
    if isinstance(error, OSError):
        return StoreUnavailable(
            f"the system refused with {name}", hint="check the data folder's rights", address=address
        )
    if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE):
        return StatementInvalid(detail, hint="check the statement against the migrations", address=address)
    return StoreError(detail, address=address)
