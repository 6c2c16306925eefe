"""The search index beside the log: rows made from entries, with a cursor of its own, dropped and made again at will.

It is brought up to date in the background, in batches, when nobody waits for an append, and before every search, so that
what was written is found. Names of patients and resources are not in it: patients are found by the pseudonym that the
keyring gives them, resources by keyed tokens. Tokens come from names that are sealed in the log; when a subject's key is
destroyed, its tokens are deleted, and they cannot be made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from rustcare_sdk.contracts import crypto
from rustcare_sdk.errors import RustCareError

from .bundle import Trust
from .entry import What, Which, Who
from .errors import LogCorrupt
from .sealing import context_of

__all__ = ["Index", "Names", "names_in", "token_value"]

BATCH = 500  # entries in one transaction, so that an append never waits long behind it
BULK = 2_000  # the same when somebody waits for the index, or it is far behind
LAG = 10_000  # entries: more than these are not left for a quiet moment
HINTS = 20_000  # entries whose names are remembered until they are indexed
PATIENCE = 2.0  # seconds that indexing waits for a quiet moment

_INSERT = f"INSERT INTO audit_index VALUES ({', '.join('?' * 17)})"
_SETTLE = "UPDATE audit_index SET outcome = ?, code = ?, effect = ?, outcome_idx = ? WHERE idx = ?"
_NEEDS_OUTCOME = frozenset({"use", "operation"})

#: For each sealed part of an entry its subject's pseudonym and the names in it.
Names = list[tuple[str, list[str]]]


class Indexed(msgspec.Struct, frozen=True):
    """What the index needs of an entry: the rest is not decoded."""

    id: str
    time: int
    kind: str
    who: Who | None = None
    what: What | None = None
    which: Which | None = None
    trace: str = ""
    sealed: msgspec.Raw = msgspec.Raw(b"[]")
    subjects: list[str] = []
    disclosure: msgspec.Raw = msgspec.Raw()
    of: list[list[Any]] = []
    continues: str = ""

    @property
    def tenant(self) -> str:
        """Whose entry it is."""
        return self.which.tenant if self.which is not None else "default"


_decode = msgspec.json.Decoder(Indexed).decode
_sealed = msgspec.json.Decoder(list[bytes]).decode


def _read(place: int, data: bytes) -> Indexed:
    try:
        return _decode(data)
    except msgspec.MsgspecError:
        raise LogCorrupt("what is stored is no entry", address=f"leaf {place}", leaf=place) from None


def token_value(tenant: str, name: str) -> bytes:
    """What a search token is made of: the same name in two tenants has two tokens."""
    return f"{tenant}\n{name}".encode("utf-8", "replace")


def names_in(values: Mapping[str, Any]) -> list[str]:
    """The names of resources in a sealed part, its patient included."""
    found = [name for name in values.get("resources", ()) if isinstance(name, str)]
    patient = values.get("patient")
    return [patient, *found] if isinstance(patient, str) else found


class Index:
    """The index. `next` is the place of the first entry that it does not know."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._db = trust.ctx.db
        self._lock = asyncio.Lock()
        self._hints: dict[int, Names] = {}
        self._wanted = asyncio.Event()
        self.next = 0
        self.last_error = ""
        self.advanced = asyncio.Event()  # replaced by a new one whenever the index knows more

    async def open(self) -> None:
        """Read the cursor."""
        await self._db.execute("INSERT INTO audit_index_cursor VALUES ('next', 0) ON CONFLICT (name) DO NOTHING")
        self.next = await self._place("next")

    def start(self) -> None:
        """Follow the log in the background."""
        self._trust.ctx.spawn(self._run(), name="search index")

    def hint(self, place: int, names: Names) -> None:
        """The names that are sealed in an entry just written, so that it need not be opened to be indexed."""
        if place >= self.next and len(self._hints) < HINTS:
            self._hints[place] = names

    def wake(self) -> None:
        """There may be something to index."""
        self._wanted.set()

    async def _run(self) -> None:
        recorder = self._trust.recorder
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                while self.next < self._trust.log.size:
                    if self._trust.log.size - self.next < LAG:
                        await recorder.quiet(PATIENCE)
                    async with self._trust.background(), self._lock:
                        await self._advance(BULK if self._trust.log.size - self.next > LAG else BATCH)
                self.last_error = ""
            except RustCareError as error:  # the keyring or the store: tried again after the next append
                self.last_error = error.code
                self._trust.ctx.log.warning("the search index lags behind", code=error.code, next=self.next)

    # keeping up

    async def catch_up(self) -> int:
        """Index everything that is in the log now; how many entries that is."""
        size = self._trust.log.size
        while self.next < size:
            async with self._lock:
                await self._advance(BULK)
        return size

    async def rebuild(self) -> int:
        """Drop the index and make it again from the log; how many entries it knows then."""
        async with self._lock:
            async with self._db.transaction() as tx:
                for table in ("audit_index", "audit_subjects", "audit_resources", "audit_types", "audit_index_cursor"):
                    await tx.execute(f"DELETE FROM {table}")
                await tx.execute("INSERT INTO audit_index_cursor VALUES ('next', 0)")
            self.next = 0
            self._hints.clear()
        self.wake()  # whoever asked may not wait to the end; the background goes on
        return await self.catch_up()

    async def forget(self, pseudonym: str) -> None:
        """A subject's key was destroyed: delete the tokens of names that it sealed."""
        async with self._lock:
            await self._db.execute("DELETE FROM audit_resources WHERE subject = ?", (pseudonym,))
            for place, names in list(self._hints.items()):
                self._hints[place] = [
                    (subject, []) if subject == pseudonym else (subject, kept) for subject, kept in names
                ]

    async def _place(self, name: str) -> int:
        row = await self._db.fetch_one("SELECT place FROM audit_index_cursor WHERE name = ?", (name,))
        return int(row["place"]) if row is not None else 0

    async def _advance(self, most: int) -> None:
        """Index the next batch, of `most` entries at most, in one transaction."""
        log = self._trust.log
        start = self.next
        count = min(most, log.size - start)
        if count <= 0:
            return
        if start < log.first:
            await self._write(_Batch(), min(log.first, start + 1_000_000))
            return
        data = await log.entries(start, count)
        entries = [
            (start + offset, _read(start + offset, item)) for offset, item in enumerate(data) if item is not None
        ]
        batch = _Batch()
        for place, entry in entries:
            batch.add(place, entry)
        await self._find_heads(batch)
        await self._find_tokens(batch, entries)
        await self._write(batch, start + len(data))
        for place, _ in entries:
            self._hints.pop(place, None)

    async def _find_heads(self, batch: _Batch) -> None:
        """The entries that disclosures and continuations belong to. What a continuation holds is found under its head."""
        for place, head in batch.continued.items():
            found = batch.by_id.get(head)
            if found is None:
                row = await self._db.fetch_one("SELECT idx FROM audit_index WHERE id = ? ORDER BY idx", (head,))
                found = int(row["idx"]) if row is not None else -1
            batch.rows[place][12] = found
            if found >= 0 and batch.rows[place][3] == "continuation":
                batch.moved[place] = found
        if batch.moved:
            batch.subjects = [(subject, batch.moved.get(place, place)) for subject, place in batch.subjects]

    async def _find_tokens(self, batch: _Batch, entries: Sequence[tuple[int, Indexed]]) -> None:
        names: list[tuple[int, str, bytes]] = []
        unknown: list[tuple[int, Indexed, str, bytes]] = []
        for place, entry in entries:
            if not entry.subjects:
                continue
            hint = self._hints.get(place)
            if hint is not None:
                names += [
                    (place, subject, token_value(entry.tenant, name)) for subject, found in hint for name in found
                ]
            else:
                pairs = zip(entry.subjects, _sealed(entry.sealed), strict=False)
                unknown += [(place, entry, subject, sealed) for subject, sealed in pairs]
        if unknown:
            items = [
                crypto.OpenItem(sealed, context_of(entry.continues or entry.id)) for _, entry, _, sealed in unknown
            ]
            opened = await self._trust.crypto.open(items)
            for (place, entry, subject, _), one in zip(unknown, opened, strict=True):
                if one.state != "open":
                    continue
                found = names_in(msgspec.json.decode(one.data))
                names += [(place, subject, token_value(entry.tenant, name)) for name in found]
        if not names:
            return
        distinct = list(dict.fromkeys(value for _, _, value in names))
        tokens = dict(zip(distinct, await self._trust.crypto.tokens(distinct), strict=True))
        seen = [(tokens[value][0], batch.moved.get(place, place), subject) for place, subject, value in names]
        batch.resources = list({(token, place): (token, place, subject) for token, place, subject in seen}.values())

    async def _write(self, batch: _Batch, following: int) -> None:
        first = self._trust.log.first
        pruned = await self._place("first") < first
        async with self._db.transaction() as tx:
            mine = (following, self.next)
            if not await tx.execute("UPDATE audit_index_cursor SET place = ? WHERE name = 'next' AND place = ?", mine):
                # Another version of this plugin, about to go, has indexed meanwhile: go on from where it was.
                row = await tx.fetch_one("SELECT place FROM audit_index_cursor WHERE name = 'next'")
                self.next = int(row["place"]) if row is not None else self.next
                return
            if batch.rows:
                await tx.execute_many(_INSERT, list(batch.rows.values()))
            if batch.settled:
                await tx.execute_many(_SETTLE, batch.settled)
            for table, rows in (
                ("audit_subjects VALUES (?, ?)", batch.subjects),
                ("audit_resources VALUES (?, ?, ?)", batch.resources),
                ("audit_types VALUES (?, ?)", batch.types),
            ):
                if rows:
                    await tx.execute_many(f"INSERT INTO {table} ON CONFLICT DO NOTHING", rows)
            if pruned:
                for table in ("audit_index", "audit_subjects", "audit_resources", "audit_types"):
                    await tx.execute(f"DELETE FROM {table} WHERE idx < ?", (first,))
                await tx.execute(
                    "INSERT INTO audit_index_cursor VALUES ('first', ?) "
                    "ON CONFLICT (name) DO UPDATE SET place = excluded.place",
                    (first,),
                )
        self.next = following
        self.advanced.set()
        self.advanced = asyncio.Event()

    # what the recorder asks

    async def places_of(self, ids: Sequence[str]) -> dict[str, int]:
        """Where the attempts of these ids are, those that are in the log."""
        await self.catch_up()
        found: dict[str, int] = {}
        for start in range(0, len(ids), 200):
            some = list(ids[start : start + 200])
            marks = ", ".join("?" * len(some))
            rows = await self._db.fetch(
                f"SELECT id, idx FROM audit_index WHERE id IN ({marks}) AND kind <> 'outcome' ORDER BY idx", some
            )
            for row in rows:
                found.setdefault(row["id"], int(row["idx"]))
        return found

    async def unsettled(self, after: int, limit: int) -> list[tuple[str, int, str, str]]:
        """Attempts without an outcome after a place: id, place, kind, capability."""
        await self.catch_up()
        rows = await self._db.fetch(
            "SELECT id, idx, kind, capability FROM audit_index WHERE outcome = '' AND idx > ? ORDER BY idx LIMIT ?",
            (after, limit),
        )
        return [(row["id"], int(row["idx"]), row["kind"], row["capability"]) for row in rows]


class _Batch:
    """The rows of some entries."""

    def __init__(self) -> None:
        self.rows: dict[int, list[Any]] = {}
        self.settled: list[tuple[str, str, str, int, int]] = []
        self.subjects: list[tuple[str, int]] = []
        self.resources: list[tuple[str, int, str]] = []
        self.types: list[tuple[str, int]] = []
        self.by_id: dict[str, int] = {}
        self.continued: dict[int, str] = {}
        self.moved: dict[int, int] = {}

    def add(self, place: int, entry: Indexed) -> None:
        """Take an entry in."""
        who, what, which = entry.who, entry.what, entry.which
        self.rows[place] = [
            place,
            entry.id,
            entry.time,
            entry.kind,
            entry.tenant,
            who.principal if who is not None else "",
            who.plugin if who is not None else "",
            what.action if what is not None else "",
            what.capability if what is not None else "",
            which.type if which is not None else "",
            entry.trace,
            int(bytes(entry.disclosure) != b""),
            -1,
            "" if entry.kind in _NEEDS_OUTCOME else "-",
            "",
            "",
            -1,
        ]
        self.by_id.setdefault(entry.id, place)
        if entry.continues:
            self.continued[place] = entry.continues
        self.subjects += dict.fromkeys((subject, place) for subject in entry.subjects)
        if which is not None and which.types:
            self.types += [(type_, place) for type_ in which.types]
        for row in entry.of:
            settled, outcome, code, effect = [*row, "", ""][:4]
            own = self.rows.get(settled)
            if own is not None:
                own[13:17] = [outcome, code, effect, place]
            else:
                self.settled.append((outcome, code, effect, place, settled))
