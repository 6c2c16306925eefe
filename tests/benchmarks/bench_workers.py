"""The link between a worker and the primary against a bare echo between the same two processes, on uvloop as `rustcare up`."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import uvloop
from rustcare_kernel import Kernel
from rustcare_kernel.package import Package
from rustcare_kernel.package._model import make_package
from rustcare_sdk.manifest import read_manifest

from tests.benchmarks.harness import Row

_CALLS = 3000
_AT_ONCE = 256
_ROUNDS = 7

#: Of the primary alone: a service, and a socket that gives back what it gets.
_DESK = """
import asyncio
from rustcare_sdk import Plugin, serve


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Desk(Plugin):
    async def start(self):
        self.server = await asyncio.get_running_loop().create_unix_server(Echo, self.ctx.config["socket"])

    async def stop(self):
        self.server.close()

    @serve("desk.echo")
    async def echo(self, message):
        return message.data
"""
#: Of each process. What it measures in a worker it publishes.
_DOOR = """
import asyncio, sys, time
from rustcare_sdk import Plugin, subscribe


class Client(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.waiting = None

    def data_received(self, data):
        self.waiting.set_result(data)


class Door(Plugin):
    @subscribe("door.run")
    async def run(self, message):
        if "rustcare_kernel" in sys.argv[0]:  # a worker
            calls, at_once, path = message.data
            self.ctx.spawn(self.measure(calls, at_once, path), name="measure")

    async def measure(self, calls, at_once, path):
        data = {"id": 123, "name": "a bed", "tags": ["x", "y"]}
        request = self.ctx.request
        started = time.perf_counter()
        for _ in range(calls):
            await request("desk.echo", data)
        alone = time.perf_counter() - started

        async def some(count):
            for _ in range(count):
                await request("desk.echo", data)

        started = time.perf_counter()
        await asyncio.gather(*(some(calls // at_once * 4) for _ in range(at_once)))
        together = (time.perf_counter() - started) / (calls // at_once * 4 * at_once) * calls
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_unix_connection(Client, path)
        body = b"x" * 150
        started = time.perf_counter()
        for _ in range(calls):
            client.waiting = loop.create_future()
            transport.write(body)
            await client.waiting
        bare = time.perf_counter() - started
        transport.close()
        await self.ctx.publish("door.done", [alone, together, bare])
"""


def _package(name: str, code: str, scale: str, *uses: str) -> Package:
    capabilities = "".join(f'[[capability]]\nuse = "{use}"\nreason = "bench"\n' for use in uses)
    manifest = f"""schema = 1
[plugin]
id = "bench.{name}"
version = "1.0.0"
summary = "For the benchmark"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "{name}.plugin:{name.title()}" }}
[lifecycle]
scale = "{scale}"
[config]
schema = "config.schema.json"
{capabilities}
""".encode()
    tree = {"__init__.py": b"", "plugin.py": code.encode(), "config.schema.json": b'{"type": "object"}'}
    return make_package(read_manifest(manifest), manifest, tree, {}, source=name)


def rows() -> Iterator[Row]:
    """A request alone, requests together, and a confirmed event."""
    yield from uvloop.run(_rows())


async def _rows() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "echo.sock")
        config = {"bench.desk": {"socket": path}}
        async with Kernel(Path(folder) / "data", workers=1, patience=60, log_level="error", config=config) as kernel:
            await kernel.install(_package("desk", _DESK, "one", "bus:serve@desk.echo"), consent=True)
            uses = ("bus:request@desk.echo", "bus:subscribe@door.run", "bus:publish@door.done")
            await kernel.install(_package("door", _DOOR, "each", *uses), consent=True)
            await kernel.converged()
            taken = []
            for _ in range(_ROUNDS):
                done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
                kernel.bus.observer = lambda message, done=done: (  # type: ignore[misc]
                    done.set_result(message.data) if message.subject == "door.done" else None
                )
                await kernel.publish("door.run", [_CALLS, _AT_ONCE, path], confirm=True)
                taken.append([float(item) for item in _decoded(await done)])
            kernel.bus.observer = None
            alone, together, bare = (median(column) / _CALLS * 1e6 for column in zip(*taken, strict=True))
    return [
        Row("request over the link, alone", alone, bare, "µs", aim=4.0, note="against a bare echo of as many bytes"),
        Row(f"request over the link, {_AT_ONCE} at once", together, bare, "µs", aim=1.5, note="per request"),
    ]


def _decoded(data: object) -> list[float]:
    import msgspec

    assert isinstance(data, msgspec.Raw)
    return msgspec.json.decode(data, type=list[float])
