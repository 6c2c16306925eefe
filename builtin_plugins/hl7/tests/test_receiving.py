"""Receiving over real sockets: on disk before AA, once, in order, and no bytes can bring it down."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rustcare_plugin_hl7.mllp import START, FrameDecoder, wrap
from rustcare_sdk.contracts import hl7
from rustcare_sdk.errors import StoreError

# The helpers of conftest.py come as fixtures: `receiver`, `connect`, `message`, `settled`.


async def status(h: Any) -> hl7.Status:
    found: hl7.Status = await h.request(hl7.STATUS, hl7.StatusRequest())
    return found


async def test_a_message_is_on_disk_when_it_is_acknowledged(receiver: Any, connect: Any, message: Any) -> None:
    """AA comes after the commit, never before."""
    async with receiver() as h:
        commits: list[str] = []
        plain = h.database.transaction

        def watched() -> Any:
            inner = plain()
            leave = inner.__aexit__

            class Watched:
                async def __aenter__(self) -> Any:
                    return await inner.__aenter__()

                async def __aexit__(self, *error: Any) -> Any:
                    found = await leave(*error)
                    commits.append("commit")
                    return found

            return Watched()

        h.database.transaction = watched
        async with connect(h) as client:
            assert await client.ask(message()) == ("AA", "C1")
            assert commits
        rows = await h.database.fetch("SELECT content, sending_facility FROM messages")
        assert rows == [{"content": message().strip(b"\r"), "sending_facility": "FAC"}]


async def test_when_the_disk_fails_there_is_no_aa(receiver: Any, connect: Any, message: Any) -> None:
    """What could not be stored gets AE 207, and the sender may send it again."""
    async with receiver() as h:
        plain = h.database.transaction

        def broken() -> Any:
            raise StoreError("the disk is full")

        async with connect(h) as client:
            h.database.transaction = broken
            client.write(wrap(message()))
            answer = await client.answer()
            assert b"MSA|AE|C1" in answer
            assert b"207^" in answer
            h.database.transaction = plain
            assert await client.ask(message()) == ("AA", "C1")
        assert (await status(h)).received == 1


async def test_one_bad_row_does_not_take_the_batch_with_it(receiver: Any, connect: Any, message: Any) -> None:
    """A message that the database refuses is refused alone; those beside it are stored."""
    async with receiver() as h:
        insert = h.plugin.store.insert

        async def picky(tx: Any, rows: Any) -> None:
            if any(row.control_id == "BAD" for row in rows):
                raise StoreError("refused")
            await insert(tx, rows)

        h.plugin.store.insert = picky
        async with connect(h) as client:
            client.write(b"".join(wrap(message(name, name)) for name in ("1", "BAD", "3")))
            answers = [await client.answer() for _ in range(3)]
        assert [answer.split(b"MSA|")[1][:4] for answer in answers] == [b"AA|1", b"AE|B", b"AA|3"]
        assert (await status(h)).received == 2


async def test_the_same_message_again_is_acknowledged_and_stored_once(
    receiver: Any, connect: Any, message: Any
) -> None:
    """Same sender, control id and content: AA each time, one row, published once."""
    async with receiver() as h:
        got: list[Any] = []
        h.subscribe("hl7.adt.*", got.append)
        async with connect(h) as one, connect(h) as two:
            one.write(wrap(message()) * 3)  # within one batch
            assert [await one.answer() for _ in range(3)]
            assert await two.ask(message()) == ("AA", "C1")  # and later, over another connection
        await h.plugin.dispatcher.quiet()
        found = await status(h)
        assert (found.received, found.duplicates, found.published) == (1, 3, 1)
        assert len(got) == 1


async def test_another_sender_may_use_the_same_control_id(receiver: Any, connect: Any, message: Any) -> None:
    """The key is facility, application and control id."""
    async with receiver() as h, connect(h) as client:
        await client.ask(message(facility="A"))
        await client.ask(message(facility="B"))
        assert (await status(h)).received == 2


async def test_a_reused_control_id_is_another_message_by_default(
    receiver: Any, connect: Any, message: Any, settled: Any
) -> None:
    """Nothing is silently dropped: other content under a used control id is stored under a key of its own, and counted."""
    async with receiver() as h:
        got: list[Any] = []
        h.subscribe("hl7.adt.*", lambda m: got.append(m.data.key))
        async with connect(h) as client:
            for name in ("DOE", "ROE", "ROE", "DOE"):
                assert await client.ask(message(last_name=name)) == ("AA", "C1")
        await settled(h)
        found = await status(h)
        assert (found.received, found.duplicates, found.conflicts) == (2, 2, 1)
        assert len(set(got)) == 2
        assert got[0] == "FAC|APP|C1"


async def test_a_reused_control_id_is_refused_when_configured(receiver: Any, connect: Any, message: Any) -> None:
    """With `reused_control_id = "reject"`: AE with code 205, recorded."""
    async with receiver(reused_control_id="reject") as h, connect(h) as client:
        assert await client.ask(message()) == ("AA", "C1")
        client.write(wrap(message(last_name="ROE")))
        answer = await client.answer()
        assert b"MSA|AE|C1|" in answer
        assert b"205^Duplicate key identifier^HL70357" in answer
        assert (await status(h)).rejected == 1


async def test_what_is_refused_is_recorded_without_its_content(receiver: Any, connect: Any, message: Any) -> None:
    """The reason, a digest and the size; the content only when the operator wants it."""
    bad = message("").replace(b"DOE", b"SECRETNAME")
    for keep in (False, True):
        async with receiver(keep_rejected=keep) as h, connect(h) as client:
            assert (await client.ask(bad))[0] == "AE"
            (row,) = await h.database.fetch("SELECT * FROM rejected")
            assert (row["code"], row["error"], row["size"]) == ("AE", 101, len(bad))
            assert len(row["digest"]) == 64
            assert row["content"] == (bad if keep else None)
            assert "SECRETNAME" not in str(h.logs) + row["reason"]


async def test_a_message_that_is_too_long_gets_ar(receiver: Any, connect: Any, message: Any) -> None:
    """The connection stays, or is closed, as configured; the control id is in the answer."""
    long = message("LONG", more="NTE|1||" + "x" * 5000 + "\r")
    async with receiver(max_message_bytes=1000) as h, connect(h) as client:
        assert await client.ask(long) == ("AR", "LONG")
        assert await client.ask(message()) == ("AA", "C1")
    async with receiver(max_message_bytes=1000, oversize="close") as h, connect(h) as client:
        client.write(wrap(long) + wrap(message()))
        assert b"MSA|AR|LONG" in await client.answer()
        assert await client.closed()
        assert (await status(h)).received == 0


async def test_answers_come_in_the_order_of_the_messages(receiver: Any, connect: Any, message: Any) -> None:
    """Good and bad, new and known, sent without waiting: one answer each, in order, and stored in order."""
    async with receiver(pipeline=7) as h, connect(h) as client:
        stream = b""
        for number in range(100):
            stream += wrap(message(str(number), str(number))) + (wrap(b"rubbish") if number % 3 == 0 else b"\r\n")
        client.write(stream)
        seen = []
        while len(seen) < 100:
            answer = await client.answer()
            code, control_id = answer.decode().split("\r")[1].split("|")[1:3]
            if code == "AA":
                seen.append(control_id)
            else:
                assert int(seen[-1]) % 3 == 0
        rows = await h.database.fetch("SELECT control_id FROM messages ORDER BY id")
        assert [row["control_id"] for row in rows] == seen == [str(number) for number in range(100)]


async def test_several_connections_are_served_at_once(receiver: Any, connect: Any, message: Any) -> None:
    """One that is silent, or in the middle of a frame, holds up no other."""
    async with receiver() as h, connect(h), connect(h) as half, connect(h) as client:
        half.write(START + b"MSH|^~")
        assert await client.ask(message()) == ("AA", "C1")
        assert (await status(h)).connections == 3


async def test_too_many_connections_are_turned_away(receiver: Any, connect: Any, message: Any) -> None:
    """Over the limit a connection is closed at once; those before it work on."""
    async with receiver(max_connections=1) as h, connect(h) as one:
        assert await one.ask(message()) == ("AA", "C1")
        async with connect(h) as two:
            assert await two.closed()
        assert await one.ask(message("C2")) == ("AA", "C2")


async def test_an_idle_connection_is_closed(receiver: Any, connect: Any, message: Any) -> None:
    """After the configured silence."""
    async with receiver(idle_timeout=0.05) as h, connect(h) as client:
        assert await client.ask(message()) == ("AA", "C1")
        assert await client.closed()


async def test_a_peer_that_does_not_speak_mllp_is_cut_off(receiver: Any, connect: Any) -> None:
    """Endless bytes without a frame end the connection."""
    async with receiver() as h, connect(h) as client:
        client.write(b"GET / HTTP/1.1\r\n" * 5000)
        assert await client.closed()


@pytest.mark.parametrize(
    ("acks", "expected"),
    [("AL|NE", ["CA"]), ("AL|AL", ["CA", "AA"]), ("NE|NE", []), ("|", ["AA"])],
)
async def test_enhanced_mode_is_a_choice(
    receiver: Any, connect: Any, message: Any, acks: str, expected: list[str]
) -> None:
    """With `acknowledge = "enhanced"` MSH-15 and MSH-16 decide; without it every message gets AA."""
    async with receiver(acknowledge="enhanced") as h, connect(h) as client:
        client.write(wrap(message("ONE", acks=acks)) + wrap(message("END")))
        seen = []
        while (answer := (await client.answer()).decode().split("\r")[1].split("|"))[2] != "END":
            seen.append(answer[1])
        assert seen == expected
        assert (await status(h)).received == 2
    async with receiver() as h, connect(h) as client:
        assert await client.ask(message(acks=acks)) == ("AA", "C1")


async def test_types_that_are_not_taken_get_ar(receiver: Any, connect: Any, message: Any) -> None:
    """With `unhandled = "reject"` only the listed types are taken."""
    async with receiver(unhandled="reject", types=["ADT^A01"]) as h, connect(h) as client:
        assert await client.ask(message()) == ("AA", "C1")
        client.write(wrap(message("C2", event="A02")))
        assert b"201^Unsupported event code" in await client.answer()
        client.write(wrap(message("C3").replace(b"ADT^A01^ADT_A01", b"SIU^S12")))
        assert b"200^Unsupported message type" in await client.answer()


async def test_a_message_can_be_handed_in_without_tcp(receiver: Any, message: Any, settled: Any) -> None:
    """`hl7.receive` takes the same path: stored, found as a duplicate, refused with the reason."""
    async with receiver(listen=False) as h:
        assert h.plugin.listener is None
        text = message().decode()
        first = await h.request(hl7.RECEIVE, hl7.ReceiveRequest(text))
        again = await h.request(hl7.RECEIVE, hl7.ReceiveRequest(text))
        bad = await h.request(hl7.RECEIVE, hl7.ReceiveRequest("PID|1"))
        assert (first.code, first.duplicate, first.key) == ("AA", False, "FAC|APP|C1")
        assert (again.code, again.duplicate) == ("AA", True)
        assert (bad.code, bad.error) == ("AR", "100")
        assert "MSA|AA|C1" in first.text
        await settled(h)
        h.assert_published("hl7.adt.a01", times=1)


async def test_only_the_tenant_that_is_published_for_may_hand_in(receiver: Any, message: Any) -> None:
    """A message of one tenant is never published for another."""
    async with receiver(listen=False) as h:
        with pytest.raises(Exception, match="tenant") as caught:
            await h.request(hl7.RECEIVE, hl7.ReceiveRequest(message().decode()), tenant="other")
        assert caught.value.code == "hl7.tenant-refused"  # type: ignore[attr-defined]


async def test_stopping_answers_what_was_taken(receiver: Any, connect: Any, message: Any) -> None:
    """A stop in the middle of a stream: each message is stored and answered, or neither acknowledged nor lost."""
    async with receiver(pipeline=4) as h, connect(h) as client:
        client.write(b"".join(wrap(message(str(number), str(number))) for number in range(300)))
        acked = [(await client.answer()).split(b"MSA|AA|")[1].split(b"\r")[0]]
        await h.plugin.stop()
        try:
            while True:
                acked.append((await client.answer()).split(b"MSA|AA|")[1].split(b"\r")[0])
        except EOFError:
            pass
        rows = await h.database.fetch("SELECT control_id FROM messages")
        assert set(acked) == {row["control_id"].encode() for row in rows}
        assert not (await h.health()).ok


CHUNKS = st.lists(
    st.one_of(
        st.binary(max_size=80),
        st.sampled_from(
            [b"\x0b", b"\x1c\r", b"MSH|^~\\&|A|F|||1||ADT^A01|", b"|P|2.5\r", b"PID|1\r", b"\x0bMSH", b"\xff\xfe"]
        ),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunks=CHUNKS)
async def test_any_bytes_give_an_answer_or_nothing_but_never_a_crash(
    receiver: Any, connect: Any, message: Any, chunks: list[bytes]
) -> None:
    """Each complete frame is answered exactly once, and a good message sent after it is stored."""
    data = b"".join(chunks)
    decoder = FrameDecoder(1_000_000)
    frames = len(decoder.feed(data))
    async with receiver() as h, connect(h) as client:
        client.write(data)
        await client.writer.drain()
        # The last message starts a new frame, whatever state the bytes before have left.
        client.write(wrap(message("LAST")))
        answers = []
        while not answers or b"|LAST\r" not in answers[-1]:
            answers.append(await client.answer())
        assert len(answers) == frames + 1
        assert answers[-1].split(b"MSA|")[1].startswith(b"AA|LAST")
        rows = await h.database.fetch("SELECT control_id FROM messages WHERE control_id = 'LAST'")
        assert len(rows) == 1


async def test_a_peer_that_never_reads_its_answers_is_dropped(receiver: Any, connect: Any, message: Any) -> None:
    """Its messages are safe and it holds no memory beyond its window; others are served."""
    async with receiver(idle_timeout=0.2, pipeline=8) as h, connect(h) as deaf:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        stop = asyncio.Event()

        async def flood() -> None:
            number = 0
            try:
                while not stop.is_set():
                    deaf.write(wrap(message(f"D{number}", str(number))) * 50)
                    number += 1
                    await deaf.writer.drain()
            except ConnectionError:
                stop.set()

        flooding = asyncio.create_task(flood())
        async with asyncio.timeout(60):
            await stop.wait()
        await flooding
        async with connect(h) as client:
            assert await client.ask(message()) == ("AA", "C1")


async def test_a_very_long_sender_name_makes_a_key_of_bounded_length(receiver: Any, connect: Any, message: Any) -> None:
    """Two such senders are told apart, and the same message is still recognised."""
    async with receiver() as h, connect(h) as client:
        for facility in ("\u00e9" * 999, "\u00e9" * 998, "\u00e9" * 999):
            assert await client.ask(message(facility=facility)) == ("AA", "C1")
        found = await status(h)
        assert (found.received, found.duplicates) == (2, 1)
        rows = await h.database.fetch("SELECT base_key FROM messages")
        assert all(len(row["base_key"]) < 100 for row in rows)


async def test_what_waits_in_memory_is_bounded(
    receiver: Any, connect: Any, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is slow, connections are not read beyond the budget; then everything is stored."""
    monkeypatch.setattr("rustcare_plugin_hl7.intake.QUEUE_BYTES", 5000)
    gate = asyncio.Event()
    async with receiver(pipeline=1000) as h, connect(h) as client:
        write = h.plugin.intake._write

        async def slow(batch: Any) -> Any:
            await gate.wait()
            return await write(batch)

        h.plugin.intake._write = slow
        client.write(b"".join(wrap(message(str(number), more="NTE|1||" + "x" * 900 + "\r")) for number in range(50)))
        await client.writer.drain()
        async with connect(h) as other:
            other.write(wrap(message("X")))
            gate.set()
            assert b"|X" in await other.answer()
        for _ in range(50):
            await client.answer()
        assert (await status(h)).received == 51
