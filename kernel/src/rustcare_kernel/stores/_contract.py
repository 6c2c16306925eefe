"""What a store driver gives the kernel: for each plugin a private database and key-value space.

`rustcare_kernel.stores.sqlite` (default) and `.postgres` implement this; `tests/contract/` runs one suite against both.

What a plugin may rely on, on either database:

- A write (`execute`, `execute_many`, `kv.put`, `kv.delete`, a transaction's end) is on disk when its call returns.
  When the call was cancelled meanwhile, it may or may not be.
- Transactions of one plugin follow each other: between the first statement of one and its end no other one of the same
  plugin runs. A lone `execute` is atomic by itself; a read that decides about a write belongs in a transaction.
- After a statement of a transaction failed, the transaction can only be rolled back.
- Reads outside of a transaction see everything that was acknowledged before them, and never half a transaction.
- Parameters are int, float, str, bytes, bool or None. Rows come back as dicts of these (a boolean column is 0 or 1 on
  SQLite). Money and other decimals are text or integers: a decimal result comes back as int or float.
- The schema changes in migrations only. The type `BLOB` exists on both; write `BIGINT` and `DOUBLE PRECISION`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from rustcare_sdk.context import Database, KeyValue

from .errors import MigrationInvalid

__all__ = ["Migration", "PluginStore", "StoreDriver", "check_sequence"]

_FILE = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)(?:\.(?P<dialect>sqlite|postgres))?\.sql")


@dataclass(frozen=True)
class Migration:
    """One numbered step of a plugin's schema: `0001_messages.sql`, or `.sqlite.sql` / `.postgres.sql` where they
    differ.

    Applied once, in the order of `number`, inside a transaction; `digest` (SHA-256 hex of `sql`) catches a step that
    was changed after it was applied.
    """

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def label(self) -> str:
        """`0001_messages`, as in the file's name."""
        return f"{self.number:04d}_{self.name}"

    @staticmethod
    def read(files: Mapping[str, bytes], dialect: str) -> tuple[Migration, ...]:
        """The migrations among a package's files (`migrations/NNNN_name[.dialect].sql`), in order, for one dialect.

        Line ends are made LF, so that a checkout's settings do not change a digest.

        Raises:
            MigrationInvalid: a name that does not fit, a gap, two files for one number, or none for this dialect.
        """
        found: dict[int, Migration] = {}
        places: dict[tuple[int, str], str] = {}
        for path in sorted(files):
            parts = PurePosixPath(path)
            if parts.parent.name != "migrations" or parts.suffix != ".sql":
                continue
            named = _FILE.fullmatch(parts.name)
            if named is None:
                raise MigrationInvalid(
                    "the name does not follow NNNN_name.sql, NNNN_name.sqlite.sql or NNNN_name.postgres.sql",
                    hint="four digits, an underscore, then a to z, 0 to 9 and _",
                    address=path,
                )
            number, target = int(named["number"]), named["dialect"] or ""
            for other in ("sqlite", "postgres", "") if not target else (target, ""):
                if (number, other) in places:
                    raise MigrationInvalid(
                        f"it has the number and database of {places[number, other]}",
                        hint="one file for both databases, or one for each",
                        address=path,
                    )
            places[number, target] = path
            if target not in ("", dialect):
                continue
            try:
                sql = files[path].decode("utf-8-sig").replace("\r\n", "\n")
            except UnicodeDecodeError:
                raise MigrationInvalid("UTF-8 was expected and other bytes came", address=path) from None
            found[number] = Migration(number, named["name"], sql)
        for number, target in places:
            if number not in found:
                raise MigrationInvalid(
                    f"it is for {target} only, and this kernel's store is {dialect}",
                    hint=f"add a file with the same number that ends in .{dialect}.sql",
                    address=places[number, target],
                )
        migrations = tuple(found[number] for number in sorted(found))
        check_sequence(migrations)
        return migrations


def check_sequence(migrations: Sequence[Migration]) -> None:
    """Migrations are numbered 1, 2, 3, … without a gap.

    Raises:
        MigrationInvalid: names the first that does not follow.
    """
    for expected, migration in enumerate(migrations, 1):
        if migration.number != expected:
            raise MigrationInvalid(
                f"number {expected:04d} was expected and {migration.number:04d} came",
                hint="number migrations 0001, 0002, … without a gap, and never renumber an applied one",
                address=f"migrations/{migration.label}.sql",
            )


class PluginStore(Protocol):
    """One plugin's open store. The kernel checks capabilities before a call arrives here."""

    @property
    def db(self) -> Database: ...
    @property
    def kv(self) -> KeyValue: ...
    async def migrate(self, migrations: Sequence[Migration]) -> int:
        """Apply what is missing; the number of the last one applied (0 for none). All or nothing.

        A database that is ahead of the package (an older version runs again after a rollback) is left as it is, and its
        own last number comes back.
        """
        ...

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to `target` while the plugin runs. `target` appears whole or not at all."""
        ...

    async def restore(self, source: Path) -> None:
        """Replace the content by a backup's (of the same kind of database). All or nothing."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, and let go. A second call does nothing."""
        ...


class StoreDriver(Protocol):
    """Opens stores. One for each kernel."""

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgres`: which migration files apply."""
        ...

    async def open(self, plugin_id: str) -> PluginStore:
        """A handle on the plugin's store. Handles of one plugin (two versions during an upgrade) share the store."""
        ...

    async def drop(self, plugin_id: str) -> None:
        """Delete a removed plugin's data for good (an operator's explicit wish). Its handles must be closed before."""
        ...

    async def close(self) -> None:
        """Close every store that is still open."""
        ...
