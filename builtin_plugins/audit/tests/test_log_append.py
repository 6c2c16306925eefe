"""Appending, on both databases: order, shared commits, and what happens when a commit cannot be written."""

from __future__ import annotations

import asyncio

import pytest
from rustcare_plugin_audit.errors import AuditWriteFailed, EntryNotFound, InvalidRequest, LogCorrupt
from rustcare_plugin_audit.log import AuditLog, Leaf
from rustcare_plugin_audit.tree import EMPTY_ROOT, leaf_hash, root_of
from rustcare_sdk.context import Database

from tests.support.audit_log import ORIGIN, FailingDatabase, LogSigner, log_migrations, new_log, pseudonym, told
from tests.support.stores import Stores


async def database(stores: Stores) -> Database:
    """The log's tables in a new store."""
    return (await stores.open(*log_migrations(stores.dialect))).db


async def test_a_new_log_is_empty_and_signed(stores: Stores) -> None:
    """A new log has a signed checkpoint of size 0, and opening it again finds that one."""
    signer, db = LogSigner(), await database(stores)
    log = await new_log(db, signer)
    assert (log.size, log.first, log.root) == (0, 0, EMPTY_ROOT)
    checkpoint = await log.checkpoint()
    checkpoint.verify([signer.key])
    again = await new_log(db, signer)
    assert (await again.checkpoint()).text == checkpoint.text
    assert len(signer.bodies) == 1


async def test_entries_stay_in_order_and_are_there_after_reopening(stores: Stores) -> None:
    """`append` returns the places of its entries, side by side; a reopened log has them all and the same root."""
    signer, db = LogSigner(), await database(stores)
    log = await new_log(db, signer)
    expected: list[bytes] = []
    for count in (1, 255, 1, 300, 600, 3):
        new = [b"entry %d" % (len(expected) + offset) for offset in range(count)]
        assert await log.append([Leaf(entry) for entry in new]) == range(len(expected), len(expected) + count)
        expected += new
    assert log.root == root_of([leaf_hash(entry) for entry in expected])
    log = await new_log(db, signer)
    assert log.root == root_of([leaf_hash(entry) for entry in expected])
    assert await log.entries(0, 5000) == expected
    assert await log.entries(250, 60) == expected[250:310]
    assert await log.entries(1159, 9) == expected[1159:]
    assert await log.entries(1160, 9) == await log.entries(-1, 2) == []
    assert await log.append([]) == range(1160, 1160)


async def test_appenders_that_wait_share_a_commit(stores: Stores) -> None:
    """Many appenders at once need few commits; each gets the place of its own entry."""
    signer, db = LogSigner(), await database(stores)
    log = await new_log(db, signer)
    before = len(signer.bodies)
    places = await asyncio.gather(*(log.append([Leaf(b"%d" % number)]) for number in range(200)))
    assert [place.start for place in places] == list(range(200))
    assert await log.entries(0, 200) == [b"%d" % number for number in range(200)]
    assert len(signer.bodies) - before <= 2


async def test_a_failed_commit_tells_every_waiting_appender(stores: Stores) -> None:
    """While the disk refuses, every appender gets AuditWriteFailed and the log stays as it was; then it goes on."""
    signer, db = LogSigner(), FailingDatabase(await database(stores))
    log = await new_log(db, signer)
    await log.append([Leaf(b"first")])
    root = log.root
    db.broken = True
    failed = await asyncio.gather(
        *(log.append([Leaf(b"lost"), told(1)]) for _ in range(20)), log.append([Leaf(b"lost")]), return_exceptions=True
    )
    assert all(isinstance(error, AuditWriteFailed) for error in failed)
    assert len({id(error) for error in failed}) == 21  # one object must not be raised in many tasks
    assert (log.size, log.root) == (1, root)
    db.broken = False
    assert await log.append([Leaf(b"second"), told(1)]) == range(1, 3)
    assert await log.entries(0, 9) == [b"first", b"second", b"told 1 1"]
    await log.verify()


async def test_a_commit_whose_end_is_unknown_is_looked_up(stores: Stores) -> None:
    """When the database breaks off after the commit, its appender is told of a failure; the log goes on from what is there."""
    signer, db = LogSigner(), FailingDatabase(await database(stores))
    log = await new_log(db, signer)
    db.broken = db.late = True
    with pytest.raises(AuditWriteFailed):
        await log.append([Leaf(b"there after all"), told(2)])
    assert log.size == 0
    db.broken = False
    assert await log.append([told(2)]) == range(2, 3)
    assert await log.entries(0, 9) == [b"there after all", b"told 2 1", b"told 2 2"]
    await log.verify()


async def test_a_commit_that_cannot_be_signed_fails(stores: Stores) -> None:
    """Without a signature nothing is written; with one again the log goes on."""
    signer, db = LogSigner(), await database(stores)
    sealed = True

    async def sign(body: bytes) -> list[bytes]:
        if sealed and b"\n0\n" not in body:
            raise RuntimeError("sealed")
        return await signer(body)

    log = AuditLog(db, sign, ORIGIN, [signer.key])
    await log.open()
    with pytest.raises(AuditWriteFailed, match="could not be signed: RuntimeError"):
        await log.append([Leaf(b"x"), told(1)])
    assert log.size == 0
    sealed = False
    assert await log.append([told(1)]) == range(0, 1)
    assert (await log.disclosures(pseudonym(1))).indices == [0]


async def test_two_writers_never_overwrite_each_other(stores: Stores) -> None:
    """When another process appended, a commit at the same place fails; the next one goes on after the other's entry."""
    signer, db = LogSigner(), await database(stores)
    one, two = await new_log(db, signer), await new_log(db, signer)
    await one.append([Leaf(b"one")])
    with pytest.raises(AuditWriteFailed):
        await two.append([Leaf(b"two")])
    assert await two.append([Leaf(b"two")]) == range(1, 2)
    assert await two.entries(0, 9) == [b"one", b"two"]
    await two.verify()


async def test_a_cancelled_appender_takes_nobody_with_it(stores: Stores) -> None:
    """A caller that goes away while its entry is being written does not disturb the others."""
    log = await new_log(await database(stores), LogSigner())
    tasks = [asyncio.create_task(log.append([Leaf(b"%d" % number)])) for number in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[3], asyncio.CancelledError)
    assert [place.start for number, place in enumerate(found) if number != 3 and isinstance(place, range)] == [
        0, 1, 2, 4, 5, 6, 7, 8, 9,
    ]  # fmt: skip
    await log.verify()


@pytest.mark.parametrize(
    "leaf",
    [
        Leaf(b""),
        Leaf(bytes(65_536)),
        Leaf(b"x", disclosure="00" * 32),
        Leaf(b"x", disclosure="00" * 32, make=lambda n: b"x"),
        Leaf(disclosure="00" * 31, make=lambda n: b"x"),
        Leaf(disclosure="AA" * 32, make=lambda n: b"x"),
    ],
)
async def test_what_is_no_entry_is_refused(stores: Stores, leaf: Leaf) -> None:
    """An entry has 1 to 65,535 bytes; a disclosure has a pseudonym and a function. Nothing of the call is written."""
    log = await new_log(await database(stores), LogSigner())
    with pytest.raises(InvalidRequest):
        await log.append([Leaf(b"good"), leaf])
    assert log.size == 0


async def test_an_entry_that_cannot_be_made_fails_its_own_caller_only(stores: Stores) -> None:
    """A `make` that raises, or makes too much, fails that append; others of the same commit are written, counted gaplessly."""
    log = await new_log(await database(stores), LogSigner())

    def broken(n: int) -> bytes:
        raise ValueError("no")

    found = await asyncio.gather(
        log.append([told(1)]),
        log.append([told(1), Leaf(disclosure=pseudonym(1), make=broken)]),
        log.append([Leaf(disclosure=pseudonym(1), make=lambda n: bytes(65_536))]),
        log.append([told(1)]),
        return_exceptions=True,
    )
    assert [type(item) for item in found] == [range, ValueError, InvalidRequest, range]
    assert await log.entries(0, 9) == [b"told 1 1", b"told 1 2"]
    await log.verify()


async def test_a_log_of_another_name_or_key_does_not_open(stores: Stores) -> None:
    """The checkpoint must be of this log and signed by one of its keys."""
    signer, db = LogSigner(), await database(stores)
    await new_log(db, signer)
    with pytest.raises(LogCorrupt, match="checkpoint 0"):
        await AuditLog(db, signer, "other.example", [signer.key]).open()
    with pytest.raises(LogCorrupt, match="got none"):
        await AuditLog(db, signer, ORIGIN, lambda: [LogSigner().key]).open()


async def test_what_the_log_does_not_have_is_not_found(stores: Stores) -> None:
    """Tiles, bundles and checkpoints beyond the log are errors that say so."""
    log = await new_log(await database(stores), LogSigner())
    await log.append([Leaf(b"x")])
    for asked in (log.tile(0, 0, 2), log.tile(9, 0, 1), log.tile(0, -1, 1), log.entry_bundle(0), log.checkpoint(7)):
        with pytest.raises(EntryNotFound):
            await asked
    for wrong in (log.inclusion(1), log.inclusion(0, 2), log.consistency(0), log.consistency(1, 9), log.prune(2)):
        with pytest.raises(InvalidRequest):
            await wrong
