"""Plugins that misbehave, let loose beside the feed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rustcare_kernel import Kernel
from rustcare_kernel.errors import PluginUnknown
from rustcare_sdk.contracts.plugin import PLUGINS
from rustcare_sdk.errors import RustCareError

from rustcare_cli.demo.hostile_attacks import ATTACKS, Attack, Escaped, expect, packages

__all__ = ["HostileRow", "run_hostile"]

#: How long a neighbour's answer may take while a plugin misbehaves. Guests run in threads of their own and without the
#: interpreter's lock, so what is waited for is the feed's own work on a busy machine: tens of milliseconds.
PATIENCE = 2.0
#: Services that show whether the rest of the system answers, the first that there is: one of a plugin with a database.
NEIGHBOURS = ("hl7.status", PLUGINS)


@dataclass(frozen=True)
class HostileRow:
    """One misbehaviour and what became of it."""

    name: str
    tried: str
    contained: bool
    how: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


async def run_hostile(kernel: Kernel, say: Callable[[str], None]) -> list[HostileRow]:
    """Let every hostile example loose, one after another, and see that each is contained.

    A plugin is contained when it could not do what it tried, everybody else went on running and answering meanwhile,
    and nothing of it is left when it was removed.
    """
    say(f"letting {len(ATTACKS)} hostile plugins loose beside the feed")
    folder = packages()
    return [await _one(kernel, attack, folder) for attack in ATTACKS]


async def _one(kernel: Kernel, attack: Attack, folder: Path) -> HostileRow:
    try:
        try:
            async with _Neighbours(kernel, attack.plugin) as neighbours:
                how = await attack.provoke(kernel, folder)
        finally:
            await _remove(kernel, attack.plugin)
        _nothing_left(kernel, attack.plugin)
    except Escaped as escape:
        return HostileRow(attack.name, attack.tried, False, str(escape))
    except RustCareError as error:
        return HostileRow(attack.name, attack.tried, False, f"{error.code}: {error}")
    slowest = f"; neighbours answered within {neighbours.slowest * 1000:.0f} ms"
    return HostileRow(attack.name, attack.tried, True, how + slowest)


async def _remove(kernel: Kernel, plugin: str) -> None:
    with suppress(PluginUnknown):  # it was removed already, or never came so far
        await kernel.remove(plugin, purge=True)


def _nothing_left(kernel: Kernel, plugin: str) -> None:
    expect(plugin not in kernel.bus.services(), "its service is still there after its removal")
    left = [subscription for subscription in kernel.bus.subscriptions() if subscription.owner == plugin]
    expect(not left, "its subscription is still there after its removal")
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith(plugin)]
    expect(not threads, f"after its removal these threads are left: {', '.join(threads)}")


class _Neighbours:
    """Asks a neighbour over and over while a plugin misbehaves, and sees in the end that nobody else was hurt."""

    def __init__(self, kernel: Kernel, attacker: str) -> None:
        self.slowest = 0.0
        self._answered = asyncio.Event()
        self._kernel = kernel
        self._attacker = attacker
        self._service = next(name for name in NEIGHBOURS if name in kernel.bus.services())

    def _serving(self) -> set[str]:
        return {
            plugin.id for plugin in self._kernel.plugins() if plugin.state == "active" and plugin.id != self._attacker
        }

    async def _ask(self) -> None:
        while True:
            began = time.monotonic()
            await self._kernel.request(self._service, {}, timeout=30.0)
            seconds = time.monotonic() - began
            self.slowest = max(self.slowest, seconds)
            self._answered.set()
            # Asking must not become a load of its own.
            await asyncio.sleep(0.005 + 4 * min(seconds, 0.1))

    async def __aenter__(self) -> Self:
        self._before = self._serving()
        self._asking = asyncio.create_task(self._ask(), name="a neighbour of a hostile plugin")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # one more answer, from after the attack
            self._answered.clear()
            again = asyncio.create_task(self._answered.wait())
            await asyncio.wait([again, self._asking], return_when=asyncio.FIRST_COMPLETED)
            again.cancel()
        self._asking.cancel()
        outcome = (await asyncio.gather(self._asking, return_exceptions=True))[0]
        if kind is None:
            expect(isinstance(outcome, asyncio.CancelledError), f"a neighbour no longer answers: {outcome}")
            expect(self.slowest < PATIENCE, f"a neighbour's answer took {self.slowest:.1f} s")
            hurt = self._before - self._serving()
            expect(not hurt, f"other plugins no longer run: {', '.join(sorted(hurt))}")
