"""What goes out: the answers of one turn of the loop are sent together, one after the other.

A write wakes whoever reads. When the next one comes a moment later the reader is still awake, and costs nothing to wake; when
it comes after the work for another request, the reader has fallen asleep again. So an answer that is whole waits until the
requests that came with it are answered too, and a connection's transport keeps the order whatever is called on it.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["Output", "Outputs"]

SMALL = 16384  # bytes: what is longer is sent at once, and not copied


class Outputs:
    """The transports of one server that have something to send when the turn is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._late: list[Output] = []

    def put(self, output: Output) -> None:
        """This one has."""
        if not self._late:
            self._loop.call_soon(self._flush)
        self._late.append(output)

    def _flush(self) -> None:
        late, self._late = self._late, []
        for output in late:
            output.flush()


class Output(asyncio.Transport):
    """A connection's transport. `write_late` sends at the end of the turn; whatever else is called sends that first."""

    def __init__(self, transport: asyncio.Transport, outputs: Outputs) -> None:
        super().__init__()
        self._transport = transport
        self._outputs = outputs
        self._late = b""

    def write_late(self, data: bytes) -> None:
        """Send this when the requests that came together are answered."""
        if len(data) > SMALL:
            self.write(data)
        elif self._late:
            self._late += data
        else:
            self._late = data
            self._outputs.put(self)

    def flush(self) -> None:
        """Send what waits, unless the connection has ended."""
        late = self._late
        if late:
            self._late = b""
            if not self._transport.is_closing():
                self._transport.write(late)

    # a transport, as far as a server needs one

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.flush()
        self._transport.write(data)

    def write_eof(self) -> None:
        self.flush()
        self._transport.write_eof()

    def can_write_eof(self) -> bool:
        return self._transport.can_write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self.flush()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)
