"""What a store driver gives the kernel: for each plugin a private database and key-value space.

`rustcare_kernel.stores.sqlite` (default) and `.postgres` implement this; `tests/contract/` runs one suite against both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rustcare_sdk.context import Database, KeyValue

__all__ = ["Migration", "PluginStore", "StoreDriver"]


@dataclass(frozen=True)
class Migration:
    """One numbered step of a plugin's schema: `0001_messages.sql`, or `.sqlite.sql` / `.postgres.sql` where they differ.

    Applied once, in the order of `number`, inside a transaction; `digest` (SHA-256 hex of `sql`) catches a step that was
    changed after it was applied.
    """

    number: int
    name: str
    sql: str

    @staticmethod
    def read(files: dict[str, bytes], dialect: str) -> tuple[Migration, ...]:
        """The migrations among a package's files (`migrations/NNNN_name[.dialect].sql`), in order, for one dialect."""
        raise NotImplementedError  # the stores' author fills this in


class PluginStore(Protocol):
    """One plugin's open store. The kernel checks capabilities before a call arrives here."""

    @property
    def db(self) -> Database: ...
    @property
    def kv(self) -> KeyValue: ...
    async def migrate(self, migrations: Sequence[Migration]) -> int:
        """Apply what is missing; the number of the last one applied (0 for none). All or nothing."""
        ...

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to `target` while the plugin runs."""
        ...

    async def restore(self, source: Path) -> None:
        """Replace the content by a backup's."""
        ...

    async def close(self) -> None: ...


class StoreDriver(Protocol):
    """Opens stores. One for each kernel."""

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgres`: which migration files apply."""
        ...

    async def open(self, plugin_id: str) -> PluginStore: ...
    async def drop(self, plugin_id: str) -> None:
        """Delete a removed plugin's data for good (an operator's explicit wish)."""
        ...

    async def close(self) -> None: ...
