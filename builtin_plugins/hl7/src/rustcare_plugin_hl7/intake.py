"""From a frame to a decision on disk: messages of all connections that arrive together share one durable commit.

A message is answered only after the transaction that holds it is committed. Duplicates are found in that transaction,
by key; the database's unique index catches what a second process stores at the same moment, and it is tried again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rustcare_sdk.context import Logger
from rustcare_sdk.errors import RustCareError

from .header import Header, Parsed, Policy, Rejection, parse, peek, strip
from .mllp import Frame
from .store import Incoming, MessageStore, Row, base_key

__all__ = ["Intake", "Outcome"]

BATCH = 256
BATCH_BYTES = 16 * 1024 * 1024
#: So much may wait to be stored, of all connections together; beyond it they are not read.
QUEUE_BYTES = 64 * 1024 * 1024
_INTERNAL = Rejection(207, "the message could not be stored; send it again later", segment="")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one message: `rejection` is None when it is safely on disk, now or (`duplicate`) since before."""

    header: Header
    rejection: Rejection | None = None
    key: str = ""
    duplicate: bool = False


@dataclass(slots=True)
class _Entry:
    parsed: Parsed
    digest: str
    size: int
    received: str
    content: bytes
    incoming: Incoming | None
    done: asyncio.Future[Outcome | None]


def timestamp(now: datetime) -> str:
    """RFC 3339 in UTC with microseconds always, so that texts sort by time."""
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Intake:
    """Takes messages in.

    Args:
        stored: called after each commit that added messages, with how many.
        store_reused: a control id used again for another content is another message (else it is refused).
        keep_rejected: keep the content of refused messages.
    """

    def __init__(
        self,
        store: MessageStore,
        policy: Policy,
        log: Logger,
        now: Callable[[], datetime],
        *,
        stored: Callable[[int], None],
        store_reused: bool,
        keep_rejected: bool,
    ) -> None:
        self._store = store
        self._policy = policy
        self._log = log
        self._now = now
        self._stored = stored
        self._store_reused = store_reused
        self._keep_rejected = keep_rejected
        self._queue: deque[_Entry] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.last_error = ""

    def submit(self, frame: Frame) -> asyncio.Future[Outcome | None]:
        """Hand in a frame; the order of calls is the order of storing.

        The future is done when the answer is certain. None: the plugin stopped before that, so there is no answer.
        """
        if frame.oversize:
            rejection = Rejection(207, f"the message is longer than is taken here ({frame.size} bytes)", True, "")
            parsed = Parsed(peek(frame.data), rejection)
        else:
            parsed = parse(frame.data, self._policy)
        digest = hashlib.sha256(frame.data).hexdigest()
        received = timestamp(self._now())
        header = parsed.header
        incoming = None
        if parsed.rejection is None:
            key = base_key(header.sending_application, header.sending_facility, header.control_id)
            incoming = Incoming(
                key,
                digest,
                header.type,
                header.event,
                header.control_id,
                header.sending_facility,
                header.version,
                header.codec,
                received,
                strip(frame.data),
            )
        done: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Entry(parsed, digest, frame.size, received, frame.data, incoming, done))
        self._queued += len(frame.data)
        if self._queued > QUEUE_BYTES:
            self._room.clear()
        self._wake.set()
        return done

    async def room(self) -> None:
        """Return when there is room for more messages in memory."""
        await self._room.wait()

    async def run(self) -> None:
        """The background task: store what is queued, batch by batch."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = self._take()
                try:
                    await self._settle(batch)
                except BaseException:
                    _give_up(batch)
                    raise

    def close(self) -> None:
        """Give up what is still queued: it was not acknowledged."""
        _give_up(self._queue)
        self._queue.clear()
        self._queued = 0
        self._room.set()

    def _take(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self._queue and len(batch) < BATCH and size < BATCH_BYTES:
            entry = self._queue.popleft()
            size += len(entry.content)
            batch.append(entry)
        self._queued -= size
        if self._queued <= QUEUE_BYTES:
            self._room.set()
        return batch

    async def _settle(self, batch: Sequence[_Entry]) -> None:
        try:
            outcomes = await self._write(batch)
        except Exception as error:
            if len(batch) > 1:  # one of them may be the cause: each on its own, the order kept
                for entry in batch:
                    await self._settle((entry,))
                return
            outcomes = [await self._again(batch[0], error)]
        for entry, outcome in zip(batch, outcomes, strict=True):
            if not entry.done.done():
                entry.done.set_result(outcome)

    async def _again(self, entry: _Entry, first: Exception) -> Outcome:
        """Once more: a second process may have stored the same message in the same moment."""
        try:
            return (await self._write((entry,)))[0]
        except Exception as error:
            self.last_error = error.code if isinstance(error, RustCareError) else type(error).__name__
            self._log.error("message not stored", error=self.last_error, first_error=type(first).__name__)
            return Outcome(entry.parsed.header, _INTERNAL)

    async def _write(self, batch: Sequence[_Entry]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        new: list[Incoming] = []
        refused: list[Row] = []
        counts: Counter[str] = Counter()
        async with self._store.db.transaction() as tx:
            candidates = [entry.incoming for entry in batch if entry.incoming is not None]
            keys = list(dict.fromkeys(message.key for message in candidates))
            firsts = await self._store.firsts(tx, keys) if keys else {}
            reused = [(m.key, m.digest) for m in candidates if firsts.get(m.key, m.digest) != m.digest]
            variants = await self._store.variants(tx, reused) if reused else set()
            for entry in batch:
                outcome = self._decide(entry, firsts, variants, new, counts)
                if outcome.rejection is not None:
                    refused.append(self._refusal(entry, outcome.rejection))
                    counts["rejected"] += 1
                outcomes.append(outcome)
            if new:
                await self._store.insert(tx, new)
            if refused:
                await self._store.insert_rejected(tx, refused)
            await self._store.add(tx, counts)
        if new:
            self._stored(len(new))
        return outcomes

    def _decide(
        self,
        entry: _Entry,
        firsts: dict[str, str],
        variants: set[tuple[str, str]],
        new: list[Incoming],
        counts: Counter[str],
    ) -> Outcome:
        header, message = entry.parsed.header, entry.incoming
        if message is None:
            return Outcome(header, entry.parsed.rejection)
        first = firsts.get(message.key)
        if first is None:
            firsts[message.key] = message.digest
        elif first == message.digest:
            counts["duplicates"] += 1
            return Outcome(header, key=message.key, duplicate=True)
        else:
            key = f"{message.key}#{message.digest[:32]}"
            if (message.key, message.digest) in variants:
                counts["duplicates"] += 1
                return Outcome(header, key=key, duplicate=True)
            counts["conflicts"] += 1
            if not self._store_reused:
                reason = "this control id was used before for another content"
                return Outcome(header, Rejection(205, reason, field=10))
            self._log.warning("control id used again for another content", type=message.type, event_code=message.event)
            message.variant = message.digest
            variants.add((message.key, message.digest))
            counts["received"] += 1
            new.append(message)
            return Outcome(header, key=key)
        counts["received"] += 1
        new.append(message)
        return Outcome(header, key=message.key)

    def _refusal(self, entry: _Entry, rejection: Rejection) -> Row:
        header = entry.parsed.header
        return Row(
            entry.received,
            "AR" if rejection.fatal else "AE",
            rejection.code,
            rejection.reason,
            _printable(header.sending_facility),
            _printable(header.control_id),
            entry.digest,
            entry.size,
            entry.content if self._keep_rejected else None,
        )


def _give_up(entries: Iterable[_Entry]) -> None:
    for entry in entries:
        if not entry.done.done():
            entry.done.set_result(None)


def _printable(text: str) -> str:
    return "".join(char for char in text[:200] if char.isprintable())
