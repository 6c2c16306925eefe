"""What was acknowledged is there after the process was killed, on both databases; and after the server crashed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rustcare_kernel.stores import open_driver
from rustcare_kernel.stores.errors import StoreError

from tests.support.postgres import PostgresServer
from tests.support.stores import ITEMS, Stores

# The child acknowledges on its standard output, byte by byte through the system, so nothing is lost in a buffer of its own.
CHILD = """
import asyncio, os, sys
from pathlib import Path
from rustcare_kernel.stores import open_driver

async def main(spec, folder, plugin_id, start):
    store = await open_driver(spec, Path(folder)).open(plugin_id)
    insert = "INSERT INTO items (id, label) VALUES (?, ?)"

    async def write(worker):
        n = start + worker
        while True:
            if worker % 2:
                await store.db.execute(insert, (n, "single"))
            else:
                async with store.db.transaction() as tx:
                    await tx.execute(insert, (n, "pair"))
                    await tx.execute(insert, (-n, "pair"))
                await store.kv.put(f"k{n}", b"v")
            os.write(1, b"%d\\n" % n)
            n += 16

    await asyncio.gather(*(write(worker) for worker in range(1, 17)))

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
"""


async def test_killed_processes_lose_nothing(stores: Stores) -> None:
    """Six times a process is killed while it writes: every acknowledged row is there, no transaction is there by half."""
    plugin_id = stores.new_id()
    store = await stores.driver.open(plugin_id)
    await store.migrate([ITEMS])
    await store.close()
    acknowledged: set[int] = set()
    for attempt, enough in enumerate((1, 40, 90, 170, 260, 400)):
        acknowledged |= _write_and_kill(stores, plugin_id, attempt * 10_000_000, enough)
        store = await stores.driver.open(plugin_id)
        rows = await store.db.fetch("SELECT id, label FROM items")
        keys = set(await store.kv.keys())
        await store.close()
        present = {row["id"] for row in rows}
        pairs = {row["id"] for row in rows if row["label"] == "pair"}
        assert acknowledged <= present
        assert {-n for n in pairs} == pairs
        assert {f"k{n}" for n in acknowledged & pairs} <= keys


def _write_and_kill(stores: Stores, plugin_id: str, start: int, enough: int) -> set[int]:
    command = [sys.executable, "-c", CHILD, stores.spec, str(stores.folder), plugin_id, str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(enough)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return {int(line) for line in lines if line.endswith(b"\n")}


async def test_the_server_crashes(postgres_dsn: str, postgres_server: PostgresServer | None, tmp_path: Path) -> None:
    """PostgreSQL goes down without a goodbye and comes back: acknowledged rows are there, the store works on."""
    if postgres_server is None:
        pytest.skip("the server belongs to somebody else")
    driver = open_driver(postgres_dsn, tmp_path)
    store = await driver.open("test.crash")
    await store.migrate([ITEMS])
    acknowledged: list[int] = []
    enough = asyncio.Event()

    async def write(worker: int) -> None:
        n = worker
        while True:
            await store.db.execute("INSERT INTO items (id, label) VALUES (?, ?)", (n, "a"))
            acknowledged.append(n)
            n += 8
            if len(acknowledged) == 200:
                enough.set()

    writers = [asyncio.create_task(write(worker)) for worker in range(8)]
    await enough.wait()
    await asyncio.to_thread(postgres_server.stop, "immediate")
    outcomes = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    assert {getattr(outcome, "code", "") for outcome in outcomes} == {"store.unavailable"}
    with pytest.raises(StoreError) as down:
        await store.db.execute("INSERT INTO items (id, label) VALUES (?, ?)", (-1, "a"))
    assert down.value.code == "store.unavailable"
    await asyncio.to_thread(postgres_server.start)
    rows = await store.db.fetch("SELECT id FROM items")
    assert set(acknowledged) <= {row["id"] for row in rows}
    await store.close()
    await driver.drop("test.crash")
    await driver.close()
