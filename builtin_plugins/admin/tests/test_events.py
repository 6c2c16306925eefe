"""The ring of events and its streams: nothing is lost in silence, nothing comes twice, all streams end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_admin.events import Events, EventsReply, EventsRequest, differences, stream_of
from rustcare_sdk.errors import NoProvider


def parsed(chunk: bytes) -> list[tuple[str, dict[str, Any]]]:
    """The events of a chunk: ids and data. A heartbeat is none."""
    found = []
    for block in chunk.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(": "))
        if "data" in lines:
            data = json.loads(lines["data"])
            assert lines["event"] == data["kind"]
            found.append((lines["id"], data))
    return found


def event(number: int, kind: str = "state", plugin: str = "acme.a") -> dict[str, Any]:
    """An event."""
    return {"kind": kind, "time": float(number), "plugin": plugin, "n": number}


def stream(
    events: Events,
    last: str = "",
    kinds: tuple[str, ...] = (),
    plugin: str = "",
    heartbeat: float = 30,
    longest: float = 30,
) -> AsyncGenerator[bytes, None]:
    """What a reader gets who begins behind an id."""
    asked = EventsRequest(last, list(kinds), plugin)
    found = stream_of(events.look, asked, heartbeat=heartbeat, longest=longest)
    assert isinstance(found, AsyncGenerator)
    return found


async def collected(events: Events, last: str, **options: Any) -> list[tuple[str, dict[str, Any]]]:
    """All that a reader gets, until there will be no more."""
    found: list[tuple[str, dict[str, Any]]] = []
    async for chunk in stream(events, last, **options):
        found += parsed(chunk)
    return found


@given(kept=st.integers(1, 8), total=st.integers(0, 20), seen=st.integers(0, 20))
async def test_a_reader_who_comes_back_misses_nothing_in_silence(kept: int, total: int, seen: int) -> None:
    """Behind an id come all later events that are kept, in order and once; if some are not kept, a gap is told first."""
    events = Events("run", kept)
    for number in range(1, total + 1):
        events.put(event(number))
    events.close()
    seen = min(seen, total)
    found = await collected(events, f"run-{seen}")
    numbers = [data["n"] for _, data in found if data["kind"] != "gap"]
    assert numbers == list(range(max(seen, total - kept) + 1, total + 1))
    missing = seen < total - kept
    assert [data["kind"] for _, data in found][:1] == (["gap"] if missing else ["state"] if numbers else [])
    assert [id_ for id_, data in found if data["kind"] != "gap"] == [f"run-{number}" for number in numbers]


async def test_ids_of_another_run_tell_a_gap() -> None:
    """An id that this run never gave, malformed or another's, brings what is kept after a gap."""
    events = Events("run", 10)
    events.put(event(1))
    events.close()
    for last in ("other-1", "run-99", "run-", "run-x", "1", "run--1", "run-" + "9" * 30):
        found = await collected(events, last)
        assert [data["kind"] for _, data in found] == ["gap", "state"], last
    assert await collected(events, "") == [], "who has seen nothing begins with what comes"


async def test_kinds_and_plugin_narrow_a_stream() -> None:
    """A stream has the events of the kinds and the plugin that were asked for, and those that are about no plugin."""
    events = Events("run", 10)
    for number, (kind, plugin) in enumerate([("state", "acme.a"), ("routes", "acme.a"), ("state", "acme.b")], 1):
        events.put(event(number, kind, plugin))
    events.put({"kind": "accounting", "time": 4.0, "n": 4})
    events.close()
    assert [data["n"] for _, data in await collected(events, "run-0", kinds=("state",))] == [1, 3]
    assert [data["n"] for _, data in await collected(events, "run-0", plugin="acme.a")] == [1, 2, 4]


async def test_events_come_as_they_happen_and_streams_end() -> None:
    """A waiting reader gets an event at once; closing the ring ends it after what there is."""
    events = Events("run", 10)
    reading = stream(events)
    assert await anext(reading) == b"retry: 2000\nid: run-0\n\n"
    waiting = asyncio.ensure_future(anext(reading))
    await asyncio.sleep(0)
    events.put(event(1))
    assert [data["n"] for _, data in parsed(await waiting)] == [1]
    events.put(event(2))
    events.close()
    assert [data["n"] for chunk in [item async for item in reading] for _, data in parsed(chunk)] == [2]


async def test_a_stream_begins_with_its_place() -> None:
    """Who is cut off before the first event comes back to where the stream began: nothing between is missed."""
    events = Events("run", 10)
    events.put(event(1))
    reading = stream(events)
    first = (await anext(reading)).decode()
    await reading.aclose()
    last = first.splitlines()[1].removeprefix("id: ")
    events.put(event(2))
    events.close()
    assert [data["n"] for _, data in await collected(events, last)] == [2]


async def test_a_reader_writes_nothing_into_its_stream() -> None:
    """Whatever stands where the last id should be, no line of the stream is of it."""
    events = Events("run", 10)
    events.put(event(1))
    first = await anext(stream(events, "x-1\ndata: {}\n\nevent: state"))
    assert first.startswith(b"retry: 2000\nid: run-0\n\n")
    assert b"{}" not in first


async def test_a_silent_stream_beats_and_ends_in_time() -> None:
    """Without events come comments at the heartbeat, and the stream ends when its time is over."""
    chunks = [chunk async for chunk in stream(Events("run", 10), heartbeat=0.02, longest=0.2)]
    assert len(chunks) > 2
    assert set(chunks[1:]) == {b": heartbeat\n\n"}


async def test_events_of_no_interest_are_no_sign_of_life() -> None:
    """A stream beats when nothing came that its reader asked for, however much else happens."""
    events = Events("run", 10)
    reading = stream(events, kinds=("routes",), heartbeat=0.02)
    await anext(reading)
    waiting = asyncio.ensure_future(anext(reading))
    while not waiting.done():
        events.put(event(1))
        await asyncio.sleep(0)
    assert waiting.result() == b": heartbeat\n\n"
    await reading.aclose()


async def test_a_stream_ends_when_nobody_has_the_events() -> None:
    """When the process that keeps the events is gone, or the plugin here stops, the reader is let go, and comes again."""

    async def gone(asked: EventsRequest) -> EventsReply:
        raise NoProvider("nobody")

    assert [chunk async for chunk in stream_of(gone, EventsRequest(), heartbeat=1, longest=1)] == []
    over = [False]
    reading = stream_of(Events("run", 10).look, EventsRequest(), heartbeat=0.01, longest=30, over=lambda: over[0])
    await anext(reading)
    over[0] = True
    assert [chunk async for chunk in reading] == []


async def test_a_reader_who_is_too_slow_is_told() -> None:
    """When more happened than is kept while a reader was busy, it gets a gap and goes on with what is kept."""
    events = Events("run", 3)
    reading = stream(events)
    await anext(reading)
    for number in range(1, 11):
        events.put(event(number))
    told = parsed(await anext(reading))
    assert [data["kind"] for _, data in told] == ["gap", "state", "state", "state"]
    assert [data["n"] for _, data in told[1:]] == [8, 9, 10]
    assert told[0][0] == "run-7"
    await reading.aclose()


async def test_the_next_version_goes_on() -> None:
    """What one version exported, the next takes over: ids go on, and a reader's place is still good."""
    before = Events("run", 10)
    before.put(event(1))
    before.put(event(2))
    after = Events("another", 10)
    after.take_over(json.loads(json.dumps(before.export())))
    after.put(event(3))
    after.close()
    assert [id_ for id_, _ in await collected(after, "run-1")] == ["run-2", "run-3"]


def test_differences_are_what_was_used_meanwhile() -> None:
    """Only what changed between two readings is told; a counter that began anew is no negative use."""
    before = {("a", "x"): (5, 1, 1.0), ("a", "y"): (2, 0, 0.5), ("b", ""): (9, 9, 9.0)}
    now = {("a", "x"): (7, 1, 1.25), ("a", "y"): (2, 0, 0.5), ("b", ""): (1, 0, 0.1), ("c", "z"): (1, 1, 0.0)}
    assert differences(before, now) == [
        {"plugin": "a", "capability": "x", "calls": 2, "errors": 0, "wall_s": 0.25},
        {"plugin": "b", "capability": "", "calls": 0, "errors": 0, "wall_s": 0.0},
        {"plugin": "c", "capability": "z", "calls": 1, "errors": 1, "wall_s": 0.0},
    ]
