"""`AuditLog`: a Merkle log over a database. Appends are durable, with a signed checkpoint, when they return.

Appenders that wait at the same time share one commit. While a commit is being written, the next appenders gather, and
their entries are hashed; a commit is one call of `sign` and one statement (a transaction of two, with disclosures).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from rustcare_sdk.context import Database
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_audit.errors import AuditWriteFailed, InvalidRequest, LogCorrupt
from rustcare_plugin_audit.notes import WIDTH, VerifierKey, checkpoint_body
from rustcare_plugin_audit.tree import Frontier

from .batch import Batch, Job, check
from .leaf import Leaf
from .reader import LogReader
from .recovery import load
from .rows import CHECKPOINT, INSERT, entry_rows, place, tile_rows
from .subjects import INSERT as INSERT_DISCLOSURE
from .upkeep import Upkeep
from .verification import Verified, verify

__all__ = ["AuditLog", "Sign"]

#: Gives the signature lines (UTF-8, each with its newline) for the body of a checkpoint.
Sign = Callable[[bytes], Awaitable[list[bytes]]]

ENTRIES_A_COMMIT = 8192  # after so many entries a commit takes no further appender
BYTES_A_COMMIT = 16 << 20
_DASH = "— ".encode()


class AuditLog(LogReader):
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
        super().__init__(db, origin)
        self._sign = sign
        self._keys = keys
        self._upkeep = Upkeep(self._rows)
        self._ready = False  # what is in memory is what is in the store
        self._waiting: deque[Job] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()

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
            await self._write(Batch(), Frontier())
        else:
            self._became(head, checkpoint.root, checkpoint.text.encode())
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
        check(leaves)
        loop = asyncio.get_running_loop()
        job = Job(leaves, loop.create_future())
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
                        job.reject(_told(error))
        finally:
            self._writer = None
            while self._waiting:  # the event loop is being closed
                self._waiting.popleft().reject(AuditWriteFailed("the log was closed"))

    def _take(self) -> list[Job]:
        """Those who wait, as far as one commit goes."""
        jobs, entries, weight = [], 0, 0
        while self._waiting and entries < ENTRIES_A_COMMIT and weight < BYTES_A_COMMIT:
            job = self._waiting.popleft()
            jobs.append(job)
            entries += len(job.leaves)
            weight += job.weight
        return jobs

    async def _commit(self, jobs: Sequence[Job]) -> None:
        async with self._loading:
            if not self._ready:
                await self._load()  # a commit failed: whether it is in the store after all shows now
        keys = [key for job in jobs if job.tells for key in job.subjects]
        counts = await self._subjects.counts(keys) if keys else {}
        batch = Batch.of(jobs, counts, self._head.size)
        if not batch.jobs:
            return
        await self._write(batch, self._head.copy())
        batch.answer()
        await self._upkeep.committed()

    async def _write(self, batch: Batch, head: Frontier) -> None:
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
        if not lines or not all(line.startswith(_DASH) and line.endswith(b"\n") for line in lines):
            raise AuditWriteFailed("expected signature lines for the checkpoint, got others or none")
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
        self._became(head, root, note)
        self._ready = True

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
