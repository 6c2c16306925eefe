"""Electronic signatures (21 CFR Part 11): two components, bound to the record, on record before they count."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.entry import decode
from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.notes import TlogProof
from rustcare_plugin_audit.plugin import Audit
from rustcare_plugin_audit.signatures.binding import Bound, commitment
from rustcare_plugin_audit.signatures.errors import SignatureInvalid, SignatureRefused, SignatureUnavailable
from rustcare_plugin_audit.signatures.sessions import Sessions
from rustcare_plugin_audit.tree import leaf_hash, verify_inclusion
from rustcare_sdk import Message
from rustcare_sdk.contracts import audit, compliance
from rustcare_sdk.errors import AuditUnavailable
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring

PASSWORD = compliance.Component("password", "correct horse")
CODE = compliance.Component("totp", "123456")
DATA = b'{"resourceType":"Observation","id":"7"}'
RECORD = "Observation/7"


def identity(message: Message[compliance.ComponentsRequest]) -> compliance.ComponentsReply:
    """Knows Dr. Grey, her password and her code, and the session `s`."""
    asked = message.data
    good = {("password", "correct horse"), ("totp", "123456")}
    verified = [one.kind for one in asked.components if (one.kind, one.value) in good]
    return compliance.ComponentsReply(verified, "Dr. Grey" if asked.principal == "grey" else "", asked.session == "s")


@pytest_asyncio.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """The audit plugin, with somebody who verifies."""
    double = harness(Audit, principal="grey")
    MemoryKeyring().attach(double)
    double.answer(compliance.VERIFY_COMPONENTS, identity)
    async with double:
        yield double


async def sign(h: PluginHarness, *components: compliance.Component, **more: Any) -> compliance.RecordSignature:
    """Sign the observation."""
    given_: dict[str, Any] = {"record": RECORD, "meaning": "approval", "data": DATA, "patient": "Patient/1", **more}
    asked = compliance.SignRecordRequest(components=list(components or (PASSWORD, CODE)), **given_)
    found: compliance.RecordSignature = await h.request(compliance.SIGN_RECORD, asked)
    return found


async def verify(
    h: PluginHarness, id_: str, record: str = RECORD, data: bytes = DATA
) -> compliance.VerifySignatureReply:
    """Check a signature."""
    asked = compliance.VerifySignatureRequest(id_, record, data)
    found: compliance.VerifySignatureReply = await h.request(compliance.VERIFY_SIGNATURE, asked)
    return found


async def test_a_signature_shows_who_when_and_what_it_means(h: PluginHarness) -> None:
    """Its manifestation has the printed name, date and time, and the meaning; the list of the record's signatures too."""
    signed = await sign(h, reason="checked against the chart")
    assert signed.text == (
        "Dr. Grey (grey) approved Observation/7. Signed electronically on 2026-01-01 at 12:00:00 UTC; meaning: approval. "
        "Reason: checked against the chart."
    )
    other = await sign(h, meaning="review", record="Observation/8")
    listed = await h.request(compliance.SIGNATURES, compliance.SignaturesRequest(RECORD))
    assert listed.signatures == [signed]
    assert other.id not in [one.id for one in listed.signatures]


async def test_a_signature_is_durable_and_proved(h: PluginHarness) -> None:
    """It is an entry of the log, which a proof shows to whoever has the log's key."""
    signed = await sign(h)
    found = await verify(h, signed.id)
    assert found.signature == signed
    proof = TlogProof.parse(found.proof)
    assert proof.extra is not None
    head = await h.request(audit.CHECKPOINT, audit.CheckpointRequest())
    verify_inclusion(signed.index, head.size, leaf_hash(proof.extra), proof.hashes, head.root)
    entry = decode(proof.extra)
    assert (entry.kind, entry.what and entry.what.action, entry.id) == ("fact", "signature.applied", signed.id)


async def test_nothing_personal_of_the_record_is_in_clear(h: PluginHarness) -> None:
    """The entry of a person's record has neither its name, nor its digest, nor the printed name in clear."""
    import hashlib

    signed = await sign(h)
    proof = TlogProof.parse((await verify(h, signed.id)).proof)
    assert proof.extra is not None
    for text in (b"Observation/7", b"Patient/1", b"Dr. Grey", hashlib.sha256(DATA).hexdigest().encode(), b"horse"):
        assert text not in proof.extra


async def test_a_record_about_nobody_is_in_clear(h: PluginHarness) -> None:
    """A document that is not personal is named in clear, and can be verified as well."""
    signed = await sign(h, record="document:SOP-12", data=b"wash hands", personal=False, patient="", version="3")
    found = await h.request(audit.SEARCH, audit.SearchRequest(action="signature.applied"))
    assert found.rows[0].entry["details"]["record"] == "document:SOP-12"
    assert (await verify(h, signed.id, "document:SOP-12", b"wash hands")).signature.version == "3"
    with pytest.raises(SignatureInvalid):
        await verify(h, signed.id, "document:SOP-12", b"wash feet")


async def test_a_changed_record_shows(h: PluginHarness) -> None:
    """One byte changed, and the signature is not of this record any more."""
    signed = await sign(h)
    with pytest.raises(SignatureInvalid, match="changed"):
        await verify(h, signed.id, data=DATA + b" ")


async def test_a_signature_cannot_be_moved(h: PluginHarness) -> None:
    """A signature of one record is none of another, even one with the same bytes, nor of an unknown id."""
    first = await sign(h)
    await sign(h, record="Observation/8")
    for id_, record in ((first.id, "Observation/8"), ("0" * 32, RECORD)):
        with pytest.raises(SignatureInvalid, match="no such signature"):
            await verify(h, id_, record)


BOUND = Bound("id", "grey", 1, "approval", RECORD, "1", b"d" * 32)


@given(
    st.sampled_from(["id", "signer", "time", "meaning", "record", "version", "digest"]),
    st.binary(min_size=16, max_size=16),
)
def test_the_commitment_binds_everything(field: str, salt: bytes) -> None:
    """Whatever differs, in the record or in the signature, the commitment differs; so it does with another salt."""
    other: Any = {"time": 2, "digest": b"e" * 32}.get(field, "other")
    bond = commitment(salt, BOUND)
    assert commitment(salt, replace(BOUND, **{field: other})) != bond
    assert commitment(bytes(16) if salt != bytes(16) else b"x" * 16, BOUND) != bond


# components


async def test_the_first_signing_takes_two_components(h: PluginHarness) -> None:
    """With one component alone nothing is signed, and the attempt is on record."""
    with pytest.raises(SignatureRefused, match="two components"):
        await sign(h, PASSWORD, session="s")
    found = await h.request(audit.SEARCH, audit.SearchRequest(action="signature.refused"))
    assert [row.entry["who"]["principal"] for row in found.rows] == ["grey"]
    assert (await h.request(compliance.SIGNATURES, compliance.SignaturesRequest(RECORD))).signatures == []


async def test_the_next_in_the_session_takes_one(h: PluginHarness) -> None:
    """After a signing with both, one is enough in the same session, for a time, and only there."""
    assert (await sign(h, session="s")).first
    follows = await sign(h, CODE, session="s")
    assert (follows.first, follows.components) == (False, ["totp"])
    with pytest.raises(SignatureRefused):
        await sign(h, CODE, session="other")
    h.advance(16 * 60)
    with pytest.raises(SignatureRefused):
        await sign(h, CODE, session="s")


async def test_a_refused_signing_ends_the_series(h: PluginHarness) -> None:
    """After a wrong component both are asked for again."""
    await sign(h, session="s")
    with pytest.raises(SignatureRefused, match="not what it should be"):
        await sign(h, compliance.Component("totp", "000000"), session="s")
    with pytest.raises(SignatureRefused, match="two components"):
        await sign(h, CODE, session="s")


async def test_the_same_component_twice_is_one(h: PluginHarness) -> None:
    """Two of a kind are not two components; none is none; a wrong one beside a right one is refused."""
    for components in ([PASSWORD, PASSWORD], [PASSWORD, compliance.Component("totp", "0")]):
        with pytest.raises(SignatureRefused):
            await sign(h, *components)
    asked = compliance.SignRecordRequest(RECORD, "approval", [], DATA)
    with pytest.raises(SignatureRefused):
        await h.request(compliance.SIGN_RECORD, asked)


async def test_without_a_verifier_nothing_is_signed() -> None:
    """Nobody serves the verification: a clear error, and no signature."""
    double = harness(Audit, principal="grey")
    MemoryKeyring().attach(double)
    async with double as h:
        with pytest.raises(SignatureUnavailable, match="could not be verified") as refused:
            await sign(h)
        assert "identity.verify-components" in refused.value.hint
        assert (await h.request(compliance.SIGNATURES, compliance.SignaturesRequest(RECORD))).signatures == []


async def test_nobody_signs_for_another(h: PluginHarness) -> None:
    """Without a principal, or with one whose printed name is not known, nothing is signed."""
    asked = compliance.SignRecordRequest(RECORD, "approval", [PASSWORD, CODE], DATA)
    with pytest.raises(SignatureRefused, match="nobody"):
        await h.request(compliance.SIGN_RECORD, asked, principal="")
    with pytest.raises(SignatureRefused, match="printed name"):
        await h.request(compliance.SIGN_RECORD, asked, principal="stranger")


async def test_a_signature_that_is_not_durable_does_not_count() -> None:
    """Where the entry cannot be written there is no signature, and the session has not begun."""
    double = harness(Audit, principal="grey")
    keyring = MemoryKeyring()
    keyring.attach(double)
    double.answer(compliance.VERIFY_COMPONENTS, identity)
    async with double as h:
        keyring.fail["crypto.sign"] = AuditUnavailable("the disk is full")
        with pytest.raises(AuditUnavailable):
            await sign(h, session="s")
        keyring.fail.clear()
        with pytest.raises(SignatureRefused):
            await sign(h, CODE, session="s")
        assert (await h.request(compliance.SIGNATURES, compliance.SignaturesRequest(RECORD))).signatures == []


@pytest.mark.parametrize(
    "more",
    [
        {"meaning": "whim"},
        {"data": b""},
        {"digest": b"x" * 32},
        {"data": b"", "digest": b"short"},
        {"record": ""},
        {"reason": "x" * 600},
    ],
)
async def test_what_makes_no_sense_is_refused(h: PluginHarness, more: dict[str, Any]) -> None:
    """An unknown meaning, no record or two, a digest of another length, texts that are too long."""
    with pytest.raises(InvalidRequest) as refused:
        await sign(h, **more)
    assert refused.value.address.startswith("audit.sign:")


async def test_components_are_in_no_log_and_no_repr(h: PluginHarness) -> None:
    """What the signer presents is shown nowhere."""
    await sign(h)
    assert "horse" not in repr(compliance.SignRecordRequest(RECORD, "approval", [PASSWORD], DATA))
    assert "horse" not in repr(compliance.ComponentsRequest("grey", [PASSWORD]))
    assert not any("horse" in repr(line) for line in h.logs)


async def test_a_shredded_patient_takes_the_signature_along() -> None:
    """Where the patient's key is destroyed the signature stays in the log, but ties to no record any more."""
    double = harness(Audit, principal="grey")
    keyring = MemoryKeyring()
    keyring.attach(double)
    double.answer(compliance.VERIFY_COMPONENTS, identity)
    async with double as h:
        signed = await sign(h)
        keyring.shred("patient/1")
        with pytest.raises(SignatureInvalid, match="no such signature"):
            await verify(h, signed.id)
        row = (await h.request(audit.SEARCH, audit.SearchRequest(action="signature.applied"))).rows[0]
        assert (row.index, row.shredded) == (signed.index, True)
        with pytest.raises(InvalidRequest, match="destroyed"):
            await sign(h)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.booleans()), max_size=20))
def test_sessions(steps: list[tuple[str, int, bool]]) -> None:
    """A series goes on for as long as each signing comes within the pause after the one before, and ends when refused."""
    sessions = Sessions(timedelta(minutes=15))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    last: dict[str, datetime] = {}
    for session, minutes, good in steps:
        now += timedelta(minutes=minutes)
        expected = session in last and now - last[session] <= timedelta(minutes=15)
        assert sessions.continues("t", "p", session, now) == expected
        assert not sessions.continues("t", "other", session, now)
        if good:
            sessions.signed("t", "p", session, now)
            last[session] = now
        else:
            sessions.end("t", "p", session)
            last.pop(session, None)
    assert not sessions.continues("t", "p", "", now)
