"""What the services prove: an outsider with the log's key can check it, and what was changed is found and named."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rustcare_kernel import Kernel
from rustcare_plugin_audit.errors import EntryNotFound, InvalidRequest
from rustcare_plugin_audit.notes import Checkpoint, TlogProof, VerifierKey, unbundle
from rustcare_plugin_audit.plugin import Audit
from rustcare_plugin_audit.tree import leaf_hash, root_of, verify_consistency, verify_inclusion, verify_map
from rustcare_sdk.contracts import audit, crypto
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring


@pytest_asyncio.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """A log with three commits: 5, 300 and 7 entries."""
    double = harness(Audit)
    MemoryKeyring().attach(double)
    async with double:
        for number, count in enumerate((5, 300, 7)):
            attempts = [audit.Attempt(f"{number}-{each}", each, "fact", "acme.fact") for each in range(count)]
            await double.request(audit.RECORD, audit.RecordRequest(attempts))
        yield double


async def signed(h: PluginHarness, size: int = 0) -> Checkpoint:
    """A checkpoint, verified with the key that the log tells."""
    reply = await h.request(audit.CHECKPOINT, audit.CheckpointRequest(size))
    checkpoint = Checkpoint.parse(reply.text)
    checkpoint.verify([VerifierKey.parse(reply.key)])
    assert (checkpoint.size, checkpoint.root) == (reply.size, reply.root)
    return checkpoint


async def test_every_entry_can_be_proved(h: PluginHarness) -> None:
    """`audit.show` gives an entry's bytes and a tlog-proof with them and the signed checkpoint in it."""
    for index in (0, 4, 5, 255, 256, 311):
        for size in (0, 312, 305):
            if size and index >= size:
                continue
            reply = await h.request(audit.SHOW, audit.ShowRequest(index, size))
            proof = TlogProof.parse(reply.proof)
            checkpoint = Checkpoint.parse(proof.checkpoint)
            checkpoint.verify(h.plugin.key.keys)
            assert proof.extra == reply.data
            verify_inclusion(proof.index, checkpoint.size, leaf_hash(reply.data), proof.hashes, checkpoint.root)
            assert checkpoint.size == (size or 312)


async def test_one_checkpoint_extends_another(h: PluginHarness) -> None:
    """`audit.prove` with two sizes gives the RFC 6962 consistency proof of two stored checkpoints."""
    listed = await h.request(audit.CHECKPOINTS, audit.CheckpointsRequest())
    assert [one.size for one in listed.checkpoints] == [5, 305, 312]
    for old in listed.checkpoints:
        reply = await h.request(audit.PROVE, audit.ProveRequest(old=old.size))
        verify_consistency(old.size, reply.size, reply.hashes, old.root, reply.root)
    reply = await h.request(audit.PROVE, audit.ProveRequest(index=7, size=305))
    assert TlogProof.parse(reply.text).extra is None


async def test_tiles_and_bundles_make_the_root(h: PluginHarness) -> None:
    """Who reads all bundles of entries, or all tiles of the lowest level, comes to the root of the checkpoint."""
    checkpoint = await signed(h)
    widths = [(0, 256), (1, 56)]
    entries = [
        entry
        for index, width in widths
        for entry in unbundle((await h.request(audit.ENTRIES, audit.EntriesRequest(index, width))).data)
    ]
    assert root_of([leaf_hash(entry) for entry in entries]) == checkpoint.root
    tiles = b"".join(
        [(await h.request(audit.TILE, audit.TileRequest(0, index, width))).data for index, width in widths]
    )
    assert [tiles[at : at + 32] for at in range(0, len(tiles), 32)] == [leaf_hash(entry) for entry in entries]


async def test_what_makes_no_sense_is_refused(h: PluginHarness) -> None:
    """Places beyond a checkpoint, sizes without one, and proofs of nothing are errors."""
    for refused, service, asked in [
        (InvalidRequest, audit.PROVE, audit.ProveRequest()),
        (InvalidRequest, audit.PROVE, audit.ProveRequest(index=1, old=1)),
        (InvalidRequest, audit.PROVE, audit.ProveRequest(index=400)),
        (InvalidRequest, audit.PROVE, audit.ProveRequest(old=313)),
        (EntryNotFound, audit.CHECKPOINT, audit.CheckpointRequest(6)),
        (EntryNotFound, audit.TILE, audit.TileRequest(0, 5)),
        (EntryNotFound, audit.ENTRIES, audit.EntriesRequest(1, 256)),
        (EntryNotFound, audit.SHOW, audit.ShowRequest(312)),
        (InvalidRequest, audit.CHECKPOINTS, audit.CheckpointsRequest(limit=0)),
    ]:
        with pytest.raises(refused):
            await h.request(service, asked)


async def test_an_accounting_is_complete_and_proved(h: PluginHarness) -> None:
    """The evidence of a patient's disclosures proves the count in the checkpoint's map and every entry with its number."""
    for what in ("a", "b", "c"):
        disclosed = audit.DisclosureRequest("Patient/1", "Health Department", what, "as the law requires")
        await h.request(audit.DISCLOSE, disclosed)
    await h.request(audit.DISCLOSE, audit.DisclosureRequest("Patient/2", "Court", "all", "LEGAL"))
    reply = await h.request(audit.DISCLOSURES, audit.DisclosuresRequest("Patient/1"))
    evidence = reply.evidence
    checkpoint = Checkpoint.parse(evidence["checkpoint"])
    checkpoint.verify(h.plugin.key.keys)
    assert checkpoint.subjects is not None
    leaf = evidence["map_proof"]["leaf"]
    siblings = [b64decode(one) for one in evidence["map_proof"]["siblings"]]
    found = (bytes.fromhex(leaf["key"]), leaf["count"])
    verify_map(bytes.fromhex(reply.pseudonym), 3, siblings, found, checkpoint.subjects[1])
    assert [one["n"] for one in evidence["entries"]] == [1, 2, 3]
    for one in evidence["entries"]:
        path = [b64decode(item) for item in one["proof"]]
        verify_inclusion(one["index"], checkpoint.size, leaf_hash(b64decode(one["entry"])), path, checkpoint.root)
    assert [row.opened[0]["what"] for row in reply.rows] == ["a", "b", "c"]
    nobody = await h.request(audit.DISCLOSURES, audit.DisclosuresRequest("Patient/3"))
    assert (nobody.count, nobody.rows) == (0, [])


@pytest.mark.parametrize(
    "asked",
    [
        audit.DisclosureRequest("", "r", "w", "p"),
        audit.DisclosureRequest("Patient/1", "", "w", "p"),
        audit.DisclosureRequest("Patient/1", "r", "w" * 3000, "p"),
        audit.DisclosureRequest("Patient/1", "r", "w", ""),
        audit.DisclosureRequest("Patient/1", "r", "w", "p", "soon"),
        audit.DisclosureRequest("Patient/1", "r", "w", "p", "2100-01-01"),
    ],
)
async def test_a_disclosure_says_all_that_an_accounting_needs(h: PluginHarness, asked: audit.DisclosureRequest) -> None:
    """A statement without patient, recipient, description or purpose, or with a date to come, is refused."""
    with pytest.raises(InvalidRequest) as refused:
        await h.request(audit.DISCLOSE, asked)
    assert refused.value.address.startswith("audit.disclose:")


async def test_the_logs_own_check(h: PluginHarness) -> None:
    """The check reads everything; after a byte of an entry was changed in the database it names the entry."""
    reply = await h.request(audit.VERIFY, audit.VerifyRequest())
    assert (reply.ok, reply.entries) == (True, 312)
    rows = await h.ctx.db.fetch("SELECT place, data FROM audit_log")
    place, data = next((row["place"], row["data"]) for row in rows if b'"2-3"' in row["data"])
    await h.ctx.db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (data.replace(b'"2-3"', b'"2-4"'), place))
    reply = await h.request(audit.VERIFY, audit.VerifyRequest())
    assert not reply.ok
    assert reply.index == 308


async def test_the_status(h: PluginHarness) -> None:
    """The status names the log and its key, how far it and its index are, and that all is well."""
    await h.request(audit.SEARCH, audit.SearchRequest())
    status = await h.request(audit.STATUS, audit.StatusRequest())
    checkpoint = await signed(h)
    assert (status.size, status.first, status.indexed, status.waiting, status.problem) == (312, 0, 312, 0, "")
    assert (status.root, status.checkpoint) == (checkpoint.root, checkpoint.text)
    assert status.origin == checkpoint.origin
    assert VerifierKey.parse(status.key).name == status.origin
    assert (await h.request(audit.POLICY, audit.PolicyRequest())).must == list(h.plugin.policy.must)


async def test_the_policy_of_the_configuration() -> None:
    """`must` replaces the built-in list, `also` adds to it."""
    for config, expected in [({"must": ["db:write@*"]}, 1), ({"also": ["db:write@*"]}, 0)]:
        double = harness(Audit, config=config)
        MemoryKeyring().attach(double)
        async with double as h:
            must = (await h.request(audit.POLICY, audit.PolicyRequest())).must
            assert "db:write@*" in must
            assert (len(must) == expected) == bool(expected)


async def _verified(kernel: Kernel) -> Any:
    reply = await kernel.request(audit.VERIFY, audit.VerifyRequest(), type=audit.VerifyReply)
    assert reply.ok, reply
    return await kernel.request(audit.STATUS, audit.StatusRequest(), type=audit.LogStatus)


async def test_the_logs_key_can_be_rotated(tmp_path: Path) -> None:
    """After a rotation of the log's key new checkpoints are signed by its new version, old ones stay valid, also after a
    restart; the log's name stays."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.install("installed:audit", consent=True)
        before = await _verified(kernel)
        await kernel.request(crypto.KEY_ROTATE, crypto.KeyRequest("audit-log"))
        await kernel.request(audit.SEARCH, audit.SearchRequest())
        after = await _verified(kernel)
        assert after.key != before.key
        Checkpoint.parse(after.checkpoint).verify([VerifierKey.parse(after.key)])
    async with Kernel(tmp_path, log_level="silent") as kernel:
        again = await _verified(kernel)
        assert (again.key, again.origin) == (after.key, before.origin)


async def test_checkpoints_can_have_a_second_signature(tmp_path: Path) -> None:
    """With `ml_dsa` each checkpoint has a line by ML-DSA-44 as well, and both verify."""
    config = {"rustcare.audit": {"ml_dsa": True, "origin": "log.example.org/audit"}}
    async with Kernel(tmp_path, config=config, log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.install("installed:audit", consent=True)
        await kernel.request(audit.SEARCH, audit.SearchRequest())
        status = await _verified(kernel)
        public = await kernel.request(
            crypto.KEY_PUBLIC, crypto.KeyPublicRequest("audit-log-ml-dsa"), type=crypto.KeyPublicReply
        )
        second = VerifierKey("log.example.org/audit", 0x06, public.raw)
        signers = Checkpoint.parse(status.checkpoint).verify([VerifierKey.parse(status.key), second])
        assert len(signers) == 2
