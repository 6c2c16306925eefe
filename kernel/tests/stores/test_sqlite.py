"""What is SQLite's own: the shared commit, the threads, the settings, and other processes at the file."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rustcare_kernel.stores import Migration
from rustcare_kernel.stores.errors import ConstraintViolated, StoreClosed, StoreError, StoreFull, StoreUnavailable
from rustcare_kernel.stores.sqlite import SqliteDriver, SqliteStore

TABLE = Migration(1, "t", "CREATE TABLE t (id BIGINT PRIMARY KEY, label TEXT NOT NULL)")
INSERT = "INSERT INTO t (id, label) VALUES (?, ?)"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[SqliteDriver]:
    made = SqliteDriver(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def store(driver: SqliteDriver) -> SqliteStore:
    opened = await driver.open("acme.lab")
    await opened.migrate([TABLE])
    return opened


def files_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def count(store: SqliteStore) -> int:
    row = await store.db.fetch_one("SELECT count(*) AS n FROM t")
    assert row is not None
    return int(row["n"])


async def test_writes_that_arrive_together_share_a_commit(store: SqliteStore) -> None:
    """Five hundred concurrent writes, half of them transactions, need far fewer commits than there are writes."""

    async def transact(n: int) -> None:
        async with store.db.transaction() as tx:
            await tx.execute(INSERT, (n, "a"))
            await tx.execute(INSERT, (-n, "a"))

    await store.db.execute(INSERT, (0, "a"))
    units, commits = store.units, store.commits
    await asyncio.gather(*(transact(n) if n % 2 else store.db.execute(INSERT, (n, "a")) for n in range(1, 501)))
    assert store.units - units == 500
    assert store.commits - commits < 100
    assert await count(store) == 751


async def test_a_lone_write_has_a_commit_of_its_own(store: SqliteStore) -> None:
    """One after the other, each write is committed before its call returns."""
    commits = store.commits
    for n in range(10):
        await store.db.execute(INSERT, (n, "a"))
        assert store.commits == commits + n + 1


async def test_the_settings_that_durability_rests_on(store: SqliteStore, driver: SqliteDriver) -> None:
    """The file is in write-ahead mode, and the writer waits for the disk at each commit (FULL, which is 2)."""
    connection = store._shared.writer._connection
    assert connection is not None
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert driver.path("acme.lab").stat().st_mode & 0o077 == 0


async def test_nothing_is_opened_before_the_first_use(driver: SqliteDriver, tmp_path: Path) -> None:
    """A plugin that never touches its store costs no file, no connection and no thread; a closed one gives all back."""
    before = threading.active_count()
    stores = [await driver.open(f"acme.idle-{n}") for n in range(50)]
    assert threading.active_count() == before
    assert files_in(tmp_path) == []
    await stores[0].kv.put("k", b"v")
    assert threading.active_count() == before + 1
    await driver.close()
    assert threading.active_count() == before
    assert files_in(tmp_path) == ["store.sqlite3"]


async def test_a_thread_without_work_ends(store: SqliteStore) -> None:
    """The writer's thread ends after a while without work, and the next write starts one."""
    writer = store._shared.writer
    await writer.worker.stop()
    writer.worker._idle = 0.01
    await store.db.execute(INSERT, (1, "a"))
    thread = writer.worker._thread
    assert thread is not None
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
    await store.db.execute(INSERT, (2, "a"))
    assert await count(store) == 2


async def test_a_long_read_does_not_hold_the_event_loop(store: SqliteStore) -> None:
    """While one statement reads for long, short reads and writes go on, each within a fraction of its time."""
    slow = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT count(*) AS c FROM n"
    )
    await store.db.execute(INSERT, (0, "a"))
    started = time.perf_counter()
    reading = asyncio.create_task(store.db.fetch(slow))
    await asyncio.sleep(0)
    done = 0
    longest = 0.0
    while not reading.done():
        done += 1
        before = time.perf_counter()
        await store.db.execute(INSERT, (done, "a"))
        await count(store)
        longest = max(longest, time.perf_counter() - before)
    assert await reading == [{"c": 3000000}]
    assert done > 10
    assert longest < (time.perf_counter() - started) / 2


async def test_many_short_statements_leave_the_others_their_turn(store: SqliteStore) -> None:
    """Whoever reads in a loop, or fills a transaction, does not keep the event loop to itself."""
    await store.db.execute(INSERT, (0, "a"))
    other = asyncio.create_task(asyncio.sleep(0.01))
    while not other.done():
        await count(store)
    other = asyncio.create_task(asyncio.sleep(0.01))
    n = 0
    async with store.db.transaction() as tx:
        while not other.done():
            n += 1
            await tx.execute(INSERT, (n, "a"))
    assert await count(store) == n + 1


async def test_a_cancelled_read_stops(store: SqliteStore) -> None:
    """A read whose caller gave up is interrupted, and the next one gets its own result."""
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n"
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.db.fetch(endless), timeout=0.05)
        assert await count(store) == 0
        counted = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT max(i) AS m FROM n"
        assert await asyncio.wait_for(store.db.fetch_one(counted), timeout=20) == {"m": 300000}


async def test_a_long_write_does_not_hold_the_event_loop(store: SqliteStore) -> None:
    """Many rows at once are written in the thread; short reads go on."""
    writing = asyncio.create_task(store.db.execute_many(INSERT, [(n, "a" * 50) for n in range(100_000)]))
    reads = 0
    while not writing.done():
        await count(store)
        await asyncio.sleep(0)
        reads += 1
    await writing
    assert await count(store) == 100_000
    assert reads > 5


async def test_an_abandoned_coroutine_frees_the_writer(store: SqliteStore) -> None:
    """A transaction whose coroutine is thrown away, not cancelled, is rolled back on the spot."""
    db = store.db
    await db.execute(INSERT, (0, "a"))
    async with db.transaction() as tx:  # so that the statement is known as quick
        await tx.execute(INSERT, (-1, "a"))

    async def hold() -> None:
        async with db.transaction() as tx:
            await tx.execute(INSERT, (1, "a"))
            await asyncio.Event().wait()

    abandoned = hold()
    abandoned.send(None)
    del abandoned
    gc.collect()
    await asyncio.wait_for(db.execute(INSERT, (2, "a")), timeout=5)
    assert await count(store) == 3


async def test_a_full_disk_fails_what_was_not_committed_and_nothing_else(store: SqliteStore) -> None:
    """When SQLite gives up a whole group, each of its callers hears of it, and the store works on."""
    await store.db.execute(INSERT, (-1, "kept"))
    connection = store._shared.writer._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    outcomes = await asyncio.gather(
        *(store.db.execute(INSERT, (n, "x" * 1000)) for n in range(100)), return_exceptions=True
    )
    failed = [outcome for outcome in outcomes if isinstance(outcome, StoreFull)]
    assert failed
    assert await count(store) == 1 + len(outcomes) - len(failed)
    with pytest.raises(StoreError):
        async with store.db.transaction() as tx:
            await tx.execute_many(INSERT, [(n + 1000, "x" * 1000) for n in range(100)])
    connection.execute("PRAGMA max_page_count = 1073741823")
    before = await count(store)
    await store.db.execute(INSERT, (500, "again"))
    assert await count(store) == before + 1


async def test_a_deferred_constraint_fails_its_own_transaction_only(driver: SqliteDriver) -> None:
    """A constraint that is checked at the end strikes who broke it, not who commits at the same time."""
    store = await driver.open("acme.deferred")
    sql = (
        "CREATE TABLE t (id BIGINT PRIMARY KEY, label TEXT, up BIGINT REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    await store.migrate([Migration(1, "t", sql)])

    async def transact(n: int) -> None:
        async with store.db.transaction() as tx:
            await tx.execute("INSERT INTO t (id, up) VALUES (?, ?)", (n, n + 1000))
            if n % 2:
                await tx.execute("INSERT INTO t (id) VALUES (?)", (n + 1000,))

    outcomes = await asyncio.gather(*(transact(n) for n in range(20)), return_exceptions=True)
    assert [isinstance(outcome, ConstraintViolated) for outcome in outcomes] == [n % 2 == 0 for n in range(20)]
    assert await count(store) == 20


async def test_a_rebuilt_table_keeps_its_references(store: SqliteStore) -> None:
    """A migration may rebuild a table that others refer to; what refers to nothing afterwards fails it."""
    child = Migration(2, "child", "CREATE TABLE c (id BIGINT REFERENCES t (id) ON DELETE CASCADE)")
    rebuild = "CREATE TABLE n (id BIGINT PRIMARY KEY, label TEXT); INSERT INTO n SELECT id, label FROM t{};"
    rebuild += " DROP TABLE t; ALTER TABLE n RENAME TO t"
    await store.migrate([TABLE, child])
    await store.db.execute(INSERT, (1, "a"))
    await store.db.execute("INSERT INTO c (id) VALUES (1)")
    with pytest.raises(StoreError, match="check of foreign keys"):
        await store.migrate([TABLE, child, Migration(3, "r", rebuild.format(" WHERE id > 1"))])
    await store.migrate([TABLE, child, Migration(3, "r", rebuild.format(""))])
    assert await store.db.fetch("SELECT id FROM c") == [{"id": 1}]
    with pytest.raises(ConstraintViolated):
        await store.db.execute("INSERT INTO c (id) VALUES (9)")


async def test_another_process_at_the_file(store: SqliteStore, driver: SqliteDriver) -> None:
    """While somebody else writes to the file, the event loop goes on, and the write comes when it can."""
    await store.db.execute(INSERT, (0, "a"))
    other = sqlite3.connect(driver.path("acme.lab"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = [asyncio.create_task(store.db.execute(INSERT, (n, "a"))) for n in range(1, 4)]
    for _ in range(100):
        assert await count(store) == 1
        await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    other.execute("COMMIT")
    other.close()
    await asyncio.gather(*waiting)
    assert await count(store) == 4


async def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """When the file cannot be opened, the error names the store and says what to check; later it may work."""
    (tmp_path / "plugins").write_text("in the way")
    driver = SqliteDriver(tmp_path)
    store = await driver.open("acme.lab")
    with pytest.raises(StoreUnavailable, match=r"acme\.lab"):
        await store.kv.put("k", b"v")
    (tmp_path / "plugins").unlink()
    await store.kv.put("k", b"v")
    await driver.close()


async def test_close_keeps_what_was_accepted(driver: SqliteDriver) -> None:
    """Writes that wait when the store is closed are still done; those that come later are refused."""
    store = await driver.open("acme.closing")
    await store.migrate([TABLE])
    tasks = [asyncio.create_task(store.db.execute(INSERT, (n, "a"))) for n in range(100)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*tasks)
    with pytest.raises(StoreClosed):
        await store.db.execute(INSERT, (200, "a"))
    again = await driver.open("acme.closing")
    assert await count(again) == 100


async def test_closed_while_it_opens(driver: SqliteDriver) -> None:
    """A store that is closed in the moment of its first use ends well."""
    store = await driver.open("acme.hasty")
    putting = asyncio.create_task(store.kv.put("k", b"v"))
    await asyncio.sleep(0)
    await store.close()
    await putting
    assert await (await driver.open("acme.hasty")).kv.get("k") == b"v"
