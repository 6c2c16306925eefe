"""kill -9 in the middle of an upgrade: the plugin comes back whole, at the version before or the one after."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from rustcare_kernel.package import Package, write_layout
from rustcare_kernel.package._model import make_package
from rustcare_sdk.manifest import read_manifest

from .plugins import quiet

MANIFEST = """schema = 1
[plugin]
id = "acme.crash"
version = "{version}"
summary = "x"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "acme_crash:Crash" }}
[[capability]]
use = "bus:serve@crash.ask"
reason = "answers"
[[capability]]
use = "bus:serve@crash.only-{major}"
reason = "so that each version asks for something of its own"
"""
CODE = """
from rustcare_sdk import Plugin, serve

VERSION = "{version}"
PADDING = "{padding}"


class Crash(Plugin):
    trail = ()

    async def export_state(self):
        return [*self.trail, VERSION][-3:]

    async def import_state(self, state):
        self.trail = state

    @serve("crash.ask")
    @serve("crash.only-{major}")
    async def ask(self, message):
        return [VERSION, list(self.trail)]
"""
#: What the process that is killed does: one upgrade after the other, telling of each when it is acknowledged.
CHILD = """
import asyncio, sys
from pathlib import Path
from rustcare_kernel import Kernel

async def main(data, *versions):
    async with Kernel(data, log_level="silent") as kernel:
        print(kernel.plugin("acme.crash").version, flush=True)
        while True:
            for folder in versions:
                print((await kernel.upgrade(Path(folder), consent=True)).version, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def crash_package(version: str) -> Package:
    """Version 1 or 2; each asks for a capability that the other does not ask for."""
    values = {"version": version, "major": version[0], "padding": version * 2000}
    manifest = MANIFEST.format(**values).encode()
    tree = {"__init__.py": CODE.format(**values).encode()}
    return make_package(read_manifest(manifest), manifest, tree, {}, source=version)


async def test_kill_9_in_the_middle_of_an_upgrade_leaves_one_version_whole(tmp_path: Path) -> None:
    """Killed at random moments: catalog, grants, code and state agree at the next start, and nothing acknowledged is undone."""
    dice = random.Random(20)
    layouts = []
    for version in ("2.0.0", "1.0.0"):
        layouts.append(tmp_path / version)
        write_layout(crash_package(version), layouts[-1])
    data = tmp_path / "data"
    async with quiet(data) as kernel:
        await kernel.install(crash_package("1.0.0"), consent=True)
    seen = set()
    for _ in range(8):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(data), *map(str, layouts), stdout=PIPE
        )
        assert child.stdout is not None
        async with asyncio.timeout(30):
            for _ in range(dice.randint(1, 3)):
                acknowledged = (await child.stdout.readline()).decode().strip()
        # The moment of the crash is what is being varied here; an upgrade takes some 20 ms.
        await asyncio.sleep(dice.uniform(0.0, 0.03))
        child.send_signal(signal.SIGKILL)
        rest = (await child.stdout.read()).decode().split()
        await child.wait()
        acknowledged = rest[-1] if rest else acknowledged
        async with quiet(data) as kernel:
            status = kernel.plugin("acme.crash")
            assert status.state == "active", status.reason
            following = "1.0.0" if acknowledged == "2.0.0" else "2.0.0"
            assert status.version in (acknowledged, following)
            seen.add(status.version == acknowledged)
            version, trail = await kernel.request("crash.ask")
            assert version == status.version
            assert set(status.granted) == {"bus:serve@crash.ask", f"bus:serve@crash.only-{version[0]}"}
            assert await kernel.request(f"crash.only-{version[0]}") == [version, trail]
            if trail:  # what was handed over belongs to the version that stands: its last author is the other one
                assert trail[-1] in ("1.0.0", "2.0.0")
            if status.previous:
                other = (await kernel.rollback("acme.crash")).version
                assert (await kernel.request("crash.ask"))[0] == other
    assert seen  # both outcomes are right; which one came depends on the moment
