"""`Source`: the log as a sink reads it, in order, from a cursor.

An attempt is told when its outcome is in the log, so that one event says both; a fact at once. The cursor is the place of
the entry to read next, and for an entry of outcomes the row in it. Reading moves over attempts without an outcome: that
comes later in the log, and the kernel settles at its start what an earlier process left open.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import msgspec
from rustcare_sdk.contracts import crypto

from rustcare_plugin_audit.entry import Entry, decode
from rustcare_plugin_audit.sealing import context_of

from .event import Event, Subject

__all__ = ["TURN", "Batch", "Cursor", "Opener", "Readable", "Source"]

PAGE = 64  # entries read from the log at once; an entry has at most 64 KiB
PAGES = 8  # kept
TURN = 16  # events made in one turn of the event loop
SCAN = 2_048  # entries passed by in one reading, when none of them is an event
FOLLOW = 64  # continuations of one entry that are looked at


class Readable(Protocol):
    """What is read of the log."""

    @property
    def size(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def root(self) -> bytes: ...
    async def entries(self, start: int, count: int) -> Sequence[bytes | None]: ...


class Opener(Protocol):
    """Decrypts what was sealed."""

    async def open(self, items: Sequence[crypto.OpenItem]) -> list[crypto.Opened]: ...


class Cursor(NamedTuple):
    """The place to read next, and the row in it."""

    place: int
    row: int = 0


@dataclass(frozen=True)
class Batch:
    """Events in order, the cursor after each of them, and the cursor after the batch.

    `missed`: entries that had been disposed of before this sink came to them, or that are none.
    """

    events: list[Event]
    cursors: list[Cursor]
    next: Cursor
    missed: int = 0


class Source:
    """Reads events of a log. `origin`: the log's name."""

    def __init__(self, log: Readable, origin: str, opener: Opener | None = None) -> None:
        self._log = log
        self._origin = origin
        self._opener = opener
        self._pages: OrderedDict[int, Sequence[bytes | None]] = OrderedDict()

    async def read(self, cursor: Cursor, limit: int, wanted: Callable[[Entry], bool] = lambda entry: True) -> Batch:
        """At most `limit` events from `cursor` on; fewer, or none, when what was read has no more.

        `wanted`: whether an entry is told; others are passed over. A batch without events whose
        `next` is beyond `cursor` is progress too.
        """
        size, first, root = self._log.size, self._log.first, self._log.root
        events: list[Event] = []
        cursors: list[Cursor] = []
        # What was disposed of is passed over at once: nobody can say any more what it was.
        missed = max(0, first - cursor.place)
        index, row = cursor if not missed else Cursor(first)
        end = min(size, index + SCAN)
        while index < end and len(events) < limit:
            data = await self._entry(index)
            entry = _decoded(data)
            if entry is None or data is None:
                index, row, missed = index + 1, 0, missed + 1
                continue
            if entry.kind == "outcome":
                while row < len(entry.of) and len(events) < limit:
                    event = await self._settled(entry.of[row], index, size, root)
                    row += 1
                    if not row % TURN:
                        await asyncio.sleep(0)  # others have work to do as well
                    if event is None:
                        missed += 1
                    elif wanted(event.entry):
                        events.append(event)
                        cursors.append(Cursor(index, row))
                if row < len(entry.of):
                    continue
            elif entry.kind not in ("use", "operation") and not entry.continues and wanted(entry):
                events.append(await self._event(index, entry, data, size, root))
                cursors.append(Cursor(index + 1))
            index, row = index + 1, 0
        return Batch(events, cursors, Cursor(index, row), missed)

    async def _settled(self, row: Sequence[Any], index: int, size: int, root: bytes) -> Event | None:
        """The event of a row of outcomes: [index, outcome, code, effect]."""
        place = row[0] if row and isinstance(row[0], int) else -1
        data = await self._entry(place) if 0 <= place < index else None
        entry = _decoded(data)
        if data is None or entry is None:
            return None
        outcome, code, effect = (str(row[at]) if len(row) > at else "" for at in (1, 2, 3))
        return await self._event(place, entry, data, size, root, (outcome or "success", code, effect, index))

    async def _event(
        self,
        index: int,
        entry: Entry,
        data: bytes,
        size: int,
        root: bytes,
        settled: tuple[str, str, str, int] | None = None,
    ) -> Event:
        """`settled`: outcome, code, effect, and the place of the entry that says so."""
        parts = [entry]
        for place in range(index + 1, min(size, index + 1 + FOLLOW)):
            more = _decoded(await self._entry(place))
            if more is None or more.continues != entry.id:
                break
            parts.append(more)
        subjects = await self._subjects(parts)
        if settled is None:
            settled = (
                "failure" if entry.kind == "fact" and _action(entry).endswith(".denied") else "success",
                "",
                "",
                -1,
            )
        leaf = hashlib.sha256(b"\x00" + data).digest()
        return Event(index, entry, leaf, *settled, subjects, self._origin, size, root)

    async def _subjects(self, parts: list[Entry]) -> tuple[Subject, ...]:
        """Whom the parts are about, one for each pseudonym, opened when there is an opener."""
        found: dict[str, Subject] = {}
        opened: list[crypto.Opened] = []
        if self._opener is not None:
            items = [crypto.OpenItem(sealed, context_of(_owner(part))) for part in parts for sealed in part.sealed]
            opened = await self._opener.open(items) if items else []
        position = 0
        for part in parts:
            told = part.disclosure
            for at, pseudonym in enumerate(part.subjects):
                one = found.get(pseudonym, Subject(pseudonym))
                if told is not None and told.subject == pseudonym:
                    one = replace(one, disclosed=True, n=told.n)
                if self._opener is not None and at < len(part.sealed):
                    one = _told(one, opened[position + at])
                found[pseudonym] = one
            position += len(part.sealed)
        return tuple(found.values())

    async def _entry(self, index: int) -> bytes | None:
        number, at = divmod(index, PAGE)
        page = self._pages.get(number)
        if page is None or at >= len(page):
            page = await self._log.entries(number * PAGE, min(PAGE, self._log.size - number * PAGE))
            self._pages[number] = page
        self._pages.move_to_end(number)
        while len(self._pages) > PAGES:
            self._pages.popitem(last=False)
        return page[at] if at < len(page) else None


def _owner(part: Entry) -> str:
    """The id that a part's ciphertexts are bound to: they were sealed for the entry that it goes on with."""
    return part.continues or part.id


def _action(entry: Entry) -> str:
    return entry.what.action if entry.what is not None else ""


def _decoded(data: bytes | None) -> Entry | None:
    """An entry, or None for what this version cannot read."""
    if data is None:
        return None
    try:
        return decode(data)
    except msgspec.DecodeError:
        return None


def _told(one: Subject, opened: crypto.Opened) -> Subject:
    """What a sealed part says, but for the values of changed fields: these stay in the log."""
    if opened.state != "open":
        return one if one.state == "open" else replace(one, state=opened.state)
    try:
        values = msgspec.json.decode(opened.data)
    except msgspec.DecodeError:
        return replace(one, state="failed")
    if not isinstance(values, dict):
        return replace(one, state="failed")
    names = [name for name in values.get("resources", ()) if isinstance(name, str)]
    return replace(
        one,
        state="open",
        patient=str(values.get("patient", "") or one.patient),
        recipient=str(values.get("recipient", "") or one.recipient),
        resources=(*one.resources, *names),
    )
