"""The SQLite store against bare `sqlite3` with the same settings, the same rows and the same number of rows a commit."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from rustcare_kernel.stores import Migration
from rustcare_kernel.stores.sqlite import SqliteDriver, SqliteStore

from tests.benchmarks.harness import Row, paired_async

_TABLE = "CREATE TABLE t (id BIGINT PRIMARY KEY, raw BLOB NOT NULL)"
_INSERT = "INSERT INTO t (id, raw) VALUES (?, ?)"
_READ = "SELECT raw FROM t WHERE id = ?"
_RAW = b"x" * 500
_LONE, _GROUPS, _TOGETHER, _READS = 200, 20, 50, 5000


def rows() -> Iterator[Row]:
    """One write at a time, fifty at a time, fifty transactions at a time, reads."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder), found))
    yield from found


async def _measure(folder: Path, found: list[Row]) -> None:
    driver = SqliteDriver(folder)
    store = await driver.open("bench.store")
    await store.migrate([Migration(1, "t", _TABLE)])
    with closing(sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)) as bare:
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = FULL")
        bare.execute(_TABLE)
        await _writes(store, bare, found)
        await _reads(store, bare, found)
    await driver.close()


async def _writes(store: SqliteStore, bare: sqlite3.Connection, found: list[Row]) -> None:
    ids, bare_ids = itertools.count(), itertools.count()

    async def lone() -> None:
        for _ in range(_LONE):
            await store.db.execute(_INSERT, (next(ids), _RAW))

    async def bare_lone() -> None:
        for _ in range(_LONE):
            bare.execute(_INSERT, (next(bare_ids), _RAW))

    async def together() -> None:
        for _ in range(_GROUPS):
            await asyncio.gather(*(store.db.execute(_INSERT, (next(ids), _RAW)) for _ in range(_TOGETHER)))

    def bare_group(size: int) -> None:
        bare.execute("BEGIN IMMEDIATE")
        for _ in range(size):
            bare.execute(_INSERT, (next(bare_ids), _RAW))
        bare.execute("COMMIT")

    async def bare_together() -> None:
        for _ in range(_GROUPS):
            bare_group(_TOGETHER)

    async def transact() -> None:
        async with store.db.transaction() as tx:
            await tx.execute(_INSERT, (next(ids), _RAW))
            await tx.execute(_INSERT, (next(ids), _RAW))

    async def transactions() -> None:
        for _ in range(_GROUPS):
            await asyncio.gather(*(transact() for _ in range(_TOGETHER)))

    async def bare_transactions() -> None:
        for _ in range(_GROUPS):
            bare_group(2 * _TOGETHER)

    await lone()  # the first run of a statement is not its normal one
    ours, floor = await paired_async(lone, bare_lone)
    found.append(Row("durable write, one at a time", _LONE / ours, _LONE / floor, "/s", "rate"))
    units, commits = store.units, store.commits
    ours, floor = await paired_async(together, bare_together)
    size = _GROUPS * _TOGETHER
    note = f"{(store.units - units) / (store.commits - commits):.0f} writes a commit; bare: one BEGIN … COMMIT for 50"
    found.append(Row("durable writes, 50 at a time", size / ours, size / floor, "/s", "rate", note=note))
    units, commits = store.units, store.commits
    ours, floor = await paired_async(transactions, bare_transactions)
    note = (
        f"{(store.units - units) / (store.commits - commits):.0f} transactions of two writes a commit; bare: one for 50"
    )
    found.append(Row("transactions, 50 at a time", size / ours, size / floor, "/s", "rate", note=note))


async def _reads(store: SqliteStore, bare: sqlite3.Connection, found: list[Row]) -> None:
    async def ours_read() -> None:
        for n in range(_READS):
            await store.db.fetch_one(_READ, (n % 1000,))

    async def bare_read() -> None:
        for n in range(_READS):
            bare.execute(_READ, (n % 1000,)).fetchone()

    ours, floor = await paired_async(ours_read, bare_read)
    found.append(Row("read of one row by key", ours / _READS * 1e6, floor / _READS * 1e6, "µs"))
