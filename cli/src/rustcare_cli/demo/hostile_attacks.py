"""What each hostile plugin is provoked to do, and what must be seen for it to count as contained.

Every attack looks at outcomes, not at promises: codes of errors, states, memory of the process, what arrived on the bus.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rustcare_kernel import Kernel
from rustcare_kernel.errors import UpgradeFailed
from rustcare_sdk.errors import CapabilityDenied, NoProvider, RustCareError
from rustcare_sdk.message import Call, Message
from rustcare_sdk.plugin import Handler

__all__ = ["ATTACKS", "Attack", "Escaped", "packages"]

MIB = 1024 * 1024
#: How much the process may grow while a plugin that is limited to 16 MiB asks for 4 GiB. The feed runs beside it.
GROWTH = 256 * MIB


class Escaped(Exception):
    """A plugin did what it must not be able to do; the text says what."""


@dataclass(frozen=True)
class Attack:
    """One hostile plugin: its package's folder, what it tries, and how it is provoked and judged.

    `provoke(kernel, folder)` says in words how it was contained, or raises `Escaped`.
    """

    name: str
    tried: str
    provoke: Callable[[Kernel, Path], Awaitable[str]]

    @property
    def plugin(self) -> str:
        """The plugin's id."""
        return f"hostile.{self.name}"


def packages() -> Path:
    """Where the hostile packages lie: in the installed distribution, or in the checkout."""
    here = Path(__file__).resolve()
    for folder in (here.parent / "hostile_packages", here.parents[4] / "examples" / "hostile"):
        if (folder / "guest.wat").is_file():
            return folder
    raise FileNotFoundError("expected the hostile packages beside the demo or in examples/hostile, found neither")


def expect(fact: bool, otherwise: str) -> None:
    """Go on only if a fact holds."""
    if not fact:
        raise Escaped(otherwise)


async def _install(kernel: Kernel, folder: Path, name: str) -> str:
    status = await kernel.install(folder / name, consent=True)
    expect(status.state == "active", f"it should have started, it is {status.state}: {status.reason}")
    return status.id


async def _ask(kernel: Kernel, service: str) -> tuple[str, float]:
    """The code of the error with which a request ends ("" when it is answered), and how long it took."""
    began = time.monotonic()
    try:
        await kernel.request(service, {}, timeout=10.0)
    except RustCareError as error:
        return error.code, time.monotonic() - began
    return "", time.monotonic() - began


# those that use more than they may: each crash is counted, and one too many ends in quarantine


async def _until_quarantined(kernel: Kernel, folder: Path, name: str, code: str) -> float:
    """Provoke a plugin until the kernel shuts it out; the longest that one request took."""
    plugin = await _install(kernel, folder, name)
    longest = 0.0
    budget = kernel.manifest(plugin).lifecycle.trap_budget
    for _ in range(budget + 1):
        got, seconds = await _ask(kernel, plugin)
        expect(got == code, f"the request should have ended with {code}, it ended with {got or 'an answer'}")
        longest = max(longest, seconds)
    state = kernel.plugin(plugin).state
    expect(state == "quarantined", f"after {budget + 1} crashes it should be quarantined, it is {state}")
    got, _ = await _ask(kernel, plugin)
    expect(got == NoProvider.code, f"nothing should reach it any more, a request ended with {got or 'an answer'}")
    return longest


async def _loop(kernel: Kernel, folder: Path) -> str:
    longest = await _until_quarantined(kernel, folder, "endless_loop", "runtime.limit-exceeded")
    expect(longest < 5.0, f"it should be stopped after 0.1 s, it ran for {longest:.1f} s")
    spent = sum(row.wall_s for row in kernel.accounting.rows("hostile.endless-loop") if not row.capability)
    return f"each call stopped after its 100 ms (the longest took {longest * 1000:.0f}, {spent:.2f} s accounted); quarantined"


async def _hog(kernel: Kernel, folder: Path) -> str:
    before = peak = _resident()

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, _resident())
            await asyncio.sleep(0.002)  # far shorter than it takes to write into 4 GiB

    watching = asyncio.create_task(watch(), name="memory beside a hog")
    try:
        await _until_quarantined(kernel, folder, "memory_hog", "runtime.trapped")
    finally:
        watching.cancel()
    grown = peak - before
    expect(grown < GROWTH, f"the process grew by {grown / MIB:.0f} MiB")
    return f"held to its 16 MiB (the whole process grew by {grown / MIB:.0f}); quarantined"


async def _stack(kernel: Kernel, folder: Path) -> str:
    await _until_quarantined(kernel, folder, "stack_exhaustion", "runtime.trapped")
    return "its own stack ended in a trap, the process goes on; quarantined"


async def _output(kernel: Kernel, folder: Path) -> str:
    await _until_quarantined(kernel, folder, "huge_output", "runtime.limit-exceeded")
    taken = sum(row.bytes_out for row in kernel.accounting.rows("hostile.huge-output") if not row.capability)
    expect(taken == 0, f"{taken} bytes of its answer were let in")
    return "not a byte of it was let in (64 KiB are allowed); quarantined"


# those that use what nobody granted


async def _import(kernel: Kernel, folder: Path) -> str:
    status = await kernel.install(folder / "ungranted_import", consent=True)
    expect(status.state == "failed", f"it should not start, it is {status.state}")
    expect("rustcare:plugin/secrets" in status.reason, f"it failed for another reason: {status.reason}")
    expect(status.id not in kernel.bus.services(), "it serves all the same")
    return "the import is not linked, so it never started: failed, with the import named"


async def _forbidden(kernel: Kernel, folder: Path) -> str:
    subject = "fhir.patient.updated"
    async with _Ear(kernel, subject) as ear:
        for runtime in ("component", "python"):
            plugin = (await kernel.install(folder / "forbidden_subject", consent=True, runtime=runtime)).id
            code, _ = await _ask(kernel, plugin)
            expect(code == CapabilityDenied.code, f"publishing ({runtime}) ended with {code or 'success'}")
            denied = sum(row.errors for row in kernel.accounting.rows(plugin) if row.capability == "bus:publish")
            expect(denied == 1, f"one refusal should be accounted, {denied} are")
            await kernel.remove(plugin, purge=True)
        heard = [message for message in ear.heard if message.source == plugin]
        expect(not heard, f"{len(heard)} forged messages arrived on {subject}")
    return "refused (capability.denied) and accounted, sandboxed and trusted; nothing arrived"


async def _forged(kernel: Kernel, folder: Path) -> str:
    call = Call("ward-7", "nurse", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    async with _Ear(kernel, "hostile.claim") as ear:
        for runtime in ("component", "python"):
            plugin = (await kernel.install(folder / "forged_tenant", consent=True, runtime=runtime)).id
            await kernel.request(plugin, {}, tenant=call.tenant, principal=call.principal, trace=call.trace, timeout=10)
            await kernel.remove(plugin, purge=True)
        await ear.heard_out()
    expect(len(ear.heard) == 2, f"its two claims should have arrived, {len(ear.heard)} did")
    for message in ear.heard:
        stamped = (message.call, message.source)
        expect(stamped == (call, plugin), f"a claim arrived as {stamped}")
    return "its claims arrived with the true tenant, principal, trace and source, sandboxed and trusted"


class _Ear:
    """Hears what is published on a subject."""

    def __init__(self, kernel: Kernel, subject: str) -> None:
        self.heard: list[Message[Any]] = []
        self._kernel = kernel
        self._handler = Handler("subscribe", subject, "hear")

    async def _hear(self, message: Message[Any]) -> None:
        self.heard.append(message)

    async def heard_out(self) -> None:
        """Return when everything that was published so far was heard."""
        await self._subscription.drain()

    async def __aenter__(self) -> _Ear:
        self._subscription = self._kernel.bus.subscribe(self._handler, self._hear, owner="the demo")
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._kernel.bus.unsubscribe(self._subscription)


# those that misbehave while they start or take over


async def _handover(kernel: Kernel, folder: Path) -> str:
    plugin = await _install(kernel, folder, "trap_in_handover_v1")
    expect(await _count(kernel, plugin) == 1, "version 1 does not count")
    try:
        await kernel.upgrade(folder / "trap_in_handover_v2", consent=True)
    except UpgradeFailed:
        pass
    else:
        raise Escaped("the upgrade should have failed")
    status = kernel.plugin(plugin)
    expect((status.version, status.state) == ("1.0.0", "active"), f"now {status.version} is {status.state}")
    expect(await _count(kernel, plugin) == 2, "version 1 goes on, but without its state")
    return f"the upgrade was given up; version 1 goes on with its state after {status.pause_ms:.1f} ms"


async def _start(kernel: Kernel, folder: Path) -> str:
    began = time.monotonic()
    status = await kernel.install(folder / "endless_start", consent=True)
    seconds = time.monotonic() - began
    expect(status.state == "retry", f"its start should have been given up for now, it is {status.state}")
    expect(seconds < 5.0, f"giving up took {seconds:.1f} s")
    return f"given up after {seconds * 1000:.0f} ms (200 are allowed); tried again with growing pauses until removed"


async def _sick(kernel: Kernel, folder: Path) -> str:
    plugin = await _install(kernel, folder, "sick_after_commit_v1")
    expect(await _count(kernel, plugin) == 1, "version 1 does not count")
    status = await kernel.upgrade(folder / "sick_after_commit_v2", consent=True)
    expect(status.version == "2.0.0", f"version 2 should have been committed, {status.version} runs")
    began = time.monotonic()
    count = 1
    while kernel.plugin(plugin).version != "1.0.0":
        expect(time.monotonic() - began < 10.0, "version 2 was not rolled back")
        count = await _count(kernel, plugin)  # it is asked all the time, and answers whichever version it is
        await asyncio.sleep(0.005)
    back = time.monotonic() - began
    expect(await _count(kernel, plugin) == count % 10 + 1, "messages that version 2 counted are forgotten")
    return (
        f"rolled back to version 1 by itself {back * 1000:.0f} ms after the commit, with the state; no request failed"
    )


async def _count(kernel: Kernel, plugin: str) -> int:
    """The answer of a plugin that counts; the sandboxed one counts in one digit."""
    answer: int = await kernel.request(plugin, {}, timeout=10.0, type=int)
    return answer


def _resident() -> int:
    """Bytes of memory the process holds; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


ATTACKS = (
    Attack("endless-loop", "loops forever on every message", _loop),
    Attack("memory-hog", "takes 4 GiB and writes into every page", _hog),
    Attack("stack-exhaustion", "calls itself without end", _stack),
    Attack("huge-output", "answers with 16 MiB", _output),
    Attack("ungranted-import", "imports the kernel's secrets without asking for them", _import),
    Attack("forbidden-subject", "publishes a forged update of a patient", _forbidden),
    Attack("forged-tenant", "claims to be another tenant, the administrator, the kernel", _forged),
    Attack("trap-in-handover", "version 2 traps while it takes over the state", _handover),
    Attack("endless-start", "never ends its start", _start),
    Attack("sick-after-commit", "version 2 falls ill right after it was committed", _sick),
)
