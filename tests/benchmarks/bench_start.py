"""How long an embedder and a user of the CLI wait, and what an empty kernel costs in memory. Whole processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.benchmarks.harness import Row

# Compiled files are kept, as they are for whoever installed the product; some machines switch that off.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_KERNEL = """
import time; began = time.perf_counter()
import asyncio, sys
from rustcare_kernel import Kernel
async def main():
    async with Kernel(sys.argv[1], log_level="silent"):
        ready = time.perf_counter() - began
        for line in open("/proc/self/status"):
            if line.startswith("VmRSS"):
                print(ready * 1000, int(line.split()[1]) / 1024)
asyncio.run(main())
"""


def rows() -> Iterator[Row]:
    """Kernel start without a plugin (import included), its RSS, and `rustcare --help`."""
    starts, sizes, bare = [], [], []
    for _ in range(9):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", _KERNEL, folder], capture_output=True, text=True, check=True, env=_ENVIRONMENT
            ).stdout.split()
        starts.append(float(done[0]))
        sizes.append(float(done[1]))
        bare.append(_wall([sys.executable, "-c", "import asyncio, sqlite3, msgspec, pluggy"]) * 1000)
    note = f"imports included; a bare Python that imports asyncio, sqlite3, msgspec, pluggy: {median(bare):.0f} ms"
    yield Row("kernel start, no plugin", median(starts[1:]), None, "ms", aim=150, note=note)
    yield Row("kernel RSS, no plugin", median(sizes), None, "MiB", aim=45)
    command = str(Path(sys.executable).with_name("rustcare"))
    helps = [_wall([command, "--help"]) * 1000 for _ in range(9)][1:]
    floor = [_wall([sys.executable, "-c", "pass"]) * 1000 for _ in range(7)]
    yield Row("rustcare --help", median(helps), None, "ms", aim=200, note=f"bare Python: {median(floor):.0f} ms")


def _wall(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True, env=_ENVIRONMENT)
    return time.perf_counter() - started
