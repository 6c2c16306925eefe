"""The HTTP server on a real socket: what it takes, how long it waits, how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
from typing import Any

import pytest
from rustcare_plugin_gateway.server import Bounds

from .conftest import HOST, OK, POST, Serve, echo, until

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
