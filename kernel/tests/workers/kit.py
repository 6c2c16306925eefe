"""Plugins for the tests of workers, and a way to speak to one particular process.

`acme.front` runs in each process. It answers on a socket, one JSON command on each line, so that a test can have a plugin
in a worker do what plugins do. `acme.back` runs in the primary alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from rustcare_kernel import Kernel
from rustcare_kernel.package import Package
from rustcare_kernel.package._model import make_package
from rustcare_sdk.manifest import read_manifest

FRONT = """
from __future__ import annotations
import asyncio, json, os, time
from dataclasses import dataclass
from typing import Any
from rustcare_sdk import Plugin, serve, subscribe
from rustcare_sdk.errors import RustCareError, failure_from_error
from rustcare_sdk.message import Call

VERSION = "{version}"


@dataclass
class Reply:
    text: str
    numbers: list[int]


class Front(Plugin):
    def __init__(self):
        self.seen = []
        self.held = None
        self.kept = None
        self.link = None

    async def start(self):
        {start}
        if {listens}:
            self.listener = await self.ctx.listen("127.0.0.1", 0, self.connected)

    async def export_state(self):
        return self.kept

    async def import_state(self, state):
        self.kept = state

    @serve("front.who")
    async def who(self, message):
        return [os.getpid(), VERSION, message.tenant]

    @serve("front.central")
    async def central(self, message):
        return [os.getpid(), self.ctx.plugin.worker]

    @serve("front.where")
    async def where(self, message):
        return self.listener.address[1]

    @serve("front.sit")
    async def sit(self, message):
        await asyncio.Event().wait()

    @serve("front.linger")
    async def linger(self, message):
        await self.ctx.request("back.wait", None)
        return self.ctx.random(4).hex()

    @serve("front.config")
    async def configured(self, message):
        return dict(self.ctx.config)

    @subscribe("news.>")
    async def on_news(self, message):
        if self.held is not None:
            await self.held
        if message.data == "ask":
            self.seen.append((await self.ctx.request("back.call"))[:2])
            return
        self.seen.append(message.data)

    @subscribe("jobs.>", group="crew")
    async def on_job(self, message):
        if message.data == "hang":
            time.sleep(1000)
        self.seen.append(message.data)

    async def connected(self, reader, writer):
        async def run(command):
            try:
                answer = dict(ok=await self.do(command["do"], command))
            except RustCareError as error:
                answer = dict(failure=failure_from_error(error), kind=type(error).__name__)
            writer.write(json.dumps(dict(id=command["id"], pid=os.getpid(), version=VERSION, **answer)).encode() + b"\\n")
            if command["do"] == "block":  # it was answered; now nothing in this process goes on
                time.sleep(1000)

        while line := await reader.readline():
            self.ctx.spawn(run(json.loads(line)), name="command")

    async def do(self, what, command):
        call = Call(**command["call"]) if "call" in command else None
        if what == "request":
            kind = Reply if command.get("typed") else None
            found = await self.ctx.request(
                command["name"], command.get("data"), timeout=command.get("timeout"), type=kind, call=call
            )
            return [found.text, found.numbers] if isinstance(found, Reply) else found
        if what == "many":
            async def one(number):
                try:
                    return await self.ctx.request(command["name"], number) == number
                except RustCareError:
                    return False
            return sum(await asyncio.gather(*(one(number) for number in range(command["count"]))))
        if what == "large":
            return len(await self.ctx.request("back.echo", "x" * command["size"], type=str))
        if what == "timed":
            times = []
            for number in range(command["count"]):
                started = time.perf_counter()
                await self.ctx.request(command["name"], number)
                times.append(time.perf_counter() - started)
            return sorted(times)[len(times) // 2]
        if what == "cancel":
            task = asyncio.ensure_future(self.ctx.request(command["name"], None, timeout=30))
            await asyncio.sleep(0)
            await self.ctx.request("back.began", None)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return True
        if what == "publish":
            found = await self.ctx.publish(
                command["name"], command.get("data"), confirm=command.get("confirm", False), call=call
            )
            return None if found is None else [found.receivers, found.handled, list(found.failures)]
        if what == "remember":
            self.kept = command["value"]
        if what == "recall":
            return self.kept
        if what == "seen":
            return self.seen
        if what == "hold":
            self.held = asyncio.get_running_loop().create_future()
        if what == "free":
            self.held.set_result(None)
            self.held = None
        if what == "trap":
            async def fall():
                raise ValueError("on purpose")
            self.ctx.spawn(fall(), name="fall")
        if what == "tasks":
            return len(asyncio.all_tasks())
        if what == "files":
            return len(os.listdir("/proc/self/fd"))
        if what == "worker":
            return self.ctx.plugin.worker
        if what == "secret":
            return (await self.ctx.secrets.hmac_sha256("door", b"x")).hex()
        if what == "token":
            return self.ctx.random(4).hex()
        if what == "forge":  # past the context, as code that is not what it says to be could
            import gc, msgspec
            from rustcare_kernel.workers import _frames as frames
            from rustcare_kernel.workers._link import Link
            if self.link is None:
                self.link = next(found for found in gc.get_objects() if isinstance(found, Link))
            link = self.link
            kind = getattr(frames, command["frame"])
            said = [link.ticket() if field == "ID" else field for field in command["fields"]]
            frame = msgspec.convert([kind.__struct_config__.tag, *said], kind)
            if said[0] in command["fields"]:
                return link.send(frame)
            return json.loads(await link.answer(frame, time.monotonic() + 30) or "null")
        return True
"""

BACK = """
from __future__ import annotations
import asyncio, os
from dataclasses import dataclass
from rustcare_sdk import Plugin, serve, subscribe
from rustcare_sdk.contracts.http import HttpResponse
from rustcare_sdk.errors import ServiceError
from rustcare_sdk import errors


@dataclass
class Reply:
    text: str
    numbers: list[int]


class Back(Plugin):
    def __init__(self):
        self.cancelled = 0
        self.entered, self.freed = asyncio.Event(), asyncio.Event()
        self.seen = []

    @serve("back.echo")
    async def echo(self, message):
        return message.data

    @serve("back.typed")
    async def typed(self, message) -> Reply:
        return Reply("typed", [1, 2])

    @serve("back.call")
    async def call(self, message):
        call = message.call
        return [call.tenant, call.principal, call.trace, call.on_behalf, call.purpose, message.source, message.remaining()]

    @serve("back.fail")
    async def fail(self, message):
        raise ServiceError("acme.no-bed", "there is no bed", hint="ask the ward", address="ward 7")

    @serve("back.break")
    async def broken(self, message):
        raise ValueError("a patient's name")

    @serve("back.stream")
    async def stream(self, message):
        async def parts():
            yield b"part"
        return HttpResponse(stream=parts())

    @serve("back.odd")
    async def odd(self, message):
        return object()

    @serve("back.slow")
    async def slow(self, message):
        self.entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    @serve("back.began")
    async def began(self, message):
        await self.entered.wait()
        return True

    @serve("back.cancelled")
    async def count(self, message):
        return self.cancelled

    @serve("back.wait")
    async def wait(self, message):
        self.entered.set()
        await self.freed.wait()

    @serve("back.free")
    async def free(self, message):
        self.freed.set()

    @serve("back.who")
    async def who(self, message):
        return os.getpid()

    @serve("back.publish")
    async def publish(self, message):
        found = await self.ctx.publish("news.from.back", message.data, confirm=True)
        return [found.receivers, found.handled, list(found.failures)]

    @subscribe("news.>")
    async def on_news(self, message):
        self.seen.append(message.data)

    @serve("back.seen")
    async def saw(self, message):
        return self.seen
"""

FRONT_ASKS = (
    "bus:serve@front.*",
    "bus:subscribe@news.>",
    "bus:subscribe@jobs.>",
    "bus:request@back.*",
    "bus:request@front.*",
    "bus:request@test.call",
    "bus:publish@news.>",
    "bus:publish@jobs.>",
    "bus:originate@*",
    "net:listen@127.0.0.1:*",
    "secret:use@door",
    "random:read",
)
BACK_ASKS = ("bus:serve@back.*", "bus:subscribe@news.>", "bus:publish@news.>")


def made(
    plugin: str,
    code: str,
    entry: str,
    asks: tuple[str, ...],
    *,
    version: str = "1.0.0",
    scale: str = "one",
    lifecycle: str = "",
) -> Package:
    """A package made of one module."""
    capabilities = "".join(f'[[capability]]\nuse = "{use}"\nreason = "tests"\n' for use in asks)
    manifest = f"""schema = 1
[plugin]
id = "{plugin}"
version = "{version}"
summary = "For tests"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "{entry}" }}
[lifecycle]
scale = "{scale}"
{lifecycle}
[config]
schema = "config.schema.json"
{capabilities}
""".encode()
    tree = {"__init__.py": b"", "plugin.py": code.encode(), "config.schema.json": b'{"type": "object"}'}
    return make_package(read_manifest(manifest), manifest, tree, {}, source=f"{plugin}-{version}")


def front(version: str = "1.0.0", *, listens: bool = True, lifecycle: str = "", start: str = "pass") -> Package:
    """The plugin of each process. `start`: a line of Python that it runs when it starts."""
    text = FRONT.replace("{version}", version).replace("{listens}", str(listens)).replace("{start}", start)
    more = f'central = ["front.central"]\n{lifecycle}'
    return made("acme.front", text, "front.plugin:Front", FRONT_ASKS, version=version, scale="each", lifecycle=more)


def back(version: str = "1.0.0") -> Package:
    """The plugin of the primary alone."""
    return made("acme.back", BACK, "back.plugin:Back", BACK_ASKS, version=version)


class Line:
    """A connection to the front in one process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0
        self._task = asyncio.get_running_loop().create_task(self._read())
        self.pid = 0

    @classmethod
    async def to(cls, port: int, pid: int | None = None) -> Self:
        """A connection to the front in some process, or in the one of this id."""
        others = []
        try:
            async with asyncio.timeout(20):
                while True:
                    line = cls(*await asyncio.open_connection("127.0.0.1", port))
                    others.append(line)
                    line.pid = (await line.raw("pid"))["pid"]
                    if pid is None or line.pid == pid:
                        return others.pop()
        finally:
            for other in others:
                await other.close()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                answer = json.loads(line)
                waiting = self._waiting.pop(answer["id"])
                if not waiting.done():
                    waiting.set_result(answer)
        except OSError:
            pass
        finally:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(ConnectionResetError("the process has ended"))

    async def raw(self, do: str, **fields: Any) -> dict[str, Any]:
        """What came of a command."""
        self._last += 1
        waiting = self._waiting[self._last] = asyncio.get_running_loop().create_future()
        if self._task.done():
            raise ConnectionResetError("the process has ended")
        self._writer.write(json.dumps({"id": self._last, "do": do, **fields}).encode() + b"\n")
        return await waiting

    async def do(self, do: str, **fields: Any) -> Any:
        """The answer to a command, which must succeed."""
        answer = await self.raw(do, **fields)
        assert "failure" not in answer, answer
        return answer["ok"]

    async def ask(self, name: str, data: Any = None, **fields: Any) -> Any:
        """Have the front ask a service."""
        return await self.do("request", name=name, data=data, **fields)

    async def close(self) -> None:
        """Close the connection."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for waiting in self._waiting.values():
            waiting.cancel()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


class Office:
    """A kernel with workers, both plugins installed."""

    def __init__(self, kernel: Kernel, port: int) -> None:
        self.kernel = kernel
        self.port = port
        self._lines: list[Line] = []

    def pids(self) -> list[int]:
        """The processes of the workers."""
        return [worker.pid for worker in self.kernel.workers()]

    async def line(self, number: int = 1) -> Line:
        """A line to the front in one worker."""
        line = await Line.to(self.port, self.pids()[number - 1])
        self._lines.append(line)
        return line

    async def close(self) -> None:
        """Close the lines."""
        for line in self._lines:
            await line.close()

    async def replaced(self, pid: int, seconds: float = 20.0) -> None:
        """Return when a worker is no more and another serves in its place."""
        async with asyncio.timeout(seconds):
            while pid in self.pids():  # noqa: ASYNC110  # until this process has noticed
                await asyncio.sleep(0)
            await self.kernel.converged()


@asynccontextmanager
async def office(folder: Path, *, workers: int = 2, patience: float = 10.0, **options: Any) -> AsyncIterator[Office]:
    """A kernel with workers. `before`: packages to install first. `patience` is long: the machine may be busy."""
    logged = options.pop("logged", [])
    before: tuple[Package, ...] = options.pop("before", ())
    async with Kernel(
        folder, workers=workers, patience=patience, log_sink=lambda line: logged.append(json.loads(line)), **options
    ) as kernel:
        for package in (*before, back(), front()):
            await kernel.install(package, consent=True)
        await kernel.converged()
        found = Office(kernel, await kernel.request("front.where"))
        try:
            yield found
        finally:
            await found.close()
