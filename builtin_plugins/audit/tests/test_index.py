"""The index beside the log: made again it is the same, it keeps up, and it leaves nothing of what is shredded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from rustcare_plugin_audit.plugin import Audit
from rustcare_sdk.contracts import audit, crypto, fhir
from rustcare_sdk.errors import NoProvider
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring

TABLES = ("audit_index", "audit_subjects", "audit_resources", "audit_types", "audit_index_cursor")


@pytest.fixture
def keyring() -> MemoryKeyring:
    """The keys, which outlive a plugin."""
    return MemoryKeyring()


@pytest_asyncio.fixture
async def h(keyring: MemoryKeyring) -> AsyncIterator[PluginHarness]:
    """The running plugin."""
    double = harness(Audit)
    keyring.attach(double)
    async with double:
        yield double


async def fill(h: PluginHarness, count: int, first: int = 0) -> None:
    """Stores, reads, disclosures, facts, and their outcomes."""
    attempts = []
    for number in range(first, first + count):
        capability: str = ("bus:request@fhir.store", "bus:request@fhir.read", "")[number % 3]
        patient = {"resourceType": "Patient", "id": f"p{number % 7}"}
        observation = {
            "resourceType": "Observation",
            "id": f"o{number}",
            "subject": {"reference": f"Patient/p{number % 5}"},
        }
        data: Any = (fhir.StoreRequest("k", [patient, observation], "s"), fhir.ReadRequest("Patient", "p1"), None)[
            number % 3
        ]
        purpose = "PUBHLTH" if number % 2 else "TREAT"
        kind: Any = "use" if capability else "fact"
        attempts.append(
            audit.Attempt(
                f"id{number}",
                number,
                kind,
                "" if capability else "x",
                capability,
                principal="dr",
                purpose=purpose,
                data=data,
            )
        )
    places = (await h.request(audit.RECORD, audit.RecordRequest(attempts))).indices
    settled = [audit.Outcome("", place) for place in places[::2]]
    await h.request(audit.SETTLE, audit.SettleRequest(settled))


async def content(h: PluginHarness) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is in the index."""
    found = {}
    for table in TABLES:
        rows = await h.ctx.db.fetch(f"SELECT * FROM {table}")
        found[table] = sorted(tuple(row.values()) for row in rows)
    return found


async def test_the_index_made_again_is_the_same(h: PluginHarness) -> None:
    """Dropped and made again from the log the index is what it was, row by row."""
    for first in range(0, 900, 300):
        await fill(h, 300, first)
        await h.request(audit.SEARCH, audit.SearchRequest())
    before = await content(h)
    assert before["audit_resources"]
    reply = await h.request(audit.REINDEX, audit.ReindexRequest())
    assert reply.indexed == h.plugin.trust.log.size
    assert await content(h) == before


async def test_the_index_keeps_up_by_itself(h: PluginHarness) -> None:
    """Without any search the index follows the log in the background."""
    await fill(h, 50)
    async with asyncio.timeout(10):
        while h.plugin.trust.index.next < h.plugin.trust.log.size:
            await h.plugin.trust.index.advanced.wait()
    assert len((await content(h))["audit_index"]) == 51


async def test_made_again_it_has_nothing_of_the_shredded(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """Tokens come from sealed names: after a shredding the index made again has none of that subject's."""
    await fill(h, 30)
    await h.request(audit.SEARCH, audit.SearchRequest())
    pseudonym = keyring.pseudonym("patient/p1")
    assert any(row[2] == pseudonym for row in (await content(h))["audit_resources"])
    await h.send(crypto.SHREDDED, keyring.shred("patient/p1"))
    before = await content(h)
    assert not any(row[2] == pseudonym for row in before["audit_resources"])
    await h.request(audit.REINDEX, audit.ReindexRequest())
    assert await content(h) == before


async def test_a_keyring_that_fails_stops_the_index_and_not_the_log(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """While tokens cannot be made the index lags and says so; entries are written all the same, and it catches up."""
    keyring.fail[crypto.TOKEN] = NoProvider("the keyring is not there")
    await fill(h, 6)
    size = h.plugin.trust.log.size
    with pytest.raises(NoProvider):
        await h.request(audit.SEARCH, audit.SearchRequest())
    assert h.plugin.trust.index.next == 0
    del keyring.fail[crypto.TOKEN]
    assert (await h.request(audit.SEARCH, audit.SearchRequest())).size == size
    assert h.plugin.trust.index.next == size


async def test_a_restart_goes_on_where_the_index_was(h: PluginHarness) -> None:
    """The index's cursor is committed with its rows: after a restart nothing is indexed twice, nothing is left out."""
    await fill(h, 20)
    await h.request(audit.SEARCH, audit.SearchRequest())
    await fill(h, 20, 20)
    await h.restart()
    await h.request(audit.SEARCH, audit.SearchRequest())
    before = await content(h)
    await h.request(audit.REINDEX, audit.ReindexRequest())
    assert await content(h) == before


async def test_the_outcome_of_a_disclosure_is_that_of_its_attempt(h: PluginHarness) -> None:
    """Entries of several patients' disclosures show the outcome of the attempt that they belong to."""
    data = {"r": [{"id": "p1"}, {"id": "p2"}]}
    rule = {"match": "bus:request@acme.fetch", "action": "read", "items": "r[*]", "type": "=Patient", "id": "id"}
    await h.restart(config={"rules": [rule]})
    fetch = audit.Attempt(
        "f", 1, "use", capability="bus:request@acme.fetch", principal="dr", purpose="LEGAL", data=data
    )
    await h.request(audit.RECORD, audit.RecordRequest([fetch]))
    await h.request(audit.SETTLE, audit.SettleRequest([audit.Outcome("f", 0, "failure", "acme.no")]))
    found = await h.request(audit.SEARCH, audit.SearchRequest(disclosures=True))
    assert [(row.index, row.outcome, row.code) for row in found.rows] == [
        (2, "failure", "acme.no"),
        (1, "failure", "acme.no"),
    ]


async def test_two_versions_do_not_index_twice(h: PluginHarness) -> None:
    """A version whose cursor is old, because another one has indexed meanwhile, goes on from where that one was."""
    await fill(h, 20)
    await h.request(audit.SEARCH, audit.SearchRequest())
    before = await content(h)
    h.plugin.trust.index.next = 3
    await h.request(audit.SEARCH, audit.SearchRequest())
    assert await content(h) == before
    assert h.plugin.trust.index.next == h.plugin.trust.log.size
