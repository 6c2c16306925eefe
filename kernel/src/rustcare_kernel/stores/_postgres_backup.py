"""A backup of one plugin's schema: one zip file, from one snapshot, with which an empty schema is filled again.

The format, version 1:

- `tables/NNNN.copy`: the rows of a table in PostgreSQL's text format of COPY.
- `manifest.json`, written last: `format`, `version`, `migrations` (number, name, digest, applied, sql), `tables` (name,
  columns, entry), `sequences` (name, last, called).

The schema itself is not in it: it is what the migrations make, and plugins cannot change it otherwise. A restore runs
them again, then replaces all rows. Zip's checksums find damage.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from ._contract import Migration
from ._files import begin_file, discard_file, finish_file
from ._postgres_server import quoted
from ._worker import Worker
from .errors import BackupFailed, BackupInvalid

__all__ = ["Backup", "fill", "read", "write"]

_FORMAT = "rustcare-postgres-backup"
_VERSION = 1
_CHUNK = 1 << 18

_TABLES = """
SELECT c.relname AS name, array_agg(a.attname::text ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT c.relispartition GROUP BY c.relname ORDER BY c.relname
"""
_SEQUENCES = """
SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'S' ORDER BY c.relname
"""
_FOREIGN_KEYS = """
SELECT t.relname AS on_table, k.conname AS name, pg_get_constraintdef(k.oid) AS definition
FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname = $1 AND k.contype = 'f' AND k.conparentid = 0
"""


@dataclass(frozen=True)
class Backup:
    """An open backup file."""

    file: zipfile.ZipFile
    source: Path
    migrations: list[tuple[Migration, str]]
    tables: list[dict[str, Any]]
    sequences: list[dict[str, Any]]


async def write(connection: Any, schema: str, target: Path, worker: Worker) -> None:
    """Write the schema's rows to `target`: one snapshot, while others go on writing.

    Raises:
        BackupFailed: the disk refused. What was at `target` is untouched.
    """
    part = await worker.run(partial(begin_file, target))
    try:
        archive = zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                await _gather(connection, schema, archive, worker)
        finally:
            await worker.run(archive.close)
        await worker.run(partial(finish_file, part, target))
    except OSError as error:
        raise BackupFailed(f"the system refused with {type(error).__name__}", address=str(target)) from None
    finally:
        await worker.run(partial(discard_file, part))


async def _gather(connection: Any, schema: str, archive: zipfile.ZipFile, worker: Worker) -> None:
    name = quoted(schema)
    tables: list[dict[str, Any]] = []
    for position, row in enumerate(await connection.fetch(_TABLES, schema)):
        if row["name"] == "_migrations":
            continue
        entry = f"tables/{position:04d}.copy"
        columns = [column for column in row["columns"] if column is not None]
        listed = ", ".join(map(quoted, columns))
        member = await worker.run(partial(archive.open, entry, "w", force_zip64=True))
        try:

            async def sink(data: bytes, member: IO[bytes] = member) -> None:
                await worker.run(partial(member.write, data))

            await connection.copy_from_query(f"SELECT {listed} FROM {name}.{quoted(row['name'])}", output=sink)
        finally:
            await worker.run(member.close)
        tables.append({"name": row["name"], "columns": columns, "entry": entry})
    migrations = await connection.fetch(
        f"SELECT number, name, digest, applied, sql FROM {name}._migrations ORDER BY number"
    )
    sequences = []  # after the rows: a sequence knows no snapshot, and must not be behind them
    for row in await connection.fetch(_SEQUENCES, schema):
        state = await connection.fetchrow(f"SELECT last_value, is_called FROM {name}.{quoted(row['name'])}")
        sequences.append({"name": row["name"], "last": state["last_value"], "called": state["is_called"]})
    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "migrations": [dict(row) for row in migrations],
        "tables": tables,
        "sequences": sequences,
    }
    await worker.run(partial(archive.writestr, "manifest.json", json.dumps(manifest, indent=1)))


def read(source: Path) -> Backup:
    """Open a backup and read its manifest. The caller closes `file`.

    Raises:
        BackupInvalid: it is none, of a newer version, or a migration's text is not what its digest says.
    """
    try:
        file = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise BackupInvalid(
            f"a backup of a PostgreSQL store was expected and {type(error).__name__} came", address=str(source)
        ) from None
    try:
        manifest = json.loads(file.read("manifest.json"))
        if (manifest["format"], manifest["version"]) != (_FORMAT, _VERSION):
            raise BackupInvalid(
                f"format {_FORMAT} version {_VERSION} was expected and another came",
                hint="restore it with the version of the kernel that wrote it, or a newer one",
                address=str(source),
            )
        migrations = []
        for item in manifest["migrations"]:
            step = Migration(int(item["number"]), str(item["name"]), str(item["sql"]))
            if step.digest != item["digest"]:
                raise BackupInvalid(f"the text of {step.label} is not what its digest says", address=str(source))
            migrations.append((step, str(item["applied"])))
        return Backup(file, source, migrations, manifest["tables"], manifest["sequences"])
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile, OSError) as error:
        file.close()
        raise BackupInvalid(f"its manifest cannot be read: {type(error).__name__}", address=str(source)) from None
    except BaseException:
        file.close()
        raise


async def fill(connection: Any, schema: str, backup: Backup, worker: Worker) -> None:
    """Put the backup's rows into a schema that its migrations have just made, inside of the caller's transaction.

    Raises:
        BackupInvalid: a table of the backup is not there, or the file is damaged.
    """
    name = quoted(schema)
    present = {row["name"] for row in await connection.fetch(_TABLES, schema)}
    for table in backup.tables:
        if table["name"] not in present:
            raise BackupInvalid(
                f"the table {table['name']} is in the backup and no migration of it makes it",
                address=str(backup.source),
            )
    # Rows come table by table, in no order that foreign keys would like; they are checked at the end, all at once.
    keys = await connection.fetch(_FOREIGN_KEYS, schema)
    for key in keys:
        await connection.execute(f"ALTER TABLE {name}.{quoted(key['on_table'])} DROP CONSTRAINT {quoted(key['name'])}")
    emptied = ", ".join(f"{name}.{quoted(table)}" for table in sorted(present - {"_migrations"}))
    await connection.execute(f"TRUNCATE {emptied}")  # a migration may have put rows there
    for table in backup.tables:
        target = f"{name}.{quoted(table['name'])}"
        await connection.execute(f"ALTER TABLE {target} DISABLE TRIGGER USER")
        await connection.copy_to_table(
            table["name"], schema_name=schema, columns=table["columns"], source=_chunks(backup, table["entry"], worker)
        )
        await connection.execute(f"ALTER TABLE {target} ENABLE TRIGGER USER")
    for key in keys:
        await connection.execute(
            f"ALTER TABLE {name}.{quoted(key['on_table'])} ADD CONSTRAINT {quoted(key['name'])} {key['definition']}"
        )
    for sequence in backup.sequences:
        await connection.execute(
            "SELECT setval($1::text::regclass, $2, $3)",
            f"{name}.{quoted(sequence['name'])}",
            sequence["last"],
            sequence["called"],
        )


async def _chunks(backup: Backup, entry: str, worker: Worker) -> AsyncIterator[bytes]:
    try:
        member = await worker.run(partial(backup.file.open, entry))
        try:
            while chunk := await worker.run(partial(member.read, _CHUNK)):
                yield chunk
        finally:
            await worker.run(member.close)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise BackupInvalid(
            f"the file is damaged: {type(error).__name__}", hint="take another backup", address=str(backup.source)
        ) from None
