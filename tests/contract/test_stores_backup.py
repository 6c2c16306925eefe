"""Backups: taken while the plugin writes, consistent, whole or not at all, and restored the same way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from rustcare_kernel.stores import Migration, PluginStore
from rustcare_kernel.stores.errors import BackupFailed, BackupInvalid, StoreError

from tests.support.stores import ITEMS, Stores

INSERT = "INSERT INTO items (id, label, raw, weight) VALUES (?, ?, ?, ?)"

FAMILY = {
    "sqlite": """
        CREATE TABLE ward (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, head BIGINT REFERENCES nurse (id));
        CREATE TABLE nurse (id BIGINT PRIMARY KEY, ward BIGINT REFERENCES ward (id), boss BIGINT REFERENCES nurse (id));
    """,
    "postgres": """
        CREATE TABLE ward (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT, head BIGINT,
                           shout TEXT GENERATED ALWAYS AS (upper(name)) STORED);
        CREATE TABLE nurse (id BIGINT PRIMARY KEY, ward BIGINT REFERENCES ward (id), boss BIGINT REFERENCES nurse (id));
        ALTER TABLE ward ADD CONSTRAINT ward_head FOREIGN KEY (head) REFERENCES nurse (id);
    """,
}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"plugins"}


async def labels(store: PluginStore) -> list[str]:
    return [row["label"] for row in await store.db.fetch("SELECT label FROM items ORDER BY id")]


async def test_round_trip(stores: Stores, tmp_path: Path) -> None:
    """What a backup holds comes back exactly: rows, keys, awkward characters; what came later is gone."""
    store = await stores.open()
    rows = [(1, "tab\tnew\nback\\slash \\N é💉", b"\x00\\x\xff", 0.1), (2, "", None, None), (3, "\\.", b"", -1e300)]
    await store.db.execute_many(INSERT, rows)
    await store.kv.put("key\0", b"\x00value")
    await store.backup(tmp_path / "b")
    await store.db.execute("DELETE FROM items WHERE id = 1")
    await store.db.execute(INSERT, (4, "later", None, None))
    await store.kv.put("key\0", b"other")
    await store.kv.put("more", b"")
    await store.restore(tmp_path / "b")
    found = await store.db.fetch("SELECT id, label, raw, weight FROM items ORDER BY id")
    assert [tuple(row.values()) for row in found] == rows
    assert await store.kv.keys() == ["key\0"]
    assert await store.kv.get("key\0") == b"\x00value"
    await store.db.execute(INSERT, (5, "goes on", None, None))
    assert await store.migrate([ITEMS]) == 1


async def test_restored_elsewhere(stores: Stores, tmp_path: Path) -> None:
    """A backup is one file that fills the store of a fresh installation, migrations included."""
    store, other = await stores.open(), await stores.driver.open(stores.new_id())
    await store.db.execute(INSERT, (1, "a", None, None))
    await store.backup(tmp_path / "b")
    assert names(tmp_path) == {"b"}
    await other.restore(tmp_path / "b")
    assert await labels(other) == ["a"]
    assert await other.migrate([ITEMS]) == 1


async def test_consistent_while_others_write(stores: Stores, tmp_path: Path) -> None:
    """A backup under load holds whole transactions only, and everything acknowledged before it began."""
    store = await stores.open()
    acknowledged = 0
    more = asyncio.Event()
    stop = False

    async def write(worker: int) -> None:
        nonlocal acknowledged
        n = 0
        while not stop:
            async with store.db.transaction() as tx:
                await tx.execute(INSERT, (worker * 1_000_000 + n, "pair", b"x" * 500, None))
                await asyncio.sleep(0)
                await tx.execute(INSERT, (worker * 1_000_000 + n + 1, "pair", b"x" * 500, None))
            acknowledged += 2
            n += 2
            more.set()

    writers = [asyncio.create_task(write(worker)) for worker in range(10)]
    counts: list[tuple[int, int, int]] = []
    for step in range(4):
        while acknowledged < (step + 1) * 100:
            more.clear()
            await more.wait()
        before = acknowledged
        await store.backup(tmp_path / f"b{step}")
        counts.append((before, acknowledged, step))
    stop = True
    await asyncio.gather(*writers)
    other = await stores.open()
    for before, after, step in counts:
        await other.restore(tmp_path / f"b{step}")
        row = await other.db.fetch_one("SELECT count(*) AS n FROM items")
        assert row is not None
        assert row["n"] % 2 == 0
        assert before <= row["n"] <= after + 2 * len(writers)


async def test_restored_while_others_write(stores: Stores, tmp_path: Path) -> None:
    """Writers beside a restore are before it or after it; readers see the old or the new content, never half of one."""
    store = await stores.open()
    await store.db.execute_many(INSERT, [(n, "old", None, None) for n in range(2000)])
    await store.backup(tmp_path / "b")
    await store.db.execute("UPDATE items SET label = 'new'")
    stop = False

    async def write(worker: int) -> None:
        n = 0
        while not stop:
            n += 1
            async with store.db.transaction() as tx:
                await tx.execute(INSERT, (worker * 1_000_000 + n, "more", None, None))

    writers = [asyncio.create_task(write(worker)) for worker in range(1, 4)]
    restoring = asyncio.create_task(store.restore(tmp_path / "b"))
    seen = set()
    while not restoring.done():
        rows = await store.db.fetch("SELECT label, count(*) AS n FROM items WHERE id < 2000 GROUP BY label")
        seen.add(tuple((row["label"], row["n"]) for row in rows))
    await restoring
    stop = True
    await asyncio.gather(*writers)
    assert seen <= {(("new", 2000),), (("old", 2000),)}
    assert (await labels(store))[:2000] == ["old"] * 2000


async def test_keys_between_tables_and_numbers(stores: Stores, tmp_path: Path) -> None:
    """Tables that refer to each other in a circle come back, checks in force, and numbering goes on behind the last."""
    store = await stores.open(Migration(1, "family", FAMILY[stores.dialect]))
    await store.db.execute("INSERT INTO ward (name) VALUES (?)", ("one",))
    await store.db.execute("INSERT INTO ward (name) VALUES (?)", ("two",))
    await store.db.execute_many("INSERT INTO nurse (id, ward, boss) VALUES (?, ?, ?)", [(1, 1, None), (2, 2, 1)])
    await store.db.execute("UPDATE nurse SET boss = 2 WHERE id = 1")
    await store.db.execute("UPDATE ward SET head = 1")
    await store.db.execute("DELETE FROM ward WHERE id = 99")
    await store.backup(tmp_path / "b")
    await store.db.execute("UPDATE ward SET head = NULL")
    await store.restore(tmp_path / "b")
    row = await store.db.fetch_one("INSERT INTO ward (name) VALUES (?) RETURNING id", ("three",))
    assert row == {"id": 3}
    assert await store.db.fetch("SELECT DISTINCT head FROM ward WHERE id < 3") == [{"head": 1}]
    with pytest.raises(StoreError) as caught:
        await store.db.execute("DELETE FROM nurse WHERE id = 1")
    assert caught.value.code == "store.constraint"


async def test_what_is_no_backup(stores: Stores, tmp_path: Path) -> None:
    """A missing, foreign or damaged file is refused with its name, and the store is untouched."""
    store = await stores.open()
    await store.db.execute_many(INSERT, [(n, f"row {n}", b"x" * 200, None) for n in range(500)])
    good = tmp_path / "good"
    await store.backup(good)
    content = good.read_bytes()
    middle = len(content) // 2
    files = {
        "empty": b"",
        "text": b"no backup at all" * 500,
        "short": content[:middle],
        "damaged": content[:middle]
        + bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
        + content[middle + 64 :],
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for name in ("missing", "empty", "text", "short", "damaged"):
        with pytest.raises(BackupInvalid, match=name):
            await store.restore(tmp_path / name)
        assert len(await labels(store)) == 500
    await store.restore(good)
    assert len(await labels(store)) == 500


async def test_a_backup_that_cannot_be_written(stores: Stores, tmp_path: Path) -> None:
    """Where the target cannot be written, what was there stays and no half file is left."""
    store = await stores.open()
    with pytest.raises(BackupFailed, match="nowhere"):
        await store.backup(tmp_path / "nowhere" / "b")
    folder = tmp_path / "folder"
    (folder / "inside").mkdir(parents=True)
    with pytest.raises(BackupFailed):
        await store.backup(folder)
    assert names(tmp_path) == {"folder"}
    await store.backup(tmp_path / "b")
    first = (tmp_path / "b").stat()
    assert first.st_mode & 0o077 == 0
    await store.backup(tmp_path / "b")
    assert (tmp_path / "b").stat().st_ino != first.st_ino
