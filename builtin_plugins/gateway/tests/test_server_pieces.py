"""What a connection makes of bytes does not depend on the pieces in which they arrive, and nothing makes it fail."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_plugin_gateway.server import Bounds, Server


class Wire(asyncio.Transport):
    """A transport in memory: what the server wrote, and whether it has closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses."""
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def write(self, data: Any) -> None:
        """Keep it."""
        self.written += data

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self.closed

    def close(self) -> None:
        """Close."""
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""

    def can_write_eof(self) -> bool:
        """No."""
        return False


METHODS = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"FOO", b"get", b"CONNECT"])
TARGETS = st.sampled_from(
    [
        b"/",
        b"/a",
        b"/a?b=c",
        b"/a%20b",
        b"/a%2fb",
        b"/../a",
        b"*",
        b"http://h/x",
        b"http://o/x",
        b"a",
        b"/\x80",
        b"/%",
        b"",
    ]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b"RTSP/1.0", b""])
FIELDS = st.sampled_from(
    [
        b"Host: h",
        b"Host: other",
        b"Host: a b",
        b"Content-Length: 3",
        b"Content-Length: 0",
        b"Content-Length: 03",
        b"Content-Length: -1",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding : chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: Upgrade",
        b"Upgrade: h2c",
        b"Expect: 100-continue",
        b"X: a\x00b",
        b"X: \xff",
        b" folded",
        b"NoColon",
        b"X" * 300 + b": a",
    ]
)
BODIES = st.sampled_from(
    [b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\nX: y\r\n\r\n", b"zz\r\n", b"0\r\n\r\n", b"abcd"]
)
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])


@st.composite
def requests(draw: Any) -> bytes:
    """Something like a request."""
    end = draw(ENDS)
    fields = draw(st.lists(FIELDS, max_size=5))
    if draw(st.integers(0, 3)):
        fields = [b"Host: h", *[field for field in fields if not field.startswith(b"Host")]]
    head = b" ".join([draw(METHODS), draw(TARGETS), draw(VERSIONS)])
    return end.join([head, *fields, b"", b""]) + draw(BODIES)


GOOD = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"HEAD /a?b=c HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n",
        b"GET /a%20b HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: h\r\n\r\n",
        b"GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\nX: y\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na",
        b"GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        b"PUT /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ]
)
STREAMS = st.lists(st.one_of(GOOD, GOOD, GOOD, requests(), st.binary(max_size=20)), min_size=1, max_size=6).map(
    b"".join
)


async def outcome(pieces: list[bytes]) -> tuple[list[tuple[str, str, bytes]], list[int], bool]:
    """What the application saw, the statuses that went out, and whether the connection is at its end."""
    seen: list[tuple[str, str, bytes]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        seen.append((scope["method"], scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    server = Server(app, Bounds(head=200, target=100, fields=20))
    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    connection, wire = server.factory(), Wire()
    connection.connection_made(wire)
    for piece in pieces:
        if wire.closed:
            break
        connection.data_received(piece)
        for _ in range(6):
            await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    ended = wire.closed or connection.phase == 4
    connection.connection_lost(ConnectionResetError())
    if server.tasks:
        await asyncio.wait(server.tasks, timeout=5)
    assert failures == []
    assert not server.tasks
    assert not server.connections
    statuses = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+) ", wire.written)]
    return seen, [code for code in statuses if code != 100], ended


@settings(max_examples=400, deadline=None)
@given(stream=STREAMS, cuts=st.lists(st.integers(1, 40), max_size=30))
async def test_pieces_make_no_difference(stream: bytes, cuts: list[int]) -> None:
    """The same requests are seen, the same statuses go out, and the connection ends alike."""
    pieces, rest = [], stream
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    whole = await outcome([stream])
    cut_up = await outcome([piece for piece in [*pieces, rest] if piece])
    assert cut_up == whole


@settings(max_examples=400, deadline=None)
@given(stream=STREAMS)
async def test_no_request_is_seen_that_is_not_well_formed(stream: bytes) -> None:
    """Every request that the application sees stands in the bytes as a whole, in strict form, and is answered once."""
    seen, statuses, _ = await outcome([stream])
    assert statuses.count(200) == len(seen)
    assert statuses[: len(seen)] == [200] * len(seen)
    assert len(statuses) <= len(seen) + 1
    for method, path, _ in seen:
        assert method in ("GET", "POST", "HEAD", "OPTIONS", "PUT")
        assert path in ("/", "/a", "/a b", "*", "/x")
