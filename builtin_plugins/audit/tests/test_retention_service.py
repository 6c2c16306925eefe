"""Holds and disposal on a real log: holds win, statements verify, every proof stays, a crash leaves nothing half done."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.plugin import Audit
from rustcare_plugin_audit.retention.disposal import Asker
from rustcare_plugin_audit.retention.errors import DisposalRefused, HoldNotFound
from rustcare_plugin_audit.retention.statement import PRUNE, SHRED, pae
from rustcare_plugin_audit.sinks.cursors import State
from rustcare_plugin_audit.sinks.source import Cursor
from rustcare_plugin_audit.tree import leaf_hash, verify_consistency, verify_inclusion
from rustcare_sdk import Message
from rustcare_sdk.contracts import audit, compliance, crypto, fhir
from rustcare_sdk.errors import StoreError
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring

SECOND = 1_000_000
START = 1_767_225_600 * SECOND  # 2026-01-01
OLD = START - 8 * 366 * 86_400 * SECOND
READ = "bus:request@fhir.read"


@pytest.fixture
def keyring() -> MemoryKeyring:
    """The keys."""
    return MemoryKeyring()


@pytest_asyncio.fixture
async def h(keyring: MemoryKeyring) -> AsyncIterator[PluginHarness]:
    """A log whose first 600 entries are eight years old: reads of the patients a, b, c in turn; and some of now."""
    double = harness(Audit)
    keyring.attach(double)

    def shred(message: Message[crypto.ShredRequest]) -> crypto.ShredReply:
        return keyring.shred(message.data.subject, message.data.tenant or "default")

    double.answer(crypto.SUBJECT_SHRED, shred)
    async with double:
        await reads(double, OLD, 600)
        await reads(double, START, 20, patients="d")
        yield double


async def reads(h: PluginHarness, time: int, count: int, patients: str = "abc") -> None:
    """Reads of patients."""
    attempts = [
        audit.Attempt(
            f"{time}-{number}",
            time + number,
            "use",
            capability=READ,
            plugin="acme.app",
            data=fhir.ReadRequest("Patient", patients[number % len(patients)]),
        )
        for number in range(count)
    ]
    await h.request(audit.RECORD, audit.RecordRequest(attempts))


async def plan(h: PluginHarness, at: str = "") -> compliance.RetentionPlan:
    """The plan."""
    found: compliance.RetentionPlan = await h.request(compliance.RETENTION_PLAN, compliance.PlanRequest(at))
    return found


async def apply(h: PluginHarness, before: int = 0, **more: Any) -> compliance.ApplyReply:
    """Dispose."""
    asked = compliance.ApplyRequest("retention has ended", before, **more)
    found: compliance.ApplyReply = await h.request(compliance.RETENTION_APPLY, asked)
    return found


async def hold(h: PluginHarness, **more: Any) -> compliance.Hold:
    """Place a hold."""
    found: compliance.Hold = await h.request(compliance.HOLD_PLACE, compliance.HoldRequest("litigation", **more))
    return found


async def actions(h: PluginHarness) -> list[str]:
    """The actions of all facts, in order."""
    found = await h.request(audit.SEARCH, audit.SearchRequest(kind="fact", oldest_first=True, limit=1000))
    return [row.entry["what"]["action"] for row in found.rows]


def opened(keyring: MemoryKeyring, statement: str, kind: str = PRUNE) -> dict[str, Any]:
    """What a statement says, after its signature was verified."""
    envelope = json.loads(statement)
    assert envelope["payloadType"] == kind
    payload = b64decode(envelope["payload"])
    (signature,) = envelope["signatures"]
    keyring.signing.public_key().verify(b64decode(signature["sig"]), pae(kind, payload))
    said: dict[str, Any] = json.loads(payload)
    return said


async def test_a_plan_says_what_may_go_and_why_the_rest_not(h: PluginHarness) -> None:
    """The old entries may go; the first that may not is named with its policy and date."""
    found = await plan(h)
    assert (found.first, found.prune_before) == (0, 600)
    assert found.blocked_by.startswith("entry 600: kept by us-hipaa-")
    assert "until 2032-01-01" in found.blocked_by
    assert [(one.first, one.last, one.disposable) for one in found.ranges] == [
        (0, 599, True),
        (600, found.size - 1, False),
    ]
    assert found.policies == ["us-hipaa-documentation", "us-hipaa-accounting", "us-hospital-records", "us-sox-records"]
    assert (await plan(h, "2060-01-01")).prune_before >= 620


async def test_pruning_keeps_every_proof(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """Whole bundles go; proofs from before verify, the heads before and after are stated, signed and consistent."""
    before = await h.request(audit.CHECKPOINT, audit.CheckpointRequest())
    kept = await h.request(audit.SHOW, audit.ShowRequest(555))
    proof = await h.request(audit.PROVE, audit.ProveRequest(555, before.size))
    done = await apply(h, 600)
    assert (done.before, done.disposed) == (512, 512)
    said = opened(keyring, done.statement)
    status = await h.request(audit.STATUS, audit.StatusRequest())
    assert (said["origin"], said["before"], said["first"], said["by"]) == (status.origin, 512, 0, "test")
    assert (said["size"], b64decode(said["root"])) == (before.size, before.root)
    after = said["after"]
    chain = await h.request(audit.PROVE, audit.ProveRequest(old=before.size, size=after["size"]))
    verify_consistency(before.size, after["size"], chain.hashes, before.root, b64decode(after["root"]))
    verify_inclusion(555, before.size, leaf_hash(kept.data), proof.hashes, before.root)
    assert status.first == 512
    assert (await h.request(audit.SHOW, audit.ShowRequest(5))).row.pruned
    assert (await h.request(audit.VERIFY, audit.VerifyRequest())).ok
    assert await actions(h) == ["audit.prune", "audit.pruned"]
    listed = await h.request(compliance.RETENTION_STATEMENTS, compliance.StatementsRequest())
    assert [json.loads(one) for one in listed.statements] == [json.loads(done.statement)]


async def test_nothing_that_must_be_kept_is_pruned(h: PluginHarness) -> None:
    """A line beyond the plan's is refused, with the entry and the policy that keep it; nothing is stated."""
    await reads(h, START, 200)
    with pytest.raises(DisposalRefused, match=r"up to 600, got 800: entry 600: kept by us-hipaa-"):
        await apply(h, 800)
    assert await actions(h) == []
    assert (await h.request(audit.STATUS, audit.StatusRequest())).first == 0


@pytest.mark.parametrize(
    ("scope", "first_kept"),
    [
        ({}, 0),
        ({"patient": "Patient/c"}, 2),
        ({"since": "2017-01-01", "until": "2019-01-01"}, 0),
        ({"patient": "Patient/b", "since": "2017-01-01"}, 1),
    ],
)
async def test_a_hold_wins(h: PluginHarness, scope: dict[str, str], first_kept: int) -> None:
    """By everything, by patient, by time, by both: what is held stays, until the hold is released."""
    placed = await hold(h, **scope)
    found = await plan(h)
    assert found.prune_before == first_kept
    assert found.blocked_by == f"entry {first_kept}: held by {placed.id}"
    with pytest.raises(DisposalRefused, match=f"held by {placed.id}"):
        await apply(h, 256)
    released = await h.request(compliance.HOLD_RELEASE, compliance.ReleaseRequest(placed.id, "settled"))
    assert released.released
    assert (await apply(h, 256)).before == 256
    assert await actions(h) == ["audit.hold.placed", "audit.hold.released", "audit.prune", "audit.pruned"]


async def test_a_hold_that_covers_nothing_there_keeps_nothing(h: PluginHarness) -> None:
    """Another patient's hold does not keep these entries."""
    await hold(h, patient="Patient/zoe")
    assert (await plan(h)).prune_before == 600


async def test_a_hold_outlives_the_entry_that_placed_it(h: PluginHarness) -> None:
    """The entry that places a hold is not disposed of while the hold is in force, however old it is."""
    placed = await hold(h, patient="Patient/zoe")
    found = await plan(h, "2060-01-01")
    assert found.prune_before == placed.index
    assert found.blocked_by == f"entry {placed.index}: held by {placed.id}"


async def test_holds_say_nothing_personal(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """A hold names its patient by pseudonym only; the list tells those in force, or all."""
    placed = await hold(h, patient="Patient/a", reference="case 12")
    assert placed.pseudonym == keyring.pseudonym("patient/a")
    row = await h.request(audit.SHOW, audit.ShowRequest(placed.index))
    assert b"Patient/a" not in row.data
    listed = await h.request(compliance.HOLDS, compliance.HoldsRequest())
    assert listed.holds == [placed]
    await h.request(compliance.HOLD_RELEASE, compliance.ReleaseRequest(placed.id, "over"))
    assert (await h.request(compliance.HOLDS, compliance.HoldsRequest())).holds == []
    assert len((await h.request(compliance.HOLDS, compliance.HoldsRequest(released=True))).holds) == 1
    with pytest.raises(HoldNotFound):
        await h.request(compliance.HOLD_RELEASE, compliance.ReleaseRequest(placed.id, "again"))


async def test_a_tenant_holds_what_is_its_own(h: PluginHarness) -> None:
    """A tenant's hold covers its entries only, and no tenant releases another's or disposes of anything."""
    asked = compliance.HoldRequest("litigation")
    placed = await h.request(compliance.HOLD_PLACE, asked, tenant="ward", principal="counsel")
    assert (placed.tenant, placed.by) == ("ward", "counsel")
    assert (await plan(h)).prune_before == 600
    release = compliance.ReleaseRequest(placed.id, "x")
    with pytest.raises(HoldNotFound):
        await h.request(compliance.HOLD_RELEASE, release, tenant="north", principal="x")
    with pytest.raises(InvalidRequest, match="the system itself"):
        await h.request(compliance.RETENTION_APPLY, compliance.ApplyRequest("x", 256), tenant="ward", principal="x")


async def test_an_interrupted_disposal_is_finished(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """When pruning fails after the statement is on record, the next start or disposal finishes it."""
    log = h.plugin.trust.log  # type: ignore[attr-defined]
    prune = log.prune

    async def broken(before: int) -> int:
        raise StoreError("the disk is full")

    log.prune = broken
    with pytest.raises(StoreError):
        await apply(h, 256)
    log.prune = prune
    assert await actions(h) == ["audit.prune"]
    await h.plugin.finish_disposals()  # type: ignore[attr-defined]
    assert (log.first, await actions(h)) == (256, ["audit.prune", "audit.pruned"])
    await h.plugin.finish_disposals()  # type: ignore[attr-defined]
    assert await actions(h) == ["audit.prune", "audit.pruned"]
    (statement,) = (await h.request(compliance.RETENTION_STATEMENTS, compliance.StatementsRequest())).statements
    assert opened(keyring, statement)["before"] == 256


async def test_a_disposal_goes_on_when_nobody_waits(h: PluginHarness) -> None:
    """Whoever asked may be cancelled in the middle of it: the disposal is ended and stated all the same."""
    log = h.plugin.trust.log  # type: ignore[attr-defined]
    disposal = h.plugin.disposal  # type: ignore[attr-defined]
    prune = log.prune
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(before: int) -> Any:
        begun.set()
        await go_on.wait()
        return await prune(before)

    log.prune = slow
    task = asyncio.ensure_future(disposal.prune(256, "retention has ended", Asker("test", ""), START))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    async with disposal.lock:
        assert log.first == 256
    assert await actions(h) == ["audit.prune", "audit.pruned"]


async def test_without_a_durable_statement_nothing_goes(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """If the statement cannot be signed or written, every entry stays."""
    keyring.fail["crypto.sign"] = StoreError("no key")
    with pytest.raises(StoreError):
        await apply(h, 256)
    keyring.fail.clear()
    assert (await h.request(audit.STATUS, audit.StatusRequest())).first == 0


async def test_disposal_by_shredding(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """A subject all of whose entries may go can be shredded, with a statement; one that has a newer entry cannot."""
    found = await plan(h)
    assert set(found.subjects) == {keyring.pseudonym(f"patient/{name}") for name in "abc"}
    pseudonym = keyring.pseudonym("patient/a")
    done = await apply(h, subject="patient/a")
    said = opened(keyring, done.statement, SHRED)
    assert (said["pseudonym"], said["done"]) == (pseudonym, True)
    assert keyring.pseudonym("patient/a") == ""
    assert await actions(h) == ["audit.shred", "audit.shredded"]
    assert (await h.request(audit.VERIFY, audit.VerifyRequest())).ok
    for subject in ("patient/d", "patient/a", "patient/nobody"):
        with pytest.raises(DisposalRefused):
            await apply(h, subject=subject)


async def test_a_held_patient_is_not_shredded(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """Holds win over shredding too, by patient as by time."""
    for scope in ({"patient": "Patient/a"}, {"since": "2017-01-01", "until": "2019-01-01"}):
        placed = await hold(h, **scope)
        with pytest.raises(DisposalRefused):
            await apply(h, subject="patient/a")
        await h.request(compliance.HOLD_RELEASE, compliance.ReleaseRequest(placed.id, "over"))
    assert keyring.pseudonym("patient/a")


async def test_what_a_sink_has_still_to_get_stays(keyring: MemoryKeyring, tmp_path: Path) -> None:
    """Entries that a sink has not received are not pruned, and the refusal names the sink; when it has them, they are."""
    target = tmp_path / "not-there-yet" / "events"
    config = {"sinks": [{"name": "archive", "format": "text", "to": "file", "path": str(target)}]}
    double = harness(Audit, config=config)
    keyring.attach(double)
    async with double as h:
        await reads(h, OLD, 300)
        with pytest.raises(DisposalRefused, match="sink archive"):
            await apply(h, 256)
        (feed,) = h.plugin.sinks.feeds  # type: ignore[attr-defined]
        await feed.cursors.put("archive", State(Cursor(300)))
        assert (await apply(h, 256)).before == 256


@pytest.mark.parametrize(
    "asked",
    [
        compliance.ApplyRequest("x"),
        compliance.ApplyRequest("x", 256, "patient/a"),
        compliance.ApplyRequest("", 256),
        compliance.ApplyRequest("x", 100),
    ],
)
async def test_disposals_that_make_no_sense_are_refused(h: PluginHarness, asked: compliance.ApplyRequest) -> None:
    """Neither or both of line and subject, no reason, less than one bundle."""
    with pytest.raises(InvalidRequest) as refused:
        await h.request(compliance.RETENTION_APPLY, asked)
    assert refused.value.address.startswith("audit.retention.apply:")


@pytest.mark.parametrize(
    "more", [{"since": "2026-02-01", "until": "2026-01-01"}, {"since": "soon"}, {"reference": "x" * 3000}]
)
async def test_holds_that_make_no_sense_are_refused(h: PluginHarness, more: dict[str, str]) -> None:
    """Times in the wrong order or none, texts that are too long."""
    with pytest.raises(InvalidRequest) as refused:
        await hold(h, **more)
    assert refused.value.address.startswith("audit.hold.place:")
