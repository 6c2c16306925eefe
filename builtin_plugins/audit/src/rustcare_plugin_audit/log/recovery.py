"""Opening a log: what is stored must hash to what was signed last, or the log does not open."""

from __future__ import annotations

from collections.abc import Sequence

from rustcare_plugin_audit.errors import LogCorrupt, NoteInvalid
from rustcare_plugin_audit.notes import WIDTH, Checkpoint, VerifierKey
from rustcare_plugin_audit.tree import Frontier, leaf_hash, root_of

from .rows import CHECKPOINT, ENTRIES, TILE, EntryRow, Rows

__all__ = ["TAIL", "check_root", "check_row", "load", "read_checkpoint"]

TAIL = 4  # full bundles whose entries are compared with their tile when a log is opened


def read_checkpoint(size: int, data: bytes, origin: str, keys: Sequence[VerifierKey]) -> Checkpoint:
    """A stored checkpoint; with `keys` its signature is verified.

    Raises:
        LogCorrupt: it is not the checkpoint of this size and log, or not signed.
    """
    try:
        found = Checkpoint.parse(data)
        subjects = found.subjects
        if found.size != size or found.origin != origin or subjects is None:
            raise NoteInvalid(
                f"expected the checkpoint of {size} entries of {origin} with its map, got one of {found.size} of {found.origin}"
            )
        if keys:
            found.verify(keys)
    except NoteInvalid as error:
        raise LogCorrupt(
            f"a checkpoint is damaged: {error.message}", address=f"checkpoint {size}", checkpoint=size
        ) from None
    return found


def check_row(row: EntryRow) -> list[bytes]:
    """The leaf hashes of a row of entries.

    Raises:
        LogCorrupt: an entry does not hash to what its row says.
    """
    hashes = [leaf_hash(entry) for entry in row.entries]
    if row.hashes and row.hashes != b"".join(hashes):
        wrong = next(i for i, item in enumerate(hashes) if item != row.hashes[32 * i : 32 * i + 32])
        raise wrong_leaf(row.start + wrong)
    return hashes


def wrong_leaf(index: int) -> LogCorrupt:
    """The error for an entry that is not what was signed."""
    return LogCorrupt("an entry does not hash to what was stored with it", address=f"leaf {index}", leaf=index)


async def load(rows: Rows, origin: str, keys: Sequence[VerifierKey]) -> tuple[Frontier, int, Checkpoint | None]:
    """The edge of the tree, the lowest index that is not pruned, and the last checkpoint (None: the log is new).

    Raises:
        LogCorrupt: the last checkpoint is not signed, or entries, tiles and it do not fit together.
    """
    first = await rows.first()
    last = await rows.last(CHECKPOINT)
    if last is None:
        if first or await rows.last(ENTRIES) is not None or await rows.last(TILE) is not None:
            raise LogCorrupt("expected a checkpoint, and there is none", address="checkpoint", checkpoint=0)
        return Frontier(), 0, None
    size = last[0]
    checkpoint = read_checkpoint(size, last[1], origin, keys)
    edges = [await _partial(rows, size, first)]
    level = 1
    while size >> (8 * level):
        high = size >> (8 * level)
        tiles = await rows.tiles(level - 1, high // WIDTH * WIDTH, high)
        edges.append([root_of([tile[i : i + 32] for i in range(0, len(tile), 32)]) for tile in tiles])
        level += 1
    head = Frontier.restore(size, edges)
    await _check_tail(rows, size, first)
    if head.root != checkpoint.root:
        await _locate(rows, origin, head)
        check_root(checkpoint, head.root, 0)
    return head, first, checkpoint


def check_root(checkpoint: Checkpoint, root: bytes, good: int) -> None:
    """Compare the root that the entries have with the signed one. `good`: the size up to which the entries are right.

    Raises:
        LogCorrupt: they differ.
    """
    if checkpoint.root == root:
        return
    size = checkpoint.size
    one = size == good + 1
    raise LogCorrupt(
        f"expected the root {checkpoint.root.hex()}, and what is stored has {root.hex()};"
        f" the entries are right up to number {good}",
        address=f"leaf {good}" if one else f"checkpoint {size}",
        leaf=good if one else None,
        checkpoint=size,
    )


async def _locate(rows: Rows, origin: str, head: Frontier) -> None:
    """Find the first checkpoint within the last bundle that the entries contradict. Raises LogCorrupt for it."""
    start = head.size // WIDTH * WIDTH
    grown, good = Frontier.restore(start, [[], *head.edges[1:]]), 0
    for size, data in await rows.between(CHECKPOINT, start, head.size + 1):
        grown.append(head.edges[0][grown.size - start : size - start])
        check_root(read_checkpoint(size, data, origin, ()), grown.root, good)
        good = size


async def _partial(rows: Rows, size: int, first: int) -> list[bytes]:
    """The leaf hashes of the last, not full bundle."""
    start = size // WIDTH * WIDTH
    last = await rows.last(ENTRIES)
    if last is not None:
        row = EntryRow.read(*last)
        if row.start + len(row.entries) > size:
            raise LogCorrupt(
                f"expected {size} entries as the last checkpoint says, got more", address=f"leaf {size}", leaf=size
            )
    hashes: list[bytes] = []
    for row in await rows.entries(start, size) if start < size else ():
        if row.start != start + len(hashes):
            break
        hashes += check_row(row)
    if start + len(hashes) != size:
        missing = start + len(hashes)
        raise LogCorrupt(f"expected {size} entries, and one is missing", address=f"leaf {missing}", leaf=missing)
    return hashes


async def _check_tail(rows: Rows, size: int, first: int) -> None:
    """Compare the entries of the last full bundles with their tiles."""
    full = size // WIDTH
    low = max(first // WIDTH, full - TAIL)
    if low >= full:
        return
    tiles = await rows.tiles(0, low, full)
    hashes: list[bytes] = []
    for row in await rows.entries(low * WIDTH, full * WIDTH):
        if row.start != low * WIDTH + len(hashes):
            break
        hashes += check_row(row)
    told = b"".join(tiles)
    for offset in range((full - low) * WIDTH):
        if offset >= len(hashes) or hashes[offset] != told[32 * offset : 32 * offset + 32]:
            raise wrong_leaf(low * WIDTH + offset)
