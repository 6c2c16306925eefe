"""Reading the whole log again: every entry, tile, checkpoint and counter against what was signed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rustcare_plugin_audit.errors import LogCorrupt
from rustcare_plugin_audit.notes import WIDTH, Checkpoint, VerifierKey
from rustcare_plugin_audit.tree import Frontier, Tile
from rustcare_plugin_audit.tree.subjects import Top

from .recovery import check_root, check_row, read_checkpoint, wrong_leaf
from .rows import CHECKPOINT, Rows, tile_place
from .subjects import SubjectMap
from .tiles import Tiles

__all__ = ["Verified", "verify"]

PAGE = 4 * WIDTH  # entries read and hashed in one go, some milliseconds of the event loop
CHECKPOINTS = 500  # checkpoints read in one go


@dataclass(frozen=True)
class Verified:
    """What was checked and found right."""

    entries: int
    checkpoints: int


class _Checkpoints:
    """The stored checkpoints in order, a page at a time, up to one size."""

    def __init__(self, rows: Rows, origin: str, keys: Sequence[VerifierKey], end: int) -> None:
        self._rows, self._origin, self._keys, self._end = rows, origin, keys, end
        self._page: list[tuple[int, bytes]] = []
        self._read: Checkpoint | None = None
        self._next = 0
        self._over = False
        self.count = 0

    async def peek(self) -> Checkpoint | None:
        """The next one, which stays."""
        if not self._page and not self._over:
            found = await self._rows.between(CHECKPOINT, self._next, self._end + 1, CHECKPOINTS)
            self._page = found[::-1]
            self._over = len(found) < CHECKPOINTS
            if found:
                self._next = found[-1][0] + 1
        if self._read is None and self._page:
            self._read = read_checkpoint(*self._page[-1], self._origin, self._keys)
        return self._read

    def take(self) -> None:
        """On to the one after."""
        self._page.pop()
        self._read = None
        self.count += 1


async def verify(
    rows: Rows,
    subjects: SubjectMap,
    head: Frontier,
    first: int,
    origin: str,
    keys: Sequence[VerifierKey],
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Check entries from `first` on, all tiles above them, every stored checkpoint, and the map at each of them.

    Args:
        head: the edge of the tree up to which is checked; entries that come meanwhile are not.
        first: a multiple of 256, or the size: the lowest entry to read. Trees below it are computed from tiles.
        progress: called with how many entries were checked, and how many there are to check.

    Raises:
        LogCorrupt: names the first leaf, tile or checkpoint that is wrong.
    """
    tiles = Tiles(rows)
    checkpoints = _Checkpoints(rows, origin, keys, head.size)
    counters = _Counters(subjects)
    while (old := await checkpoints.peek()) is not None and old.size < first:
        check_root(old, await tiles.root(old.size, head), old.size)
        await counters.check(old)
        checkpoints.take()
    grown, good = Frontier.restore(first, await tiles.edges(first, head)), first
    hashes: list[bytes] = []
    start = stop = first
    while True:
        due = await checkpoints.peek()
        if due is not None and due.size == grown.size:
            check_root(due, grown.root, good)
            await counters.check(due)
            checkpoints.take()
            good = due.size
            continue
        if grown.size < stop:
            until = min(stop, due.size) if due is not None else stop
            await _compare(rows, grown.append(hashes[grown.size - start : until - start]))
            continue
        if grown.size == head.size:
            break
        start, stop = stop, min(stop + PAGE, head.size)
        hashes = await _hashes(rows, start, stop)
        if progress is not None:
            progress(stop - first, head.size - first)
    await counters.end()
    if grown.root != head.root:
        raise LogCorrupt(
            f"expected the root {head.root.hex()}, and the entries have {grown.root.hex()}",
            address=f"checkpoint {head.size}",
            checkpoint=head.size,
        )
    return Verified(head.size - first, checkpoints.count)


async def _hashes(rows: Rows, start: int, stop: int) -> list[bytes]:
    """The leaf hashes of the entries `[start, stop)`, compared with their tiles where those are full; `start` begins one."""
    hashes: list[bytes] = []
    for row in await rows.entries(start, stop):
        if row.start != start + len(hashes):
            break
        hashes += check_row(row)
    if len(hashes) < stop - start:
        missing = start + len(hashes)
        raise LogCorrupt("an entry is missing", address=f"leaf {missing}", leaf=missing)
    told = b"".join(await rows.tiles(0, start // WIDTH, stop // WIDTH))
    for offset in range(len(told) // 32):
        if hashes[offset] != told[32 * offset : 32 * offset + 32]:
            raise wrong_leaf(start + offset)
    return hashes


async def _compare(rows: Rows, full: Sequence[Tile]) -> None:
    """Compare tiles that were computed with those that are stored."""
    stored = await rows.many([tile_place(level, index) for level, index, _ in full])
    for level, index, data in full:
        found = stored.get(tile_place(level, index), b"")
        if found == data:
            continue
        column = next((i for i in range(WIDTH) if found[32 * i : 32 * i + 32] != data[32 * i : 32 * i + 32]), 0)
        leaf = (index * WIDTH + column) << (8 * level)
        raise LogCorrupt("a tile does not hold the hashes below it", address=f"tile {level}/{index}", leaf=leaf)


class _Counters:
    """The map of disclosures as it was at one checkpoint after the other."""

    def __init__(self, subjects: SubjectMap) -> None:
        self._subjects = subjects
        self._top = Top()
        self._size = 0
        self._count = 0

    async def end(self) -> None:
        """Raises LogCorrupt when a subject's disclosures are not counted 1, 2, 3, … up to the last checkpoint."""
        await self._subjects.again(self._size)

    async def check(self, checkpoint: Checkpoint) -> None:
        """Raises LogCorrupt when the rows do not make the map that the checkpoint commits to."""
        size = checkpoint.size
        told = await self._subjects.places(self._size, size)
        if told:
            nodes = await self._subjects.buckets_of({key for key, _, _ in told}, size)
            self._top.take(self._top.changed(nodes))
            self._count += sum(1 for _, n, _ in told if n == 1)
        self._size = size
        expected = checkpoint.subjects
        if expected != (self._count, self._top.root):
            raise LogCorrupt(
                "the counters of disclosures are not those that the checkpoint commits to",
                address=f"checkpoint {size}",
                checkpoint=size,
            )
