"""Proofs, tiles, checkpoints and disclosures of a stored log, on both databases."""

from __future__ import annotations

import asyncio
import random

import pytest
from rustcare_plugin_audit.errors import EntryNotFound, InvalidRequest
from rustcare_plugin_audit.log import AuditLog, Leaf
from rustcare_plugin_audit.log.upkeep import Upkeep
from rustcare_plugin_audit.notes import COSIGNATURE, VerifierKey, signature_line, unbundle
from rustcare_plugin_audit.tree import (
    EMPTY_ROOT,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)

from tests.support.audit_log import LogSigner, log_migrations, new_log, pseudonym, told
from tests.support.stores import Stores


async def filled(stores: Stores, signer: LogSigner, batches: list[int]) -> AuditLog:
    """A log with batches of entries; every fifth is a disclosure of one of six subjects."""
    log = await new_log((await stores.open(*log_migrations(stores.dialect))).db, signer)
    for count in batches:
        start = log.size
        await log.append([told(n % 6) if n % 5 == 0 else Leaf(b"entry %d" % n) for n in range(start, start + count)])
    return log


async def hashes_of(log: AuditLog) -> list[bytes]:
    """The hashes of all leaves."""
    return [leaf_hash(entry) for entry in await log.entries(0, log.size) if entry is not None]


async def test_proofs_between_any_sizes_verify(stores: Stores) -> None:
    """Inclusion and consistency proofs are right at every size up to the present one, also at sizes nobody signed."""
    log = await filled(stores, LogSigner(), [1, 300, 255, 700, 9])
    hashes = await hashes_of(log)
    chance = random.Random(7)
    for size in [1, 2, 255, 256, 257, 512, 513, 1264, 1265, *(chance.randrange(1, 1266) for _ in range(20))]:
        root = await log.root_at(size)
        assert root == root_of(hashes[:size])
        for index in (0, size - 1, chance.randrange(size)):
            verify_inclusion(index, size, hashes[index], await log.inclusion(index, size), root)
        old = chance.randrange(1, size + 1)
        verify_consistency(old, size, await log.consistency(old, size), root_of(hashes[:old]), root)
    verify_consistency(1265, 1265, await log.consistency(1265), log.root, log.root)
    part = root_of(hashes[512:700])
    verify_subtree_consistency(512, 700, 1265, await log.subtree_consistency(512, 700), part, log.root)
    verify_subtree_inclusion(600, 512, 700, hashes[600], await log.subtree_inclusion(600, 512, 700), part)
    for index, start, end in ((600, 500, 700), (700, 512, 700), (1265, 1264, 1266)):
        with pytest.raises(InvalidRequest):
            await log.subtree_inclusion(index, start, end)
    assert await log.root_at(0) == EMPTY_ROOT


async def test_tiles_and_bundles_are_those_of_the_specification(stores: Stores) -> None:
    """A full tile has 256 leaves' hashes, or 256 tiles' roots; a partial one begins the same; bundles hold the entries."""
    log = await filled(stores, LogSigner(), [256 * 3, 17])
    hashes = await hashes_of(log)
    assert await log.tile(0, 1) == b"".join(hashes[256:512])
    assert await log.tile(0, 1, 5) == b"".join(hashes[256:261])
    assert await log.tile(0, 3, 17) == b"".join(hashes[768:])
    assert await log.tile(1, 0, 3) == b"".join(root_of(hashes[start : start + 256]) for start in (0, 256, 512))
    assert unbundle(await log.entry_bundle(2)) == await log.entries(512, 256)
    assert unbundle(await log.entry_bundle(3, 17)) == await log.entries(768, 17)


async def test_disclosures_are_proved_now_and_under_earlier_checkpoints(stores: Stores) -> None:
    """Count and places of each subject are proved under any stored checkpoint, and absence of one that has none."""
    log = await filled(stores, LogSigner(), [1, 40, 300, 2, 90])
    for checkpoint in await log.checkpoints(-1, 100):
        for number in range(8):
            found = await log.disclosures(pseudonym(number), checkpoint.size)
            found.verify()
            assert (found.subjects, found.root) == checkpoint.subjects
            assert found.indices == [n for n in range(0, checkpoint.size, 5) if n % 6 == number]
    now = await log.disclosures(pseudonym(0))
    assert (now.size, now.count) == (log.size, len(now.indices))
    entries = await log.entries(0, log.size)
    assert [entries[place] for place in now.indices] == [b"told 0 %d" % n for n in range(1, now.count + 1)]
    with pytest.raises(EntryNotFound):
        await log.disclosures(pseudonym(0), 17)
    with pytest.raises(InvalidRequest):
        await log.disclosures("Patient/1")


async def test_every_commit_leaves_its_checkpoint(stores: Stores) -> None:
    """Checkpoints are stored in order, each signed, each with the root of its size."""
    signer = LogSigner()
    log = await filled(stores, signer, [1, 4, 300])
    hashes = await hashes_of(log)
    found = await log.checkpoints(-1, 10)
    assert [checkpoint.size for checkpoint in found] == [0, 1, 5, 305]
    for checkpoint in found:
        checkpoint.verify([signer.key])
        assert checkpoint.root == root_of(hashes[: checkpoint.size])
        assert await log.checkpoint(checkpoint.size) == checkpoint
    assert await log.checkpoints(1, 1) == found[2:3]
    assert await log.checkpoint() == found[-1]


async def test_cosignatures_are_kept_with_their_checkpoint(stores: Stores) -> None:
    """Lines that witnesses gave come with the checkpoint's text from then on, each once."""
    log = await filled(stores, LogSigner(), [3, 3])
    lines = [signature_line(VerifierKey(f"w{number}.example", COSIGNATURE, bytes(32)), bytes(72)) for number in (1, 2)]
    await log.keep(3, lines[:1])
    kept = await log.keep(3, lines)
    assert [signature.name for signature in kept.signatures][1:] == ["w1.example", "w2.example"]
    assert (await log.checkpoint(3)).text == kept.text == (await log.checkpoints(0, 1))[0].text
    await asyncio.gather(*(log.keep(6, [line]) for line in lines))  # two witnesses answer at once
    assert (await log.checkpoint()).text.endswith(lines[1].decode())
    with pytest.raises(EntryNotFound):
        await log.keep(5)


async def test_old_checkpoints_are_thinned_out_but_those_that_are_kept(stores: Stores) -> None:
    """The last checkpoints stay; of the older ones one stays for each window of sizes, and those kept by name."""
    log = await filled(stores, LogSigner(), [1] * 40)
    await log.keep(13)
    upkeep = Upkeep(log._rows, recent=10, spacing=8)
    assert await upkeep.thin() == 40 + 1 - 10 - 5
    left = [checkpoint.size for checkpoint in await log.checkpoints(-1, 100)]
    assert left == [0, 8, 13, 16, 24, *range(31, 41)]
    await log.append([Leaf(b"more")] * 3)
    assert await upkeep.thin() == 1
    assert await upkeep.thin() == 0
    assert (await log.verify()).checkpoints == 15


async def test_pruned_entries_are_gone_and_everything_else_is_proved(stores: Stores) -> None:
    """Entries below the line are gone in whole bundles; tiles, checkpoints, old and new proofs stay."""
    signer = LogSigner()
    log = await filled(stores, signer, [100, 500, 400, 30])
    hashes = await hashes_of(log)
    assert await log.prune(600) == log.first == 512
    assert await log.prune(300) == 512
    assert await log.entries(510, 4) == [None, None, *(await log.entries(512, 2))]
    assert await log.entries(0, 3) == [None] * 3
    with pytest.raises(EntryNotFound, match="disposed"):
        await log.entry_bundle(1)
    assert (await log.verify()).entries == log.size - 512
    for reopened in range(2):
        if reopened:
            log = await new_log(log._db, signer)
        assert log.first == 512
        assert (await log.verify()).entries == log.size - 512
        verify_inclusion(5, 600, hashes[5], await log.inclusion(5, 600), await log.root_at(600))
        old = (await log.checkpoint(100)).root
        verify_consistency(100, log.size, await log.consistency(100), old, log.root)
        assert (await log.disclosures(pseudonym(0))).indices[0] == 0
        await log.append([Leaf(b"on")])
        hashes.append(leaf_hash(b"on"))
    assert log.root == root_of(hashes)


async def test_all_of_a_log_can_be_pruned(stores: Stores) -> None:
    """A log whose entries are all gone opens, verifies, and grows."""
    signer = LogSigner()
    log = await filled(stores, signer, [512])
    assert await log.prune(512) == 512
    log = await new_log(log._db, signer)
    assert (await log.verify()).entries == 0
    assert await log.append([Leaf(b"x")]) == range(512, 513)
    assert await (await new_log(log._db, signer)).entries(511, 5) == [None, b"x"]
