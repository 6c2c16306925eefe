"""Plugins for the kernel's tests: real packages, made in memory, whose behaviour a test steers through a board.

The board is a module that the test puts into `sys.modules`; trusted plugins import it like any other. It outlives versions
and restarts of the kernel, so it sees what no catalog would show.
"""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from rustcare_kernel import Kernel
from rustcare_kernel.package import Package
from rustcare_kernel.package._model import make_package
from rustcare_sdk.contracts.plugin import STATE
from rustcare_sdk.manifest import read_manifest
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler

BOARD = "rustcare_tests_board"

#: A plugin that does everything once: it answers, counts events into its state, and does what the board wants of it.
CODE = """
from __future__ import annotations
from rustcare_sdk import Plugin, Health, serve, subscribe
import rustcare_tests_board as board

ME, VERSION = "{id}", "{version}"


class Sample(Plugin):
    state_version = {state_version}

    def __init__(self):
        self.count = 0
        self.seen = []

    async def start(self):
        await board.step(self, "start")

    async def stop(self):
        await board.step(self, "stop")

    async def health(self):
        return Health(**(await board.step(self, "health") or {{}}))

    async def export_state(self):
        await board.step(self, "export_state")
        return {{"count": self.count, "seen": self.seen}}

    async def import_state(self, state):
        self.count, self.seen = state["count"], state["seen"]
        await board.step(self, "import_state")

    async def migrate(self, version, state):
        state["seen"].append(f"migrated from {{version}}")
        return state

    @serve("{service}")
    async def answer(self, message):
        await board.step(self, "answer")
        return [VERSION, self.count, list(self.seen)]

    @subscribe("{pattern}"{how})
    async def {method}(self, message):
        await board.step(self, "event")
        self.count += 1
        board.handled.append((ME, VERSION, message.subject, message.data))
{more}
"""


def package(
    plugin: str = "acme.sample",
    version: str = "1.0.0",
    *,
    state_version: int = 1,
    service: str = "",
    pattern: str = "",
    how: str = "",
    method: str = "on_event",
    asks: dict[str, str] | None = None,
    toml: str = "",
    more: str = "",
    lifecycle: str = "",
    limit: str = "5s",
    files: dict[str, bytes] | None = None,
) -> Package:
    """A package of the sample plugin. `asks` are further capabilities, each `required` or `optional`."""
    name = plugin.partition(".")[2].replace("-", "_")
    service, pattern = service or f"{name}.ask", pattern or f"{name}.event.*"
    wanted = {f"bus:serve@{service}": "required", f"bus:subscribe@{pattern}": "required", **(asks or {})}
    capabilities = "".join(
        f'[[capability]]\nuse = "{use}"\nreason = "tests"\navailability = "{need}"\n' for use, need in wanted.items()
    )
    manifest = f"""schema = 1
[plugin]
id = "{plugin}"
version = "{version}"
summary = "A sample"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "{name}.plugin:Sample" }}
[lifecycle]
drain = "{limit}"
start_timeout = "{limit}"
state_version = {state_version}
{lifecycle}
{toml}
{capabilities}
""".encode()
    code = CODE.format(
        id=plugin,
        version=version,
        state_version=state_version,
        service=service,
        pattern=pattern,
        how=how,
        method=method,
        more=textwrap.indent(textwrap.dedent(more), "    "),
    )
    tree = {"__init__.py": b"", "plugin.py": code.encode(), **(files or {})}
    return make_package(read_manifest(manifest), manifest, tree, {}, source=f"{plugin}-{version}")


class Board(ModuleType):
    """What plugins report to and ask. A rule is set by `on[plugin, version, step]`: a function, or an exception to raise."""

    def __init__(self) -> None:
        super().__init__(BOARD)
        self.handled: list[tuple[str, str, str, Any]] = []
        self.steps: Counter[tuple[str, str, str]] = Counter()
        self.on: dict[tuple[str, str, str], Any] = {}
        self.alive: dict[tuple[str, str], Any] = {}

    async def step(self, plugin: Any, step: str) -> Any:
        """Called by a plugin at every step of its life and for each message."""
        module = sys.modules[type(plugin).__module__]
        key = (module.ME, module.VERSION, step)
        self.steps[key] += 1
        if step == "start":
            self.alive[key[:2]] = plugin
        rule = self.on.get(key)
        if isinstance(rule, BaseException):
            raise rule
        if rule is not None:
            outcome = rule() if callable(rule) else rule
            return await outcome if asyncio.iscoroutine(outcome) or asyncio.isfuture(outcome) else outcome
        return None

    def data(self, plugin: str = "acme.sample") -> list[Any]:
        """What a plugin handled, by whatever version, in order."""
        return [data for name, _, _, data in self.handled if name == plugin]


@contextmanager
def board() -> Iterator[Board]:
    """A fresh board for as long as the block runs."""
    made = Board()
    sys.modules[BOARD] = made
    try:
        yield made
    finally:
        del sys.modules[BOARD]


def once(error: BaseException) -> Callable[[], None]:
    """A rule that raises the first time only."""
    left = [error]

    def rule() -> None:
        if left:
            raise left.pop()

    return rule


class States:
    """Follows `plugin.state` events, so that a test can wait for a state instead of guessing when it comes."""

    def __init__(self, kernel: Kernel) -> None:
        self.steps: list[tuple[str, str]] = []
        self._kernel = kernel
        self._waiting: list[tuple[str, str, asyncio.Future[None]]] = []
        self._subscription = kernel.bus.subscribe(Handler("subscribe", STATE), self._on)

    async def _on(self, message: Message[Any]) -> None:
        self.steps.append((message.data.plugin, message.data.to_state))
        for plugin, state, future in self._waiting:
            if (plugin, state) == self.steps[-1] and not future.done():
                future.set_result(None)

    async def reached(self, plugin: str, state: str) -> None:
        """Return when the plugin is in that state."""
        if self._kernel.plugin(plugin).state != state:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((plugin, state, future))
            async with asyncio.timeout(10):
                await future


def quiet(folder: Path, **options: Any) -> Kernel:
    """A kernel that logs to nobody."""
    return Kernel(folder, log_level="silent", **options)


def v2(**options: Any) -> Package:
    return package(version="2.0.0", **options)


async def flood(kernel: Any, start: int, count: int, subject: str = "sample.event.x") -> list[Any]:
    """Confirmed events, published one right after the other, so that they are in flight all through an upgrade."""
    published = []
    for number in range(start, start + count):
        published.append(asyncio.create_task(kernel.publish(subject, number, confirm=True)))
        await asyncio.sleep(0)
    return list(await asyncio.gather(*published))


def blobs(folder: Path) -> list[str]:
    """The names of all stored blobs."""
    stored = folder / "blobs" / "sha256"
    return sorted(path.name for path in stored.iterdir()) if stored.is_dir() else []
