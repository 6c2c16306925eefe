"""Who writes while one version of the plugin replaces another: the rules of `bundle.Trust`, one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from rustcare_plugin_audit.plugin import Audit
from rustcare_sdk.contracts import audit, crypto
from rustcare_sdk.errors import AuditUnavailable, NoProvider
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


async def record(h: PluginHarness, id: str) -> int:
    """Write one entry; its place."""
    reply: audit.RecordReply = await h.request(audit.RECORD, audit.RecordRequest([audit.Attempt(id, 1, "fact", "x")]))
    return reply.indices[0]


async def test_a_version_that_has_handed_over_does_nothing_by_itself(h: PluginHarness) -> None:
    """After the export of its state no step in the background begins, until the version is woken up."""
    await h.plugin.export_state()
    assert not h.plugin.trust.live
    begun = asyncio.Event()

    async def step() -> None:
        async with h.plugin.trust.background():
            begun.set()

    waiting = asyncio.ensure_future(step())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not begun.is_set()
    await h.plugin.import_state(None)
    await waiting
    assert begun.is_set()


async def test_a_hand_over_waits_for_the_step_under_way(h: PluginHarness) -> None:
    """The state is exported only when no step in the background is in the middle of something."""
    going, may_end = asyncio.Event(), asyncio.Event()

    async def step() -> None:
        async with h.plugin.trust.background():
            going.set()
            await may_end.wait()

    running = asyncio.ensure_future(step())
    await going.wait()
    handing_over = asyncio.ensure_future(h.plugin.export_state())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not handing_over.done()
    may_end.set()
    await running
    assert await handing_over == {"handed_over": True}


async def test_a_request_wakes_a_version_that_goes_on_after_all(h: PluginHarness) -> None:
    """When an upgrade fails after the hand-over, the next request finds the old version writing, from the log's own head."""
    assert await record(h, "a") == 0
    await h.plugin.export_state()
    assert await record(h, "b") == 1
    assert h.plugin.trust.live
    assert (await h.request(audit.VERIFY, audit.VerifyRequest())).ok


async def test_an_upgrade_goes_on_with_log_and_index(h: PluginHarness) -> None:
    """The next version, on the same data, has the same log and knows what was written."""
    await record(h, "a")
    await h.request(audit.SEARCH, audit.SearchRequest())
    before = await h.request(audit.STATUS, audit.StatusRequest())
    await h.upgrade(Audit)
    assert await record(h, "b") == 1
    after = await h.request(audit.STATUS, audit.StatusRequest())
    assert (after.origin, after.key) == (before.origin, before.key)
    known = await h.request(audit.RECORD, audit.RecordRequest([audit.Attempt("a", 1, "fact", "x")], again=True))
    assert known.indices == [0]


async def test_those_who_wait_when_it_stops_are_told(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """A record that is being sealed when the plugin stops ends with an error, never without an answer."""
    sealing, never = asyncio.Event(), asyncio.Event()

    async def hanging(message: object) -> crypto.SealReply:
        sealing.set()
        await never.wait()
        raise AssertionError

    h.answer(crypto.SUBJECT_SEAL, hanging)
    disclosed = audit.DisclosureRequest("Patient/1", "Court", "all", "LEGAL")
    waiting = asyncio.ensure_future(h.request(audit.DISCLOSE, disclosed))
    await sealing.wait()
    await h.plugin.stop()
    await h.ctx.close()
    with pytest.raises(AuditUnavailable):
        await waiting


async def test_it_does_not_start_without_its_keyring(keyring: MemoryKeyring) -> None:
    """Without the keys nothing could be signed: the start fails, and says why."""
    keyring.fail[crypto.KEY_CREATE] = NoProvider("the keyring is not there")
    double = harness(Audit)
    keyring.attach(double)
    with pytest.raises(NoProvider):
        async with double:
            pass
