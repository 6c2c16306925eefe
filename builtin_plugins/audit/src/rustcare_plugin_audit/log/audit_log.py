"""`AuditLog`: a Merkle log over a database. Appends are durable, with a signed checkpoint, when they return.

Appenders that wait at the same time share one commit. While a commit is being written, the next appenders gather, and
their entries are hashed; a commit is one call of `sign` and one statement (a transaction of two, with disclosures).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256

from rustcare_sdk.context import Database
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_audit.errors import AuditWriteFailed, EntryNotFound, InvalidRequest, LogCorrupt
from rustcare_plugin_audit.notes import MAX_ENTRY, WIDTH, Checkpoint, VerifierKey, bundle, checkpoint_body
from rustcare_plugin_audit.tree import Frontier, MapProof, leaf_hash

from .leaf import Leaf
from .recovery import load, read_checkpoint
from .rows import CHECKPOINT, INSERT, KEPT, Rows, entry_rows, place, tile_rows
from .subjects import INSERT as INSERT_DISCLOSURE
from .subjects import SubjectMap, Told
from .tiles import Tiles
from .upkeep import Upkeep
from .verification import Verified, verify

__all__ = ["AuditLog", "Sign"]

#: Gives the signature lines (UTF-8, each with its newline) for the body of a checkpoint.
Sign = Callable[[bytes], Awaitable[list[bytes]]]

ENTRIES_A_COMMIT = 8192  # after so many entries a commit takes no further appender
BYTES_A_COMMIT = 16 << 20


class _Job:
    """What one appender hands in. `hashes` has None for a leaf that is made at commit."""

    __slots__ = ("done", "hashes", "leaves", "weight")

    def __init__(self, leaves: Sequence[Leaf], done: asyncio.Future[range]) -> None:
        self.leaves = leaves
        self.done = done
        data = [leaf.data for leaf in leaves]
        self.weight = sum(map(len, data))
        self.hashes = [sha256(b"\x00" + item).digest() if item else None for item in data]


class _Batch:
    """What one commit writes."""

    __slots__ = ("data", "hashes", "jobs", "told")

    def __init__(self) -> None:
        self.jobs: list[tuple[_Job, range]] = []
        self.data: list[bytes] = []
        self.hashes: list[bytes] = []
        self.told: list[Told] = []


class AuditLog:
    """An append-only log whose every state is signed and can be proved.

    Args:
        db: the plugin's database, with this package's migrations.
        sign: called once for each commit. When it fails, the commit does.
        origin: the log's name, the first line of its checkpoints.
        keys: the log's verifier keys, old ones too; with them signatures of stored checkpoints are verified. A function
            is called whenever they are needed.
    """

    def __init__(
        self,
        db: Database,
        sign: Sign,
        origin: str,
        keys: Sequence[VerifierKey] | Callable[[], Sequence[VerifierKey]] = (),
    ) -> None:
        self.origin = origin
        self._db = db
        self._sign = sign
        self._keys = keys
        self._rows = Rows(db)
        self._tiles = Tiles(self._rows)
        self._subjects = SubjectMap(db)
        self._upkeep = Upkeep(self._rows)
        self._head = Frontier()
        self._latest = Checkpoint(origin, 0, self._head.root)
        self._first = 0
        self._ready = False  # what is in memory is what is in the store
        self._waiting: deque[_Job] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()

    # state

    @property
    def size(self) -> int:
        """How many entries are durable."""
        return self._head.size

    @property
    def root(self) -> bytes:
        """The root of the tree of `size`."""
        return self._latest.root

    @property
    def first(self) -> int:
        """The lowest index that is not pruned."""
        return self._first

    @property
    def waiting(self) -> int:
        """How many entries wait for the next commit."""
        return sum(len(job.leaves) for job in self._waiting)

    async def open(self) -> None:
        """Read the log's head and check it. A new log gets a signed checkpoint of size 0. May be called again.

        Raises:
            LogCorrupt: what is stored is not what was signed; names the leaf or the checkpoint.
            AuditWriteFailed: the first checkpoint could not be written.
        """
        await self.settled()
        async with self._loading:
            await self._load()

    async def settled(self) -> None:
        """Wait until nobody waits for a commit."""
        while self._writer is not None:
            await asyncio.wait((self._writer,))

    async def _load(self) -> None:
        self._ready = False
        self._tiles.forget()
        head, first, checkpoint = await load(self._rows, self.origin, self._verifiers())
        await self._subjects.load(head.size)
        if checkpoint is not None and checkpoint.subjects != (self._subjects.subjects, self._subjects.root):
            raise LogCorrupt(
                "the counters of disclosures are not those that the checkpoint commits to",
                address=f"checkpoint {head.size}",
                checkpoint=head.size,
            )
        self._first = first
        if checkpoint is None:
            await self._write(_Batch(), Frontier())
        else:
            self._head, self._latest = head, checkpoint
        self._ready = True

    def _verifiers(self) -> Sequence[VerifierKey]:
        return self._keys() if callable(self._keys) else self._keys

    # appending

    async def append(self, leaves: Sequence[Leaf]) -> range:
        """Append entries, in this order and side by side; their places, when they are durable.

        Raises:
            InvalidRequest: an entry is empty or too long, or a pseudonym is none.
            AuditWriteFailed: they are not durable, as far as is known. The log can be used again as soon as the disk can.
        """
        if not leaves:
            return range(self.size, self.size)
        _check(leaves)
        loop = asyncio.get_running_loop()
        job = _Job(leaves, loop.create_future())
        self._waiting.append(job)
        if self._writer is None:
            self._writer = loop.create_task(self._write_all())
        return await job.done

    async def _write_all(self) -> None:
        """Make commits until nobody waits."""
        try:
            while self._waiting:
                jobs = self._take()
                try:
                    await self._commit(jobs)
                except Exception as error:
                    for job in jobs:
                        _reject(job, _told(error))
        finally:
            self._writer = None
            while self._waiting:  # the event loop is being closed
                _reject(self._waiting.popleft(), AuditWriteFailed("the log was closed"))

    def _take(self) -> list[_Job]:
        """Those who wait, as far as one commit goes."""
        jobs, entries, weight = [], 0, 0
        while self._waiting and entries < ENTRIES_A_COMMIT and weight < BYTES_A_COMMIT:
            job = self._waiting.popleft()
            jobs.append(job)
            entries += len(job.leaves)
            weight += job.weight
        return jobs

    async def _commit(self, jobs: Sequence[_Job]) -> None:
        async with self._loading:
            if not self._ready:
                await self._load()  # a commit failed: whether it is in the store after all shows now
        batch = await self._batch(jobs)
        if not batch.jobs:
            return
        await self._write(batch, self._head.copy())
        for job, places in batch.jobs:
            if not job.done.done():
                job.done.set_result(places)
        await self._upkeep.committed()

    async def _batch(self, jobs: Sequence[_Job]) -> _Batch:
        """Number the jobs' disclosures and make their entries. A job whose entry cannot be made fails alone."""
        batch = _Batch()
        keys = [bytes.fromhex(leaf.disclosure) for job in jobs for leaf in job.leaves if leaf.make is not None]
        counts = await self._subjects.counts(keys) if keys else {}
        start = self._head.size
        for job in jobs:
            low = len(batch.data)
            if None not in job.hashes:
                batch.data += [leaf.data for leaf in job.leaves]
                batch.hashes += job.hashes  # type: ignore[arg-type]  # none of them is None
            else:
                try:
                    made = _number(job, dict(counts), start + low)
                except Exception as error:
                    _reject(job, error)
                    continue
                batch.data += made.data
                batch.hashes += made.hashes
                batch.told += made.told
                counts.update((key, n) for key, n, _ in made.told)
            batch.jobs.append((job, range(start + low, start + len(batch.data))))
        return batch

    async def _write(self, batch: _Batch, head: Frontier) -> None:
        """Sign the tree that `head` becomes, and write it with what made it so. Then it is the log's."""
        start = head.size
        tiles = head.append(batch.hashes)
        change = await self._subjects.change(batch.told) if batch.told else None
        subjects = (self._subjects.subjects, self._subjects.root) if change is None else (change.subjects, change.root)
        root = head.root
        body = checkpoint_body(self.origin, head.size, root, subjects)
        try:
            lines = await self._sign(body)
        except Exception as error:
            raise _failed("the checkpoint could not be signed", error) from error
        note = body + b"\n" + b"".join(lines)
        rows = entry_rows(start, batch.data, batch.hashes)
        rows += tile_rows(tiles)
        rows.append((place(CHECKPOINT, head.size), note))
        self._ready = False
        try:
            if batch.told:
                async with self._db.transaction() as tx:
                    await tx.execute_many(INSERT, rows)
                    await tx.execute_many(INSERT_DISCLOSURE, batch.told)
            else:
                await self._db.execute_many(INSERT, rows)
        except Exception as error:
            raise _failed("the entries could not be written", error) from error
        if change is not None:
            self._subjects.take(change, head.size)
        self._subjects.size = head.size
        self._head = head
        self._latest = Checkpoint(self.origin, head.size, root, tuple(body.decode().split("\n")[3:-1]), note.decode())
        self._ready = True

    # reading

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
            found = self._latest
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
        found = await self.checkpoint(size)
        own = len(found.signatures)
        kept = found.with_lines(lines)
        before = await self._rows.get(place(KEPT, size)) or b""
        added = b"".join(signature.line.encode() for signature in kept.signatures[own:])
        await self._rows.put(place(KEPT, size), before + added)
        return kept

    # proofs

    async def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The RFC 6962 inclusion proof of an entry in the tree of `size` (the present one)."""
        head = self._head
        size = self._checked_size(size, head)
        if not 0 <= index < size:
            raise InvalidRequest(f"expected the place of an entry, 0 to {size - 1}, got {index}")
        return await self._tiles.inclusion(index, size, head)

    async def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The RFC 6962 proof that the tree of `new` (the present one) extends that of `old`."""
        return await self.subtree_consistency(0, old, new)

    async def subtree_consistency(self, start: int, end: int, size: int | None = None) -> list[bytes]:
        """The proof that the subtree `[start, end)` is part of the tree of `size`."""
        head = self._head
        size = self._checked_size(size, head)
        if not 0 <= start < end <= size or start % (1 << (end - start - 1).bit_length()):
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
        key = _key(pseudonym)
        checkpoint = self._latest if size is None else await self.checkpoint(size)
        found = await self._subjects.proof(key, checkpoint.size)
        if checkpoint.subjects != (found.subjects, found.root) or len(found.indices) != found.count:
            raise LogCorrupt(
                "the counters of disclosures are not those that the checkpoint commits to",
                address=f"checkpoint {checkpoint.size}",
                checkpoint=checkpoint.size,
            )
        return found

    # care

    async def verify(self, progress: Callable[[int, int], None] | None = None, first: int = 0) -> Verified:
        """Read everything again, from entry `first` on, and check every hash, signature and counter.

        Args:
            progress: called with how many entries were checked, and how many there are to check.

        Raises:
            LogCorrupt: names the first leaf, tile or checkpoint that is wrong.
        """
        head = self._head
        first = min(max(first // WIDTH * WIDTH, self._first), head.size // WIDTH * WIDTH)
        return await verify(self._rows, self._subjects, head, first, self.origin, self._verifiers(), progress)

    async def prune(self, before: int) -> int:
        """Dispose of the entries below `before`, whole bundles of 256; where the log begins now.

        Tiles stay, so that every checkpoint and proof stays valid. The database's files still hold what was deleted
        until `db.scrub()`.
        """
        if not 0 <= before <= self.size:
            raise InvalidRequest(f"expected the place of an entry, 0 to {self.size}, got {before}")
        before = before // WIDTH * WIDTH
        if before > self._first:
            await self._upkeep.prune(self._first, before)
            self._first = before
        return self._first

    async def thin(self) -> int:
        """Delete old checkpoints that need not stay, as also happens now and then by itself; how many went."""
        return await self._upkeep.thin()


def _check(leaves: Sequence[Leaf]) -> None:
    told = [leaf for leaf in leaves if leaf.make is not None or leaf.disclosure]
    for leaf in told:
        _key(leaf.disclosure)
        if leaf.make is None or leaf.data:
            raise InvalidRequest("expected of a disclosure a function that makes its entry, and no data")
    lengths = [len(leaf.data) for leaf in leaves]
    if max(lengths) > MAX_ENTRY or lengths.count(0) != len(told):
        raise InvalidRequest(f"expected entries of 1 to {MAX_ENTRY} bytes, got {min(lengths)} to {max(lengths)}")


def _key(pseudonym: str) -> bytes:
    try:
        key = bytes.fromhex(pseudonym)
    except ValueError:
        key = b""
    if len(key) != 32 or key.hex() != pseudonym:
        raise InvalidRequest("expected a pseudonym of 64 lower-case hex digits")
    return key


def _number(job: _Job, counts: dict[bytes, int], start: int) -> _Batch:
    """The entries of a job with disclosures, which get the next counts."""
    made = _Batch()
    for offset, leaf in enumerate(job.leaves):
        data = leaf.data
        if leaf.make is not None:
            key = bytes.fromhex(leaf.disclosure)
            counts[key] = n = counts[key] + 1
            data = leaf.make(n)
            if not 1 <= len(data) <= MAX_ENTRY:
                raise InvalidRequest(f"expected an entry of 1 to {MAX_ENTRY} bytes, got {len(data)}")
            made.told.append((key, n, start + offset))
        made.data.append(data)
        made.hashes.append(job.hashes[offset] or leaf_hash(data))
    return made


def _reject(job: _Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)


def _told(error: Exception) -> RustCareError:
    """What one of many appenders is told. Each gets an error of its own: one object must not be raised in many tasks."""
    if isinstance(error, LogCorrupt):
        return LogCorrupt(
            error.message, hint=error.hint, address=error.address, leaf=error.leaf, checkpoint=error.checkpoint
        )
    if isinstance(error, AuditWriteFailed):
        again = AuditWriteFailed(error.message, hint=error.hint, address=error.address)
        again.__cause__ = error.__cause__
        return again
    return _failed("the entries could not be written", error)


def _failed(what: str, error: Exception) -> AuditWriteFailed:
    code = error.code if isinstance(error, RustCareError) else type(error).__name__
    return AuditWriteFailed(f"{what}: {code}", hint="the log goes on by itself as soon as they can be")
