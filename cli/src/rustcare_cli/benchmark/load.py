"""The load: connections that are kept alive, each with one request at a time. Every request's latency is kept.

A closed loop, as `wrk` is one: a connection sends its next request when it has the answer to the one before. So under
overload it waits with the server, and the latencies of what would have come meanwhile are not in its figures.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rustcare_cli._errors import CommandFailed, ServerUnreachable

__all__ = ["Load", "Outcome", "Target"]

#: Seconds without a byte after which a request counts as failed.
PATIENCE = 30.0


@dataclass(frozen=True)
class Target:
    """What is asked: the server's URL, a path, and headers (which may hold a credential)."""

    url: str
    path: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    name: str = ""

    @property
    def secure(self) -> bool:
        """Whether it is asked over TLS."""
        return urlsplit(self.url).scheme == "https"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandFailed(f"Expected a URL such as http://127.0.0.1:8080, got {self.url!r}")
        return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)

    def bytes(self) -> bytes:
        """The request as it goes over the wire. Raises CommandFailed for a path or header that is none."""
        host, port = self.address
        prefix = urlsplit(self.url).path.rstrip("/")
        path = prefix + self.path
        lines = [f"GET {path} HTTP/1.1", f"Host: {f'[{host}]' if ':' in host else host}:{port}", "Accept: */*"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if not path.startswith("/") or any(not line.isascii() or not line.isprintable() for line in lines):
            raise CommandFailed("Expected a path that begins with / and printable ASCII")
        if " " in path:
            raise CommandFailed("Expected a path without blanks: write them as %20", address=path)
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass
class Outcome:
    """What came of it. `latencies` in nanoseconds, of the requests that were answered; `seconds` of wall clock;
    `cpu_seconds` that this process computed meanwhile. `broken`: connections that ended in the middle of a request."""

    latencies: array[int] = field(default_factory=lambda: array("Q"))
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    bytes_in: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def requests(self) -> int:
        """How many were sent."""
        return len(self.latencies) + self.broken

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0


class Load:
    """Sends `requests` requests to a target over `concurrency` connections.

    Raises:
        ServerUnreachable: no connection could be made at all.
    """

    def __init__(self, target: Target, requests: int, concurrency: int) -> None:
        self.target = target
        self.left = requests
        self.concurrency = min(concurrency, requests)
        self.outcome = Outcome()
        self.request = target.bytes()
        self._done = asyncio.Event()
        self._open: set[_Client] = set()
        self._broken_in_a_row = 0
        self._connecting: set[asyncio.Task[None]] = set()

    async def run(self) -> Outcome:
        """Send them all; what came of it."""
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(self._connect() for _ in range(self.concurrency)))
        wall, cpu = time.perf_counter(), time.process_time()
        for client in list(self._open):
            client.next()
        watching = asyncio.get_running_loop().create_task(self._watch())
        try:
            await self._done.wait()
        finally:
            watching.cancel()
            for client in list(self._open):
                client.close()
        self.outcome.seconds = time.perf_counter() - wall
        self.outcome.cpu_seconds = time.process_time() - cpu
        return self.outcome

    async def _connect(self) -> _Client:
        host, port = self.target.address
        tls = ssl.create_default_context() if self.target.secure else None
        try:
            _transport, client = await asyncio.get_running_loop().create_connection(
                lambda: _Client(self), host, port, ssl=tls
            )
        except OSError as error:
            raise ServerUnreachable(
                f"Expected a server that answers: {error.strerror or type(error).__name__}",
                address=self.target.url,
                hint="is it running? The address is what `rustcare up` shows",
            ) from None
        self._open.add(client)
        return client

    def take(self) -> bool:
        """Whether there is another request to send."""
        if self.left <= 0:
            return False
        self.left -= 1
        return True

    def answered(self, status: int, nanoseconds: int) -> None:
        """One more answer."""
        self.outcome.latencies.append(nanoseconds)
        self.outcome.statuses[status] += 1
        self._broken_in_a_row = 0

    def idle(self, client: _Client, *, broken: bool, reconnect: bool) -> None:
        """A connection has nothing to do any more, or is gone."""
        self._open.discard(client)
        if broken:
            self.outcome.broken += 1
            self._broken_in_a_row += 1
        if self._broken_in_a_row > 10 * self.concurrency:
            self.left = 0  # nobody answers any more; what came until now is shown
        if reconnect and self.left > 0:
            task = asyncio.get_running_loop().create_task(self._reconnect())
            self._connecting.add(task)
            task.add_done_callback(self._connected)
        elif not self._open and not self._connecting:
            self._done.set()

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting.discard(task)
        if not self._open and not self._connecting:
            self._done.set()

    async def _reconnect(self) -> None:
        try:
            client = await self._connect()
        except ServerUnreachable:
            self.left = 0
        else:
            client.next()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.perf_counter_ns()
            for client in list(self._open):
                if client.sent and now - client.sent > PATIENCE * 1e9:
                    client.close()


class _Client(asyncio.Protocol):
    """One connection. Reads answers of HTTP/1.1: with a length, in chunks, or without a body."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._buffer = b""
        self.sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def next(self) -> None:
        """Send the next request, if there is one."""
        if self._load.take():
            self.sent = time.perf_counter_ns()
            self._transport.write(self._load.request)
        else:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if not self.sent:
            self._transport.abort()  # nobody asked
            return
        self._load.outcome.bytes_in += len(data)
        self._buffer = self._buffer + data if self._buffer else data
        while self.sent:
            found = _complete(self._buffer)
            if found is None:
                return
            status, length, closing = found
            if status < 0:
                self._transport.abort()
                return
            self._buffer = self._buffer[length:]
            if status < 200:
                continue  # informational: the answer follows
            taken = time.perf_counter_ns() - self.sent
            self.sent = 0
            self._load.answered(status, taken)
            if closing:
                self._transport.close()
            else:
                self.next()

    def connection_lost(self, error: Exception | None) -> None:
        broken = bool(self.sent)
        self.sent = 0
        self._load.idle(self, broken=broken, reconnect=self._load.left > 0)


def _complete(data: bytes) -> tuple[int, int, bool] | None:
    """Status, length and whether the connection closes, of the answer that the data begins with; None: more is to come.

    A status of -1: this is no HTTP/1.1 that we read (one that ends with the connection, say).
    """
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None if len(data) < 65536 else (-1, 0, True)
    if not data.startswith(b"HTTP/1.") or not data[9:12].isdigit():
        return -1, 0, True
    status = int(data[9:12])
    lines = data[:head].lower().split(b"\r\n")[1:]
    headers = {name: value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    closing = headers.get(b"connection") == b"close"
    begin = head + 4
    if status < 200 or status in (204, 304):
        return status, begin, closing
    if headers.get(b"transfer-encoding") == b"chunked":
        end = _chunks(data, begin)
        if end is not None and end < 0:
            return -1, 0, True
        return None if end is None else (status, end, closing)
    length = headers.get(b"content-length", b"")
    if not length.isdigit():
        return -1, 0, True
    end = begin + int(length)
    return (status, end, closing) if len(data) >= end else None


def _chunks(data: bytes, place: int) -> int | None:
    """Where the chunks end (RFC 9112, section 7.1), None when the last one is not there yet, -1 when they are none."""
    while True:
        line = data.find(b"\r\n", place)
        if line < 0:
            return None
        try:
            size = int(data[place:line].partition(b";")[0], 16)
        except ValueError:
            return -1
        if size == 0:
            end = data.find(b"\r\n\r\n", line)  # behind the last chunk: trailers, if any, and an empty line
            return end + 4 if end >= 0 else None
        place = line + 2 + size + 2
