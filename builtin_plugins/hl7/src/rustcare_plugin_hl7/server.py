"""The MLLP server: what happens on one connection.

Frames are taken in as they come and answered in the same order. Up to `pipeline` of them may be on their way to disk at
once, so a sender that does not wait for each answer gets the speed of shared commits; one that does is served as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from rustcare_sdk.context import Logger

from .ack import build, codes_for
from .intake import Intake, Outcome
from .mllp import FrameDecoder, wrap
from .settings import Settings

__all__ = ["Server"]

READ = 65536
#: A peer that sends so much outside of frames does not speak MLLP.
NOISE = 65536
#: Seconds to wait for a peer to close its side.
LINGER = 0.5


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection. `answers` holds what was submitted, in order; None ends it."""

    writer: asyncio.StreamWriter
    task: asyncio.Task[None]
    room: asyncio.Semaphore
    answers: asyncio.Queue[asyncio.Future[Outcome | None] | None] = field(default_factory=asyncio.Queue)
    reading: bool = False
    broken: bool = False


class Server:
    """Serves connections. `connected` is the handler for `Context.listen`."""

    def __init__(
        self, intake: Intake, settings: Settings, log: Logger, now: Callable[[], datetime], token: str
    ) -> None:
        self._intake = intake
        self._settings = settings
        self._log = log
        self._now = now
        self._token = token
        self._acks = 0
        self._connections: set[_Connection] = set()
        self._stopping = asyncio.Event()
        self.outside = 0
        self.interrupted = 0
        self.turned_away = 0

    @property
    def limit(self) -> int:
        """The longest message taken, in bytes."""
        return self._settings.max_message_bytes

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def stop(self) -> None:
        """Take no more frames; answer those that were taken, then close. Returns when all connections are closed."""
        self._stopping.set()
        tasks = [connection.task for connection in self._connections]
        for connection in self._connections:
            if connection.reading:
                connection.task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def answer(self, outcome: Outcome) -> list[tuple[str, bytes]]:
        """The acknowledgements of one message: code and text of each. Usually one; none if the sender wants none."""
        enhanced = self._settings.acknowledge == "enhanced"
        answers: list[tuple[str, bytes]] = []
        for code in codes_for(outcome.header, outcome.rejection, enhanced=enhanced):
            self._acks += 1
            control_id = f"{self._token}{self._acks}"
            text = build(outcome.header, code, outcome.rejection, control_id=control_id, now=self._now())
            answers.append((code, text))
        return answers

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        if self._stopping.is_set() or len(self._connections) >= self._settings.max_connections:
            self.turned_away += 1
            self._log.warning("connection turned away", open=len(self._connections))
            return
        task = asyncio.current_task()
        assert task is not None
        connection = _Connection(writer, task, asyncio.Semaphore(self._settings.pipeline))
        self._connections.add(connection)
        answering = asyncio.get_running_loop().create_task(self._answer(connection))
        decoder = FrameDecoder(self._settings.max_message_bytes)
        try:
            await self._take(connection, reader, decoder)
            connection.answers.put_nowait(None)
            await answering
            await self._linger(connection, reader)
        finally:
            answering.cancel()
            self._connections.discard(connection)
            self.outside += decoder.outside
            self.interrupted += decoder.interrupted

    async def _take(self, connection: _Connection, reader: asyncio.StreamReader, decoder: FrameDecoder) -> None:
        while not connection.broken:
            data = await self._read(connection, reader)
            if not data:
                return
            for frame in decoder.feed(data):
                await connection.room.acquire()
                await self._intake.room()
                connection.answers.put_nowait(self._intake.submit(frame))
                if frame.oversize and self._settings.oversize == "close":
                    return
            if decoder.outside > NOISE:
                self._log.warning("connection closed: the peer does not speak MLLP", outside=decoder.outside)
                return

    async def _read(self, connection: _Connection, reader: asyncio.StreamReader) -> bytes:
        """The next piece, or nothing: the peer closed or was silent for too long, or the plugin stops."""
        if self._stopping.is_set():
            return b""
        connection.reading = True
        try:
            async with asyncio.timeout(self._settings.idle_timeout):
                return await reader.read(READ)
        except TimeoutError:
            self._log.info("connection closed: idle")
            return b""
        except ConnectionError:
            return b""
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            connection.task.uncancel()
            return b""
        finally:
            connection.reading = False

    async def _linger(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        """Say that no more is coming, and wait for the peer to close. Closing a socket with unread input would reset the
        connection, and the peer would lose the answers that are still on their way to it."""
        if connection.broken or not connection.writer.can_write_eof():
            return
        try:
            connection.writer.write_eof()
            async with asyncio.timeout(LINGER):
                while await reader.read(READ):
                    pass
        except (OSError, TimeoutError):
            pass

    async def _answer(self, connection: _Connection) -> None:
        """Send the answers in the order of the messages, several in one write when they are there."""
        while True:
            waiting = await connection.answers.get()
            if waiting is None:
                return
            out = bytearray()
            count = 0
            while True:
                outcome = await waiting
                count += 1
                if outcome is None:
                    connection.broken = True  # not stored, so not answered: the sender keeps it
                elif not connection.broken:
                    for _, text in self.answer(outcome):
                        out += wrap(text)
                if connection.answers.empty():
                    break
                following = connection.answers.get_nowait()
                if following is None:
                    connection.answers.put_nowait(None)
                    break
                waiting = following
                if not waiting.done() and out:
                    await self._send(connection, bytes(out))
                    out.clear()
            await self._send(connection, bytes(out))
            for _ in range(count):
                connection.room.release()

    async def _send(self, connection: _Connection, data: bytes) -> None:
        if not data:
            return
        try:
            connection.writer.write(data)
            async with asyncio.timeout(self._settings.idle_timeout):
                await connection.writer.drain()
        except (ConnectionError, TimeoutError):
            # The messages are safe; the peer will send those again whose answers it did not get.
            connection.broken = True
            connection.writer.transport.abort()
