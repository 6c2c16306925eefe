"""What both databases ask of migrations: what is new, and whether what was applied is still what the package holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ._contract import Migration
from .errors import MigrationChanged, MigrationFailed

__all__ = ["check_applied", "failed"]


def check_applied(migrations: Sequence[Migration], applied: Mapping[int, tuple[str, str]]) -> list[Migration]:
    """The migrations that are not applied yet, in order.

    Args:
        migrations: the package's, numbered from 1 without a gap.
        applied: the database's: number to name and digest.

    Raises:
        MigrationChanged: one was applied with another name or text.
    """
    new: list[Migration] = []
    for migration in migrations:
        if migration.number not in applied:
            new.append(migration)
            continue
        name, digest = applied[migration.number]
        if (name, digest) != (migration.name, migration.digest):
            raise MigrationChanged(
                f"the database was migrated with {migration.number:04d}_{name} (sha256:{digest[:12]}…) and the package "
                f"has {migration.label} (sha256:{migration.digest[:12]}…)",
                hint="put the applied text back and write the change as a new migration",
                address=f"migrations/{migration.label}.sql",
            )
    return new


def failed(migration: Migration, statement: int, reason: str) -> MigrationFailed:
    """The error for a migration whose statement (counted from 1, 0 for the check at the end) the database refused."""
    place = f"statement {statement}" if statement else "the check of foreign keys at the end"
    return MigrationFailed(
        f"{place}: {reason}",
        hint="nothing of the new migrations was kept; correct the file and start the plugin again",
        address=f"migrations/{migration.label}.sql",
    )
