"""`LogReader`: what can be asked of a log. Entries, tiles, checkpoints, proofs. Nothing here writes entries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rustcare_sdk.context import Database

from rustcare_plugin_audit.errors import EntryNotFound, InvalidRequest, LogCorrupt
from rustcare_plugin_audit.notes import WIDTH, Checkpoint, bundle
from rustcare_plugin_audit.tree import EMPTY_ROOT, Frontier, MapProof

from .batch import key_of
from .recovery import read_checkpoint
from .rows import CHECKPOINT, KEPT, Rows, place
from .subjects import SubjectMap
from .tiles import Tiles

__all__ = ["LogReader"]


class LogReader:
    """The state of a log after its last commit, and the proofs that can be made of it."""

    def __init__(self, db: Database, origin: str) -> None:
        self.origin = origin
        self._db = db
        self._rows = Rows(db)
        self._tiles = Tiles(self._rows)
        self._subjects = SubjectMap(db)
        self._head = Frontier()
        self._root = EMPTY_ROOT
        self._first = 0
        self._note = b""
        self._latest: Checkpoint | None = None
        self._keeping = asyncio.Lock()

    @property
    def size(self) -> int:
        """How many entries are durable."""
        return self._head.size

    @property
    def root(self) -> bytes:
        """The root of the tree of `size`."""
        return self._root

    @property
    def first(self) -> int:
        """The lowest index that is not pruned."""
        return self._first

    @property
    def latest(self) -> Checkpoint:
        """The checkpoint of `size`, without cosignatures."""
        if self._latest is None:
            self._latest = Checkpoint.parse(self._note)
        return self._latest

    def _became(self, head: Frontier, root: bytes, note: bytes) -> None:
        """A commit is durable, or the log was opened: this is its state."""
        self._head, self._root, self._note, self._latest = head, root, note, None

    async def entries(self, start: int, count: int) -> list[bytes | None]:
        """At most `count` entries from `start` on, fewer at the end of the log; None for what is pruned.

        Raises:
            LogCorrupt: one is missing that should be there.
        """
        end = min(start + count, self.size)
        if start < 0 or start >= end:
            return []
        low = max(start, self._first)
        found: list[bytes | None] = [None] * (min(low, end) - start)
        if low >= end:
            return found
        for row in await self._rows.entries(low, end):
            offset = start + len(found) - row.start
            if not 0 <= offset < len(row.entries):
                break
            found += row.entries[offset : end - row.start]
        if len(found) < end - start:
            if low < self._first:  # pruned while we were reading
                return await self.entries(start, count)
            missing = start + len(found)
            raise LogCorrupt("an entry is missing", address=f"leaf {missing}", leaf=missing)
        return found

    async def entry_bundle(self, index: int, width: int = WIDTH) -> bytes:
        """The bundle `index` of entries, or the first `width` of it: C2SP tlog-tiles.

        Raises:
            EntryNotFound: the log does not reach as far, or it is pruned.
        """
        self._check_width(index, width, (index * WIDTH + width) <= self.size)
        found = [entry for entry in await self.entries(index * WIDTH, width) if entry is not None]
        if len(found) < width:
            raise EntryNotFound(f"the entries below {self._first} are disposed of", address=f"bundle {index}")
        return bundle(found)

    async def tile(self, level: int, index: int, width: int = WIDTH) -> bytes:
        """The tile `index` of a level, or the first `width` hashes of it: C2SP tlog-tiles.

        Raises:
            EntryNotFound: the log does not reach as far.
        """
        head = self._head
        there = 0 <= level < 7 and (index * WIDTH + width) <= head.size >> (8 * level)
        self._check_width(index, width, there)
        if (index + 1) << (8 * (level + 1)) <= head.size:
            (tile,) = await self._rows.tiles(level, index, index + 1)
            return tile[: 32 * width]
        return b"".join(head.edges[level][:width])

    def _check_width(self, index: int, width: int, there: bool) -> None:
        if index < 0 or not 1 <= width <= WIDTH or not there:
            raise EntryNotFound(
                f"the log has {self.size} entries, too few for {width} in tile {index}", address=f"tile {index}"
            )

    async def checkpoint(self, size: int | None = None) -> Checkpoint:
        """The latest checkpoint, or the stored one of this size, with its cosignatures.

        Raises:
            EntryNotFound: none is stored for this size.
        """
        if size is None or size == self.size:
            found = self.latest
        else:
            data = await self._rows.get(place(CHECKPOINT, size)) if size >= 0 else None
            if data is None:
                raise EntryNotFound(f"there is no checkpoint of {size} entries", address=f"checkpoint {size}")
            found = read_checkpoint(size, data, self.origin, ())
        more = await self._rows.get(place(KEPT, found.size))
        return found.with_lines(more.splitlines(keepends=True)) if more else found

    async def checkpoints(self, after_size: int, limit: int) -> list[Checkpoint]:
        """At most `limit` stored checkpoints of more than `after_size` entries, smallest first."""
        found = await self._rows.between(CHECKPOINT, max(after_size + 1, 0), self.size + 1, limit)
        if not found:
            return []
        more = dict(await self._rows.between(KEPT, found[0][0], found[-1][0] + 1))
        read = [read_checkpoint(size, data, self.origin, ()) for size, data in found]
        return [item.with_lines(more.get(item.size, b"").splitlines(keepends=True)) for item in read]

    async def keep(self, size: int, lines: Sequence[bytes] = ()) -> Checkpoint:
        """Never thin out the checkpoint of this size, and add signature lines (cosignatures) to it.

        The caller has verified them. One that is there already is not added again.

        Raises:
            EntryNotFound: none is stored for this size.
        """
        async with self._keeping:  # two witnesses may answer at once
            found = await self.checkpoint(size)
            kept = found.with_lines(lines)
            before = await self._rows.get(place(KEPT, size)) or b""
            added = b"".join(signature.line.encode() for signature in kept.signatures[len(found.signatures) :])
            await self._rows.put(place(KEPT, size), before + added)
            return kept

    # proofs

    async def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The RFC 6962 inclusion proof of an entry in the tree of `size` (the present one)."""
        head = self._head
        size = self._checked_size(size, head)
        if not 0 <= index < size:
            raise InvalidRequest(f"expected the place of an entry, 0 to {size - 1}, got {index}")
        return await self._tiles.inclusion(index, 0, size, head)

    async def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The RFC 6962 proof that the tree of `new` (the present one) extends that of `old`."""
        return await self.subtree_consistency(0, old, new)

    async def subtree_inclusion(self, index: int, start: int, end: int) -> list[bytes]:
        """The proof that an entry is in the subtree `[start, end)`."""
        head = self._head
        if not start <= index < end or not _is_subtree(start, end, head.size):
            raise InvalidRequest(
                f"expected an entry in a subtree of {head.size} entries, got {index} in {start} to {end}"
            )
        return await self._tiles.inclusion(index, start, end, head)

    async def subtree_consistency(self, start: int, end: int, size: int | None = None) -> list[bytes]:
        """The proof that the subtree `[start, end)` is part of the tree of `size`."""
        head = self._head
        size = self._checked_size(size, head)
        if not _is_subtree(start, end, size):
            raise InvalidRequest(f"expected a tree of 1 to {size} entries, got {start} to {end}")
        return await self._tiles.consistency(start, end, size, head)

    async def root_at(self, size: int) -> bytes:
        """The root of the tree when it had `size` entries."""
        head = self._head
        return await self._tiles.root(self._checked_size(size, head), head)

    def _checked_size(self, size: int | None, head: Frontier) -> int:
        if size is None:
            return head.size
        if not 0 <= size <= head.size:
            raise InvalidRequest(f"expected a size of 0 to {head.size}, got {size}")
        return size

    async def disclosures(self, pseudonym: str, size: int | None = None) -> MapProof:
        """The disclosures of a subject, proved under the map of the latest checkpoint, or of the stored one of `size`.

        An earlier size costs more: what changed in the map since then is computed again.

        Raises:
            EntryNotFound: no checkpoint is stored for this size.
            InvalidRequest: the pseudonym is not 64 lower-case hex digits.
            LogCorrupt: the map is not what the checkpoint commits to.
        """
        key = key_of(pseudonym)
        checkpoint = self.latest if size is None else await self.checkpoint(size)
        found = await self._subjects.proof(key, checkpoint.size)
        if checkpoint.subjects != (found.subjects, found.root) or len(found.indices) != found.count:
            raise LogCorrupt(
                "the counters of disclosures are not those that the checkpoint commits to",
                address=f"checkpoint {checkpoint.size}",
                checkpoint=checkpoint.size,
            )
        return found


def _is_subtree(start: int, end: int, size: int) -> bool:
    return 0 <= start < end <= size and start % (1 << (end - start - 1).bit_length()) == 0
