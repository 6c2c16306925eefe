"""Migrations: applied once, in order, whole or not at all, and never changed afterwards."""

from __future__ import annotations

import asyncio

import pytest
from rustcare_kernel.stores import Migration
from rustcare_kernel.stores.errors import MigrationChanged, MigrationFailed, MigrationInvalid, StatementInvalid

from tests.support.stores import Stores

ONE = Migration(1, "one", "CREATE TABLE one (id BIGINT PRIMARY KEY);\nCREATE INDEX one_id ON one (id);")
TWO = Migration(
    2, "two", "-- a comment; with a semicolon\nINSERT INTO one (id) VALUES (1); ALTER TABLE one ADD note TEXT"
)
THREE = Migration(3, "three", "CREATE TABLE three (id BIGINT PRIMARY KEY REFERENCES one (id), text TEXT DEFAULT ';?')")


async def test_applied_once_and_in_order(stores: Stores) -> None:
    """Only what is new runs; the answer is the last number applied."""
    store = await stores.driver.open(stores.new_id())
    assert await store.migrate([]) == 0
    assert await store.migrate([ONE, TWO]) == 2
    assert await store.migrate([ONE, TWO]) == 2
    assert await store.migrate([ONE, TWO, THREE]) == 3
    await store.db.execute("INSERT INTO three (id) VALUES (1)")
    assert await store.db.fetch("SELECT one.id, note, text FROM one JOIN three ON one.id = three.id") == [
        {"id": 1, "note": None, "text": ";?"}
    ]


async def test_an_older_package_leaves_the_database_as_it_is(stores: Stores) -> None:
    """After a rollback the older version runs on the newer schema: that is no error."""
    store = await stores.driver.open(stores.new_id())
    await store.migrate([ONE, TWO])
    assert await store.migrate([ONE]) == 2


async def test_a_changed_migration_is_an_error(stores: Stores) -> None:
    """The text, or the name, of an applied migration cannot change; the error names both sides, and nothing runs."""
    store = await stores.driver.open(stores.new_id())
    await store.migrate([ONE])
    for changed in (Migration(1, "one", ONE.sql + " "), Migration(1, "uno", ONE.sql)):
        with pytest.raises(MigrationChanged) as caught:
            await store.migrate([changed, TWO])
        text = str(caught.value)
        assert ONE.digest[:12] in text
        assert changed.digest[:12] in text
        assert f"migrations/{changed.label}.sql" in text
    assert await store.migrate([ONE, TWO]) == 2


async def test_all_or_nothing(stores: Stores) -> None:
    """When one of several new migrations fails, none of them is kept, and the store goes on as before."""
    store = await stores.driver.open(stores.new_id())
    await store.migrate([ONE])
    broken = Migration(3, "broken", "CREATE TABLE kept (id BIGINT);\nINSERT INTO one (id) VALUES (1)")
    with pytest.raises(MigrationFailed, match=r"migrations/0003_broken.sql: statement 2"):
        await store.migrate([ONE, TWO, broken])
    with pytest.raises(StatementInvalid):
        await store.db.fetch("SELECT * FROM kept")
    assert await store.db.fetch("SELECT * FROM one") == []
    assert await store.migrate([ONE, TWO, THREE]) == 3


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        "CREATE TABLE t (id BIGINT); COMMIT; CREATE TABLE",
        "PRAGMA user_version = 3",
        "SET search_path TO public",
        "DROP SCHEMA public CASCADE",
        "CREATE TEMPORARY TABLE t (id BIGINT)",
        "CREATE UNLOGGED TABLE t (id BIGINT)",
        "CREATE EXTENSION dblink",
        "ATTACH 'x' AS y",
    ],
)
async def test_what_a_migration_may_not_hold(stores: Stores, sql: str) -> None:
    """Transactions, settings, other schemas and tables that do not last are refused before anything runs."""
    store = await stores.driver.open(stores.new_id())
    with pytest.raises(MigrationInvalid):
        await store.migrate([ONE, Migration(2, "bad", sql)])
    assert await store.migrate([]) == 0


async def test_numbers_follow_each_other(stores: Stores) -> None:
    """A gap, a repetition or another start is refused."""
    store = await stores.driver.open(stores.new_id())
    for numbers in ((2,), (1, 3), (1, 1), (2, 1)):
        with pytest.raises(MigrationInvalid, match="was expected"):
            await store.migrate([Migration(number, "x", "SELECT 1") for number in numbers])


async def test_two_nodes_migrate_at_the_same_time(stores: Stores) -> None:
    """Handles that migrate together apply each migration once."""
    plugin_id = stores.new_id()
    opened = [await stores.driver.open(plugin_id) for _ in range(4)]
    assert await asyncio.gather(*(store.migrate([ONE, TWO]) for store in opened)) == [2] * 4


async def test_triggers(stores: Stores) -> None:
    """Where the databases differ, each has its file; statements with semicolons inside stay whole."""
    table = "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT DEFAULT 0);"
    own = {
        "sqlite": "CREATE TRIGGER up AFTER INSERT ON t BEGIN UPDATE t SET n = 1 WHERE id = NEW.id; SELECT 1; END;",
        "postgres": "CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.n := 1; RETURN NEW; END; $f$;"
        " CREATE TRIGGER up BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION up();",
    }
    files = {f"migrations/0001_t.{dialect}.sql": (table + sql).encode() for dialect, sql in own.items()}
    store = await stores.driver.open(stores.new_id())
    assert await store.migrate(Migration.read(files, stores.dialect)) == 1
    await store.db.execute("INSERT INTO t (id) VALUES (1)")
    assert await store.db.fetch("SELECT n FROM t") == [{"n": 1}]
