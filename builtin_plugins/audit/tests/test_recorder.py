"""The recorder: many callers share one sealing and one append, in order, durable before they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from rustcare_plugin_audit.entry import MAX_ENTRY, decode
from rustcare_plugin_audit.plugin import Audit
from rustcare_sdk.contracts import audit, crypto, fhir
from rustcare_sdk.errors import AuditUnavailable, NoProvider, ServiceError, StoreError
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring


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


def attempt(number: int = 0, data: Any = None, **fields: Any) -> audit.Attempt:
    """A read of a patient, unless said otherwise."""
    given = {
        "kind": "use",
        "capability": "bus:request@fhir.read",
        "subject": "fhir.read",
        "plugin": "acme.app",
        **fields,
    }
    return audit.Attempt(
        f"{number:032x}", 1_800_000_000_000_000 + number, data=data or fhir.ReadRequest("Patient", "p1"), **given
    )


async def record(h: PluginHarness, *attempts: audit.Attempt, again: bool = False) -> list[int]:
    """The places of the entries."""
    reply: audit.RecordReply = await h.request(audit.RECORD, audit.RecordRequest(list(attempts), again))
    return reply.indices


async def test_attempts_become_entries_in_order(h: PluginHarness) -> None:
    """Each attempt is one entry, in the order given; the answer names its place."""
    places = await record(h, attempt(1), attempt(2, principal="dr", purpose="TREAT"), attempt(3))
    assert places == [0, 1, 2]
    entry = decode((await h.plugin.trust.log.entries(1, 1))[0])
    assert (entry.id, entry.why) == (attempt(2).id, "TREAT")
    assert entry.who is not None
    assert entry.who.principal == "dr"
    assert len(entry.sealed) == len(entry.subjects) == 1


async def test_callers_of_one_turn_share_one_sealing_and_one_commit(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """Hundreds of tasks that record at once cost one request to the keyring and few commits; order is that of arrival."""
    keyring.calls.clear()
    found = await asyncio.gather(*(record(h, attempt(number)) for number in range(300)))
    assert [places[0] for places in found] == list(range(300))
    assert [call for call in keyring.calls if call[0] == crypto.SUBJECT_SEAL] == [(crypto.SUBJECT_SEAL, 300)]
    assert sum(call[0] == crypto.SIGN for call in keyring.calls) <= 3


async def test_nothing_personal_is_in_the_log(h: PluginHarness) -> None:
    """The stored bytes hold neither a patient's id nor values; the opened part has them."""
    await record(
        h,
        attempt(
            1,
            fhir.UpdateRequest({"resourceType": "Patient", "id": "patient-4711", "gender": "female"}),
            capability="bus:request@fhir.update",
        ),
    )
    data = (await h.plugin.trust.log.entries(0, 1))[0]
    assert b"patient-4711" not in data
    assert b"female" not in data
    row = (await h.request(audit.SHOW, audit.ShowRequest(0))).row
    assert row.opened[0]["patient"] == "Patient/patient-4711"
    assert row.opened[0]["changes"][0]["new"] == "female"


@pytest.mark.parametrize(
    ("before", "old"),
    [
        (fhir.ResourceReply({"resourceType": "Patient", "id": "p1", "gender": "male", "active": True}, "1"), "male"),
        (ServiceError("fhir.not-found", "there is none"), None),
        (NoProvider("nobody"), None),
    ],
)
async def test_an_update_commits_to_the_values_before(h: PluginHarness, before: Any, old: str | None) -> None:
    """An update's entry commits to each changed field's value before and after; where nobody knows, to the one after."""
    h.answer(fhir.READ, before)
    update = fhir.UpdateRequest({"resourceType": "Patient", "id": "p1", "gender": "female"})
    await record(h, attempt(1, update, capability="bus:request@fhir.update"))
    changes = {
        row["field"]: row for row in (await h.request(audit.SHOW, audit.ShowRequest(0))).row.opened[0]["changes"]
    }
    assert changes["gender"].get("old") == old
    assert changes["gender"]["new"] == "female"
    assert ("active" in changes) == (old is not None)


async def test_what_was_written_before_a_crash_is_not_written_twice(h: PluginHarness) -> None:
    """A redelivery (`again`) answers the places of what is there already and writes only the rest."""
    await record(h, attempt(1), attempt(2))
    assert await record(h, attempt(1), attempt(3), attempt(2), again=True) == [0, 2, 1]
    assert h.plugin.trust.log.size == 3
    await h.restart()
    assert await record(h, attempt(3), again=True) == [2]


async def test_a_redelivery_waits_for_what_is_under_way(h: PluginHarness) -> None:
    """An attempt that is redelivered while its first delivery is still being written is written once."""
    first = asyncio.ensure_future(record(h, attempt(1)))
    await asyncio.sleep(0)
    assert await record(h, attempt(1), again=True) == await first
    assert h.plugin.trust.log.size == 1


async def test_outcomes_of_a_batch_are_one_entry(h: PluginHarness) -> None:
    """Outcomes are entries too, one for each batch; what is settled is not told as unsettled any more."""
    await record(h, *(attempt(number) for number in range(4)), attempt(9, kind="fact", action="plugin.state", data={}))
    outcomes = [
        audit.Outcome(attempt(0).id, 0, "success"),
        audit.Outcome(attempt(1).id, 1, "failure", "fhir.not-found"),
        audit.Outcome(attempt(2).id, -1, "interrupted", "", "no"),
        audit.Outcome("never written", -1, "failure", "cancelled", "no"),
    ]
    reply = await h.request(audit.SETTLE, audit.SettleRequest(outcomes))
    assert reply.index == 5
    entry = decode((await h.plugin.trust.log.entries(5, 1))[0])
    assert entry.of == [[0, "success"], [1, "failure", "fhir.not-found"], [2, "interrupted", "", "no"]]
    left = await h.request(audit.UNSETTLED, audit.UnsettledRequest())
    assert left.attempts == [audit.Unsettled(attempt(3).id, 3, "use", "bus:request@fhir.read")]
    assert (await h.request(audit.SETTLE, audit.SettleRequest([]))).index == -1


async def test_without_the_keyring_nothing_is_recorded(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """When what is personal cannot be sealed the caller is told `audit.unavailable`, and no entry is there."""
    keyring.fail[crypto.SUBJECT_SEAL] = NoProvider("the keyring is not there")
    with pytest.raises(AuditUnavailable):
        await record(h, attempt(1))
    assert h.plugin.trust.log.size == 0
    del keyring.fail[crypto.SUBJECT_SEAL]
    assert await record(h, attempt(1)) == [0]


async def test_one_bad_attempt_does_not_spoil_the_others(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """When the keyring refuses a batch, each caller is tried alone; only the one it refuses fails."""
    seal = keyring.seal

    def refusing(message: Any) -> Any:
        if any(item.subject == "patient/bad" for item in message.data.items):
            raise StoreError("refused")
        return seal(message)

    h.answer(crypto.SUBJECT_SEAL, refusing)
    bad = attempt(2, fhir.ReadRequest("Patient", "bad"))
    found = await asyncio.gather(record(h, attempt(1)), record(h, bad), record(h, attempt(3)), return_exceptions=True)
    assert found[0] == [0]
    assert isinstance(found[1], AuditUnavailable)
    assert found[2] == [1]


async def test_when_the_log_cannot_be_written_health_says_so(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """A failed append is told to its callers and to whoever asks for the plugin's health; the next success mends it."""
    assert (await h.health()).ok
    keyring.fail[crypto.SIGN] = NoProvider("the keyring is not there")
    with pytest.raises(AuditUnavailable):
        await record(h, attempt(1))
    assert not (await h.health()).ok
    del keyring.fail[crypto.SIGN]
    assert await record(h, attempt(2)) == [0]
    assert (await h.health()).ok


async def test_those_who_write_too_much_wait(keyring: MemoryKeyring) -> None:
    """No more entries than `queue` wait at once; more callers wait themselves, and all are written in the end."""
    double = harness(Audit, config={"queue": 10})
    keyring.attach(double)
    async with double as h:
        recorder = h.plugin.trust.recorder
        most = 0

        async def one(number: int) -> None:
            nonlocal most
            await record(h, attempt(number))
            most = max(most, recorder.waiting)

        await asyncio.gather(*(one(number) for number in range(100)))
        assert most <= 10
        assert h.plugin.trust.log.size == 100


async def test_long_entries_go_on_in_others(h: PluginHarness) -> None:
    """What does not fit into one entry goes on in entries of the kind `continuation`, each within the limit."""
    many = [{"resourceType": "Patient", "id": f"patient-{number:060d}"} for number in range(600)]
    rows = [["acme.app", "sha256:" + "0" * 64, "default", f"bus:request@x{number}", 1, 0] for number in range(2000)]
    store = attempt(1, fhir.StoreRequest("k", many, "s"), capability="bus:request@fhir.store")
    used = attempt(2, {}, kind="fact", action="capability.used", capability="", details={"rows": rows})
    places = await record(h, store, used, attempt(3))
    size = h.plugin.trust.log.size
    assert places[2] == size - 1
    entries = [decode(data) for data in await h.plugin.trust.log.entries(0, size)]
    assert all(len(data) <= MAX_ENTRY for data in await h.plugin.trust.log.entries(0, size))
    assert sum(len(entry.subjects) for entry in entries if attempt(1).id in (entry.id, entry.continues)) == 600
    text = "".join(entry.text for entry in entries if entry.continues == attempt(2).id)
    assert '"bus:request@x1999"' in text
    found = await h.request(audit.SEARCH, audit.SearchRequest(patient=f"Patient/{many[-1]['id']}"))
    assert [row.index for row in found.rows] == [0]


async def test_a_shredded_subject_leaves_a_mark_only(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """Of a subject whose key is destroyed an entry says that there was one, and nothing else."""
    await record(h, attempt(1))
    keyring.shred("patient/p1")
    await record(h, attempt(2))
    entry = decode((await h.plugin.trust.log.entries(1, 1))[0])
    assert (entry.sealed, entry.subjects, entry.erased) == ([], [], 1)


async def test_disclosures_are_counted(h: PluginHarness) -> None:
    """Each disclosure of a patient carries the patient's next number; of several patients, each has an entry."""
    disclosed = {"principal": "dr", "purpose": "PUBHLTH"}
    rule = {"match": "bus:request@acme.fetch", "action": "read", "items": "r[*]", "type": "=Patient", "id": "id"}
    await h.restart(config={"rules": [rule]})
    await record(h, attempt(1, **disclosed))
    both = {"r": [{"id": "p1"}, {"id": "p2"}]}
    assert await record(h, attempt(2, both, capability="bus:request@acme.fetch", **disclosed), attempt(3)) == [1, 4]
    entries = [decode(data) for data in await h.plugin.trust.log.entries(0, 5)]
    counted = [(entry.kind, entry.disclosure.n) for entry in entries if entry.disclosure is not None]
    assert counted == [("use", 1), ("disclosure", 2), ("disclosure", 1)]
    assert entries[2].continues == entries[1].id


@pytest.mark.parametrize(
    ("mode", "purpose", "subject", "counted"),
    [
        ("disclosures", "PUBHLTH", "patient/p1", True),
        ("disclosures", "TREAT", "observation/o1", False),
        ("always", "TREAT", "patient/p1", False),
        ("never", "PUBHLTH", "observation/o1", False),
    ],
)
async def test_the_store_is_asked_whose_a_resource_is(
    h: PluginHarness, keyring: MemoryKeyring, mode: str, purpose: str, subject: str, counted: bool
) -> None:
    """A disclosure of a resource that is named by its id counts for the patient it belongs to."""
    await h.restart(config={"patients_of_resources": mode})
    observation = {"resourceType": "Observation", "id": "o1", "subject": {"reference": "Patient/p1"}}
    h.answer(fhir.READ, fhir.ResourceReply(observation, "1"))
    await record(h, attempt(1, fhir.ReadRequest("Observation", "o1"), principal="dr", purpose=purpose))
    entry = decode((await h.plugin.trust.log.entries(0, 1))[0])
    assert entry.subjects == [keyring.pseudonym(subject)]
    assert (entry.disclosure is not None) == counted
    opened = (await h.request(audit.SHOW, audit.ShowRequest(0))).row.opened[0]
    assert opened["resources"] == ["Observation/o1"]
