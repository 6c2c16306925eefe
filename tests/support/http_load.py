"""A load of HTTP requests over connections that stay open, every answer looked at: what came, how late, what was cut off.

`async with Load(host, port, requests, connections=16) as load: …; await load.done()`. Each connection sends the next request
when it has the answer to the one before. Not a measuring tool: it checks, so it is slower than one that only counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from types import TracebackType
from typing import Self

__all__ = ["Answer", "Load", "get"]


class Answer:
    """One answer: `status`, `headers` (lower-case names), `body`, and after how many seconds it was there."""

    __slots__ = ("body", "headers", "request", "seconds", "status")

    def __init__(self, request: bytes, status: int, headers: dict[str, str], body: bytes, seconds: float) -> None:
        self.request = request
        self.status = status
        self.headers = headers
        self.body = body
        self.seconds = seconds


def get(path: str, host: str, **headers: str) -> bytes:
    """The bytes of a GET request."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n".encode()


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._asked: bytes | None = None
        self._sent = 0.0
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._next()

    def _next(self) -> None:
        self._asked = self._load.take()
        if self._asked is None:
            self.transport.close()
            return
        self._sent = time.perf_counter()
        self.transport.write(self._asked)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._asked is not None:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            status, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            size = int(headers.get("content-length", "0"))
            if len(rest) < size:
                return
            self._buffer = rest[size:]
            answer = Answer(
                self._asked, int(status.split(" ", 2)[1]), headers, rest[:size], time.perf_counter() - self._sent
            )
            self._asked = None
            self._load.answered(answer)
            if headers.get("connection", "").lower() == "close":
                self._closing = True
                return
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        self._load.lost(self._asked, announced=self._closing)


class Load:
    """Requests until `requests` are answered, or for as long as it is open when that is None.

    Args:
        requests: makes the bytes of each request from its number.
        total: how many; None: until `stop`.
        check: called with each answer; what it returns is counted (`outcomes`).
    """

    def __init__(
        self,
        host: str,
        port: int,
        request: Callable[[int], bytes],
        check: Callable[[Answer], str],
        *,
        total: int | None = None,
        connections: int = 16,
    ) -> None:
        self._host, self._port = host, port
        self._request = request
        self._check = check
        self._total = total
        self._connections = connections
        self._numbers: Iterator[int] = count()
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._stopped = False
        self.outcomes: Counter[str] = Counter()
        self.cut_off = 0  # connections that ended while an answer was awaited
        self.refused = 0  # connections that could not be made
        self.reopened = 0  # connections that the server closed between answers
        self.slowest = 0.0
        self.failed: BaseException | None = None  # what a check raised; nothing is asked after it
        self._progress: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        for _ in range(self._connections):
            self._connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        if error is not None:
            for connection in list(self._open):
                connection.transport.abort()
        await self._ended.wait()

    def stop(self) -> None:
        """Take no further requests; what is under way is answered."""
        self._stopped = True

    async def progress(self) -> None:
        """Return when another answer came."""
        if self._progress is None:
            self._progress = asyncio.get_running_loop().create_future()
        await asyncio.wait_for(asyncio.shield(self._progress), 60)

    async def done(self) -> None:
        """Return when all connections have ended."""
        await self._ended.wait()

    @property
    def answers(self) -> int:
        """How many answers came."""
        return sum(self.outcomes.values())

    def _connect(self) -> None:
        task = asyncio.get_running_loop().create_task(self._open_one())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_one(self) -> None:
        try:
            _, protocol = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), self._host, self._port
            )
            self._open.add(protocol)
        except OSError:
            self.refused += 1
            self._end_if_idle()

    def take(self) -> bytes | None:
        """The next request."""
        if self._stopped:
            return None
        number = next(self._numbers)
        if self._total is not None and number >= self._total:
            self._stopped = True
            return None
        return self._request(number)

    def answered(self, answer: Answer) -> None:
        """An answer came."""
        self.slowest = max(self.slowest, answer.seconds)
        try:
            self.outcomes[self._check(answer)] += 1
        except BaseException as error:
            self.failed, self._stopped = self.failed or error, True
        if self._progress is not None:
            self._progress.set_result(None)
            self._progress = None

    def lost(self, waiting: bytes | None, *, announced: bool) -> None:
        """A connection ended."""
        self._open = {item for item in self._open if not item.transport.is_closing()}
        if waiting is not None:
            self.cut_off += 1
        if not self._stopped:
            self.reopened += waiting is None
            self._connect()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._stopped and not self._open:
            self._ended.set()
