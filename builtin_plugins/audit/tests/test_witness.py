"""Witnesses, each a process of its own: they cosign what only grows, and give away what does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rustcare_plugin_audit.entry import decode
from rustcare_plugin_audit.notes import ED25519, Checkpoint, VerifierKey
from rustcare_plugin_audit.plugin import Audit
from rustcare_plugin_audit.witness.errors import LogForked, LogRolledBack, WitnessFailed, WitnessInvalid
from rustcare_sdk.contracts import audit, fhir
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring
from tests.support.witness_server import WitnessProcess

ORIGIN = "log.example/audit"


@pytest.fixture
def keyring() -> MemoryKeyring:
    """The log's key, which outlives a plugin."""
    return MemoryKeyring()


def vkey_of(keyring: MemoryKeyring) -> VerifierKey:
    """The log's verifier key."""
    return VerifierKey(ORIGIN, ED25519, keyring.signing.public_key().public_bytes_raw())


@pytest.fixture
def witness(tmp_path: Path, keyring: MemoryKeyring) -> Iterator[WitnessProcess]:
    """A witness with both kinds of keys that trusts the log."""
    with WitnessProcess(tmp_path / "w", ml_dsa=True) as process:
        process.trust(ORIGIN, vkey_of(keyring).vkey)
        yield process


def plugin(keyring: MemoryKeyring, *witnesses: WitnessProcess, **config: Any) -> PluginHarness:
    """A new log, with these witnesses."""
    rows = [one.config for one in witnesses]
    double = harness(Audit, config={"origin": ORIGIN, "witnesses": rows, "witness_interval": 0, **config})
    keyring.attach(double)
    return double


@pytest_asyncio.fixture
async def h(keyring: MemoryKeyring, witness: WitnessProcess) -> AsyncIterator[PluginHarness]:
    """A log with that witness."""
    async with plugin(keyring, witness) as double:
        yield double


async def write(h: PluginHarness, count: int = 1, prefix: str = "") -> None:
    """So many entries, one commit each."""
    for _ in range(count):
        number = h.plugin.trust.log.size
        attempt = audit.Attempt(
            f"{prefix}{number:x}",
            1_800_000_000_000_000 + number,
            "use",
            capability="bus:request@fhir.read",
            data=fhir.ReadRequest("Patient", "p1"),
        )
        await h.request(audit.RECORD, audit.RecordRequest([attempt]))


async def status(h: PluginHarness) -> audit.WitnessesReply:
    """What the service says."""
    reply: audit.WitnessesReply = await h.request(audit.WITNESSES, audit.WitnessesRequest())
    return reply


async def cosigned(h: PluginHarness, size: int) -> audit.WitnessesReply:
    """Return when a quorum has cosigned so many entries."""
    async with asyncio.timeout(30):
        while True:
            changed = h.plugin.witnesses.changed
            found = await status(h)
            if found.size >= size:
                return found
            await changed.wait()


async def failed(h: PluginHarness) -> str:
    """Return the last error of the first witness, when there is one."""
    async with asyncio.timeout(30):
        while True:
            changed = h.plugin.witnesses.changed
            found = (await status(h)).witnesses[0].last_error
            if found:
                return found
            await changed.wait()


async def test_checkpoints_are_cosigned(h: PluginHarness, keyring: MemoryKeyring, witness: WitnessProcess) -> None:
    """The witness follows a growing log; its cosignatures, of both kinds, are served with the checkpoint and verify."""
    for size in (1, 2, 5, 11):
        await write(h, size - h.plugin.trust.log.size)
        found = await cosigned(h, size)
        checkpoint = Checkpoint.parse(found.checkpoint)
        keys = [vkey_of(keyring), *map(VerifierKey.parse, witness.keys)]
        assert set(checkpoint.verify(keys)) == set(keys)
        assert checkpoint.size == size
        assert found.witnesses[0].lag == 0
    reply: audit.CheckpointReply = await h.request(audit.CHECKPOINT, audit.CheckpointRequest())
    assert set(Checkpoint.parse(reply.text).verify(keys)) == set(keys)


async def test_a_killed_witness_is_caught_up_with(h: PluginHarness, witness: WitnessProcess) -> None:
    """While a witness is down the log is written, and the failure shown; when it is back it cosigns what was missed."""
    await write(h, 3)
    await cosigned(h, 3)
    witness.kill()
    await write(h, 4)
    assert "expected the witness to answer" in await failed(h)
    witness.start()
    found = await cosigned(h, 7)
    assert found.witnesses[0].last_error == ""


async def test_what_a_witness_knows_is_learned(h: PluginHarness, witness: WitnessProcess) -> None:
    """When our own note of what a witness cosigned is lost, it says so itself (409), and the proof begins there."""
    await write(h, 3)
    await cosigned(h, 3)
    await h.plugin.ctx.db.execute("DELETE FROM witnesses")
    await write(h, 2)
    assert (await cosigned(h, 5)).witnesses[0].size == 5


async def test_a_rolled_back_log_does_not_start(
    h: PluginHarness, keyring: MemoryKeyring, witness: WitnessProcess
) -> None:
    """A log with fewer entries than a witness has cosigned does not start, and both sizes are named."""
    await write(h, 9)
    await cosigned(h, 9)
    with pytest.raises(LogRolledBack, match=r"at least 9 entries.*got one of 0") as caught:
        async with plugin(keyring, witness):
            pass
    assert caught.value.code == "audit.rolled-back"
    assert "accepted_rollback to 9" in str(caught.value)


async def test_an_operator_may_let_a_rollback_pass(
    h: PluginHarness, keyring: MemoryKeyring, witness: WitnessProcess
) -> None:
    """With `accepted_rollback` of what the witness knows the log starts, says so in an entry, and is
    written; one entry less does not do."""
    await write(h, 9)
    await cosigned(h, 9)
    with pytest.raises(LogRolledBack):
        async with plugin(keyring, witness, accepted_rollback=8):
            pass
    async with plugin(keyring, witness, accepted_rollback=9, witness_at_start="require") as other:
        entry = decode((await other.plugin.trust.log.entries(0, 1))[0])
        assert entry.what is not None
        assert entry.what.action == "audit.rollback-accepted"
        assert entry.details == {"witness": "witness.example/w1", "known": 9, "size": 0}
        await write(other, 12, "b")
        found = await status(other)
        assert "an operator let that pass" in found.witnesses[0].last_error
        assert found.refused == ""


async def test_a_rollback_that_shows_later_stops_the_log(
    h: PluginHarness, keyring: MemoryKeyring, witness: WitnessProcess
) -> None:
    """A witness that was down at the start finds the rollback when it is back; nothing is written from then on."""
    await write(h, 9)
    await cosigned(h, 9)
    witness.kill()
    async with plugin(keyring, witness) as other:
        await write(other, 1, "b")
        witness.start()
        async with asyncio.timeout(30):
            while other.plugin.witnesses.refused is None:
                await other.plugin.witnesses.changed.wait()
        with pytest.raises(RustCareError, match="at least 9 entries"):
            await write(other, 1, "c")
        assert other.plugin.trust.log.size == 1
        assert not (await other.health()).ok


async def test_a_forked_log_is_refused(h: PluginHarness, keyring: MemoryKeyring, witness: WitnessProcess) -> None:
    """Two logs by one name and key: the second, however long, gets no cosignature (split view), and stops."""
    await write(h, 5)
    await cosigned(h, 5)
    witness.kill()
    async with plugin(keyring, witness) as other:
        await write(other, 8, "b")
        witness.start()
        async with asyncio.timeout(30):
            while other.plugin.witnesses.refused is None:
                await other.plugin.witnesses.changed.wait()
        assert isinstance(other.plugin.witnesses.refused, LogForked)
        with pytest.raises(RustCareError, match="extends the 5 entries"):
            await write(other, 1, "c")
    await write(h, 1)
    assert (await cosigned(h, 6)).size == 6


async def test_a_fork_of_the_same_size_is_refused(
    h: PluginHarness, keyring: MemoryKeyring, witness: WitnessProcess
) -> None:
    """Another tree of exactly the size that was cosigned is a fork too."""
    await write(h, 4)
    await cosigned(h, 4)
    witness.kill()
    async with plugin(keyring, witness) as other:
        await write(other, 4, "b")
        witness.start()
        with pytest.raises(LogForked):
            await other.plugin.witnesses.check()


async def test_a_quorum_counts(tmp_path: Path, keyring: MemoryKeyring, witness: WitnessProcess) -> None:
    """With two witnesses and a quorum of two, one alone does not make a checkpoint witnessed; with a quorum of one it does."""
    strange = {"url": "http://127.0.0.1:9", "keys": ["other.example+" + other_key("other.example")]}
    rows = [witness.config, strange]
    double = harness(Audit, config={"origin": ORIGIN, "witnesses": rows, "witness_interval": 0})
    keyring.attach(double)
    async with double:
        await write(double, 2)
        async with asyncio.timeout(30):
            while (await status(double)).witnesses[0].size < 2:
                await double.plugin.witnesses.changed.wait()
        assert (await status(double)).size == 0
        await double.restart({**double.config, "witness_quorum": 1})
        assert (await status(double)).size == 2


def other_key(name: str) -> str:
    """The rest of a cosigner's verifier key of this name."""
    key = VerifierKey(name, 0x04, bytes(range(32)))
    return key.vkey.partition("+")[2]


async def test_at_the_start_a_quorum_can_be_required(keyring: MemoryKeyring, witness: WitnessProcess) -> None:
    """`require`: without an answer the log does not start; `ask`: it does, and says what is wrong."""
    witness.kill()
    with pytest.raises(WitnessFailed, match="expected 1 witnesses"):
        async with plugin(keyring, witness, witness_at_start="require"):
            pass
    async with plugin(keyring, witness) as double:
        assert "expected the witness to answer" in (await status(double)).witnesses[0].last_error


async def test_a_witness_that_does_not_know_the_log_says_so(tmp_path: Path, keyring: MemoryKeyring) -> None:
    """404 (unknown name) and 403 (unknown key) are told as such, and are no rollback."""
    with WitnessProcess(tmp_path / "v") as stranger:
        async with plugin(keyring, stranger) as double:
            assert "404" in (await status(double)).witnesses[0].last_error
        stranger.trust(ORIGIN, vkey_of(MemoryKeyring()).vkey)
        async with plugin(keyring, stranger) as double:
            assert "403" in (await status(double)).witnesses[0].last_error


async def test_a_cosignature_by_another_key_is_no_cosignature(keyring: MemoryKeyring, witness: WitnessProcess) -> None:
    """What is not signed by a configured key does not count."""
    row = {**witness.config, "keys": ["witness.example/w1+" + other_key("witness.example/w1")]}
    double = harness(Audit, config={"origin": ORIGIN, "witnesses": [row], "witness_interval": 0})
    keyring.attach(double)
    async with double:
        assert "cosignature by a key of the witness" in (await status(double)).witnesses[0].last_error


@pytest.mark.parametrize(
    "row",
    [
        {"url": "ftp://x", "keys": ["witness.example/w1+" + other_key("witness.example/w1")]},
        {"url": "http://x", "keys": []},
        {"url": "http://x", "keys": ["nonsense"]},
        {"url": "http://x", "keys": [VerifierKey("w", ED25519, bytes(32)).vkey]},
        {"url": "http://x", "keys": ["w+" + other_key("w"), "v+" + other_key("v")]},
        {"url": "http://x", "keys": ["w+" + other_key("w")], "color": 1},
    ],
)
async def test_a_wrong_configuration_is_refused(keyring: MemoryKeyring, row: dict[str, Any]) -> None:
    """A witness needs an http(s) address and cosigners' keys of one name; the address of what is wrong is named."""
    double = harness(Audit, config={"origin": ORIGIN, "witnesses": [row]})
    keyring.attach(double)
    with pytest.raises(WitnessInvalid, match=r"config\.witnesses\[0\]"):
        async with double:
            pass
