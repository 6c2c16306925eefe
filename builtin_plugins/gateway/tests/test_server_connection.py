"""The HTTP server on a real socket: what it takes, what it refuses, how long it waits, how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
from typing import Any

import pytest
from rustcare_plugin_gateway.server import Bounds

from .conftest import Serve

HOST = b"Host: clinic.example.org\r\n"
OK = b"GET /ok HTTP/1.1\r\n" + HOST + b"\r\n"


async def read_all(receive: Any) -> bytes:
    """The body of a request, as an application reads it."""
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request"
        body += message["body"]
        if not message["more_body"]:
            return body


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says what it was asked."""
    body = await read_all(receive)
    said = json.dumps(
        {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            "body": body.decode("latin-1"),
            "version": scope["http_version"],
        }
    ).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


async def until(true: Any) -> None:
    """Let the loop turn until something is true."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # it is the loop's turns that are waited for
            await asyncio.sleep(0)


# what could be read in two ways

POST = b"POST /a HTTP/1.1\r\n" + HOST
REFUSED: dict[str, bytes] = {
    "length and coding": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two equal lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a list of lengths": POST + b"Content-Length: 1, 1\r\n\r\nx",
    "a signed length": POST + b"Content-Length: +1\r\n\r\nx",
    "a negative length": POST + b"Content-Length: -1\r\n\r\nx",
    "a spaced length": POST + b"Content-Length: 1 1\r\n\r\nx",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a hexadecimal length": POST + b"Content-Length: 0x1\r\n\r\nx",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\nx",
    "another coding": POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "chunked after another coding": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "nearly chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a vertical tab before chunked": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST /a HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare LF in a chunk's size": POST + b"Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    "a bare LF in an extension": POST + b"Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n",
    "no line break after a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx0\r\n\r\n",
    "a space after a chunk's size": POST + b"Transfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
    "a prefixed chunk's size": POST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n",
    "a line folded with a tab": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n\tb\r\n\r\n",
    "a bare LF after the first line": b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    "a bare LF after a field": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    "a bare CR in a field": b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n",
    "a NUL in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X\0: a\r\n\r\n",
    "a control character in a value": b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n",
    "a space in a name": b"GET / HTTP/1.1\r\n" + HOST + b"X y: a\r\n\r\n",
    "a space before the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "a field without a name": b"GET / HTTP/1.1\r\n" + HOST + b": a\r\n\r\n",
    "a field without a colon": b"GET / HTTP/1.1\r\n" + HOST + b"Xabc\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
    "an empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "a host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "a host with a name and a password": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "a host with a bad port": b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
    "an absolute target of another host": b"GET http://other.example/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "an absolute target with a password": b"GET http://u:p@clinic.example.org/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "an asterisk for GET": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a control character in the target": b"GET /a\x01 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a NUL in the target": b"GET /a\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an encoded NUL": b"GET /a%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes beyond ASCII in the target": "GET /é HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "encoded bytes that are no UTF-8": b"GET /%ff HTTP/1.1\r\n" + HOST + b"\r\n",
    "half an escape": b"GET /%2 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an escape that is none": b"GET /%zz HTTP/1.1\r\n" + HOST + b"\r\n",
    "half an escape in the query": b"GET /?a=%2 HTTP/1.1\r\n" + HOST + b"\r\n",
    "dot segments": b"GET /a/../b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a single dot": b"GET /a/./b HTTP/1.1\r\n" + HOST + b"\r\n",
    "encoded dot segments": b"GET /a/%2e%2E/b HTTP/1.1\r\n" + HOST + b"\r\n",
    "an encoded slash": b"GET /a%2fb HTTP/1.1\r\n" + HOST + b"\r\n",
    "an encoded backslash": b"GET /a%5Cb HTTP/1.1\r\n" + HOST + b"\r\n",
    "a slash that is encoded twice": b"GET /a%252Fb HTTP/1.1\r\n" + HOST + b"\r\n",
    "a backslash": b"GET /a\\b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "RTSP": b"DESCRIBE / RTSP/1.0\r\n" + HOST + b"\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
async def test_what_could_be_read_in_two_ways_is_refused(serve: Serve, data: bytes) -> None:
    """It gets 400 and the end of the connection; no part of it, and nothing after it, is taken for a request."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_all(receive)
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    _, connect = await serve(app)
    client = await connect()
    client.send(data + OK)
    status, fields, body = await client.answer()
    assert status == 400
    assert fields["connection"] == "close"
    assert json.loads(body)["code"] == "gateway.bad-request"
    assert await client.rest() == b""
    assert seen == []


async def test_a_chunked_body_is_put_together_and_its_trailers_are_dropped(serve: Serve) -> None:
    """Fields after the body never mix with those of the header."""
    _, connect = await serve(echo)
    client = await connect()
    data = (
        POST
        + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nHost: evil\r\nAuthorization: x\r\n\r\n"
    )
    _, _, body = await client.ask(data)
    said = json.loads(body)
    assert said["body"] == "abcde"
    assert said["headers"] == [["host", "clinic.example.org"], ["transfer-encoding", "chunked"]]
    assert (await client.ask(OK))[0] == 200


@pytest.mark.parametrize("target", [b"other.example:443", b"/", b"/a"])
async def test_connect_is_for_proxies(serve: Serve, target: bytes) -> None:
    """405 and the end of the connection, whatever its target is: nothing behind it is read as a request."""
    _, connect = await serve(echo)
    client = await connect()
    client.send(b"CONNECT " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n" + OK)
    status, _, body = await client.answer()
    assert (status, json.loads(body)["code"]) == (405, "gateway.method")
    assert await client.rest() == b""


async def test_an_absolute_target_of_this_host_is_its_path(serve: Serve) -> None:
    """RFC 9112, section 3.2.2: servers take the absolute form."""
    _, connect = await serve(echo)
    client = await connect()
    _, _, body = await client.ask(b"GET http://clinic.example.org/a%20b?q=1 HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (json.loads(body)["path"], json.loads(body)["query"]) == ("/a b", "q=1")


async def test_an_upgrade_is_not_taken(serve: Serve) -> None:
    """The request is answered as if nothing was asked, the connection ends, and what follows is not read."""
    _, connect = await serve(echo)
    client = await connect()
    client.send(b"GET /a HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + OK)
    status, fields, body = await client.answer()
    assert (status, json.loads(body)["path"]) == (200, "/a")
    assert fields["connection"] == "close"
    assert await client.rest() == b""


UPGRADE = POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("bytewise", [False, True])
@pytest.mark.parametrize(
    "rest",
    [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\nX: y\r\n\r\n"],
)
async def test_the_body_beside_an_upgrade_is_not_lost(serve: Serve, rest: bytes, bytewise: bool) -> None:
    """Clients that ask for HTTP/2 with every request are answered in HTTP/1.1; what follows the body is not read."""
    _, connect = await serve(echo)
    client = await connect()
    if bytewise:
        for byte in UPGRADE + rest:
            client.send(bytes([byte]))
            await client.writer.drain()
            await asyncio.sleep(0)
        client.send(OK)
    else:
        client.send(UPGRADE + rest + OK)
    status, fields, body = await client.answer()
    assert (status, json.loads(body)["body"], fields["connection"]) == (200, "abc", "close")
    assert await client.rest() == b""


async def test_a_body_beside_an_upgrade_is_as_strict_and_as_slow_as_others(serve: Serve) -> None:
    """Broken chunks are refused, and one that does not come is not waited for for ever."""
    _, connect = await serve(echo, Bounds(body_time=0.3))
    client = await connect()
    assert (await client.ask(UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n"))[0] == 400
    client = await connect()
    assert (await client.ask(UPGRADE + b"Content-Length: 3\r\n\r\na"))[0] == 408


async def test_who_has_sent_all_of_a_request_may_close_that_half(serve: Serve) -> None:
    """A whole request is answered, those before it too, and then the connection ends; half a request is not."""
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await echo(scope, receive, send)

    server, connect = await serve(slow)
    client = await connect()
    client.send(OK)
    client.writer.write_eof()
    await until(lambda: any(one.exchange and not one.exchange.keep_alive for one in server.connections))
    go.set()
    status, fields, _ = await client.answer()
    assert (status, fields["connection"]) == (200, "close")
    assert await client.rest() == b""
    several = await connect()
    several.send(OK * 3)
    several.writer.write_eof()
    assert [(await several.answer())[0] for _ in range(3)] == [200, 200, 200]
    assert await several.rest() == b""
    half = await connect()
    half.send(POST + b"Content-Length: 3\r\n\r\na")
    half.writer.write_eof()
    assert await half.rest() == b""


# sizes


async def test_sizes_are_bounded(serve: Serve) -> None:
    """A target, a header, or a count of fields beyond the bounds is refused with 414 or 431."""
    _, connect = await serve(echo, Bounds(target=100, head=1000, fields=10))
    cases = [
        (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 2000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X%d: a\r\n" % number for number in range(20)) + b"\r\n", 431),
    ]
    for data, expected in cases:
        client = await connect()
        status, _, body = await client.ask(data)
        assert (status, json.loads(body)["code"]) == (expected, "gateway.too-large")
        assert await client.rest() == b""


@pytest.mark.parametrize("where", ["header", "trailer"])
async def test_a_field_that_never_ends_is_refused_before_it_fills_the_memory(serve: Serve, where: str) -> None:
    """The parser keeps an unfinished field; it is given no more than a header may have."""
    _, connect = await serve(echo, Bounds(target=1000, head=4000))
    client = await connect()
    start = b"GET / HTTP/1.1\r\n" + HOST if where == "header" else POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
    client.send(start + b"X: ")
    for _ in range(100):
        client.send(b"a" * 1000)
        await asyncio.sleep(0)
    status, _, _ = await client.answer()
    assert status == 431


async def test_a_header_that_comes_byte_by_byte_is_understood(serve: Serve) -> None:
    """What arrives in which pieces makes no difference."""
    _, connect = await serve(echo)
    client = await connect()
    for byte in POST + b"Content-Length: 3\r\n\r\nabc":
        client.send(bytes([byte]))
        await client.writer.drain()
        await asyncio.sleep(0)
    status, _, body = await client.answer()
    assert (status, json.loads(body)["body"]) == (200, "abc")


# time


async def test_a_slow_header_is_cut_off(serve: Serve) -> None:
    """A client that drips its header (slow loris) gets 408 when its time is over, however busy it keeps the line."""
    _, connect = await serve(echo, Bounds(head_time=0.6))
    client = await connect()
    client.send(b"GET / HTTP/1.1\r\n")

    async def drip() -> None:
        while True:
            client.send(b"X: a\r\n")
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    status, _, body = await client.answer()
    dripping.cancel()
    assert (status, json.loads(body)["code"]) == (408, "gateway.timeout")


async def test_a_connection_that_says_nothing_is_closed(serve: Serve) -> None:
    """Before the first request, and between requests."""
    _, connect = await serve(echo, Bounds(head_time=0.3, idle_time=0.3))
    silent = await connect()
    assert await silent.rest() == b""
    idle = await connect()
    assert (await idle.ask(OK))[0] == 200
    assert await idle.rest() == b""


async def test_a_slow_body_is_cut_off(serve: Serve) -> None:
    """A body that does not come in time gets 408, and the application never sees half of it as a whole."""
    _, connect = await serve(echo, Bounds(body_time=0.3))
    client = await connect()
    status, fields, body = await client.ask(POST + b"Content-Length: 1000\r\n\r\nabc")
    assert (status, json.loads(body)["code"]) == (408, "gateway.timeout")
    assert fields["connection"] == "close"


async def test_a_client_that_does_not_read_is_cut_off(serve: Serve) -> None:
    """An answer that nobody reads is not kept for ever."""
    ended = asyncio.Event()

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        finally:
            ended.set()

    server, connect = await serve(flood, Bounds(write_time=0.3))
    client = await connect()
    client.send(OK)
    async with asyncio.timeout(10):
        await ended.wait()
    assert len(server.connections) == 0


# answers


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    """RFC 9112, section 9.3.2."""
    _, connect = await serve(echo)
    client = await connect()
    client.send(b"".join(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in range(20)))
    for number in range(20):
        _, _, body = await client.answer()
        assert json.loads(body)["path"] == f"/{number}"


async def test_nothing_is_read_after_connection_close(serve: Serve) -> None:
    """A request behind one that closes the connection is not answered."""
    _, connect = await serve(echo)
    client = await connect()
    client.send(b"GET /1 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\nGET /2 HTTP/1.1\r\n" + HOST + b"\r\n")
    _, fields, body = await client.answer()
    assert (json.loads(body)["path"], fields["connection"]) == ("/1", "close")
    assert await client.rest() == b""


async def test_a_broken_request_behind_a_good_one_does_not_mix_with_its_answer(serve: Serve) -> None:
    """Good ones are answered whole and in order, then the broken one, then the connection ends."""
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await echo(scope, receive, send)

    _, connect = await serve(slow)
    client = await connect()
    good = b"".join(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in (1, 2))
    client.send(good + b"GET /3 HTTP/9\r\n\r\n" + OK)
    asyncio.get_running_loop().call_later(0.05, go.set)
    for path in ("/1", "/2"):
        status, _, body = await client.answer()
        assert (status, json.loads(body)["path"]) == (200, path)
    assert (await client.answer())[0] == 400
    assert await client.rest() == b""


async def test_expect_continue_is_answered_when_the_body_is_wanted(serve: Serve) -> None:
    """RFC 9110, section 10.1.1."""
    _, connect = await serve(echo)
    client = await connect()
    client.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert (await client.answer())[0] == 100
    status, _, body = await client.ask(b"abc")
    assert (status, json.loads(body)["body"]) == (200, "abc")


async def test_http_1_0_knows_no_continue(serve: Serve) -> None:
    """What an old client says of it is not heeded (RFC 9110, section 10.1.1), and its connection ends with the answer."""
    _, connect = await serve(echo)
    client = await connect()
    data = POST.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    client.send(data)
    await asyncio.sleep(0)
    client.send(b"abc")
    status, fields, body = await client.answer()
    assert (status, json.loads(body)["body"], fields["connection"]) == (200, "abc", "close")


async def test_pipelined_requests_are_bounded(serve: Serve) -> None:
    """One packet can hold thousands of requests: more than so many may not wait behind one that takes its time."""
    go = asyncio.Event()
    seen = 0

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal seen
        seen += 1
        await go.wait()
        await echo(scope, receive, send)

    server, connect = await serve(slow)
    client = await connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5000)
    await until(lambda: any(connection.refused for connection in server.connections))
    (connection,) = server.connections
    assert len(connection.waiting) <= 128
    go.set()
    statuses = [(await client.answer())[0] for _ in range(130)]
    assert statuses == [200] * 129 + [503]
    assert seen == 129
    assert await client.rest() == b""


async def test_an_early_answer_ends_the_connection_and_arrives(serve: Serve) -> None:
    """Who is answered before the body was read gets the answer, not a reset, and no bytes of it become a request."""

    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    _, connect = await serve(refuse)
    client = await connect()
    client.send(POST + b"Content-Length: 3000000\r\n\r\n")
    for _ in range(30):
        client.send(OK * 1000)
        await asyncio.sleep(0)
    status, fields, body = await client.answer()
    assert (status, body, fields["connection"]) == (413, b"no", "close")
    assert await client.rest() == b""


async def test_streams_are_chunked_or_end_with_the_connection(serve: Serve) -> None:
    """HTTP/1.1 gets chunks; HTTP/1.0 gets the bytes and the end; HEAD gets no body."""

    async def parts(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one", b"", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    _, connect = await serve(parts)
    client = await connect()
    _, fields, body = await client.ask(OK)
    assert (fields["transfer-encoding"], body) == ("chunked", b"onetwo")
    assert (await client.ask(OK.replace(b"GET", b"HEAD"), head=True))[0] == 200
    assert (await client.ask(OK))[2] == b"onetwo"
    old = await connect()
    old.send(OK.replace(b"1.1", b"1.0"))
    assert (await old.rest()).partition(b"\r\n\r\n")[2] == b"onetwo"


async def test_half_an_answer_does_not_look_like_a_whole_one(serve: Serve) -> None:
    """When the application fails half way, the connection is reset: the client sees that something is missing."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise ValueError("a secret")

    _, connect = await serve(fails)
    client = await connect()
    client.send(OK)
    assert not (await client.rest()).endswith(b"0\r\n\r\n")


async def test_an_application_that_fails_is_answered_without_what_it_said(serve: Serve) -> None:
    """500, and nothing of the exception."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("a secret")

    _, connect = await serve(fails)
    client = await connect()
    status, _, body = await client.ask(OK)
    assert status == 500
    assert b"secret" not in body


async def test_too_many_at_once_are_turned_away(serve: Serve) -> None:
    """Connections and requests beyond the bounds get 503 and are told when to come back."""
    go = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await echo(scope, receive, send)

    _, connect = await serve(slow, Bounds(requests=1))
    first = await connect()
    first.send(OK)
    second = await connect()
    status, fields, body = await second.ask(OK)
    assert (status, json.loads(body)["code"]) == (503, "gateway.overloaded")
    assert fields["retry-after"] == "1"
    go.set()
    assert (await first.answer())[0] == 200
    _, connect = await serve(echo, Bounds(connections=1))
    first = await connect()
    assert (await first.ask(OK))[0] == 200
    second = await connect()
    assert (await second.answer())[0] == 503
    assert (await first.ask(OK))[0] == 200


async def test_a_request_knows_nothing_of_who_started_the_server(serve: Serve) -> None:
    """Context variables of the start, such as the message that was handled then, are not those of requests."""
    handled: contextvars.ContextVar[str] = contextvars.ContextVar("handled", default="nothing")
    found: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(handled.get())
        handled.set("a request")
        await echo(scope, receive, send)

    handled.set("an operator's command")
    _, connect = await serve(app)
    client = await connect()
    for _ in range(2):
        await client.ask(OK)
    assert found == ["nothing", "nothing"]


async def test_requests_leave_nothing_to_the_garbage_collector(serve: Serve) -> None:
    """What is made for a request is gone with it: no cycles, whose collection would stop everybody now and then."""
    _, connect = await serve(echo)
    client = await connect()
    await client.ask(OK)
    gc.collect()
    gc.disable()
    try:
        for _ in range(200):
            await client.ask(OK)
        assert gc.collect() < 50
    finally:
        gc.enable()


# the end


async def test_a_drain_finishes_what_is_under_way(serve: Serve) -> None:
    """Requests under way are answered with `Connection: close`, idle connections are closed."""
    go, begun = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            begun.set()
            await go.wait()
        await echo(scope, receive, send)

    server, connect = await serve(slow)
    idle = await connect()
    assert (await idle.ask(OK))[0] == 200
    busy = await connect()
    busy.send(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
    await begun.wait()
    draining = asyncio.create_task(server.drain(5.0))
    assert await idle.rest() == b""
    go.set()
    status, fields, _ = await busy.answer()
    assert (status, fields["connection"]) == (200, "close")
    assert await draining == 0
    assert not server.connections


async def test_a_request_that_arrives_while_others_end_has_its_time_too(serve: Serve) -> None:
    """Its header had begun when the drain did: it is answered, not cut with the last of those before it."""
    first, second, begun = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/first":
            await first.wait()
        else:
            begun.set()
            await second.wait()
        await echo(scope, receive, send)

    server, connect = await serve(slow)
    busy, coming = await connect(), await connect()
    busy.send(b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n")
    coming.send(b"GET /second HTTP/1.1\r\n")
    await until(lambda: len(server.tasks) == 1 and any(one.phase == 1 for one in server.connections))
    draining = asyncio.create_task(server.drain(5.0))
    coming.send(HOST + b"\r\n")
    await begun.wait()
    first.set()
    assert (await busy.answer())[0] == 200
    second.set()
    assert (await coming.answer())[0] == 200
    assert await draining == 0


async def test_a_drain_cuts_what_does_not_end(serve: Serve) -> None:
    """After the grace nothing is left."""

    begun = asyncio.Event()

    async def forever(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    server, connect = await serve(forever)
    client = await connect()
    client.send(OK)
    await begun.wait()
    assert await server.drain(0.1) == 1
    assert await client.rest() == b""
    assert not server.connections
    assert not server.tasks
