"""MLLP framing: one message between VT (0x0B) and FS CR (0x1C 0x0D), over a stream that arrives in any pieces.

Pure: bytes in, frames out; the sockets are in `server`. However the stream is cut into chunks, the frames are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["END", "START", "Frame", "FrameDecoder", "wrap"]

START = b"\x0b"
END = b"\x1c\r"

#: What is kept of a message that is too large: enough of its MSH segment to address the refusal.
HEAD = 4096


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame's content. `oversize`: it was longer than allowed; `data` is its beginning and `size` its length."""

    data: bytes
    size: int
    oversize: bool = False


def wrap(message: bytes) -> bytes:
    """A message in its frame. It must not hold VT, or FS followed by CR (see `ack`, which removes controls)."""
    return START + message + END


class FrameDecoder:
    """Cuts a byte stream into frames.

    Bytes outside frames are dropped and counted (`outside`). A VT inside a frame means that the sender gave up the
    frame and starts anew: MLLP forbids VT in a message. What came of the broken frame was never acknowledged, so the
    sender still has it; it is counted (`interrupted`). FS without CR behind it belongs to the message.

    Args:
        limit: the longest message, in bytes; of a longer one only the beginning is kept.
    """

    __slots__ = ("_buffer", "_scan", "_skipped", "inside", "interrupted", "limit", "outside")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.outside = 0
        self.interrupted = 0
        self.inside = False
        self._buffer = bytearray()
        self._scan = 0  # up to here the buffer holds neither VT nor FS CR
        self._skipped = 0  # bytes of an oversize frame that were let go

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next piece of the stream; the frames that are complete now."""
        self._buffer += data
        frames: list[Frame] = []
        while True:
            if not self.inside:
                at = self._buffer.find(START)
                if at < 0:
                    self.outside += len(self._buffer)
                    self._buffer.clear()
                    return frames
                self.outside += at
                del self._buffer[: at + 1]
                self.inside = True
                self._scan = self._skipped = 0
            frame = self._complete()
            if frame is None:
                if not self.inside:
                    continue
                return frames
            frames.append(frame)

    def _complete(self) -> Frame | None:
        """The open frame if its end is there. When a VT breaks it, leave it (`inside` is False then)."""
        buffer = self._buffer
        end = buffer.find(END, self._scan)
        again = buffer.find(START, self._scan, end if end >= 0 else len(buffer))
        if again >= 0:
            self.interrupted += 1
            del buffer[:again]
            self.inside = False
            return None
        if end < 0:
            # The last byte may be the FS of an end that is still on its way.
            self._scan = max(0, len(buffer) - 1)
            if self._skipped + self._scan > self.limit and self._scan > HEAD:
                self._skipped += self._scan - HEAD
                del buffer[HEAD : self._scan]
                self._scan = HEAD
            return None
        size = end + self._skipped
        oversize = size > self.limit
        content = bytes(buffer[: min(end, HEAD) if oversize else end])
        del buffer[: end + 2]
        self.inside = False
        return Frame(content, size, oversize)
