"""After kill -9 the log says of every operation whether it happened, and nothing happened that it does not know of."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_kernel.package import Package
from rustcare_sdk.errors import StoreError

from .plugins import Board, board, package, quiet
from .recorder import RECORDER, recorder

#: Installs a plugin and kills itself at a point: `before` or `after` the catalog was written, or `told` (nothing is left open
#: but the log's knowledge of the outcome).
_CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from rustcare_kernel import Kernel
from rustcare_kernel.catalog import Catalog
from rustcare_kernel.audit.journal import Journal
from kernel.tests.plugins import board, package, quiet

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def main(folder, point):
    with board() as desk:
        async with quiet(Path(folder)) as kernel:
            put, ended = Catalog.put, Journal.ended
            if point == "before":
                Catalog.put = die
            elif point == "after":
                Catalog.put = lambda *a, **k: (put(*a, **k), die())
            elif point == "told":
                Journal.ended = lambda *a, **k: (ended(*a, **k), die())
            elif point == "use":
                desk.on["acme.sample", "1.0.0", "answer"] = die
                await kernel.request("sample.ask")
            else:
                desk.die = die
                await kernel.request("keeper.keep", point)
            await kernel.install(package("acme.other"), consent=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def desk() -> Iterator[Board]:
    with board() as made:
        yield made


#: A plugin that notes, in the transaction that is the effect, under which id it is on record.
KEEPER = """
@serve("keeper.keep")
async def keep(self, message):
    if message.data == "keep-before":
        board.die()
    async with self.ctx.db.transaction() as tx:
        await tx.execute("INSERT INTO kept (attempt) VALUES (?)", (message.id,))
    if message.data == "keep-after":
        board.die()

@serve("keeper.effects")
async def effects(self, message):
    rows = await self.ctx.db.fetch("SELECT attempt FROM kept")
    return {"services": ["keeper.keep"], "happened": [row["attempt"] for row in rows]}
"""


def keeper() -> Package:
    """The package of that plugin."""
    uses = ("bus:serve@keeper.keep", "bus:serve@keeper.effects", "db:read@*", "db:write@*")
    return package(
        "acme.keeper",
        asks=dict.fromkeys(uses, "required"),
        toml='[provides]\n"keeper.keep" = "1.0.0"\n"keeper.effects" = "1.0.0"',
        more=KEEPER,
        files={"migrations/0001_kept.sql": b"CREATE TABLE kept (attempt TEXT PRIMARY KEY)"},
    )


async def prepared(folder: Path) -> None:
    """A data folder with a recorder and a plugin."""
    async with quiet(folder) as kernel:
        await kernel.install(recorder("bus:request@sample.ask", "bus:request@keeper.*"), consent=True)
        await kernel.install(package(), consent=True)
        await kernel.install(keeper(), consent=True)


def killed(folder: Path, point: str) -> None:
    """Run the child; it must have died of its own signal."""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _CHILD, str(folder), point], cwd=root, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


async def last(kernel: Kernel, action: str) -> dict[str, Any]:
    """The newest entry of an operation, outcome included."""
    await kernel._gate.flush()
    rows = [row for row in await kernel.request("recorder.entries") if row["action"] == action or not action]
    found: dict[str, Any] = rows[-1]
    return found


@pytest.mark.parametrize(
    ("point", "there", "outcome"),
    [
        ("before", False, ("interrupted", "no")),
        ("after", True, ("interrupted", "yes")),
        ("told", True, ("success", "yes")),
    ],
)
async def test_an_interrupted_operation_is_marked_as_what_it_was(
    tmp_path: Path, desk: Board, point: str, there: bool, outcome: tuple[str, str]
) -> None:
    """Killed before the catalog's commit: an entry without effect, marked so. After it: the effect, and its entry."""
    await prepared(tmp_path)
    killed(tmp_path, point)
    async with quiet(tmp_path) as kernel:
        assert ("acme.other" in [status.id for status in kernel.plugins()]) is there
        entry = await last(kernel, "plugin.install")
        assert json.loads(entry["details"])["digest"] == package("acme.other").digest
        assert (entry["outcome"], entry["effect"]) == outcome
        rows = await kernel.request("recorder.entries")
        assert len({row["id"] for row in rows}) == len(rows), "what was sent again was not written twice"


async def test_an_interrupted_use_is_settled_at_the_next_start(tmp_path: Path, desk: Board) -> None:
    """A request whose handler was killed has its entry, and the next start says that its end is not known."""
    await prepared(tmp_path)
    killed(tmp_path, "use")
    async with quiet(tmp_path) as kernel:
        rows = [row for row in await kernel.request("recorder.entries") if row["kind"] == "use"]
        assert [(row["capability"], row["outcome"], row["effect"]) for row in rows] == [
            ("bus:request@sample.ask", "interrupted", "unknown")
        ]


@pytest.mark.parametrize(("point", "effect"), [("keep-before", "no"), ("keep-after", "yes")])
async def test_a_provider_that_notes_effects_is_asked(tmp_path: Path, desk: Board, point: str, effect: str) -> None:
    """Killed before the provider's commit the entry says that nothing happened, after it that it did."""
    await prepared(tmp_path)
    killed(tmp_path, point)
    for _ in range(2):
        async with quiet(tmp_path) as kernel:
            await kernel.have_on_record()
            rows = [row for row in await kernel.request("recorder.entries") if row["kind"] == "use"]
            assert [(row["capability"], row["outcome"], row["effect"]) for row in rows] == [
                ("bus:request@keeper.keep", "interrupted", effect)
            ]


async def test_what_was_journaled_reaches_the_log_once(tmp_path: Path, desk: Board) -> None:
    """Operations while the log was away are in it after the next start, each once, with their outcomes."""
    await prepared(tmp_path)
    async with quiet(tmp_path) as kernel:
        desk.on[RECORDER, "1.0.0", "record"] = StoreError("the disk is full")
        await kernel.disable("acme.sample")
    desk.on.clear()
    for _ in range(2):
        async with quiet(tmp_path) as kernel:
            rows = await kernel.request("recorder.entries")
            found = [(row["outcome"], row["effect"]) for row in rows if row["action"] == "plugin.disable"]
            assert found == [("success", "yes")]
    async with quiet(tmp_path) as kernel:
        await kernel.have_on_record()
        assert kernel._gate.journal.rows() == []
