"""What can go wrong in a store, the same on both databases.

No text here ever carries a value, a parameter or a password: a message names tables, constraints, columns, error names
of the database and places, and nothing that a patient could be recognised by.
"""

from __future__ import annotations

from rustcare_sdk.errors import StoreError

__all__ = [
    "BackupFailed",
    "BackupInvalid",
    "ConstraintViolated",
    "DriverMissing",
    "KeyInvalid",
    "MigrationChanged",
    "MigrationFailed",
    "MigrationInvalid",
    "StatementInvalid",
    "StatementRefused",
    "StoreBusy",
    "StoreClosed",
    "StoreCorrupt",
    "StoreError",
    "StoreFull",
    "StoreSpecInvalid",
    "StoreUnavailable",
    "TransactionAborted",
    "TransactionNested",
    "ValueUnsupported",
]


class StoreSpecInvalid(StoreError):
    """The word that says which database to use is neither `sqlite` nor a `postgresql://` address."""

    code = "store.spec-invalid"


class DriverMissing(StoreError):
    """The Python package that speaks to the database is not installed."""

    code = "store.driver-missing"


class StoreUnavailable(StoreError):
    """The database cannot be reached, or the connection broke."""

    code = "store.unavailable"


class StoreClosed(StoreError):
    """The store was closed, and is used again."""

    code = "store.closed"


class StoreBusy(StoreError):
    """Another process, or too many transactions at once, held the database for too long."""

    code = "store.busy"


class StoreFull(StoreError):
    """The disk is full. Nothing of the failed operation was kept."""

    code = "store.full"


class StoreCorrupt(StoreError):
    """The database found its own files damaged."""

    code = "store.corrupt"


class StatementInvalid(StoreError):
    """The SQL is not understood, or names what is not there."""

    code = "store.statement-invalid"


class StatementRefused(StoreError):
    """The SQL is outside of what a plugin may send: one statement that reads or writes rows."""

    code = "store.statement-refused"


class ValueUnsupported(StoreError):
    """A parameter is not of the types that both databases speak: int, float, str, bytes, bool, None."""

    code = "store.value-unsupported"


class ConstraintViolated(StoreError):
    """The statement breaks a constraint of the schema (unique, not null, foreign key, check)."""

    code = "store.constraint"


class KeyInvalid(StoreError):
    """A key of the key-value space is empty, longer than 512 bytes of UTF-8, or not UTF-8 at all."""

    code = "store.key-invalid"


class TransactionAborted(StoreError):
    """The transaction can only be rolled back: a statement of it failed, it lasted too long, or it is over."""

    code = "store.transaction-aborted"


class TransactionNested(StoreError):
    """A task that holds a transaction asked the same store for another write, and would wait for itself forever."""

    code = "store.transaction-nested"


class MigrationInvalid(StoreError):
    """The migration files do not make a sequence 0001, 0002, … with one file each."""

    code = "store.migration-invalid"


class MigrationChanged(StoreError):
    """A migration differs from the one that was applied under the same number."""

    code = "store.migration-changed"


class MigrationFailed(StoreError):
    """A migration's statement failed; none of the new migrations was kept."""

    code = "store.migration-failed"


class BackupFailed(StoreError):
    """A backup could not be written. What was at its place before is untouched."""

    code = "store.backup-failed"


class BackupInvalid(StoreError):
    """The file is not a backup of this kind of store, or is damaged. The store is untouched."""

    code = "store.backup-invalid"
