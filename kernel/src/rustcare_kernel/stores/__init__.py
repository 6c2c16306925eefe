"""Stores: for each plugin a private database and key-value space, on SQLite (default) or PostgreSQL.

`open_driver` picks one; `_contract` says what either gives. Importing this imports neither database's driver.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from ._contract import Migration, PluginStore, StoreDriver
from .errors import DriverMissing, StoreSpecInvalid

__all__ = ["Migration", "PluginStore", "StoreDriver", "open_driver"]


def open_driver(spec: str, data_dir: Path) -> StoreDriver:
    """The driver for a kernel's stores. Nothing is connected or created before the first use.

    Args:
        spec: `sqlite`, or the address of a PostgreSQL database (`postgresql://user:password@host:port/database`).
        data_dir: the kernel's data folder.

    Raises:
        StoreSpecInvalid: `spec` is neither.
        DriverMissing: it is PostgreSQL and the package `asyncpg` is not installed.
    """
    if spec == "sqlite":
        from .sqlite import SqliteDriver

        return SqliteDriver(data_dir)
    if urlsplit(spec).scheme in ("postgresql", "postgres"):
        try:
            from .postgres import PostgresDriver
        except ModuleNotFoundError as error:
            if error.name != "asyncpg":
                raise
            raise DriverMissing(
                "the store is PostgreSQL and the package `asyncpg` is not installed",
                hint="pip install 'rustcare-kernel[postgres]'",
                address="store",
            ) from None
        return PostgresDriver(spec)
    raise StoreSpecInvalid(  # the text is not repeated: an address holds a password
        "`sqlite` or an address that begins with `postgresql://` was expected and something else came",
        hint="leave it out for SQLite",
        address="store",
    )
