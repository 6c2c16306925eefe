"""Servers with protocols of their own, on both event loops: the port goes over in an upgrade, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from .plugins import Board, package, quiet, v2

SERVER = """
    async def start(self):
        import asyncio
        plugin = self
        self.open = set()

        class Greeter(asyncio.Protocol):
            transport = None

            def connection_made(self, transport):
                self.transport = transport
                plugin.open.add(self)
                transport.write(VERSION.encode() + b"\\n")

            def data_received(self, data):
                self.transport.write(VERSION.encode() + b" " + data)

            def connection_lost(self, error):
                plugin.open.discard(self)

        self.listener = await self.ctx.serve_protocol("127.0.0.1", 0, Greeter)
        board.port = self.listener.address[1]

    async def stop(self):
        if board.tidy:
            for protocol in list(self.open):
                protocol.transport.close()
    """
OPTIONS: dict[str, Any] = {"more": SERVER, "asks": {"net:listen@127.0.0.1:*": "required"}}
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def run(loop: Callable[[], asyncio.AbstractEventLoop], work: Coroutine[Any, Any, None]) -> None:
    """Run on one kind of event loop."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work)


async def hello(port: int) -> str:
    """The greeting on a new connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = (await reader.readline()).decode().strip()
    writer.close()
    await writer.wait_closed()
    return line


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_no_connection_is_refused_in_an_upgrade(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, desk: Board
) -> None:
    """While one version takes over from the other, every connection is accepted and answered by one of the two."""
    desk.tidy = True

    async def upgrade() -> None:
        async with quiet(tmp_path) as kernel:
            await kernel.install(package(**OPTIONS), consent=True)
            port = desk.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.readline() == b"1.0.0\n"
            upgrading = asyncio.create_task(kernel.upgrade(v2(**OPTIONS)))
            answers = [await hello(port)]
            while not upgrading.done():
                answers.append(await hello(port))
            answers.append(await hello(port))
            await upgrading
            assert desk.port == port
            assert set(answers) == {"1.0.0", "2.0.0"}
            assert answers[-1] == "2.0.0"
            assert await reader.read() == b""  # the version before has closed it as it stopped
            writer.close()
            await kernel.remove("acme.sample")
            with pytest.raises(ConnectionRefusedError):
                await hello(port)

    run(loop, upgrade())


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
def test_connections_that_were_left_open_are_cut(
    loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, desk: Board
) -> None:
    """A plugin that stops without ending its connections leaves no socket: they are aborted, and the stop is not held up."""
    desk.tidy = False

    async def leave() -> None:
        async with quiet(tmp_path) as kernel:
            await kernel.install(package(**OPTIONS), consent=True)
            before = len(os.listdir("/proc/self/fd"))
            reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
            assert await reader.readline() == b"1.0.0\n"
            await asyncio.wait_for(kernel.disable("acme.sample"), 4)
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            await asyncio.sleep(0)
            assert len(os.listdir("/proc/self/fd")) <= before

    run(loop, leave())


@pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["serve_protocol", "listen"])
def test_who_never_ends_the_handshake_is_cut_off(
    loop: Callable[[], asyncio.AbstractEventLoop],
    how: str,
    tmp_path: Path,
    desk: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """TLS has its time like everything else: a plugin hears of a connection when that is over, and could not do it."""
    monkeypatch.setattr("rustcare_kernel.context.HANDSHAKE", 0.3)
    desk.tidy = True
    desk.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(desk.tls)
    more = SERVER.replace("0, Greeter", "0, Greeter, ssl=board.tls")
    if how == "listen":
        more = more.replace("serve_protocol", "listen").replace("Greeter, ssl", "nobody, ssl")
        more = more.replace(
            "        class Greeter", "        async def nobody(reader, writer): pass\n        class Greeter"
        )

    async def silent() -> None:
        async with quiet(tmp_path) as kernel:
            await kernel.install(package(**{**OPTIONS, "more": more}), consent=True)
            reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
            async with asyncio.timeout(10):
                with suppress(ConnectionError):
                    assert await reader.read() == b""
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    run(loop, silent())
