"""A server on a real socket with an application of the test's own, and a client that writes bytes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop
from rustcare_plugin_gateway.server import Bounds, Server

# What runs on sockets is tried on asyncio's own event loop and on the one of `rustcare up`.
_ON_BOTH = ("test_server_connection", "test_server_strict", "test_answers")
_ASYNCIO = {"asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(config: Any, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loops that a test runs on."""
    if item.path.stem in _ON_BOTH:
        return {**_ASYNCIO, "uvloop": uvloop.new_event_loop}
    return dict(_ASYNCIO)


class Client:
    """One connection. What it sends are bytes, so that it can send what no client library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes | str) -> None:
        """Send bytes as they are."""
        self.writer.write(data.encode() if isinstance(data, str) else data)

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, header fields, body. `head`: it has no body whatever its header says."""
        async with asyncio.timeout(10):
            raw = await self.reader.readuntil(b"\r\n\r\n")
            line, *rest = raw.decode("latin-1").split("\r\n")[:-2]
            status = int(line.split(" ")[1])
            fields = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in rest)}
            if status == 100 or head or status in (204, 304):
                return status, fields, b""
            if "content-length" in fields:
                return status, fields, await self.reader.readexactly(int(fields["content-length"]))
            if fields.get("transfer-encoding") == "chunked":
                return status, fields, await self._chunks()
            return status, fields, await self.reader.read()

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int(await self.reader.readline(), 16)
            part = await self.reader.readexactly(size + 2)
            if not size:
                return body
            body += part[:-2]

    async def ask(self, data: bytes | str, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Send bytes and read the answer."""
        self.send(data)
        return await self.answer(head=head)

    async def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                return await self.reader.read()
        return b""

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


Serve = Callable[..., Awaitable[tuple[Server, Callable[[], Awaitable[Client]]]]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`server, connect = await serve(app, Bounds(…))`."""
    cleanup = contextlib.AsyncExitStack()

    async def start(app: Any, bounds: Bounds | None = None) -> tuple[Server, Callable[[], Awaitable[Client]]]:
        server = Server(app, bounds or Bounds())
        listener = await asyncio.get_running_loop().create_server(server.factory, "127.0.0.1", 0)
        sweep = asyncio.create_task(server.run())
        port = listener.sockets[0].getsockname()[1]

        async def stop() -> None:
            listener.close()
            await server.drain(0.5)
            sweep.cancel()
            await asyncio.gather(sweep, return_exceptions=True)

        cleanup.push_async_callback(stop)

        async def connect() -> Client:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            cleanup.push_async_callback(client.close)
            return client

        return server, connect

    async with cleanup:
        yield start


HOST = b"Host: clinic.example.org\r\n"
POST = b"POST /a HTTP/1.1\r\n" + HOST
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
