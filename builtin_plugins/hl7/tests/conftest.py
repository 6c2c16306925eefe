"""What the tests share: messages, an MLLP client over a real socket, and the plugin in the SDK's double of the kernel."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from rustcare_plugin_hl7.mllp import FrameDecoder, wrap
from rustcare_plugin_hl7.plugin import Hl7
from rustcare_sdk.testing import PluginHarness, harness

PATIENCE = 20.0


def adt(control_id: str = "C1", patient: str = "7", event: str = "A01", **fields: str) -> bytes:
    """An ADT message; `fields` replaces `facility`, `version`, `last_name`, `more` (further segments)."""
    return (
        f"MSH|^~\\&|APP|{fields.get('facility', 'FAC')}|R|RF|20260101||ADT^{event}^ADT_{event}|{control_id}|P|"
        f"{fields.get('version', '2.5.1')}|||{fields.get('acks', '|')}\r"
        f"PID|1||{patient}^^^H||{fields.get('last_name', 'DOE')}^JO\r{fields.get('more', '')}"
    ).encode()


class Client:
    """One MLLP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._decoder = FrameDecoder(1 << 24)
        self._frames: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> bytes:
        """The next acknowledgement. Raises EOFError when the connection is closed instead."""
        async with asyncio.timeout(PATIENCE):
            while not self._frames:
                data = await self.reader.read(65536)
                if not data:
                    raise EOFError
                self._frames += [frame.data for frame in self._decoder.feed(data)]
        return self._frames.pop(0)

    async def ask(self, message: bytes) -> tuple[str, str]:
        """Send one message; MSA-1 and MSA-2 of the answer."""
        self.write(wrap(message))
        return msa(await self.answer())

    async def closed(self) -> bool:
        """Whether the other side closes the connection without saying any more."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


def msa(answer: bytes) -> tuple[str, str]:
    fields = answer.decode().split("\r")[1].split("|")
    return fields[1], fields[2]


@asynccontextmanager
async def _connect(
    h: PluginHarness, tls: ssl.SSLContext | None = None, name: str | None = None
) -> AsyncIterator[Client]:
    host, port = h.plugin.listener.address  # type: ignore[attr-defined]
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@pytest.fixture
def connect() -> Callable[..., Any]:
    """`async with connect(h) as client:`"""
    return _connect


@pytest.fixture
def message() -> Callable[..., bytes]:
    """Makes messages."""
    return adt


@pytest.fixture
def receiver() -> Callable[..., PluginHarness]:
    """The plugin on a free port, without waiting for late subscribers; keywords are its configuration."""

    def make(**config: Any) -> PluginHarness:
        dispatch = {"settle": 0, "backoff": 0.001, "max_backoff": 0.01, **config.pop("dispatch", {})}
        return harness(Hl7, config={"port": 0, "dispatch": dispatch, **config})

    return make


async def _settled(h: PluginHarness) -> None:
    async with asyncio.timeout(PATIENCE):
        await h.plugin.dispatcher.quiet()  # type: ignore[attr-defined]


@pytest.fixture
def settled() -> Callable[[PluginHarness], Any]:
    """`await settled(h)`: everything stored so far was published and written down."""
    return _settled
