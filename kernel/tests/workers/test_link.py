"""One end of a link: frames in any pieces, batches, back-pressure, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_kernel.errors import LinkBroken
from rustcare_kernel.workers import _frames as frames
from rustcare_kernel.workers._link import Link, failed
from rustcare_sdk.errors import DeadlineExceeded, InvalidPayload, NoProvider, ServiceError
from rustcare_sdk.message import Call

CALL = Call("north", "jane", "00-1", "joe", "TREAT")


class End:
    """A link with all that came in over it."""

    def __init__(self, decoder: Any) -> None:
        self.got: list[Any] = []
        self.lost: list[BaseException | None] = []
        self.arrived = asyncio.Event()
        self.broken = asyncio.Event()
        self.link = Link(decoder, self._received, self._lost)

    def _received(self, frame: Any) -> None:
        self.got.append(frame)
        self.arrived.set()

    def _lost(self, error: BaseException | None) -> None:
        self.lost.append(error)
        self.broken.set()

    async def has(self, count: int) -> list[Any]:
        """What came in, when it is so many."""
        async with asyncio.timeout(10):
            while len(self.got) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.got


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[End, End]]:
    """A primary's end and a worker's."""
    one, two = socket.socketpair()
    loop = asyncio.get_running_loop()
    primary, worker = End(frames.FROM_WORKER), End(frames.FROM_PRIMARY)
    await loop.create_unix_connection(lambda: primary.link, sock=one)
    await loop.create_unix_connection(lambda: worker.link, sock=two)
    try:
        yield primary, worker
    finally:
        primary.link.close()
        worker.link.close()
        await primary.broken.wait()
        await worker.broken.wait()


@asynccontextmanager
async def bare() -> AsyncIterator[tuple[End, socket.socket]]:
    """A primary's end, and the other end of its socket."""
    one, two = socket.socketpair()
    two.setblocking(False)
    primary = End(frames.FROM_WORKER)
    await asyncio.get_running_loop().create_unix_connection(lambda: primary.link, sock=one)
    try:
        yield primary, two
    finally:
        two.close()
        primary.link.close()
        await primary.broken.wait()


def written(*sent: Any) -> bytes:
    """Frames as they cross."""
    found = b""
    for frame in sent:
        body = msgspec.msgpack.encode(frame)
        found += len(body).to_bytes(4, "little") + body
    return found


texts = st.text(max_size=20)
asked = st.builds(
    frames.Ask,
    id=st.integers(0, 2**60),
    plugin=texts,
    digest=texts,
    service=texts,
    call=st.builds(Call, texts, texts, texts, texts, texts),
    deadline=st.floats(0, 1e9),
    headers=st.none() | st.dictionaries(texts, texts, max_size=3),
    data=st.binary(max_size=300),
)
handled = st.builds(frames.Handled, number=st.integers(0, 2**60), code=texts)
wired = st.builds(
    frames.Wire,
    wire=st.integers(0, 2**31),
    owner=texts,
    pattern=texts,
    group=texts,
    queue=st.integers(1, 10_000),
    overflow=st.sampled_from(["block", "drop-oldest", "disconnect"]),
)


@settings(max_examples=60, deadline=None)
@given(sent=st.lists(asked | handled | wired, max_size=12), cuts=st.lists(st.integers(1, 400), min_size=1, max_size=9))
def test_frames_come_in_whatever_the_pieces(sent: list[Any], cuts: list[int]) -> None:
    """However the operating system cuts the stream, the same frames come in, in order."""

    async def scenario() -> list[Any]:
        async with bare() as (primary, other):
            data, turn = written(*sent), 0
            while data:
                size = cuts[turn % len(cuts)]
                await asyncio.get_running_loop().sock_sendall(other, data[:size])
                data, turn = data[size:], turn + 1
                await asyncio.sleep(0)
            return list(await primary.has(len(sent)))

    assert asyncio.run(scenario()) == sent


async def test_frames_larger_than_the_buffer() -> None:
    """A large frame between small ones comes in whole, and the buffer is small again afterwards."""
    async with linked() as (primary, worker):
        large = frames.Log("a", "info", "b", b"x" * (3 * Link.KEPT))
        sent = [frames.Handled(1, ""), large, frames.Handled(2, ""), large, frames.Handled(3, "c")]
        for frame in sent:
            worker.link.send(frame)
        assert await primary.has(5) == sent
        assert len(primary.link._in) == Link.KEPT


async def test_what_is_asked_is_answered() -> None:
    """Answers find whoever asked, in any order; a failure is the typed error again."""
    async with linked() as (primary, worker):

        def ask(service: str) -> asyncio.Task[bytes]:
            frame = frames.Ask(worker.link.ticket(), "p", "d", service, CALL, time.monotonic() + 60, None, b"1")
            return asyncio.ensure_future(worker.link.answer(frame, frame.deadline))

        first, second, third = ask("a"), ask("b"), ask("c")
        got = await primary.has(3)
        assert [frame.service for frame in got] == ["a", "b", "c"]
        assert got[0].call == CALL
        primary.link.send(frames.Answer(got[2].id, b"third"))
        primary.link.send(failed(got[1].id, NoProvider("nobody", hint="h", address="b")))
        primary.link.send(failed(got[0].id, ValueError("a patient's name")))
        assert await third == b"third"
        with pytest.raises(NoProvider) as no_provider:
            await second
        assert (no_provider.value.message, no_provider.value.hint, no_provider.value.address) == ("nobody", "h", "b")
        with pytest.raises(Exception, match="ValueError") as foreign:
            await first
        assert "patient" not in str(foreign.value)


async def test_whoever_gives_up_tells_the_other_end() -> None:
    """A cancelled wait, and one whose deadline passed unanswered, are dropped there; a late answer is nobody's."""
    async with linked() as (primary, worker):

        def ask(deadline: float) -> asyncio.Task[bytes]:
            frame = frames.Ask(worker.link.ticket(), "p", "d", "s", CALL, deadline, None, b"")
            return asyncio.ensure_future(worker.link.answer(frame, deadline))

        cancelled, late = ask(time.monotonic() + 60), ask(time.monotonic())
        got = await primary.has(2)
        cancelled.cancel()
        worker.link.sweep()
        with pytest.raises(DeadlineExceeded):
            await late
        await primary.has(4)
        assert {frame.id for frame in got[2:]} == {frame.id for frame in got[:2]}
        assert {type(frame) for frame in got[2:]} == {frames.Drop}
        primary.link.send(frames.Answer(got[0].id, b"late"))
        primary.link.send(frames.Stop())
        assert await worker.has(1) == [frames.Stop()]


async def test_who_speaks_waits_while_the_other_end_does_not_read() -> None:
    """The link says that it is full, and lets whoever waits for room go on when the other end reads again."""
    async with bare() as (primary, other):
        while not primary.link.full:
            primary.link.send(frames.Deliver(1, 1, "s", "p", CALL, 0.0, None, "", b"x" * 100_000))
            primary.link.flush()
        waiting = asyncio.ensure_future(primary.link.room())
        await asyncio.sleep(0)
        assert not waiting.done()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            while not waiting.done():
                await loop.sock_recv(other, 1 << 20)
        assert not primary.link.full


@pytest.mark.parametrize(
    "sent",
    [
        b"\x05\x00\x00\x00hello",
        (Link.MAX + 1).to_bytes(4, "little"),
        written(frames.Stop()),  # a frame that only a primary sends
        b"\x00\x00\x00\x00",
    ],
    ids=["not a frame", "too large", "the other end's", "empty"],
)
async def test_what_is_no_frame_breaks_the_link(sent: bytes) -> None:
    """Nothing is guessed: the link is closed, and its owner told why."""
    async with bare() as (primary, other):
        other.send(sent)
        await asyncio.wait_for(primary.broken.wait(), 10)
        assert len(primary.lost) == 1
        assert primary.lost[0] is not None


async def test_a_broken_link_fails_what_waits() -> None:
    """Whoever waits for an answer is told that there will be none; later questions fail at once."""
    async with bare() as (primary, other):
        frame = frames.Collect(1)
        waiting = asyncio.ensure_future(primary.link.answer(frames.Answer(7, b""), time.monotonic() + 60))
        await asyncio.sleep(0)
        other.close()
        with pytest.raises(LinkBroken):
            await asyncio.wait_for(waiting, 10)
        with pytest.raises(LinkBroken):
            await primary.link.answer(frames.Answer(8, b""), time.monotonic() + 60)
        primary.link.send(frame)  # nothing happens


async def test_too_large_a_frame_is_refused_where_it_is_sent() -> None:
    """The sender gets a typed error, and the link goes on."""
    async with linked() as (primary, worker):
        with pytest.raises(InvalidPayload):
            worker.link.send(frames.Log("a", "info", "b", b"x" * Link.MAX))
        worker.link.send(frames.Handled(1, ""))
        assert await primary.has(1) == [frames.Handled(1, "")]


def test_what_json_cannot_hold_does_not_cross() -> None:
    """Data that cannot be encoded is refused by its type; its value is not told."""
    with pytest.raises(InvalidPayload) as caught:
        frames.payload_of({"name": object()}, "data for fhir.store")
    assert "fhir.store" in str(caught.value)
    assert frames.payload_of(None, "x") == b""
    assert frames.raw_of(b"") is None
    assert bytes(frames.raw_of(frames.payload_of([1, "ä"], "x")) or b"") == '[1,"ä"]'.encode()
    assert frames.payload_of(msgspec.Raw(b"{}"), "x") == b"{}"


def test_an_own_error_keeps_its_code() -> None:
    """A plugin's own error crosses with its code."""
    assert failed(3, ServiceError("acme.x", "text", hint="h", address="a")) == frames.Failed(
        3, "acme.x", "text", "h", "a"
    )


async def test_what_cannot_be_written_is_refused_and_the_link_goes_on() -> None:
    """Half a frame is taken back: what was sent before and what is sent after come in as they were."""
    async with linked() as (primary, worker):
        worker.link.send(frames.Handled(1, ""))
        for event in ("\ud800", 2**70):
            with pytest.raises(InvalidPayload):
                worker.link.send(frames.Log("a", "info", event, b"x" * 5000))  # type: ignore[arg-type]
        worker.link.send(frames.Handled(2, ""))
        assert await primary.has(2) == [frames.Handled(1, ""), frames.Handled(2, "")]


async def test_what_is_sent_before_there_is_a_way_goes_out_first() -> None:
    """A link may be spoken to before its socket is connected: what was said is not lost, and comes in order."""
    one, two = socket.socketpair()
    loop = asyncio.get_running_loop()
    primary, worker = End(frames.FROM_WORKER), End(frames.FROM_PRIMARY)
    primary.link.send(frames.Stop())
    await asyncio.sleep(0)  # its turn is over
    await loop.create_unix_connection(lambda: worker.link, sock=two)
    await loop.create_unix_connection(lambda: primary.link, sock=one)
    primary.link.send(frames.Collect(1))
    assert await worker.has(2) == [frames.Stop(), frames.Collect(1)]
    primary.link.close()
    worker.link.close()
    await primary.broken.wait()
    await worker.broken.wait()
