"""The log's own check: every entry against its hash, every hash against every checkpoint, every checkpoint against the key.

It reads the log once, in order, in constant memory but for one number for each subject with disclosures. What an outsider
checks with an export is the same and more (`examples/verify_audit`); this is for the operator who has no export at hand.
"""

from __future__ import annotations

from collections import deque

import msgspec
from rustcare_sdk.contracts.audit import VerifyReply

from .entry import decode
from .errors import LogCorrupt, NoteInvalid
from .log import AuditLog
from .notes import Checkpoint, VerifierKey
from .tree import Frontier, leaf_hash

__all__ = ["verify_log"]

WIDTH = 256
HASH = 32
PAGE = 500  # checkpoints read at once


class _Wrong(Exception):
    """What is wrong, and where."""

    def __init__(self, problem: str, index: int = -1, size: int = -1) -> None:
        super().__init__(problem)
        self.reply = VerifyReply(False, problem=problem, index=index, size=size)


async def verify_log(log: AuditLog, keys: list[VerifierKey]) -> VerifyReply:
    """Check the log as it is now. `keys`: those that may have signed its checkpoints."""
    size = log.size
    frontier = Frontier()
    notes = _Checkpoints(log, keys, size)
    counts: dict[str, int] = {}
    try:
        await notes.check(frontier)
        for number in range(-(-size // WIDTH)):
            start = number * WIDTH
            hashes = await _leaves(log, start, min(WIDTH, size - start), counts)
            done = 0
            while done < len(hashes):
                stop = min(len(hashes), max(await notes.next_size() - start, done + 1))
                frontier.append(hashes[done:stop])
                done = stop
                await notes.check(frontier)
        if notes.last != size:
            raise _Wrong(f"the latest checkpoint has {notes.last} entries, the log {size}", size=notes.last)
    except _Wrong as wrong:
        return wrong.reply
    except LogCorrupt as corrupt:
        place = corrupt.leaf if corrupt.leaf is not None else -1
        return VerifyReply(False, problem=corrupt.message, index=place, size=corrupt.checkpoint or -1)
    return VerifyReply(True, entries=size - log.first, checkpoints=notes.count)


async def _leaves(log: AuditLog, start: int, count: int, counts: dict[str, int]) -> list[bytes]:
    """The hashes of a tile's leaves, each compared with its entry where that is not pruned."""
    tile = await log.tile(0, start // WIDTH, count)
    if len(tile) != count * HASH:
        raise _Wrong(f"the tile of entries {start} to {start + count - 1} has {len(tile)} bytes", start)
    hashes = [tile[position : position + HASH] for position in range(0, len(tile), HASH)]
    for offset, data in enumerate(await log.entries(start, count)):
        if data is None:
            continue
        index = start + offset
        if leaf_hash(data) != hashes[offset]:
            raise _Wrong(f"entry {index} does not hash to its leaf", index)
        if b'"disclosure":{' in data:
            try:
                told = decode(data).disclosure
            except msgspec.MsgspecError:
                raise _Wrong(f"entry {index} is no entry", index) from None
            if told is not None:
                before = counts.get(told.subject, told.n - 1 if log.first else 0)
                if told.n != before + 1:
                    raise _Wrong(f"entry {index} is disclosure {told.n} of its subject, after {before}", index)
                counts[told.subject] = told.n
    return hashes


class _Checkpoints:
    """The stored checkpoints up to a size, checked one by one as the tree grows past them."""

    def __init__(self, log: AuditLog, keys: list[VerifierKey], size: int) -> None:
        self._log = log
        self._keys = keys
        self._size = size
        self._page: deque[Checkpoint] = deque()
        self._read = 0
        self._end = False
        self.count = 0
        self.last = 0

    async def next_size(self) -> int:
        """The size of the next checkpoint, or of the log when there is none."""
        if not self._page and not self._end:
            found = await self._log.checkpoints(self._read, PAGE)
            self._page.extend(one for one in found if one.size <= self._size)
            self._end = len(self._page) < PAGE
            self._read = found[-1].size if found else self._read
        return self._page[0].size if self._page else self._size

    async def check(self, frontier: Frontier) -> None:
        """Check the checkpoint of the tree's size, if there is one."""
        while await self.next_size() <= frontier.size and self._page:
            found = self._page.popleft()
            if found.size < frontier.size or found.root != frontier.root:
                raise _Wrong(
                    f"the checkpoint of {found.size} entries has another root than its entries", size=found.size
                )
            try:
                found.verify(self._keys)
            except NoteInvalid as error:
                raise _Wrong(f"the checkpoint of {found.size} entries: {error.message}", size=found.size) from None
            self.count += 1
            self.last = found.size
