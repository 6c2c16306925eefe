"""What appenders hand in, and what one commit makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from hashlib import sha256

from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.notes import MAX_ENTRY
from rustcare_plugin_audit.tree import leaf_hash

from .leaf import Leaf
from .subjects import Told

__all__ = ["Batch", "Job", "check", "key_of"]


class Job:
    """What one appender hands in. `hashes` has None for a leaf that is made at commit; `tells`: there are such."""

    __slots__ = ("done", "hashes", "leaves", "tells", "weight")

    def __init__(self, leaves: Sequence[Leaf], done: asyncio.Future[range]) -> None:
        self.leaves = leaves
        self.done = done
        data = [leaf.data for leaf in leaves]
        self.weight = sum(map(len, data))
        self.hashes = [sha256(b"\x00" + item).digest() if item else None for item in data]
        self.tells = None in self.hashes

    @property
    def subjects(self) -> list[bytes]:
        """The keys of the disclosures."""
        return [bytes.fromhex(leaf.disclosure) for leaf in self.leaves if leaf.make is not None]

    def reject(self, error: Exception) -> None:
        """Tell the appender, if it still waits."""
        if not self.done.done():
            self.done.set_exception(error)


class Batch:
    """What one commit writes."""

    __slots__ = ("data", "hashes", "jobs", "told")

    def __init__(self) -> None:
        self.jobs: list[tuple[Job, range]] = []
        self.data: list[bytes] = []
        self.hashes: list[bytes] = []
        self.told: list[Told] = []

    @classmethod
    def of(cls, jobs: Iterable[Job], counts: dict[bytes, int], start: int) -> Batch:
        """The entries of the jobs, from place `start` on. A job whose entry cannot be made fails alone.

        Args:
            counts: the counters of the subjects of their disclosures; they go on from there.
        """
        batch = cls()
        for job in jobs:
            low = len(batch.data)
            if not job.tells:
                batch.data += [leaf.data for leaf in job.leaves]
                batch.hashes += job.hashes  # type: ignore[arg-type]  # none of them is None
            else:
                try:
                    made = _number(job, dict(counts), start + low)
                except Exception as error:
                    job.reject(error)
                    continue
                batch.data += made.data
                batch.hashes += made.hashes
                batch.told += made.told
                counts.update((key, n) for key, n, _ in made.told)
            batch.jobs.append((job, range(start + low, start + len(batch.data))))
        return batch

    def answer(self) -> None:
        """The commit is durable: tell the appenders their places."""
        for job, places in self.jobs:
            if not job.done.done():
                job.done.set_result(places)


def check(leaves: Sequence[Leaf]) -> None:
    """What is appended must be entries, or disclosures with what makes theirs.

    Raises:
        InvalidRequest: one is not.
    """
    told = [leaf for leaf in leaves if leaf.make is not None or leaf.disclosure]
    for leaf in told:
        key_of(leaf.disclosure)
        if leaf.make is None or leaf.data:
            raise InvalidRequest("expected of a disclosure a function that makes its entry, and no data")
    lengths = [len(leaf.data) for leaf in leaves]
    if max(lengths) > MAX_ENTRY or lengths.count(0) != len(told):
        raise InvalidRequest(f"expected entries of 1 to {MAX_ENTRY} bytes, got {min(lengths)} to {max(lengths)}")


def key_of(pseudonym: str) -> bytes:
    """The 32 bytes of a pseudonym.

    Raises:
        InvalidRequest: it is not 64 lower-case hex digits.
    """
    try:
        key = bytes.fromhex(pseudonym)
    except ValueError:
        key = b""
    if len(key) != 32 or key.hex() != pseudonym:
        raise InvalidRequest("expected a pseudonym of 64 lower-case hex digits")
    return key


def _number(job: Job, counts: dict[bytes, int], start: int) -> Batch:
    """The entries of a job with disclosures, which get the next counts."""
    made = Batch()
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
