"""A bedside gateway: monitors send readings, a plugin watches them, alarms come out. One kernel for each bed.

    python main.py BED=DEVICE [BED=DEVICE …] [--data DIR] [--plugin SOURCE …]

DEVICE is a file, a pipe or a serial port with a JSON object on each line, `-` for standard input, or `simulate:N`, a
monitor without a patient. Everything is kept in DIR, a folder for each bed; after a power cut, start it again.
"""

# ruff: noqa: E402
from __future__ import annotations

import time

STARTED = time.perf_counter()  # the imports below are a good part of a start

import argparse
import asyncio
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from rustcare_kernel import Inspection, Kernel
from rustcare_sdk import Message
from rustcare_sdk.plugin import Handler

OURS = Path(__file__).parent / "vital-signs"
ALARMS = ("vitals.alarm", "vitals.flagged")  # `flagged` is what another plugin may publish, see the README


def allowed(inspection: Inspection) -> bool:
    """This box's policy: whatever a plugin asks for, but for the network."""
    return not any(item.use.startswith(("net:", "http:")) for item in inspection.capabilities)


async def put(kernel: Kernel, source: Path) -> None:
    """Have a plugin in exactly this version. After an update of the box's software it is replaced, its data stays."""
    inspection = await kernel.inspect(source)
    place = kernel.install if inspection.installed_version is None else kernel.upgrade
    status = await place(source, consent=allowed)
    if status.state != "active":
        raise SystemExit(f"{status.id} is {status.state}: {status.reason}")


class Bed:
    """One bed: its device, and a kernel of its own with a folder of its own."""

    def __init__(self, name: str, device: str, data: Path, plugins: list[Path]) -> None:
        self.name = name
        self._device = device
        self._data = data / name
        self._plugins = plugins
        self._stopping = False
        # Lines wait here while a reading is being written down. When it is full the device is not read, so nothing grows.
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(64)

    async def run(self) -> None:
        """Serve the bed until its device ends."""
        async with Kernel(self._data, name=f"gateway/{self.name}", log_level="error") as kernel:
            for source in (OURS, *self._plugins):
                await put(kernel, source)
            for subject in ALARMS:
                kernel.bus.subscribe(Handler("subscribe", subject), self._alarm)
            known = await self._summary(kernel)
            milliseconds = (time.perf_counter() - STARTED) * 1000
            self._say(
                f"ready after {milliseconds:.0f} ms, {resident():.0f} MiB; goes on after reading {known['number']}"
            )
            threading.Thread(target=self._read, args=(asyncio.get_running_loop(),), daemon=True).start()
            await self._handle_lines(kernel, known["number"])
            known = await self._summary(kernel)
            self._say(f"{known['readings']} readings, {known['alarms']} alarms; {resident():.0f} MiB")

    async def _handle_lines(self, kernel: Kernel, number: int) -> None:
        at = 0
        while (line := await self._lines.get()) is not None and not self._stopping:
            at += 1
            try:
                reading = {"number": number + 1, **json.loads(line), "device": self.name}
                if reading["number"] <= number:
                    continue  # a device that begins anew, or did not hear that it had arrived
            except (ValueError, TypeError):
                self._say(f"line {at} is no reading, it is left out")  # and not shown: it may hold a patient's data
                continue
            # Returns when every plugin has handled it; ours has it on disk then. A device that wants an answer gets it now.
            delivery = await kernel.publish("vitals.measured", reading, confirm=True)
            if delivery is not None and delivery.failures:
                self._say(f"line {at} was not handled: {', '.join(delivery.failures)}")
            number = reading["number"]

    async def _summary(self, kernel: Kernel) -> dict[str, Any]:
        known: dict[str, Any] = await kernel.request("vitals.summary", {"device": self.name}, type=dict[str, Any])
        return known

    async def _alarm(self, message: Message[Any]) -> None:
        # An object when it comes from trusted code, JSON already when it comes out of a sandbox.
        self._say(f"{message.subject} {msgspec.json.encode(message.data).decode()}")

    def _say(self, text: str) -> None:
        print(f"{self.name}: {text}", flush=True)

    # A thread of its own reads the device: files, pipes and ports alike can only be read by waiting.

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop has ended
            for line in lines_of(self._device):
                asyncio.run_coroutine_threadsafe(self._lines.put(line), loop).result()
            asyncio.run_coroutine_threadsafe(self._lines.put(None), loop).result()

    def stop(self) -> None:
        """Finish the reading in hand, then end. What else was read is not confirmed, so it is not lost on the device."""
        self._stopping = True
        with suppress(asyncio.QueueFull):
            self._lines.put_nowait(None)


def lines_of(device: str) -> Iterator[str]:
    """What the device sends, line by line."""
    if device.startswith("simulate:"):
        yield from simulated(int(device.partition(":")[2]))
    elif device == "-":
        yield from sys.stdin
    else:
        with open(device, encoding="utf-8") as file:
            yield from file


def simulated(count: int) -> Iterator[str]:
    """A monitor: a calm heart, and every two hundred readings some with little oxygen and a fever."""
    for number in range(1, count + 1):
        bad = number % 200 >= 190
        yield json.dumps(
            {
                "number": number,
                "heart_rate": round(72 + 6 * math.sin(number / 9)),
                "oxygen_saturation": 88 if bad else 97,
                "temperature_c": 38.4 if number % 200 == 195 else 36.9,
            }
        )


def resident() -> float:
    """The memory that this process occupies, in MiB."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource  # elsewhere than on Linux: the most that it ever occupied

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def stop(beds: list[Bed]) -> None:
    """What SIGINT and SIGTERM do."""
    for bed in beds:
        bed.stop()


async def main(beds: list[Bed]) -> None:
    """Serve all beds in this one process until their devices end, or SIGINT or SIGTERM comes."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, beds)
    async with asyncio.TaskGroup() as group:
        for bed in beds:
            group.create_task(bed.run())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("beds", nargs="+", metavar="BED=DEVICE")
    parser.add_argument("--data", type=Path, default=Path("edge-data"), metavar="DIR")
    parser.add_argument("--plugin", type=Path, action="append", default=[], metavar="SOURCE")
    options = parser.parse_args()
    pairs = [text.partition("=") for text in options.beds]
    asyncio.run(main([Bed(name, device, options.data, options.plugin) for name, _, device in pairs]))
