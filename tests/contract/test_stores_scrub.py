"""What is deleted is gone from the database's own files."""

from __future__ import annotations

from tests.support.stores import Stores

SECRET = b"the key of one patient, 32 bytes"


async def test_deleted_rows_leave_nothing_in_the_files(stores: Stores) -> None:
    """After `scrub` no file of a SQLite store holds a deleted or overwritten value; PostgreSQL takes the call as well."""
    store = await stores.open()
    insert = "INSERT INTO items (id, label, raw) VALUES (?, ?, ?)"
    await store.db.execute_many(insert, [(n, "x", SECRET + bytes([n])) for n in range(100)])
    await store.db.execute("DELETE FROM items WHERE id >= ?", (50,))
    await store.db.execute("UPDATE items SET raw = ? WHERE id < ?", (b"", 50))
    await store.db.scrub()
    if stores.dialect == "sqlite":
        files = [path for path in stores.folder.rglob("*") if path.is_file()]
        assert files
        assert [path.name for path in files if SECRET in path.read_bytes()] == []
    assert (await store.db.fetch("SELECT count(*) AS n FROM items"))[0]["n"] == 50


async def test_scrub_can_run_beside_reads_and_writes(stores: Stores) -> None:
    """A store that is in use is scrubbed without an error and without a lost write."""
    import asyncio

    store = await stores.open()
    insert = "INSERT INTO items (id, label) VALUES (?, ?)"
    await asyncio.gather(
        *(store.db.execute(insert, (n, "x")) for n in range(50)),
        store.db.scrub(),
        *(store.db.fetch("SELECT count(*) AS n FROM items") for _ in range(20)),
    )
    assert (await store.db.fetch("SELECT count(*) AS n FROM items"))[0]["n"] == 50
