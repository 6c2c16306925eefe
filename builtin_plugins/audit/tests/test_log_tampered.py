"""A log whose rows were changed: opening it or reading it all names the entry, tile or checkpoint that is wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from rustcare_plugin_audit.errors import LogCorrupt
from rustcare_plugin_audit.log import AuditLog, Leaf
from rustcare_plugin_audit.log.rows import CHECKPOINT, ENTRIES, place, tile_place
from rustcare_sdk.testing._database import MemoryDatabase

from tests.support.audit_log import ORIGIN, LogSigner, log_files, new_log, pseudonym, told

# 40 commits: lone entries first, then batches; the last bundle is not full.
BATCHES = [*[1] * 30, 200, 300, 100, 700, *[3] * 6]


@pytest_asyncio.fixture
async def db() -> AsyncIterator[MemoryDatabase]:
    """A database in memory with the log's tables."""
    made = MemoryDatabase(lambda kind, verb, scope: None)
    made.migrate(log_files())
    yield made
    made.close()


@pytest.fixture
def signer() -> LogSigner:
    """The log's key."""
    return LogSigner()


@pytest_asyncio.fixture
async def log(db: MemoryDatabase, signer: LogSigner) -> AuditLog:
    """A log with entries and disclosures."""
    made = await new_log(db, signer)
    for count in BATCHES:
        start = made.size
        await made.append([told(n % 4) if n % 9 == 0 else Leaf(b"entry %d" % n) for n in range(start, start + count)])
    return made


async def change(db: MemoryDatabase, key: int, offset: int, bit: int = 0) -> None:
    """Flip one bit of a row."""
    row = await db.fetch_one("SELECT data FROM audit_log WHERE place = ?", (key,))
    assert row is not None
    data = bytearray(row["data"])
    data[offset] ^= 1 << bit
    await db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (bytes(data), key))


async def opening(db: MemoryDatabase, signer: LogSigner) -> LogCorrupt | None:
    """What opening says."""
    try:
        await new_log(db, signer)
    except LogCorrupt as error:
        return error
    return None


async def reading(log: AuditLog) -> LogCorrupt | None:
    """What reading everything says."""
    try:
        await log.verify()
    except LogCorrupt as error:
        return error
    return None


@pytest.mark.parametrize("index", [0, 7, 29])
async def test_a_changed_entry_of_a_full_bundle_is_named(log: AuditLog, db: MemoryDatabase, index: int) -> None:
    """Reading everything names the changed entry."""
    await change(db, place(ENTRIES, index), -1)
    error = await reading(log)
    assert error is not None
    assert (error.leaf, error.address) == (index, f"leaf {index}")


async def test_a_changed_entry_at_the_end_keeps_the_log_closed(
    log: AuditLog, db: MemoryDatabase, signer: LogSigner
) -> None:
    """In the last bundles a changed entry is named by opening already."""
    await change(db, place(ENTRIES, log.size - 3), -1)
    for error in (await opening(db, signer), await reading(log)):
        assert error is not None
        assert error.leaf == log.size - 1
    await change(db, place(ENTRIES, log.size - 3), -1)
    assert await opening(db, signer) is None
    await change(db, place(ENTRIES, 1024), -1)
    error = await opening(db, signer)
    assert error is not None
    assert error.leaf == 1279


@pytest.mark.parametrize("bit", range(8))
async def test_every_bit_of_a_row_matters(log: AuditLog, db: MemoryDatabase, signer: LogSigner, bit: int) -> None:
    """Whatever bit of the last row of entries is flipped, the log does not open, and an entry of that row is named."""
    key = place(ENTRIES, log.size - 3)
    row = await db.fetch_one("SELECT data FROM audit_log WHERE place = ?", (key,))
    assert row is not None
    for offset in range(len(row["data"])):
        await change(db, key, offset, bit)
        error = await opening(db, signer)
        assert error is not None, f"byte {offset}"
        assert error.leaf is not None
        assert log.size - 3 <= error.leaf <= log.size
        await change(db, key, offset, bit)


async def test_a_missing_entry_is_named(log: AuditLog, db: MemoryDatabase, signer: LogSigner) -> None:
    """A row that was deleted is named by its first entry."""
    await db.execute("DELETE FROM audit_log WHERE place = ?", (place(ENTRIES, 12),))
    error = await reading(log)
    assert error is not None
    assert error.leaf == 12
    await db.execute("DELETE FROM audit_log WHERE place = ?", (place(ENTRIES, log.size - 3),))
    error = await opening(db, signer)
    assert error is not None
    assert error.leaf == log.size - 3


async def test_entries_that_change_places_are_named(log: AuditLog, db: MemoryDatabase) -> None:
    """Two entries that were swapped are found, the first of them named."""
    rows = [await db.fetch_one("SELECT data FROM audit_log WHERE place = ?", (place(ENTRIES, n),)) for n in (3, 5)]
    assert rows[0] is not None
    assert rows[1] is not None
    await db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (rows[1]["data"], place(ENTRIES, 3)))
    await db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (rows[0]["data"], place(ENTRIES, 5)))
    error = await reading(log)
    assert error is not None
    assert error.leaf == 3


async def test_a_changed_tile_is_named(log: AuditLog, db: MemoryDatabase, signer: LogSigner) -> None:
    """A tile whose hashes are not those of its entries is found by reading; a missing one by opening."""
    await change(db, tile_place(0, 1), 40)
    error = await reading(log)
    assert error is not None
    assert error.leaf == 257
    await change(db, tile_place(0, 1), 40)
    await db.execute("DELETE FROM audit_log WHERE place = ?", (tile_place(0, 2),))
    error = await opening(db, signer)
    assert error is not None
    assert error.address == "tile 0/2"


async def test_a_changed_checkpoint_is_named(log: AuditLog, db: MemoryDatabase, signer: LogSigner) -> None:
    """An earlier checkpoint is found by reading, the last one by opening, whatever byte of it was changed."""
    await change(db, place(CHECKPOINT, 530), 30)
    error = await reading(log)
    assert error is not None
    assert error.checkpoint == 530
    await change(db, place(CHECKPOINT, 530), 30)
    row = await db.fetch_one("SELECT data FROM audit_log WHERE place = ?", (place(CHECKPOINT, log.size),))
    assert row is not None
    for offset in range(len(row["data"])):
        await change(db, place(CHECKPOINT, log.size), offset, 2)
        error = await opening(db, signer)
        assert error is not None, f"byte {offset}"
        assert error.checkpoint == log.size
        await change(db, place(CHECKPOINT, log.size), offset, 2)


async def test_a_forged_checkpoint_is_named(log: AuditLog, db: MemoryDatabase, signer: LogSigner) -> None:
    """A checkpoint by another key is no checkpoint, and one by the log's key over another root is found."""
    forger = LogSigner()
    last = await log.checkpoint()
    forged = last.body.encode() + b"\n" + b"".join(await forger(last.body.encode()))
    key = place(CHECKPOINT, log.size)
    await db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (forged, key))
    error = await opening(db, signer)
    assert error is not None
    assert error.checkpoint == log.size
    early = (await log.checkpoint(230)).body.replace("\n230\n", "\n530\n").encode()
    signed = early + b"\n" + b"".join(await signer(early))
    await db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (signed, place(CHECKPOINT, 530)))
    error = await reading(log)
    assert error is not None
    assert error.checkpoint == 530


async def test_rows_that_were_cut_off_are_found(log: AuditLog, db: MemoryDatabase, signer: LogSigner) -> None:
    """Entries without their checkpoint, or none at all, do not open."""
    size = log.size
    await db.execute("DELETE FROM audit_log WHERE place = ?", (place(CHECKPOINT, size),))
    error = await opening(db, signer)
    assert error is not None
    assert error.leaf == size - 3
    await db.execute("DELETE FROM audit_log WHERE place >= ? AND place < ?", (place(CHECKPOINT), place(CHECKPOINT + 1)))
    error = await opening(db, signer)
    assert error is not None
    assert error.checkpoint == 0


async def test_a_disclosure_that_was_taken_out_is_found(log: AuditLog, db: MemoryDatabase, signer: LogSigner) -> None:
    """A subject's last disclosure cannot be dropped from the counters, nor one in between, nor can one be added."""
    key = bytes.fromhex(pseudonym(1))
    count = (await log.disclosures(pseudonym(1))).count
    rows = await db.fetch("SELECT n, place FROM audit_disclosures WHERE pseudonym = ? ORDER BY n", (key,))
    for n in (count, 3):
        await db.execute("DELETE FROM audit_disclosures WHERE pseudonym = ? AND n = ?", (key, n))
        assert await opening(db, signer) is not None
        assert await reading(log) is not None
        with pytest.raises(LogCorrupt):
            await AuditLog(db, signer, ORIGIN).open()
        insert = "INSERT INTO audit_disclosures (pseudonym, n, place) VALUES (?, ?, ?)"
        await db.execute(insert, (key, n, rows[n - 1]["place"]))
    assert await reading(log) is None
    await db.execute(insert, (key, count + 1, 2))
    error = await opening(db, signer)
    assert error is not None
    assert error.checkpoint == log.size


async def test_progress_is_told(log: AuditLog) -> None:
    """Reading everything tells how far it is, and ends at the whole."""
    seen: list[tuple[int, int]] = []
    found = await log.verify(lambda done, total: seen.append((done, total)))
    assert seen[-1] == (log.size, log.size)
    assert (found.entries, found.checkpoints) == (log.size, len(BATCHES) + 1)
