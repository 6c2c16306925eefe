"""The audit log against what it stands on: bare inserts at the same batch, and bare fdatasync.

Bare SQLite: one row an entry, the same number of rows a commit, WAL and `synchronous=FULL` as ours; by one `execute` a
row (which the aim is for, as elsewhere here) and by `executemany`. Bare PostgreSQL: `executemany` in one transaction. The
log writes the same entries, and besides hashes them, keeps the tree's tiles, and signs a checkpoint a commit with Ed25519.
Proofs are of leaves at random places, from tiles in the store. RUSTCARE_BENCH_LEAVES says how many leaves the largest log
gets (10,000,000).
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import rustcare_plugin_audit
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rustcare_kernel.stores import Migration, StoreDriver, open_driver
from rustcare_plugin_audit.log import AuditLog, Leaf
from rustcare_plugin_audit.notes import ED25519, VerifierKey, signature_line
from rustcare_plugin_audit.tree import leaf_hash, verify_consistency, verify_inclusion

from tests.benchmarks.harness import Row, paired_async
from tests.support.postgres import _binaries, _start

ORIGIN = "bench.example/audit"
_INSERT = "INSERT INTO entry (id, data) VALUES (?, ?)"
_ENTRY = 300  # bytes
_LONE, _TOGETHER, _COMMITS = 200, 100, 20
_PROOFS = 2000
_WARMING = 6  # rounds before the clock runs
_IN_MEMORY = 64 * 256  # leaves whose tiles the log keeps at hand
_BULK = 8192  # entries in a commit when a large log is built

Work = Callable[[], Awaitable[Any]]


def migrations(dialect: str) -> Sequence[Migration]:
    """The log's own tables."""
    folder = Path(rustcare_plugin_audit.__file__).parent / "migrations"
    return Migration.read({f"migrations/{path.name}": path.read_bytes() for path in folder.glob("0001_*")}, dialect)


def rows() -> Iterator[Row]:
    """Appends on SQLite and PostgreSQL, then proofs at growing sizes."""
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_appends(Path(folder), found))
        asyncio.run(_postgres(Path(folder), found))
        asyncio.run(_proofs(Path(folder), found))
    yield from found


class Bench:
    """A log in a store of its own, and entries of the usual length, none like another."""

    def __init__(self, driver: StoreDriver) -> None:
        self.driver = driver
        self._secret = Ed25519PrivateKey.generate()
        self.key = VerifierKey(ORIGIN, ED25519, self._secret.public_key().public_bytes_raw())
        self._made = 0
        self._filling = os.urandom(_ENTRY - 10)

    async def sign(self, body: bytes) -> list[bytes]:
        """As the keyring does, without the way there."""
        return [signature_line(self.key, self._secret.sign(body))]

    async def open(self, name: str) -> AuditLog:
        """A new log."""
        store = await self.driver.open(name)
        await store.migrate(migrations(self.driver.dialect))
        log = AuditLog(store.db, self.sign, ORIGIN, [self.key])
        await log.open()
        return log

    def entries(self, count: int) -> list[bytes]:
        """That many entries."""
        self._made += count
        return [b"%010d" % number + self._filling for number in range(self._made - count, self._made)]


class Bare:
    """One row an entry, in SQLite with our settings."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.connection = sqlite3.connect(folder / "bare.sqlite3", isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        self._bench = bench
        self._place = 0

    async def one_by_one(self, batch: int, commits: int = _COMMITS) -> None:
        """An `execute` a row."""
        for _ in range(commits):
            self.connection.execute("BEGIN IMMEDIATE")
            for data in self._bench.entries(batch):
                self.connection.execute(_INSERT, (self._place, data))
                self._place += 1
            self.connection.execute("COMMIT")

    async def all_in_one(self, batch: int) -> None:
        """An `executemany` a commit."""
        for _ in range(_COMMITS):
            rows = list(enumerate(self._bench.entries(batch), self._place))
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(_INSERT, rows)
            self.connection.execute("COMMIT")
            self._place += batch


async def _appends(folder: Path, found: list[Row]) -> None:
    driver = open_driver("sqlite", folder)
    bench = Bench(driver)
    log = await bench.open("bench.audit")
    bare = Bare(folder, bench)
    for batch in (100, 1000):
        note = "bare: a row an entry, an execute a row, the same rows a commit"
        found.append(await _batches("SQLite", log, bench, batch, partial(bare.one_by_one, batch), note, 0.65))
        note = "bare: the same rows by executemany"
        found.append(await _batches("SQLite", log, bench, batch, partial(bare.all_in_one, batch), note))

    async def lone() -> None:
        for entry in bench.entries(_LONE):
            await log.append([Leaf(entry)])

    async def one() -> None:
        for entry in bench.entries(_COMMITS):
            await log.append([Leaf(entry)])

    async def together() -> None:
        await asyncio.gather(*(one() for _ in range(_TOGETHER)))

    await lone()
    ours, floor = await paired_async(lone, partial(bare.one_by_one, 1, _LONE))
    note = "bare: one insert into SQLite"
    found.append(Row("audited append, one at a time", _LONE / ours, _LONE / floor, "/s", "rate", None, note))
    bare.connection.close()
    number = os.open(folder / "bare.bin", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    block = os.urandom(4096)

    async def syncs() -> None:
        for _ in range(_LONE):
            os.write(number, block)
            os.fdatasync(number)

    note = "bare: fdatasync of 4 KiB at the end of a file"
    ours, floor = await paired_async(lone, syncs)
    found.append(Row("audited append, one at a time", _LONE / ours, _LONE / floor, "/s", "rate", 0.6, note))
    ours, floor = await paired_async(together, syncs)
    total = _TOGETHER * _COMMITS
    found.append(Row("audited appends by 100 at once", total / ours, _LONE / floor, "/s", "rate", 5, note))
    os.close(number)
    await driver.close()


async def _batches(
    where: str, log: AuditLog, bench: Bench, batch: int, floor: Work, note: str, aim: float | None = None
) -> Row:
    async def ours() -> None:
        for _ in range(_COMMITS):
            await log.append([Leaf(entry) for entry in bench.entries(batch)])

    for _ in range(_WARMING):  # until both write-ahead logs have their size and are written over
        await ours()
        await floor()
    mine, bare = await paired_async(ours, floor)
    total = batch * _COMMITS
    name = f"audited appends, {batch:,} a commit, {where}"
    return Row(name, total / mine, total / bare, "/s", "rate", aim, note)


async def _postgres(folder: Path, found: list[Row]) -> None:
    """The same on PostgreSQL: the server that RUSTCARE_TEST_POSTGRES names, or one started here, or none."""
    server = None
    dsn = os.environ.get("RUSTCARE_TEST_POSTGRES", "")
    if not dsn:
        binaries = _binaries()
        if binaries is None:
            found.append(Row("audited appends, PostgreSQL", 0, None, "/s", "rate", note="not measured: not installed"))
            return
        server = _start(binaries)
        dsn = server.dsn
    driver = open_driver(dsn, folder)
    name = f"bench.audit-{os.getpid()}"
    try:
        await _postgres_appends(driver, await asyncpg.connect(dsn), name, found)
    finally:
        await driver.close()
        cleaner = open_driver(dsn, folder)
        await cleaner.drop(name)
        await cleaner.close()
        if server is not None:
            server.stop("immediate")
            shutil.rmtree(server.folder, ignore_errors=True)


async def _postgres_appends(driver: StoreDriver, bare: Any, name: str, found: list[Row]) -> None:
    bench = Bench(driver)
    log = await bench.open(name)
    await bare.execute("CREATE TABLE IF NOT EXISTS bench_entry (id bigint PRIMARY KEY, data bytea NOT NULL)")
    await bare.execute("TRUNCATE bench_entry")
    place = 0

    async def bare_commits(batch: int) -> None:
        nonlocal place
        for _ in range(_COMMITS):
            data = bench.entries(batch)
            async with bare.transaction():
                await bare.executemany(
                    "INSERT INTO bench_entry (id, data) VALUES ($1, $2)", list(enumerate(data, place))
                )
            place += batch

    for batch in (100, 1000):
        note = "bare: executemany in one transaction"
        found.append(await _batches("PostgreSQL", log, bench, batch, partial(bare_commits, batch), note, 0.65))

    async def lone() -> None:
        for entry in bench.entries(_LONE):
            await log.append([Leaf(entry)])

    async def bare_lone() -> None:
        nonlocal place
        for data in bench.entries(_LONE):
            await bare.execute("INSERT INTO bench_entry (id, data) VALUES ($1, $2)", place, data)
            place += 1

    ours, floor = await paired_async(lone, bare_lone)
    note = "bare: one insert"
    found.append(
        Row("audited append, one at a time, PostgreSQL", _LONE / ours, _LONE / floor, "/s", "rate", None, note)
    )
    await bare.execute("DROP TABLE bench_entry")
    await bare.close()


async def _proofs(folder: Path, found: list[Row]) -> None:
    """Proofs of random leaves at 10^4, 10^6, … leaves, and the memory of a process that only reads the largest log."""
    largest = int(os.environ.get("RUSTCARE_BENCH_LEAVES", "10000000"))
    driver = open_driver("sqlite", folder / "large")
    bench = Bench(driver)
    log = await bench.open("bench.large")
    started, entered = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for size in sorted({10_000, min(1_000_000, largest), largest}):
        while log.size < size:
            leaves = [Leaf(b"%016d" % n) for n in range(log.size, min(log.size + _BULK, size))]
            await log.append(leaves)
        await _proofs_at(log, size, found)
        if size == 1_000_000:
            before = time.perf_counter()
            await log.verify()
            rate = size / (time.perf_counter() - before)
            found.append(Row("entries read and verified, 1,000,000 leaves", rate, None, "/s", "rate"))
    taken = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - entered) / 1024
    note = f"grown by {grown:.0f} MiB while it grew; built and proved in {taken:.0f} s, {_BULK:,} a commit"
    memory = _resident()
    before = time.perf_counter()
    await log.open()
    opened = (time.perf_counter() - before) * 1000
    found.append(Row(f"opening a log, {largest:,} leaves", opened, None, "ms", note="head and tail checked"))
    found.append(Row(f"memory of the process, {largest:,} leaves", memory, None, "MiB", note=note))
    await driver.close()


def _resident() -> float:
    """MiB of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


async def _proofs_at(log: AuditLog, size: int, found: list[Row]) -> None:
    chance = random.Random(size)
    places = [chance.randrange(size) for _ in range(_PROOFS)]
    olds = [chance.randrange(1, size) for _ in range(_PROOFS)]
    root = log.root
    started = time.perf_counter()
    inclusions = [await log.inclusion(place, size) for place in places]
    made = time.perf_counter() - started
    leaves = [leaf_hash(b"%016d" % place) for place in places]
    started = time.perf_counter()
    for place, leaf, proof in zip(places, leaves, inclusions, strict=True):
        verify_inclusion(place, size, leaf, proof, root)
    checked = time.perf_counter() - started
    where = "tiles in memory" if size <= _IN_MEMORY else "a tile from the store each"
    note = f"{len(inclusions[0])} hashes, {where}"
    found.append(Row(f"inclusion proofs made, {size:,} leaves", _PROOFS / made, None, "/s", "rate", note=note))
    found.append(Row(f"inclusion proofs verified, {size:,} leaves", _PROOFS / checked, None, "/s", "rate"))
    started = time.perf_counter()
    proofs = [await log.consistency(old, size) for old in olds]
    made = time.perf_counter() - started
    roots = [await log.root_at(old) for old in olds]
    started = time.perf_counter()
    for old, proof, before in zip(olds, proofs, roots, strict=True):
        verify_consistency(old, size, proof, before, root)
    checked = time.perf_counter() - started
    note = f"{len(proofs[0])} hashes, {where}"
    found.append(Row(f"consistency proofs made, {size:,} leaves", _PROOFS / made, None, "/s", "rate", note=note))
    found.append(Row(f"consistency proofs verified, {size:,} leaves", _PROOFS / checked, None, "/s", "rate"))
