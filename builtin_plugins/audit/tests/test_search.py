"""Search: every condition, pages, who may see what, reading one's own writes, what shredding leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from rustcare_plugin_audit.errors import EntryNotFound, InvalidRequest
from rustcare_plugin_audit.plugin import Audit
from rustcare_sdk.contracts import audit, crypto, fhir
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring

SECOND = 1_000_000
START = 1_767_225_600 * SECOND  # 2026-01-01


@pytest.fixture
def keyring() -> MemoryKeyring:
    """The keys, which outlive a plugin."""
    return MemoryKeyring()


@pytest_asyncio.fixture
async def h(keyring: MemoryKeyring) -> AsyncIterator[PluginHarness]:
    """A log with some entries."""
    double = harness(Audit)
    keyring.attach(double)
    async with double:
        await fill(double)
        yield double


async def fill(h: PluginHarness) -> None:
    """Ten entries and two of outcomes."""
    read, update = "bus:request@fhir.read", "bus:request@fhir.update"
    rows: list[dict[str, Any]] = [
        {"capability": read, "data": fhir.ReadRequest("Patient", "a"), "principal": "dr", "purpose": "TREAT"},
        {"capability": read, "data": fhir.ReadRequest("Patient", "b"), "principal": "dr", "purpose": "PUBHLTH"},
        {"capability": read, "data": fhir.ReadRequest("Observation", "o"), "trace": "00-1-2-00"},
        {"capability": update, "data": fhir.UpdateRequest({"resourceType": "Patient", "id": "a", "gender": "other"})},
        {"kind": "operation", "action": "plugin.install", "data": None, "plugin": "", "principal": "root"},
        {"kind": "fact", "action": "capability.denied", "data": None},
        {"capability": read, "data": fhir.ReadRequest("Patient", "a"), "tenant": "ward"},
    ]
    attempts = [
        audit.Attempt(f"id{number}", START + number * SECOND, **{"kind": "use", "plugin": "acme.app", **row})
        for number, row in enumerate(rows)
    ]
    await h.request(audit.RECORD, audit.RecordRequest(attempts))
    outcomes = [audit.Outcome("id0", 0), audit.Outcome("id1", 1), audit.Outcome("id3", 3, "failure", "fhir.conflict")]
    await h.request(audit.SETTLE, audit.SettleRequest(outcomes))


async def places(h: PluginHarness, **asked: Any) -> list[int]:
    """The places of what is found."""
    reply: audit.SearchReply = await h.request(audit.SEARCH, audit.SearchRequest(**asked))
    return [row.index for row in reply.rows]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [6, 5, 4, 3, 2, 1, 0]),
        ({"oldest_first": True, "limit": 3}, [0, 1, 2]),
        ({"since": "2026-01-01T00:00:02Z", "until": "2026-01-01T00:00:04Z"}, [3, 2]),
        ({"until": "2026-01-01T01:00:01+01:00"}, [0]),
        ({"principal": "dr"}, [1, 0]),
        ({"patient": "Patient/a", "tenant": "default"}, [3, 0]),
        ({"patient": "Patient/a", "tenant": "ward"}, [6]),
        ({"patient": "Patient/nobody"}, []),
        ({"action": "update"}, [3]),
        ({"action": "plugin.install"}, [4]),
        ({"resource": "Observation/o"}, [2]),
        ({"resource": "Patient/b"}, [1]),
        ({"type": "Observation"}, [2]),
        ({"outcome": "success"}, [1, 0]),
        ({"outcome": "failure"}, [3]),
        ({"outcome": "open"}, [6, 4, 2]),
        ({"plugin": "acme.app", "kind": "fact"}, [5]),
        ({"trace": "00-1-2-00"}, [2]),
        ({"kind": "outcome"}, [7]),
        ({"disclosures": True}, [1]),
        ({"capability": "bus:request@fhir.update"}, [3]),
        ({"principal": "dr", "outcome": "success", "disclosures": True}, [1]),
        ({"size": 3}, [2, 1, 0]),
        ({"principal": "' OR 1=1 --"}, []),
    ],
)
async def test_conditions(h: PluginHarness, asked: dict[str, Any], expected: list[int]) -> None:
    """Every condition finds what fits, and several together what fits them all."""
    assert await places(h, **asked) == expected


async def test_rows_are_read_and_opened(h: PluginHarness) -> None:
    """A row has the entry's JSON, its outcome from the entry that settled it, and what was sealed."""
    row = (await h.request(audit.SEARCH, audit.SearchRequest(action="update"))).rows[0]
    assert row.entry["what"]["capability"] == "bus:request@fhir.update"
    assert (row.outcome, row.code, row.outcome_index) == ("failure", "fhir.conflict", 7)
    assert row.opened[0]["patient"] == "Patient/a"
    assert row.opened[0]["changes"][0]["new"] == "other"
    assert not row.shredded


@pytest.mark.parametrize("oldest_first", [True, False])
async def test_pages(h: PluginHarness, oldest_first: bool) -> None:
    """Pages follow each other without gap or overlap, also while entries are appended between them."""
    found: list[int] = []
    after = ""
    while True:
        asked = audit.SearchRequest(limit=2, after=after, oldest_first=oldest_first, size=8)
        reply = await h.request(audit.SEARCH, asked)
        found += [row.index for row in reply.rows]
        after = reply.next
        if not after:
            break
        await h.request(audit.RECORD, audit.RecordRequest([audit.Attempt(f"n{len(found)}", START, "fact", "x")]))
    assert found == (list(range(7)) if oldest_first else list(range(6, -1, -1)))


async def test_a_search_reads_its_own_writes(h: PluginHarness) -> None:
    """What was recorded before a search began is found by it, without waiting for any background work."""
    for number in range(20):
        read = audit.Attempt(f"w{number}", START, "use", capability="bus:request@fhir.read", principal="me")
        await h.request(audit.RECORD, audit.RecordRequest([read]))
        assert len(await places(h, principal="me")) == number + 1


async def test_a_tenant_sees_its_own_entries_only(h: PluginHarness) -> None:
    """Whoever asks for a tenant, or as a principal, sees that tenant's entries; the system itself sees all."""
    reply = await h.request(audit.SEARCH, audit.SearchRequest(), tenant="ward")
    assert [row.index for row in reply.rows] == [6]
    with pytest.raises(InvalidRequest):
        await h.request(audit.SEARCH, audit.SearchRequest(tenant="ward"), principal="dr")
    with pytest.raises(InvalidRequest):
        await h.request(audit.SEARCH, audit.SearchRequest(tenant="ward"), principal="operator", source="acme.app")
    operator = await h.request(audit.SEARCH, audit.SearchRequest(tenant="ward"), principal="operator", source="kernel")
    assert [row.index for row in operator.rows] == [6]
    with pytest.raises(EntryNotFound):
        await h.request(audit.SHOW, audit.ShowRequest(0), tenant="ward")
    with pytest.raises(InvalidRequest):
        await h.request(audit.ENTRIES, audit.EntriesRequest(0, 1), tenant="ward")


async def test_after_a_rotation_of_the_index_key_both_are_found(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """A search looks for tokens of every version of the index key, so that a rotation loses nothing."""
    assert await places(h, resource="Observation/o") == [2]
    keyring.rotate_tokens()
    read = audit.Attempt(
        "r", START, "use", capability="bus:request@fhir.read", data=fhir.ReadRequest("Observation", "o")
    )
    await h.request(audit.RECORD, audit.RecordRequest([read]))
    assert await places(h, resource="Observation/o") == [8, 2]


async def test_what_is_shredded_stays_in_the_log_and_cannot_be_read(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """After a shredding the entries stand and say `shredded`; they are found neither by patient nor by resource, and no
    token of theirs is left in the index."""
    assert await places(h, resource="Patient/a", tenant="default") == [3, 0]
    pseudonym = keyring.pseudonym("patient/a")
    await h.send(crypto.SHREDDED, keyring.shred("patient/a"))
    row = (await h.request(audit.SHOW, audit.ShowRequest(0))).row
    assert row.shredded
    assert row.opened == [{}]
    assert await places(h, patient="Patient/a", tenant="default") == []
    assert await places(h, resource="Patient/a", tenant="default") == []
    left = await h.ctx.db.fetch("SELECT token FROM audit_resources WHERE subject = ?", (pseudonym,))
    assert left == []


async def test_requests_that_make_no_sense_are_refused(h: PluginHarness) -> None:
    """Times, limits, cursors and outcomes that are not well formed are errors with an address."""
    wrong: list[dict[str, Any]] = [
        {"since": "yesterday"},
        {"limit": 0},
        {"limit": 100_000},
        {"after": "x"},
        {"outcome": "maybe"},
        {"size": 99},
    ]
    for asked in wrong:
        with pytest.raises(InvalidRequest) as refused:
            await h.request(audit.SEARCH, audit.SearchRequest(**asked))
        assert refused.value.address.startswith("audit.search:")
    with pytest.raises(EntryNotFound):
        await h.request(audit.SHOW, audit.ShowRequest(99))


async def test_tail_waits_for_what_comes(h: PluginHarness) -> None:
    """Tail answers at once what is there, waits when there is nothing, and wakes up when something is recorded."""
    reply = await h.request(audit.TAIL, audit.TailRequest(after=4))
    assert [row.index for row in reply.rows] == [5, 6]
    assert reply.next == "7"
    waiting = asyncio.ensure_future(h.request(audit.TAIL, audit.TailRequest(after=int(reply.next), wait=30)))
    await asyncio.sleep(0)
    own = audit.Attempt("t", START, "use", capability="bus:request@audit.tail")
    await h.request(audit.RECORD, audit.RecordRequest([own]))
    assert not waiting.done()
    await h.request(audit.RECORD, audit.RecordRequest([audit.Attempt("f", START, "fact", "x")]))
    assert [row.index for row in (await waiting).rows] == [9]
    assert (await h.request(audit.TAIL, audit.TailRequest())).rows == []


@pytest.mark.parametrize(
    "own",
    [
        audit.Attempt("o", START, "operation", "control.bus.request", details={"service": "audit.tail"}),
        audit.Attempt("o", START, "fact", "capability.used", details={"rows": []}),
        audit.Attempt("o", START, "use", capability="bus:publish@http.access", details={"rows": []}),
    ],
    ids=["command", "count", "request"],
)
async def test_asking_is_no_news(h: PluginHarness, own: audit.Attempt) -> None:
    """What the log says of a question for entries does not answer the next question, else the log would fill itself; it
    comes with the next entry, or at the end of the wait."""
    start = (await h.request(audit.TAIL, audit.TailRequest(after=-1))).size - 1
    waiting = asyncio.ensure_future(h.request(audit.TAIL, audit.TailRequest(after=start, wait=30)))
    await asyncio.sleep(0)
    await h.request(audit.RECORD, audit.RecordRequest([own]))
    short = await h.request(audit.TAIL, audit.TailRequest(after=start, wait=0.001))
    assert [row.index for row in short.rows] == [start + 1]
    assert not waiting.done()
    await h.request(audit.RECORD, audit.RecordRequest([audit.Attempt("f", START, "fact", "x")]))
    assert [row.index for row in (await waiting).rows] == [start + 1, start + 2]
