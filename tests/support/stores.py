"""A store on each real database: the fixture `stores`, once for SQLite and once for PostgreSQL."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rustcare_kernel.stores import Migration, PluginStore, StoreDriver, open_driver

ITEMS = Migration(
    1,
    "items",
    """
    CREATE TABLE items (id BIGINT PRIMARY KEY, label TEXT NOT NULL, raw BLOB, weight DOUBLE PRECISION);
    CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
    INSERT INTO counter (name, value) VALUES ('n', 0);
    """,
)


@dataclass
class Stores:
    """A driver, the address it was opened with, and plugin ids that no other test uses."""

    spec: str
    folder: Path
    driver: StoreDriver
    used: list[str] = field(default_factory=list)

    @property
    def dialect(self) -> str:
        return self.driver.dialect

    def new_id(self) -> str:
        plugin_id = f"test.p-{uuid.uuid4().hex[:16]}"
        self.used.append(plugin_id)
        return plugin_id

    async def open(self, *migrations: Migration) -> PluginStore:
        """A new plugin's store, with the table `items` unless other migrations are given."""
        store = await self.driver.open(self.new_id())
        await store.migrate(migrations or (ITEMS,))
        return store


@pytest.fixture(params=["sqlite", "postgres"])
def store_spec(request: pytest.FixtureRequest) -> str:
    """What `open_driver` takes, for each database in turn."""
    if request.param == "sqlite":
        return "sqlite"
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


@pytest.fixture
async def stores(store_spec: str, tmp_path: Path) -> AsyncIterator[Stores]:
    """Stores of new plugins on one real database; what they wrote is deleted afterwards."""
    made = Stores(store_spec, tmp_path, open_driver(store_spec, tmp_path))
    try:
        yield made
    finally:
        await made.driver.close()
        cleaner = open_driver(store_spec, tmp_path)
        for plugin_id in made.used:
            await cleaner.drop(plugin_id)
        await cleaner.close()
