"""The tutorial, followed to the letter: from an empty folder to a sandboxed plugin that is replaced while it runs.

The reader has no network. Two components are built on the way, so this takes its time.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlClient
from rustcare_kernel.package import read_package

from tests.support.follow import Block, Reader, blocks_of

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "first-plugin.md"
PLUGIN = "acme.ward-bell"
TREE = {
    "README.md",
    "pyproject.toml",
    "src/acme_ward_bell/plugin.py",
    "src/acme_ward_bell/plugin.toml",
    "tests/test_plugin.py",
}


@dataclass
class Followed:
    """What was seen beside the page: the running kernel, after each block that changed it."""

    folder: Path
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)  # by `plugin new`
    seconds: float = 0.0

    def look(self, what: str) -> None:
        """Ask the kernel over its control socket."""
        with ControlClient(self.folder / "tutorial-data") as control:
            found = control.call("plugin.info", id=PLUGIN)
            self.seen[what] = {**found, "pid": control.call("system.status")["pid"]}


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """The page, followed in an empty folder. It fails here when a command does, or prints something else."""
    done = Followed(tmp_path_factory.mktemp("reader") / "empty")
    began = time.monotonic()
    with Reader(done.folder) as reader:
        for block in blocks_of(PAGE):
            reader.follow([block])
            if block.language == "console":
                _look_after(block, done)
    done.seconds = time.monotonic() - began
    print(f"\nfollowed in {done.seconds:.0f} s")
    return done


def _look_after(block: Block, done: Followed) -> None:
    if "plugin new" in block.text:
        plugin = done.folder / "ward-bell"
        done.written = {str(path.relative_to(plugin)): path.read_text() for path in plugin.rglob("*") if path.is_file()}
    for word in ("install", "ask.py Grace", "upgrade", "rollback"):
        if f"plugin {word} " in block.text or f"python {word}" in block.text:
            done.look(word)


def test_the_page_shows_what_plugin_new_writes(followed: Followed) -> None:
    """The tree and the code that the page shows before the first edit are what the command wrote."""
    shown = [block for block in blocks_of(PAGE) if not block.title and block.language in ("", "python")]
    tree, code = shown
    assert tree.language == ""
    names = {line.split()[0] for line in tree.text.splitlines()[1:]}
    assert names == TREE
    assert names <= set(followed.written)
    assert code.text in followed.written["src/acme_ward_bell/plugin.py"]


def test_the_plugin_really_runs_as_a_component(followed: Followed) -> None:
    """What was installed is the component that was built from the source, and answering burns its fuel."""
    installed, asked = followed.seen["install"], followed.seen["ask.py Grace"]
    assert (installed["runtime"], installed["state"]) == ("component", "active")
    package = read_package(followed.folder / "ward-bell" / "dist" / f"{PLUGIN}-0.1.0.oci")
    assert installed["digest"] == package.digest
    assert package.code("component").startswith(b"\0asm")
    (calls,) = (row for row in asked["accounting"] if not row["capability"])
    assert calls["calls"] == 2
    assert calls["fuel"] > 0, "only sandboxed code is given fuel"


def test_the_upgrade_replaced_the_code_while_the_kernel_ran(followed: Followed) -> None:
    """One process all along; another package with more rights; and the way back to the first one."""
    before, after, back = (followed.seen[each] for each in ("ask.py Grace", "upgrade", "rollback"))
    assert before["pid"] == after["pid"] == back["pid"]
    assert (before["version"], after["version"], back["version"]) == ("0.1.0", "0.2.0", "0.1.0")
    assert after["runtime"] == back["runtime"] == "component"
    assert after["digest"] != before["digest"] == back["digest"]
    assert after["previous"] == [["0.1.0", before["digest"]]]
    rights = [{item["use"] for item in each["capabilities"] if item["reason"]} for each in (before, after, back)]
    assert rights[1] - rights[0] == {"clock:read"}
    assert rights[2] == rights[0]


async def test_nothing_is_lost_while_it_is_replaced(followed: Followed) -> None:
    """Asked without a pause across the upgrade: every request is answered, the count goes on, the code changes once."""
    dist = followed.folder / "ward-bell" / "dist"
    answers: list[dict[str, Any]] = []
    async with Kernel(followed.folder / "tutorial-data", log_level="silent") as kernel:
        await kernel.install(dist / f"{PLUGIN}-0.1.0.oci", consent=True)
        warm, upgraded = asyncio.Event(), asyncio.Event()

        async def ask() -> None:
            last = False
            while not last:
                last = upgraded.is_set()  # once more after the upgrade
                answers.append(await kernel.request("ward-bell.greet", {"name": "Ada"}, timeout=60))
                if len(answers) == 10:
                    warm.set()

        asking = asyncio.create_task(ask())
        await warm.wait()
        status = await kernel.upgrade(dist / f"{PLUGIN}-0.2.0.oci", consent=True)
        upgraded.set()
        await asking
    assert (status.version, status.runtime, status.state) == ("0.2.0", "component", "active")
    assert [answer["count"] for answer in answers] == list(range(1, len(answers) + 1))
    greetings = [answer["text"].split()[0] for answer in answers]
    first = greetings.index("Good")
    assert first >= 10
    assert set(greetings[:first]) == {"Hello,"}
    assert set(greetings[first:]) == {"Good"}
    print(f"\n{len(answers)} requests across the upgrade, none lost; the pause was {status.pause_ms:.1f} ms")
