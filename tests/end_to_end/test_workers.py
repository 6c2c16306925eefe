"""`rustcare up --workers 2`: real processes on uvloop, a plugin with a protocol of its own, kills and an upgrade under load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rustcare_kernel.control import ControlClient
from rustcare_kernel.package import write_layout
from rustcare_kernel.package._model import make_package
from rustcare_sdk.manifest import read_manifest

DOOR = """
from __future__ import annotations
import asyncio, os
from rustcare_sdk import Plugin, subscribe
from rustcare_sdk.errors import RustCareError


class Connection(asyncio.Protocol):
    def __init__(self, door):
        self.door = door

    def connection_made(self, transport):
        self.transport = transport
        self.door.connections.add(self)

    def connection_lost(self, error):
        self.door.connections.discard(self)

    def data_received(self, data):
        self.door.ctx.spawn(self.door.answer(self, data), name="answer")


class Door(Plugin):
    def __init__(self):
        self.connections = set()
        self.revoked = set()

    async def start(self):
        await self.ctx.serve_protocol("127.0.0.1", self.ctx.config["port"], lambda: Connection(self))

    async def stop(self):
        while self.connections:  # whoever is let in says something, and gets an answer
            await asyncio.sleep(0.001)

    @subscribe("door.revoked")
    async def on_revoked(self, message):
        self.revoked.add(message.data)

    async def answer(self, connection, data):
        token = data.decode().strip()
        if token in self.revoked:
            said = "refused"
        else:
            try:
                said = str(await self.ctx.request("desk.next", token, timeout=20, type=int))
            except RustCareError as error:
                said = error.code
        connection.transport.write(f"{os.getpid()} {version} {said}\\n".encode())
        connection.transport.close()
"""
DESK = """
from rustcare_sdk import Plugin, serve
from rustcare_sdk.message import Message


class Desk(Plugin):
    def __init__(self):
        self.count = 0

    @serve("desk.next")
    async def next(self, message: Message[str]) -> int:
        self.count += 1
        return self.count
"""


def package(folder: Path, name: str, code: str, uses: tuple[str, ...], version: str, scale: str = "one") -> Path:
    """A package on disk."""
    capabilities = "".join(f'[[capability]]\nuse = "{use}"\nreason = "tests"\n' for use in uses)
    manifest = f"""schema = 1
[plugin]
id = "acme.{name}"
version = "{version}"
summary = "For tests"
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
    target = folder / f"{name}-{version}"
    write_layout(make_package(read_manifest(manifest), manifest, tree, {}, source=name), target)
    return target


def door(folder: Path, version: str) -> Path:
    """The plugin of each process."""
    code = DOOR.replace("import asyncio, os\n", f'import asyncio, os\nversion = "{version}"\n', 1)
    uses = ("net:listen@127.0.0.1:*", "bus:request@desk.next", "bus:subscribe@door.revoked")
    return package(folder, "door", code, uses, version, "each")


class Server:
    """What `rustcare up` runs, and the way to it."""

    def __init__(self, data: Path, process: asyncio.subprocess.Process) -> None:
        self.data = data
        self.process = process
        self.port = 0

    async def call(self, method: str, **params: Any) -> Any:
        """A method of the control API."""

        def work() -> Any:
            with ControlClient(self.data, timeout=60) as control:
                return control.call(method, **params)

        return await asyncio.to_thread(work)

    async def workers(self) -> list[dict[str, Any]]:
        """The worker processes."""
        found: list[dict[str, Any]] = (await self.call("system.status"))["workers"]
        return found

    async def serving(self, without: int = 0) -> list[int]:
        """The processes of all workers, when all of them serve and this one is not among them."""
        async with asyncio.timeout(30):
            while True:
                found = await self.workers()
                pids = [worker["pid"] for worker in found]
                if all(worker["state"] == "serving" for worker in found) and without not in pids:
                    return pids

    async def knock(self, token: str = "t") -> list[str]:
        """One connection: process, version, answer. Raises ConnectionError when it was cut."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"{token}\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
        if not answer:
            raise ConnectionResetError("no answer")
        return answer.decode().split()


@asynccontextmanager
async def served(tmp_path: Path) -> AsyncIterator[Server]:
    """`rustcare up --workers 2` with both plugins."""
    data = tmp_path / "data"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(
            "-m",
            "rustcare_cli",
            "up",
            "--bare",
            "--workers",
            "2",
            "--data",
            str(data),
            "--json",
            "--log-level",
            "error",
        ),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    server = Server(data, process)
    try:
        assert json.loads(await process.stdout.readline())["plugins"] == []
        desk = package(tmp_path, "desk", DESK, ("bus:serve@desk.next",), "1.0.0")
        await server.call("plugin.install", source=str(desk), consent=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            server.port = probe.getsockname()[1]
        await server.call(
            "plugin.install", source=str(door(tmp_path, "1.0.0")), consent=True, config={"port": server.port}
        )
        await server.serving()
        yield server
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 60)


async def test_connections_are_shared_and_the_primary_takes_none(tmp_path: Path) -> None:
    """Both workers answer, with what the primary's plugin counts; the primary accepts nothing itself."""
    async with served(tmp_path) as server:
        pids = await server.serving()
        answers = [answer for _ in range(8) for answer in await asyncio.gather(*(server.knock() for _ in range(25)))]
        shares = Counter(int(pid) for pid, _, _ in answers)
        assert set(shares) == set(pids)
        assert server.process.pid not in shares
        assert sorted(int(said) for _, _, said in answers) == list(range(1, 201))
        status = await server.call("system.status")
        assert status["pid"] == server.process.pid
        assert len(status["workers"]) == 2


async def test_a_confirmed_event_is_in_force_at_every_door(tmp_path: Path) -> None:
    """When the publisher has its answer, no worker lets in what the event took away; one that hangs is no more."""
    async with served(tmp_path) as server:
        pids = await server.serving()
        os.kill(pids[0], signal.SIGSTOP)
        told = await server.call("bus.publish", subject="door.revoked", data="t", confirm=True)
        assert (told["receivers"], told["handled"], told["failures"]) == (2, 2, []), told
        answers = await asyncio.gather(*(server.knock() for _ in range(50)))
        assert {int(pid) for pid, _, _ in answers} == {pids[1]}
        assert {said for _, _, said in answers} == {"refused"}


async def test_kills_and_upgrades_under_load(tmp_path: Path) -> None:
    """While workers are killed and the plugin is upgraded, only connections that a killed worker had are cut."""
    async with served(tmp_path) as server:
        stop = asyncio.Event()
        answered: list[list[str]] = []
        cut = 0

        async def load() -> None:
            nonlocal cut
            while not stop.is_set():
                try:
                    answered.append(await server.knock())
                except ConnectionResetError:
                    cut += 1

        work = [asyncio.ensure_future(load()) for _ in range(8)]
        for version in ("1.1.0", "1.2.0", "1.3.0"):
            await server.call("plugin.upgrade", source=str(door(tmp_path, version)), consent=True)
            await server.serving()
        async with asyncio.timeout(30):
            while not answered or answered[-1][1] != "1.3.0":
                await server.workers()
        assert cut == 0, "an upgrade cuts no connection"
        kills = 6
        for turn in range(kills):
            pid = (await server.serving())[turn % 2]
            os.kill(pid, signal.SIGKILL)
            await server.serving(without=pid)
        stop.set()
        await asyncio.gather(*work)
        assert cut <= kills * 8, "a killed worker takes with it what it had, and no more"
        assert {said for _, _, said in answered if not said.isdigit()} == set()
        counted = [int(said) for _, _, said in answered]
        assert len(set(counted)) == len(counted), "nothing was done twice"


async def test_the_primarys_end_is_the_workers_end(tmp_path: Path) -> None:
    """SIGKILL of the primary, and its orderly stop, leave no worker."""

    def alive(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except FileNotFoundError:
            return False

    for how in (signal.SIGKILL, signal.SIGTERM):
        folder = tmp_path / how.name
        folder.mkdir()
        async with served(folder) as server:
            pids = await server.serving()
            server.process.send_signal(how)
            assert await asyncio.wait_for(server.process.wait(), 30) == (-how if how is signal.SIGKILL else 0)
            async with asyncio.timeout(10):
                while any(alive(pid) for pid in pids):
                    await asyncio.to_thread(os.sched_yield)
