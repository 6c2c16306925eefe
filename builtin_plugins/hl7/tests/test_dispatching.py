"""Publishing: everything stored is published, in a patient's order, until it is handled or given up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rustcare_plugin_hl7 import dispatcher as dispatching
from rustcare_plugin_hl7.mllp import wrap
from rustcare_plugin_hl7.plugin import Hl7
from rustcare_sdk.contracts import hl7
from rustcare_sdk.errors import CapabilityDenied, ServiceError
from rustcare_sdk.message import PARTITION_KEY


async def feed(client: Any, messages: list[bytes]) -> None:
    """Send messages without waiting in between; all must be acknowledged with AA."""
    client.write(b"".join(map(wrap, messages)))
    for _ in messages:
        assert b"MSA|AA|" in await client.answer()


@asynccontextmanager
async def seen(owner: Any, method: str) -> AsyncIterator[None]:
    """Until the end of the block (and for a while), a method must be called."""
    called = asyncio.Event()
    plain = getattr(owner, method)

    def watched(*args: Any, **fields: Any) -> Any:
        called.set()
        return plain(*args, **fields)

    setattr(owner, method, watched)
    try:
        yield
        await asyncio.wait_for(called.wait(), 20)
    finally:
        setattr(owner, method, plain)


async def rows(h: Any, **conditions: Any) -> list[hl7.MessageRow]:
    found: list[hl7.MessageRow] = (await h.request(hl7.MESSAGES, hl7.MessagesRequest(**conditions))).messages
    return found


async def test_a_stored_message_is_published_and_marked(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """`hl7.<type>.<event>` with the text, its key, and a partition key that does not show the patient."""
    async with receiver() as h, connect(h) as client:
        got: list[Any] = []
        h.subscribe("hl7.*.*", got.append)
        await feed(client, [("\ufeff" + message().decode().replace("\r", "\n")).encode()])
        await settled(h)
        (one,) = got
        assert one.subject == "hl7.adt.a01"
        assert one.data == hl7.Hl7Message(
            key="FAC|APP|C1",
            type="ADT",
            event="A01",
            control_id="C1",
            sending_facility="FAC",
            version="2.5.1",
            received="2026-01-01T12:00:00.000000Z",
            text=message().decode(),
        )
        assert len(one.headers[PARTITION_KEY]) == 16
        (row,) = await rows(h)
        assert (row.status, row.attempts, row.key) == ("done", 1, "FAC|APP|C1")
        h.assert_capabilities_within_manifest()


async def test_one_patients_messages_are_handled_in_order_and_others_beside_them(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """Never two of one patient at once; several patients at once."""
    order: dict[str, list[int]] = {}
    running: Counter[str] = Counter()
    most = 0

    async def handle(m: Any) -> None:
        nonlocal most
        key = m.headers[PARTITION_KEY]
        running[key] += 1
        assert running[key] == 1
        most = max(most, sum(running.values()))
        for _ in range(int(m.data.control_id) % 5):
            await asyncio.sleep(0)
        order.setdefault(key, []).append(int(m.data.control_id))
        running[key] -= 1

    async with receiver(dispatch={"window": 8}) as h, connect(h) as client:
        h.subscribe("hl7.>", handle)
        await feed(client, [message(str(number), str(number % 7)) for number in range(300)])
        await settled(h)
    assert sum(map(len, order.values())) == 300
    assert all(ids == sorted(ids) for ids in order.values())
    assert 1 < most <= 8


async def test_a_failing_message_holds_up_only_its_own_patient(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """It is tried again, its patient's next message waits for it, everybody else goes on."""
    handled: list[str] = []
    attempts: Counter[str] = Counter()

    async def handle(m: Any) -> None:
        attempts[m.data.control_id] += 1
        if m.data.control_id == "1" and (attempts["1"] < 3 or len(handled) < 2):
            raise ServiceError("test.not-yet", "not yet")
        handled.append(m.data.control_id)

    async with receiver(dispatch={"attempts": 1000}) as h, connect(h) as client:
        h.subscribe("hl7.>", handle)
        await feed(client, [message("1", "A"), message("2", "A"), message("3", "B"), message("4", "C")])
        await settled(h)
    assert handled.index("1") < handled.index("2")
    assert set(handled[:2]) == {"3", "4"}


async def test_a_message_that_keeps_failing_is_given_up_and_can_be_replayed(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """After the last attempt it is `failed`, visible with its error code, and its patient goes on."""
    broken = True
    handled: list[str] = []

    def handle(m: Any) -> None:
        if broken and m.data.control_id == "1":
            raise ServiceError("test.broken", "the ward of Jane Doe does not exist")
        handled.append(m.data.control_id)

    async with receiver(dispatch={"attempts": 3}) as h, connect(h) as client:
        h.subscribe("hl7.>", handle)
        await feed(client, [message("1"), message("2")])
        await settled(h)
        assert handled == ["2"]
        (row,) = await rows(h, status="failed")
        assert (row.control_id, row.attempts, row.error) == ("1", 3, "test.broken")
        status = await h.request(hl7.STATUS, hl7.StatusRequest())
        assert (status.failed, status.published, status.last_error) == (1, 1, "test.broken")
        assert "Jane" not in str(h.logs)
        broken = False
        assert (await h.request(hl7.REPLAY, hl7.ReplayRequest(status=["failed"]))).replayed == 1
        await settled(h)
        assert handled == ["2", "1"]
        assert await rows(h, status="failed") == []


async def test_a_crashing_handler_gets_two_attempts_only(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """A trap costs the handler its trap budget, so a poisonous message is not thrown at it eight times."""
    async with receiver() as h, connect(h) as client:
        tries: list[str] = []

        def trap(m: Any) -> None:
            tries.append(m.data.key)
            raise ServiceError("runtime.trapped", "unreachable")

        h.subscribe("hl7.>", trap)
        await feed(client, [message()])
        await settled(h)
        assert len(tries) == 2
        assert [row.status for row in await rows(h)] == ["failed"]


async def test_a_merge_waits_for_both_patients(receiver: Any, connect: Any, message: Any, settled: Any) -> None:
    """A40 names two patients: it overtakes nothing of either, and nothing of either overtakes it."""
    handled: list[str] = []
    release = asyncio.Event()

    async def handle(m: Any) -> None:
        if m.data.control_id == "old":
            await release.wait()
        handled.append(m.data.control_id)
        if m.data.control_id == "other":
            release.set()

    async with receiver() as h, connect(h) as client:
        h.subscribe("hl7.>", handle)
        merge = message("merge", "NEW", "A40", more="MRG|OLD^^^H\r")
        await feed(client, [message("old", "OLD"), merge, message("new", "NEW"), message("other", "X")])
        await settled(h)
    assert handled == ["other", "old", "merge", "new"]


async def test_without_a_subscriber_a_message_is_kept_as_unhandled(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """Stored raw, acknowledged AA, counted, and published when an operator replays it for a new subscriber."""
    async with receiver() as h, connect(h) as client:
        await feed(client, [message("1"), message("2", event="A02")])
        await settled(h)
        assert [row.status for row in await rows(h)] == ["unhandled", "unhandled"]
        got: list[Any] = []
        h.subscribe("hl7.adt.a02", lambda m: got.append(m.data.control_id))
        assert (await h.request(hl7.REPLAY, hl7.ReplayRequest(type="ADT", event="A02"))).replayed == 1
        await settled(h)
        assert got == ["2"]


async def test_a_subscriber_that_comes_late_still_gets_everything_in_order(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """Within the settling time messages wait for their first subscriber: plugins may start in any order."""
    async with receiver(dispatch={"settle": 60}) as h, connect(h) as client:
        await feed(client, [message(str(number), str(number % 3)) for number in range(20)])
        assert [row.status for row in await rows(h)] == ["received"] * 20
        got: dict[str, list[int]] = {}
        h.subscribe("hl7.>", lambda m: got.setdefault(m.headers[PARTITION_KEY], []).append(int(m.data.control_id)))
        await settled(h)
        assert sum(map(len, got.values())) == 20
        assert all(ids == sorted(ids) for ids in got.values())


async def test_what_was_not_handled_is_published_again_after_a_restart(
    receiver: Any, connect: Any, message: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process ends in the middle: the same messages come again, in order, with the same keys; nothing done does."""
    monkeypatch.setattr(dispatching, "PATIENCE", 0.01)
    stuck = True
    handled: list[str] = []
    first: list[str] = []

    async def handle(m: Any) -> None:
        if stuck and m.data.control_id != "0":
            first.append(m.data.key)
            await asyncio.Event().wait()  # never: the process is gone before
        handled.append(m.data.key)

    async with receiver() as h:
        h.subscribe("hl7.>", handle)
        async with connect(h) as client:
            await feed(client, [message(str(number), str(number % 2)) for number in range(10)])
        stuck_now = [row.status for row in await rows(h)]
        assert "received" in stuck_now
        stuck = False  # for whoever asks from now on; those on their way never come back
        await h.restart()
        await settled(h)
        assert [row.status for row in await rows(h)] == ["done"] * 10
    assert first
    assert sorted(handled) == [f"FAC|APP|{number}" for number in range(10)]
    assert [key for key in handled if int(key[-1]) % 2] == [f"FAC|APP|{number}" for number in (1, 3, 5, 7, 9)]


async def test_two_versions_never_publish_at_the_same_time(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """While an upgrade runs, both versions live on one database: each message is published once, by one of them."""
    async with receiver() as h, connect(h) as client:
        old = h.plugin
        got: list[str] = []
        h.subscribe("hl7.>", lambda m: got.append(m.data.control_id))
        await feed(client, [message("1")])
        await settled(h)

        new = Hl7()
        new.ctx = h.ctx
        h.config = {**h.config, "port": 0}
        h.ctx._random.seed(1)  # another instance draws another token
        await new.start()
        await feed(client, [message("2", "B")])
        await settled(h)
        assert old.dispatcher.lease.held
        assert not new.dispatcher.lease.held

        await new.import_state(await old.export_state())
        await feed(client, [message("3", "C")])  # the old version still receives
        new.dispatcher.stored(0)
        await asyncio.wait_for(new.dispatcher.quiet(), 20)
        assert new.dispatcher.lease.held
        assert not old.dispatcher.lease.held
        assert got == ["1", "2", "3"]
        await new.stop()


async def test_after_a_rollback_the_old_version_publishes_again(
    receiver: Any, connect: Any, message: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gave up the lease for a version that then failed; it takes it back by itself."""
    monkeypatch.setattr(dispatching, "STAND_BACK", 0.1)
    async with receiver() as h, connect(h) as client:
        got: list[str] = []
        h.subscribe("hl7.>", lambda m: got.append(m.data.control_id))
        await feed(client, [message("1")])
        await settled(h)
        await h.plugin.export_state()
        await feed(client, [message("2")])
        await settled(h)
        assert got == ["1", "2"]


async def test_a_lost_lease_stops_the_publishing(receiver: Any, connect: Any, message: Any, settled: Any) -> None:
    """When another process has taken over (this one slept too long), nothing is published here until it is gone."""
    async with receiver() as h, connect(h) as client:
        got: list[str] = []
        h.subscribe("hl7.>", lambda m: got.append(m.data.control_id))
        await feed(client, [message("1")])
        await settled(h)
        async with seen(h.ctx.log, "warning"):
            h.advance(60)
            await h.database.execute("UPDATE lease SET owner = 'elsewhere', expires = ?", (h.now.timestamp() + 10,))
            await feed(client, [message("2")])
        assert not h.plugin.dispatcher.lease.held
        assert got == ["1"]
        h.advance(60)
        await settled(h)
        assert got == ["1", "2"]


async def test_an_idle_receiver_uses_nothing(
    receiver: Any, connect: Any, message: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing to publish it gives up the lease, and reads neither clock nor database; what comes then is published."""
    monkeypatch.setattr(dispatching, "IDLE", 0.05)
    monkeypatch.setattr(dispatching, "TICK", 0.005)
    async with receiver() as h, connect(h) as client:
        dispatcher = h.plugin.dispatcher
        got: list[str] = []
        h.subscribe("hl7.>", lambda m: got.append(m.data.control_id))
        await feed(client, [message("1")])
        await settled(h)
        monkeypatch.setattr(dispatching, "SOONEST", 1000.0)  # nobody else stores anything here
        monkeypatch.setattr(dispatching, "LATEST", 1000.0)
        async with seen(dispatcher.lease, "release"):
            pass
        await h.request(hl7.MESSAGES, hl7.MessagesRequest())  # behind the release, in the same database
        used, ticks, ticked = len(h.capabilities_used), 0, asyncio.Event()

        def counted(now: float) -> None:
            nonlocal ticks
            ticks += 1
            if ticks == 50:
                ticked.set()

        monkeypatch.setattr(dispatcher, "_probe", counted)
        await asyncio.wait_for(ticked.wait(), 20)
        assert h.capabilities_used[used:] == []
        assert not dispatcher.lease.held
        await feed(client, [message("2")])
        await settled(h)
        assert got == ["1", "2"]


async def test_what_another_process_left_is_found(
    receiver: Any, connect: Any, message: Any, settled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle receiver publishes what somebody else stored and did not publish, without being told."""
    monkeypatch.setattr(dispatching, "IDLE", 0.05)
    monkeypatch.setattr(dispatching, "TICK", 0.005)
    monkeypatch.setattr(dispatching, "SOONEST", 0.01)
    async with receiver() as h, connect(h) as client:
        got: list[str] = []
        told = asyncio.Event()

        def take(event: Any) -> None:
            got.append(event.data.control_id)
            if len(got) == 2:
                told.set()

        h.subscribe("hl7.>", take)
        await feed(client, [message("1")])
        await settled(h)
        async with seen(h.plugin.dispatcher.lease, "release"):
            pass
        await h.database.execute("UPDATE messages SET status = 'received'")
        await asyncio.wait_for(told.wait(), 20)
        assert got == ["1", "1"]


async def test_a_revoked_right_stops_publishing_and_loses_nothing(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """No message is given up because of what an operator took away: it waits until the right is back."""
    async with receiver() as h, connect(h) as client:
        got: list[str] = []
        h.subscribe("hl7.>", lambda m: got.append(m.data.control_id))
        h.revoke("bus:publish@hl7.adt.a01")
        async with seen(h.plugin.dispatcher, "_failed"):
            await feed(client, [message("1")])
        assert h.plugin.dispatcher.last_error == CapabilityDenied.code
        assert [row.status for row in await rows(h)] == ["received"]
        h._denied.clear()
        await settled(h)
        assert got == ["1"]


async def test_a_replay_can_renew_the_key(receiver: Any, connect: Any, message: Any, settled: Any) -> None:
    """A handler that is idempotent by key handles a renewed message once more; without `renew` the key stays."""
    async with receiver() as h, connect(h) as client:
        keys: list[str] = []
        h.subscribe("hl7.>", lambda m: keys.append(m.data.key))
        await feed(client, [message("1"), message("2")])
        await settled(h)
        for renew in (False, True):
            order = hl7.ReplayRequest(keys=["FAC|APP|1"], renew=renew)
            assert (await h.request(hl7.REPLAY, order)).replayed == 1
            await settled(h)
        assert keys == ["FAC|APP|1", "FAC|APP|2", "FAC|APP|1", "FAC|APP|1~1"]


@pytest.mark.parametrize(
    "order",
    [
        hl7.ReplayRequest(),
        hl7.ReplayRequest(renew=True),
        hl7.ReplayRequest(status=["received"]),
        hl7.ReplayRequest(since="yesterday"),
    ],
)
async def test_a_replay_needs_a_condition_that_makes_sense(receiver: Any, order: hl7.ReplayRequest) -> None:
    """Nobody replays the whole store by leaving something out."""
    async with receiver() as h:
        with pytest.raises(Exception, match="expected") as caught:
            await h.request(hl7.REPLAY, order)
        assert caught.value.code == "hl7.invalid-request"  # type: ignore[attr-defined]


async def test_messages_are_listed_page_by_page_without_their_content(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """In the order of arrival; a cursor leads to the next page; conditions narrow it."""
    async with receiver() as h, connect(h) as client:
        await feed(client, [message(str(number), event="A01" if number % 2 else "A02") for number in range(7)])
        await settled(h)
        seen, cursor, pages = [], "", 0
        while pages == 0 or cursor:
            page = await h.request(hl7.MESSAGES, hl7.MessagesRequest(limit=3, after=cursor))
            seen += [row.control_id for row in page.messages]
            cursor, pages = page.next, pages + 1
            assert "DOE" not in str(page)
        assert (seen, pages) == ([str(number) for number in range(7)], 3)
        assert len(await rows(h, event="A01", type="ADT", since="2026-01-01T00:00:00+01:00")) == 3
        assert await rows(h, until="2026-01-01T00:00:00Z") == []
        for wrong in ({"limit": 0}, {"after": "x"}, {"after": "-1"}):
            with pytest.raises(Exception, match="expected"):
                await rows(h, **wrong)


async def test_health_says_what_is_wrong(receiver: Any) -> None:
    """Listening, storing and publishing; the details hold no patient data."""
    async with receiver() as h:
        health = await h.health()
        assert health.ok
        assert set(health.details) == {"connections", "backlog", "publishes", "last_error"}
    assert not (await Hl7().health()).ok


async def test_an_upgrade_keeps_everything(receiver: Any, connect: Any, message: Any, settled: Any) -> None:
    """The next version has the messages, the duplicates and the lease of the one before."""
    async with receiver() as h:
        got: list[str] = []
        h.subscribe("hl7.>", lambda m: got.append(m.data.control_id))
        async with connect(h) as client:
            await feed(client, [message("1"), message("2")])
        await settled(h)
        await h.upgrade(Hl7)
        async with connect(h) as client:
            await feed(client, [message("2"), message("3")])
        await settled(h)
        assert got == ["1", "2", "3"]
        assert (await h.request(hl7.STATUS, hl7.StatusRequest())).duplicates == 1
