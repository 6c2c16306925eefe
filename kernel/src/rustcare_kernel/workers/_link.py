"""One end of a link: frames out in batches, frames in, and the answers to what was asked.

What is sent within one turn of the event loop leaves in one write. While the other end does not read, `full` is true and
whoever is about to say something waits (`room`); answers that are awaited are bounded too.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
from rustcare_sdk.errors import DeadlineExceeded, InvalidPayload, RustCareError, error_from_failure, failure_from_error

from rustcare_kernel.errors import LinkBroken

from ._frames import Answer, Drop, Failed

__all__ = ["Link", "failed"]

_HEAD = struct.Struct("<I")
_NO_HEAD = bytes(_HEAD.size)
_encode_into = msgspec.msgpack.Encoder().encode_into


def failed(id: int, error: BaseException) -> Failed:
    """The frame that tells of an error."""
    return Failed(id, **failure_from_error(error))


class Link(asyncio.BufferedProtocol):
    """A protocol for a connected stream socket.

    Args:
        decoder: of the frames that come in.
        received: called with every frame that is not an answer.
        lost: called once, when the link is gone; with the error, if there was one.
    """

    MAX = 64 << 20  # bytes of one frame
    KEPT = 1 << 18  # bytes of the buffer that is kept
    HIGH = 1 << 20  # bytes on their way out from which on the link is full
    AWAITED = 8192  # answers awaited at once

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[Any],
        received: Callable[[Any], None],
        lost: Callable[[BaseException | None], None],
    ) -> None:
        self.full = False
        self.closed = False
        self._decode = decoder.decode
        self._received = received
        self._lost = lost
        self._in = bytearray(self.KEPT)
        self._end = 0
        self._out = bytearray()
        self._flushing = False
        self._rooms: list[asyncio.Future[None]] = []
        self._answers: dict[int, tuple[asyncio.Future[Any], float]] = {}
        self._last = 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    # out

    def send(self, frame: Any) -> None:
        """Send a frame with this turn's batch; nothing on a closed link.

        Raises InvalidPayload when it is too large, or has what cannot be written (half a surrogate pair, say).
        """
        if self.closed:
            return
        out = self._out
        start = len(out)
        out += _NO_HEAD
        try:
            _encode_into(frame, out, start + _HEAD.size)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            del out[start:]  # half a frame would make nonsense of all that follow
            raise InvalidPayload(
                f"expected what can be written for another process, got something else ({type(error).__name__})",
                hint="headers are text",
            ) from None
        size = len(out) - start - _HEAD.size
        if size > self.MAX:
            del out[start:]
            raise InvalidPayload(
                f"expected at most {self.MAX} bytes for another process, got {size}", hint="send it in pieces"
            )
        _HEAD.pack_into(out, start, size)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def flush(self) -> None:
        """Hand what was sent to the operating system."""
        out = self._out
        if out and self._transport is not None and not self.closed:
            self._out = bytearray()
            self._transport.write(out)

    def _flush(self) -> None:
        self._flushing = False
        self.flush()

    async def room(self) -> None:
        """Return when something may be said: the other end reads, and not too many answers are awaited."""
        while (self.full or len(self._answers) >= self.AWAITED) and not self.closed:
            waiting: asyncio.Future[None] = self._loop.create_future()
            self._rooms.append(waiting)
            await waiting

    @property
    def crowded(self) -> bool:
        """Whether newcomers should wait for `room` first."""
        return self.full or len(self._answers) >= self.AWAITED

    def _let_in(self) -> None:
        rooms, self._rooms = self._rooms, []
        for waiting in rooms:
            if not waiting.done():
                waiting.set_result(None)

    # asking

    def ticket(self) -> int:
        """A fresh id."""
        self._last += 1
        return self._last

    async def answer(self, frame: Any, deadline: float) -> bytes:
        """Send a frame that has an id, and return what comes of it.

        Raises the typed error that came back, DeadlineExceeded when nothing came, LinkBroken when the link is gone.
        """
        if self.closed:
            raise LinkBroken("the link to the primary process is gone")
        waiting: asyncio.Future[bytes] = self._loop.create_future()
        self.send(frame)
        if not self._answers:
            self.flush()  # nothing else is under way that a batch could be made of
        self._answers[frame.id] = (waiting, deadline)
        try:
            return await waiting
        except asyncio.CancelledError:
            if self._forget(frame.id) is not None:
                self.send(Drop(frame.id))
            raise

    def _forget(self, id: int) -> asyncio.Future[bytes] | None:
        found = self._answers.pop(id, None)
        if self._rooms and not self.crowded:
            self._let_in()
        return None if found is None else found[0]

    def sweep(self) -> None:
        """Give up on answers whose deadline is past: the other end, which knows it too, should have said so by now."""
        now = time.monotonic()
        for id, (waiting, deadline) in list(self._answers.items()):
            if deadline < now:
                self._forget(id)
                self.send(Drop(id))
                if not waiting.done():
                    waiting.set_exception(
                        DeadlineExceeded("no answer came before the deadline", hint="allow more time")
                    )

    # in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self._transport.set_write_buffer_limits(high=self.HIGH)
        self.flush()  # what was sent before there was a way

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._in)[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        end, start, need = self._end, 0, 0
        view = memoryview(self._in)
        try:
            while end - start >= _HEAD.size:
                need = _HEAD.size + _HEAD.unpack_from(view, start)[0]
                if need > self.MAX + _HEAD.size:
                    raise InvalidPayload(f"expected a frame of at most {self.MAX} bytes, got {need}")
                if end - start < need:
                    break
                frame = self._decode(view[start + _HEAD.size : start + need])
                start += need
                need = 0
                self._take(frame)
        except (msgspec.MsgspecError, RustCareError) as error:
            self._break(error)
            return
        self._keep(view[start:end], need)

    def _take(self, frame: Any) -> None:
        kind = type(frame)
        if kind is Answer:
            waiting = self._forget(frame.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(frame.data)
        elif kind is Failed:
            waiting = self._forget(frame.id)
            if waiting is not None and not waiting.done():
                said = {"code": frame.code, "message": frame.message, "hint": frame.hint, "address": frame.address}
                waiting.set_exception(error_from_failure(said))
        else:
            self._received(frame)

    def _keep(self, rest: memoryview, need: int) -> None:
        """What is left is the beginning of a frame. A buffer that is in use is never resized, only replaced."""
        size = max(self.KEPT, need)
        if size != len(self._in):
            fresh = bytearray(size)
            fresh[: len(rest)] = rest
            self._in = fresh
        elif rest:
            self._in[: len(rest)] = bytes(rest)
        self._end = len(rest)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._let_in()

    # the end

    def eof_received(self) -> bool:
        return False

    def _break(self, error: BaseException) -> None:
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(error)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.closed:
            return
        self.closed = True
        answers, self._answers = self._answers, {}
        for waiting, _ in answers.values():
            if not waiting.done():
                waiting.set_exception(LinkBroken("the link to the other process is gone"))
                waiting.exception()  # whoever waits is told; that nobody does is no error
        self._let_in()
        self._lost(exc)

    def abort(self) -> None:
        """Close at once; nobody is told."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Send what there is, then close."""
        self.flush()
        if self._transport is not None:
            self._transport.close()
