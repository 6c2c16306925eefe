"""The recorder: drafts of entries in, durable entries out, in batches, in order.

`audit.record` is called by hundreds of tasks at once, each with one attempt. What they hand in during one turn of the
event loop becomes one batch: one request that seals all personal parts, then one append to the log. While one batch is
being written the next is being sealed. Each caller is answered when its entries are durable, never before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from rustcare_sdk.contracts import crypto
from rustcare_sdk.contracts.audit import Outcome
from rustcare_sdk.errors import AuditUnavailable, BusClosed, DeadlineExceeded, NoProvider, RustCareError

from .bundle import Trust
from .entry import MAX_ENTRY, Disclosure, Draft, Entry, encode, fact, sealed_values
from .index import Names, names_in
from .log import Leaf
from .sealing import context_of

__all__ = ["Recorder", "leaves_of"]

BATCH = 2_000  # entries in one append
DEPTH = 3  # appends under way at once
OUTCOMES = 1_000  # outcomes in one entry
ROOM = 40_000  # bytes of ciphertext in one entry: a third more in base64, and the rest of the entry
CALM = 0.05  # seconds without an append that count as quiet
TEXT = 16_000  # characters of details in one entry; as many as four bytes each

_ALL_FAIL = (NoProvider, DeadlineExceeded, BusClosed)


class _Job:
    """What one caller handed in."""

    __slots__ = ("done", "drafts")

    def __init__(self, drafts: Sequence[Draft], done: asyncio.Future[list[int]]) -> None:
        self.drafts = drafts
        self.done = done


class _Ready:
    """A job whose leaves are made; `heads`: which of them are its drafts' own."""

    __slots__ = ("heads", "hints", "job", "leaves")

    def __init__(self, job: _Job, leaves: list[Leaf], heads: list[int], hints: list[tuple[int, Names]]) -> None:
        self.job = job
        self.leaves = leaves
        self.heads = heads
        self.hints = hints


class Recorder:
    """Writes entries. `limit`: how many may wait before callers have to wait themselves."""

    def __init__(self, trust: Trust, limit: int = 10_000) -> None:
        self._trust = trust
        self._limit = limit
        self._jobs: deque[_Job] = deque()
        self._given = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._slots = asyncio.Semaphore(DEPTH)
        self._appends: set[asyncio.Task[None]] = set()
        self._closed = False
        self.waiting = 0
        self.written = asyncio.Event()  # replaced by a new one whenever entries were written
        self.last_error = ""

    def start(self) -> None:
        """Begin to write."""
        self._trust.ctx.spawn(self._run(), name="recorder")

    def close(self) -> None:
        """Tell those who still wait; what was answered is on disk."""
        self._closed = True
        for job in self._jobs:
            if not job.done.done():
                job.done.set_exception(BusClosed("the audit log stopped before the entries were written"))
        self._jobs.clear()

    async def write(self, drafts: Sequence[Draft]) -> list[int]:
        """Write entries in this order; their places in the log, when they are durable.

        Raises:
            AuditUnavailable: they could not be written, and none of this call's entries is in the log, as far as is known.
        """
        if not drafts:
            return []
        while self.waiting >= self._limit:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise BusClosed("the audit log has stopped")
        if self._trust.refused is not None:
            raise self._trust.refused
        job = _Job(drafts, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self.waiting += len(drafts)
        self._quiet.clear()
        self._given.set()
        return await job.done

    async def fact(self, action: str, details: dict[str, Any] | None = None, *, tenant: str = "default") -> int:
        """State a fact of the audit plugin's own, such as `audit.prune`; its place in the log."""
        ctx = self._trust.ctx
        draft = fact(ctx.random(16).hex(), int(ctx.now().timestamp() * 1_000_000), action, details, tenant)
        return (await self.write([draft]))[0]

    async def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Write outcomes, whose `index` is known, as one entry (several, if they are many); the place of the last."""
        ctx = self._trust.ctx
        now = int(ctx.now().timestamp() * 1_000_000)
        drafts = []
        for start in range(0, len(outcomes), OUTCOMES):
            rows = [_row(outcome) for outcome in outcomes[start : start + OUTCOMES]]
            drafts.append(Draft(Entry(v=1, id=ctx.random(16).hex(), time=now, kind="outcome", of=rows)))
        return (await self.write(drafts))[-1] if drafts else -1

    async def flushed(self) -> None:
        """Return when what was handed in before is written, or has failed."""
        waits = [job.done for job in self._jobs]
        if waits:
            await asyncio.wait(waits)
        if self._appends:
            await asyncio.wait(self._appends)

    async def quiet(self, patience: float) -> None:
        """Return when nobody has written for a moment, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while True:
                    written = self.written
                    await self._quiet.wait()
                    try:
                        async with asyncio.timeout(CALM):
                            await written.wait()
                    except TimeoutError:
                        return

    # the pipeline

    async def _run(self) -> None:
        try:
            while True:
                await self._given.wait()
                await asyncio.sleep(0)  # the others of this turn of the loop hand in theirs
                await self._slots.acquire()
                jobs = self._taken()
                try:
                    ready = await self._sealed(jobs)
                except asyncio.CancelledError as stopped:
                    self._fail(jobs, stopped)
                    raise
                # Tasks begin in the order in which they are made, so the log gets the batches in order.
                task = asyncio.get_running_loop().create_task(self._append(ready))
                self._appends.add(task)
                task.add_done_callback(self._appended)
        finally:
            for task in self._appends:
                task.cancel()

    def _taken(self) -> list[_Job]:
        """The next batch, off the queue."""
        jobs: list[_Job] = []
        count = 0
        while self._jobs and (not jobs or count + len(self._jobs[0].drafts) <= BATCH):
            jobs.append(self._jobs.popleft())
            count += len(jobs[-1].drafts)
        if not self._jobs:
            self._given.clear()
        return jobs

    async def _sealed(self, jobs: list[_Job]) -> list[_Ready]:
        """The jobs' leaves. One request seals for all; if it is refused, each job is tried alone, so that one does not
        spoil the others."""
        try:
            return await self._seal(jobs)
        except Exception as error:
            if len(jobs) == 1 or isinstance(error, _ALL_FAIL):
                self._fail(jobs, error)
                return []
        ready: list[_Ready] = []
        for job in jobs:
            ready += await self._sealed([job])
        return ready

    async def _seal(self, jobs: list[_Job]) -> list[_Ready]:
        items = [
            crypto.SealItem(part.subject, sealed_values(part.values), context_of(draft.entry.id), _tenant(draft))
            for job in jobs
            for draft in job.drafts
            for part in draft.parts
        ]
        reply = await self._trust.crypto.seal(items)
        position = 0
        ready = []
        for job in jobs:
            leaves: list[Leaf] = []
            heads: list[int] = []
            hints: list[tuple[int, Names]] = []
            for draft in job.drafts:
                end = position + len(draft.parts)
                pseudonyms = reply.pseudonyms[position:end]
                made = leaves_of(draft, reply.sealed[position:end], pseudonyms)
                if len(made) == 1 and draft.parts:
                    pairs = zip(pseudonyms, draft.parts, strict=True)
                    hints.append((len(leaves), [(name, names_in(part.values)) for name, part in pairs if name]))
                heads.append(len(leaves))
                leaves += made
                position = end
            ready.append(_Ready(job, leaves, heads, hints))
        return ready

    async def _append(self, ready: list[_Ready]) -> None:
        if not ready:
            return
        try:
            places = await self._trust.log.append([leaf for item in ready for leaf in item.leaves])
        except BaseException as error:
            self._trust.problem = self._fail([item.job for item in ready], error)
            if not isinstance(error, Exception):
                raise  # the plugin is being stopped
            return
        self._trust.problem = ""
        start = places.start
        for item in ready:
            self.waiting -= len(item.job.drafts)
            if not item.job.done.done():
                item.job.done.set_result([start + head for head in item.heads])
            for offset, names in item.hints:
                self._trust.index.hint(start + offset, names)
            start += len(item.leaves)
        self._trust.index.wake()
        self._made_room()
        self.written.set()
        self.written = asyncio.Event()

    def _fail(self, jobs: Sequence[_Job], error: BaseException) -> str:
        """Tell callers that their entries could not be written; the code of why."""
        code = error.code if isinstance(error, RustCareError) else type(error).__name__
        self.last_error = code
        for job in jobs:
            self.waiting -= len(job.drafts)
            if not job.done.done():
                job.done.set_exception(
                    AuditUnavailable(f"the entry could not be written ({code})", hint="audit.status says more")
                )
                job.done.exception()  # nobody may be waiting any more
        self._made_room()
        return code

    def _made_room(self) -> None:
        self._room.set()
        if not self.waiting:
            self._quiet.set()

    def _appended(self, task: asyncio.Task[None]) -> None:
        self._appends.discard(task)
        self._slots.release()


def _tenant(draft: Draft) -> str:
    return draft.entry.which.tenant if draft.entry.which is not None else "default"


def _row(outcome: Outcome) -> list[Any]:
    """[index, outcome, code, effect], without what is empty at the end."""
    row: list[Any] = [outcome.index, outcome.outcome, outcome.code]
    if outcome.outcome == "interrupted":
        row.append(outcome.effect)
    elif not outcome.code:
        row.pop()
    return row


# leaves


def leaves_of(draft: Draft, sealed: Sequence[bytes], pseudonyms: Sequence[str]) -> list[Leaf]:
    """The leaves of a draft: its entry first, then what would not fit into it, and the disclosures of several subjects.

    An empty ciphertext stands for a subject whose key is destroyed.
    """
    replace = msgspec.structs.replace
    disclosed = [position for position in draft.disclosed if pseudonyms[position]]
    alone = len(disclosed) == 1
    apart = set() if alone else set(disclosed)
    kept = [position for position, data in enumerate(sealed) if data and position not in apart]
    entry = replace(
        draft.entry,
        sealed=[sealed[position] for position in kept],
        subjects=[pseudonyms[position] for position in kept],
        erased=sum(not data for data in sealed),
    )
    told = draft.disclosure or Disclosure("", 0)
    leaves = []
    if alone:
        told = replace(told, subject=pseudonyms[disclosed[0]])
    entries = _fitted(entry)
    if alone:
        leaves.append(_disclosure_leaf(entries[0], told))
    else:
        leaves.append(Leaf(encode(entries[0])))
    leaves += [Leaf(encode(more)) for more in entries[1:]]
    for number, position in enumerate(disclosed if apart else (), 1):
        one = Entry(
            v=1,
            id=f"{entry.id}.{number}",
            time=entry.time,
            kind="disclosure",
            who=entry.who,
            what=entry.what,
            which=entry.which,
            why=entry.why,
            trace=entry.trace,
            sealed=[sealed[position]],
            subjects=[pseudonyms[position]],
            continues=entry.id,
        )
        leaves.append(_disclosure_leaf(one, replace(told, subject=pseudonyms[position])))
    return leaves


def _disclosure_leaf(entry: Entry, told: Disclosure) -> Leaf:
    def make(n: int) -> bytes:
        return encode(msgspec.structs.replace(entry, disclosure=msgspec.structs.replace(told, n=n)))

    return Leaf(disclosure=told.subject, make=make)


def _fitted(entry: Entry) -> list[Entry]:
    """The entry, or as many as it takes to hold it."""
    if sum(map(len, entry.sealed)) <= ROOM // 2 and not entry.details and len(entry.changes) < 100:
        return [entry]  # short for certain
    if len(encode(entry)) <= MAX_ENTRY - 512:  # a disclosure's number comes to it
        return [entry]
    replace = msgspec.structs.replace
    more: list[Entry] = []

    def go_on(**fields: Any) -> None:
        number = len(more) + 1
        more.append(
            Entry(
                v=1,
                id=f"{entry.id}+{number}",
                time=entry.time,
                kind="continuation",
                which=entry.which,
                continues=entry.id,
                **fields,
            )
        )

    groups: list[list[int]] = [[]]
    room = ROOM
    for position, data in enumerate(entry.sealed):
        if groups[-1] and room < len(data) + 64:
            groups.append([])
            room = ROOM
        room -= len(data) + 64
        groups[-1].append(position)
    for group in groups[1:]:
        go_on(
            sealed=[entry.sealed[position] for position in group],
            subjects=[entry.subjects[position] for position in group],
        )
    changed = [entry.changes[start : start + 100] for start in range(0, len(entry.changes), 100)]
    for rows in changed[1:]:
        go_on(changes=rows)
    details = entry.details
    text = sealed_values(details).decode()
    if len(text) > TEXT // 4:
        details = {"continued": True}
        for start in range(0, len(text), TEXT // 2):
            go_on(text=text[start : start + TEXT // 2])
    head = replace(
        entry,
        sealed=[entry.sealed[position] for position in groups[0]],
        subjects=[entry.subjects[position] for position in groups[0]],
        changes=changed[0] if changed else [],
        details=details,
    )
    return [head, *more]
