"""Replacing a plugin under load, and loading and unloading it many times."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_kernel.bus import Sender
from rustcare_kernel.errors import UpgradeFailed

from tests.support.plugins import write_plugin

# Counts what arrives, and for each subject the messages that are missing, double or out of order.
COUNTER = """
    from rustcare_sdk import Health, Message, Plugin, serve, subscribe

    class Subject(Plugin):
        def __init__(self):
            self.last = {}
            self.wrong = 0
            self.count = 0
            self.versions = []

        @subscribe("load.*", queue=4096)
        async def tick(self, message: Message):
            self.count += 1
            if message.data != self.last.get(message.subject, -1) + 1:
                self.wrong += 1
            self.last[message.subject] = message.data

        @serve("load.report")
        async def report(self, message: Message):
            return {"count": self.count, "wrong": self.wrong, "versions": self.versions}

        async def export_state(self):
            return {"last": self.last, "wrong": self.wrong, "count": self.count, "versions": self.versions}

        async def import_state(self, state):
            self.last, self.wrong, self.count = state["last"], state["wrong"], state["count"]
            self.versions = [*state["versions"], self.ctx.plugin.version]
"""
UNHEALTHY = (
    COUNTER
    + """
        async def health(self):
            return Health(ok=not self.versions, reason="made to fail after the hand-over")
"""
)
CAPABILITIES = ("bus:subscribe@load.*", "bus:serve@load.report")
TOTAL = int(os.environ.get("RUSTCARE_SWAP_MESSAGES", "1000000"))


async def test_a_million_messages_through_three_upgrades_and_one_that_fails(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Three upgrades and a failing one, under load: every message handled once, in order; the longest pause is told."""
    versions = {
        number: write_plugin(tmp_path, source, version=number, capabilities=CAPABILITIES)
        for number, source in (
            ("1.0.0", COUNTER),
            ("2.0.0", COUNTER),
            ("2.5.0", UNHEALTHY),
            ("3.0.0", COUNTER),
            ("4.0.0", COUNTER),
        )
    }
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await kernel.install(versions["1.0.0"], consent=True)
        sent = {"load.a": 0, "load.b": 0}
        sender = Sender("load", None)
        swapped = asyncio.Event()
        marks = [(share * TOTAL, asyncio.Event()) for share in (0.2, 0.4, 0.6, 0.8)]

        async def publish(subject: str) -> None:
            # The feed goes on until all swaps are done, so that every one of them happens under load.
            while sent[subject] < TOTAL // 2 or not swapped.is_set():
                await kernel.bus.publish(sender, subject, sent[subject])
                sent[subject] += 1
                if sent[subject] % 1000 == 0:
                    for mark, reached in marks:
                        if sum(sent.values()) >= mark:
                            reached.set()
                    await asyncio.sleep(0)

        publishers = [asyncio.create_task(publish(subject)) for subject in sent]
        pauses = []
        for (_, reached), number in zip(marks, ("2.0.0", "2.5.0", "3.0.0", "4.0.0"), strict=True):
            await reached.wait()
            if number == "2.5.0":
                with pytest.raises(UpgradeFailed, match="made to fail after the hand-over"):
                    await kernel.upgrade(versions[number])
                pauses.append(kernel.plugin("test.subject").pause_ms)
                assert kernel.plugin("test.subject").version == "2.0.0"
            else:
                pauses.append((await kernel.upgrade(versions[number])).pause_ms)
        swapped.set()
        await asyncio.gather(*publishers)
        for subscription in kernel.bus.subscriptions():
            await subscription.drain()
        report = await kernel.request("load.report")
    assert sum(sent.values()) >= TOTAL
    assert report == {"count": sum(sent.values()), "wrong": 0, "versions": ["2.0.0", "3.0.0", "4.0.0"]}
    record_property("longest_pause_ms", max(pauses))
    print(f"\n{sum(sent.values())} messages, pauses of {', '.join(f'{pause:.1f}' for pause in pauses)} ms")


async def test_two_hundred_cycles_of_a_python_plugin_leave_nothing_behind(tmp_path: Path) -> None:
    """After 200 times install and remove: no module, task, thread or descriptor more; memory within 4 MiB."""
    folder = write_plugin(tmp_path, COUNTER, capabilities=CAPABILITIES, files={"words.py": "WORDS = 'x' * 10_000\n"})

    async def cycle(kernel: Kernel) -> None:
        status = await kernel.install(folder, consent=True)
        assert status.state == "active"
        await kernel.publish("load.a", 0, confirm=True)
        assert (await kernel.request("load.report"))["count"] == 1
        await kernel.remove("test.subject", purge=True)

    await _leaves_nothing(tmp_path / "data", cycle, cycles=200)


async def test_two_hundred_cycles_of_a_component_leave_nothing_behind(tmp_path: Path) -> None:
    """After 200 times install and remove of a component: no task, thread or descriptor more; memory within 16 MiB."""
    package = await _component(tmp_path)

    async def cycle(kernel: Kernel) -> None:
        status = await kernel.install(package, consent=True)
        assert status.state == "active", status.reason
        assert await kernel.request("load.report")
        await kernel.remove("test.subject", purge=True)

    await _leaves_nothing(tmp_path / "data", cycle, cycles=200, tolerance=16.0)


async def _component(tmp_path: Path) -> Any:
    """A component built from portable source, once for each state of the source."""
    source = """
        from rustcare_sdk import Message, Plugin, serve

        class Subject(Plugin):
            @serve("load.report")
            async def report(self, message: Message) -> dict:
                return {"count": 1}
    """
    folder = write_plugin(tmp_path, source, capabilities=("bus:serve@load.report",))
    manifest = folder / "src" / "subject_plugin" / "plugin.toml"
    manifest.write_text(
        manifest.read_text().replace("[runtime]\n", '[runtime]\ncomponent = { path = "subject.wasm" }\n')
    )
    async with Kernel(tmp_path / "builder", log_level="silent") as kernel:
        return await kernel._installer.read(folder)


async def _leaves_nothing(
    data_dir: Path, cycle: Callable[[Kernel], Any], *, cycles: int, tolerance: float = 4.0
) -> None:
    async with Kernel(data_dir, log_level="silent") as kernel:
        for _ in range(cycles // 10):  # caches of the interpreter and of SQLite fill up first
            await cycle(kernel)
        before = _footprint()
        for _ in range(cycles):
            await cycle(kernel)
        after = _footprint()
    assert after["modules"] == before["modules"]
    assert after["tasks"] == before["tasks"]
    assert after["threads"] == before["threads"]
    assert after["descriptors"] <= before["descriptors"]
    assert after["rss"] - before["rss"] < tolerance, f"{before['rss']:.1f} → {after['rss']:.1f} MiB"
    print(f"\nRSS {before['rss']:.1f} → {after['rss']:.1f} MiB after {cycles} cycles")


def _footprint() -> dict[str, Any]:
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "modules": {name for name in sys.modules if "@" in name},
        "tasks": len(asyncio.all_tasks()),
        # The event loop's own pool is bounded and grows when two calls happen to meet, so it is no plugin's doing.
        "threads": sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "rss": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "at": time.monotonic(),
    }
