"""The HTTP server on a real socket: what could be read in two ways is refused, and what looks like it is read in one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from rustcare_plugin_gateway.server import Bounds

from .conftest import HOST, OK, POST, Serve, echo, read_all, until

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
