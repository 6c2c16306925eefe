"""What a sink reads of a log, against a model that has the whole log in its hand; and where it keeps its place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_kernel.stores import Migration
from rustcare_plugin_audit.entry import Disclosure, Entry, What, encode
from rustcare_plugin_audit.sinks.cursors import Cursors, State
from rustcare_plugin_audit.sinks.event import Event
from rustcare_plugin_audit.sinks.source import Cursor, Source
from rustcare_plugin_audit.tree.merkle import leaf_hash
from rustcare_plugin_audit.witness.store import Cosignatures
from rustcare_sdk.context import Database

from tests.support.stores import Stores

MIGRATIONS = Path(__file__).parents[1] / "src" / "rustcare_plugin_audit" / "migrations"


class Entries:
    """A log's entries. Those below `first` were disposed of."""

    def __init__(self, data: Sequence[bytes], first: int = 0) -> None:
        self.data = list(data)
        self.first = first
        self.size = len(self.data)
        self.root = b"r" * 32

    async def entries(self, start: int, count: int) -> list[bytes | None]:
        """As the log gives them."""
        return [
            one if start + at >= self.first else None
            for at, one in enumerate(self.data[start : min(start + count, self.size)])
        ]


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """A log as the recorder writes it: attempts with what goes on in others, facts, and outcomes of open attempts."""
    entries: list[Entry] = []
    waiting: list[int] = []
    for number in range(draw(st.integers(0, 40))):
        kind = draw(st.sampled_from(["use", "operation", "fact", "outcome", "outcome", "strange"]))
        id_ = f"{number:x}"
        if kind == "outcome" and waiting:
            chosen = draw(st.lists(st.sampled_from(waiting), unique=True, min_size=1))
            waiting = [place for place in waiting if place not in chosen]
            rows = [[place, draw(st.sampled_from(["success", "failure", "interrupted"]))] for place in chosen]
            entries.append(Entry(v=1, id=id_, time=number, kind="outcome", of=rows))
        elif kind == "strange":
            entries.append(Entry(v=1, id=id_, time=number, kind="outcome", of=[[999, "success"], [len(entries), "x"]]))
        elif kind != "outcome":
            if kind != "fact":
                waiting.append(len(entries))
            action = draw(st.sampled_from(["read", "capability.used", "capability.denied"]))
            entries.append(Entry(v=1, id=id_, time=number, kind=kind, what=What(action), subjects=[f"s{number}"]))
            for more in range(draw(st.integers(0, 2))):
                pseudonym = f"d{number}.{more}"
                entries.append(
                    Entry(
                        v=1,
                        id=f"{id_}.{more}",
                        time=number,
                        kind="disclosure",
                        continues=id_,
                        subjects=[pseudonym],
                        disclosure=Disclosure(pseudonym, more + 1),
                    )
                )
    return entries


def model(entries: list[Entry], skip: set[str]) -> list[tuple[int, str, int, list[str]]]:
    """Index, outcome, place of the outcome, and subjects of every event, in order."""
    found: list[tuple[int, str, int, list[str]]] = []

    def about(place: int) -> list[str]:
        return entries[place].subjects + [
            name for one in entries if one.continues == entries[place].id for name in one.subjects
        ]

    for place, entry in enumerate(entries):
        action = entry.what.action if entry.what is not None else ""
        if entry.kind == "outcome":
            for row in entry.of:
                if row[0] < place and (what := entries[row[0]].what) is not None and what.action not in skip:
                    found.append((row[0], row[1], place, about(row[0])))
        elif entry.kind == "fact" and action not in skip:
            outcome = "failure" if action.endswith(".denied") else "success"
            found.append((place, outcome, -1, about(place)))
    return found


@given(logs(), st.integers(1, 7), st.sets(st.sampled_from(["capability.used", "read"])))
def test_events_are_those_of_the_model(entries: list[Entry], limit: int, skip: set[str]) -> None:
    """Whatever the log and the batches: each fact and each settled attempt once, in order, with its subjects; and from
    the cursor after any event the rest follows."""

    def wants(entry: Entry) -> bool:
        return entry.what is None or entry.what.action not in skip

    async def run() -> None:
        log = Entries([encode(entry) for entry in entries])
        wanted = model(entries, skip)
        seen: list[Event] = []
        cursors: list[Cursor] = []
        cursor = Cursor(0)
        while True:
            batch = await Source(log, "o").read(cursor, limit, wants)
            assert len(batch.events) <= limit
            seen += batch.events
            cursors += batch.cursors
            if batch.next == cursor:
                break
            cursor = batch.next
        assert [
            (one.index, one.outcome, one.settled, [who.pseudonym for who in one.subjects]) for one in seen
        ] == wanted
        for one in seen:
            assert one.leaf == leaf_hash(log.data[one.index])
        for position, after in enumerate(cursors):
            rest = await Source(log, "o").read(after, 1000, wants)
            assert [one.id for one in rest.events] == [one.id for one in seen[position + 1 :]]

    asyncio.run(run())


@given(logs(), st.integers(0, 40))
@settings(max_examples=50)
def test_what_was_disposed_of_is_counted(entries: list[Entry], first: int) -> None:
    """A sink that comes to a log whose beginning is gone counts what it missed, and has every event of the rest."""

    async def run() -> None:
        first_kept = min(first, len(entries))
        log = Entries([encode(entry) for entry in entries], first_kept)
        batch = await Source(log, "o").read(Cursor(0), 1000)
        wanted = [row for row in model(entries, set()) if row[0] >= first_kept]
        assert [(one.index, one.outcome) for one in batch.events] == [row[:2] for row in wanted]
        assert batch.missed >= first_kept

    asyncio.run(run())


async def _store(stores: Stores) -> Database:
    text = (MIGRATIONS / "0004_sinks.sql").read_text()
    return (await stores.open(Migration(1, "sinks", text))).db


async def test_cursors_are_kept(stores: Stores) -> None:
    """On both databases: a new sink begins where it is told, once; the last cursor counts."""
    cursors = Cursors(await _store(stores))
    assert await cursors.get("s") == State(Cursor(0))
    await cursors.begin("s", 5)
    await cursors.begin("s", 9)
    assert await cursors.get("s") == State(Cursor(5))
    await cursors.put("s", State(Cursor(7, 3), 11, 2))
    assert await cursors.get("s") == State(Cursor(7, 3), 11, 2)
    assert await cursors.get("t") == State(Cursor(0))


async def test_cosignatures_are_kept(stores: Stores) -> None:
    """On both databases: lines by checkpoint, the newest of each witness, and the largest that a quorum has."""
    kept = Cosignatures(await _store(stores))
    assert await kept.known("w") == (0, 0)
    await kept.add(5, "w", 100, "— w AAAA\n— w BBBB\n")
    await kept.add(5, "v", 101, "— v CCCC\n")
    await kept.add(9, "w", 102, "— w DDDD\n")
    await kept.add(9, "w", 103, "— w EEEE\n")
    assert await kept.known("w") == (9, 103)
    assert await kept.lines(5) == ["— v CCCC\n", "— w AAAA\n", "— w BBBB\n"]
    assert await kept.lines(9) == ["— w EEEE\n"]
    assert await kept.largest(["v", "w"], 1) == 9
    assert await kept.largest(["v", "w"], 2) == 5
    assert await kept.largest(["v"], 2) == 0
    assert await kept.has(9, "w")
    assert not await kept.has(9, "v")
