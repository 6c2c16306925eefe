"""Requests over HTTP while plugins with routes are upgraded, removed and added: none fails but for a route that is not there.

`RUSTCARE_REQUESTS` says how many requests are made at least (1,000,000 by hand; fewer in every run).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rustcare_kernel.control import ControlClient

from tests.support.http_load import Answer, Load, get
from tests.support.http_node import write

REQUESTS = int(os.environ.get("RUSTCARE_REQUESTS", "30000"))
UPGRADES = 10


@asynccontextmanager
async def node(data: Path, **options: Any) -> AsyncIterator[dict[str, Any]]:
    """A kernel with its front door in a process of its own; what it says when it is ready."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.http_node", str(data), json.dumps(options), stdout=PIPE
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, "the node ended before it was ready"
        yield json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 60)


async def command(data: Path, method: str, **params: Any) -> Any:
    """A command over the control socket."""

    def call() -> Any:
        with ControlClient(data) as control:
            return control.call(method, **params)

    return await asyncio.to_thread(call)


async def test_upgrades_under_load_lose_no_request(tmp_path: Path) -> None:
    """Ten upgrades of one plugin: every request is answered, by a version of it. Meanwhile another plugin is removed and
    added: its route is answered, or is not there, nothing else. No connection is dropped."""
    data = tmp_path / "data"
    made = [write(tmp_path, "beds", f"1.0.{number}") for number in range(1, UPGRADES + 1)]
    wards = write(tmp_path, "wards")
    async with node(data) as said:
        await command(data, "plugin.install", source=str(wards), consent=True)
        host = f"127.0.0.1:{said['port']}"
        header = {"Authorization": f"Bearer {said['key']}"}

        def upgraded(answer: Answer) -> str:
            assert answer.status == 200, (answer.status, answer.body)
            return str(json.loads(answer.body)["version"])

        def comes_and_goes(answer: Answer) -> str:
            if answer.status == 200:
                assert json.loads(answer.body) == {"id": "1", "version": "1.0.0"}
            return str(answer.status)

        half = UPGRADES // 2
        async with (
            Load(
                "127.0.0.1",
                said["port"],
                lambda number: get(f"/beds/{number}", host, **header),
                upgraded,
                connections=12,
            ) as beds,
            Load(
                "127.0.0.1", said["port"], lambda number: get("/wards/1", host, **header), comes_and_goes, connections=4
            ) as rooms,
        ):

            async def reached(share: float) -> None:
                """Wait until so many requests were answered."""
                while beds.answers + rooms.answers < REQUESTS * share:
                    if beds.failed is not None or rooms.failed is not None:
                        return
                    await beds.progress()

            for number, source in enumerate(made):
                await reached((number + 0.5) / UPGRADES)
                status = await command(data, "plugin.upgrade", source=str(source), consent=True)
                assert (status["version"], status["state"]) == (f"1.0.{number + 1}", "active")
                if number == half:
                    await command(data, "plugin.remove", id="acme.wards")
                elif number == half + 2:
                    await command(data, "plugin.install", source=str(wards), consent=True)
            await reached(1.0)
            beds.stop()
            rooms.stop()
    for load in (beds, rooms):
        assert load.failed is None, load.failed
        assert (load.cut_off, load.refused, load.reopened) == (0, 0, 0)
    assert set(beds.outcomes) == {f"1.0.{number}" for number in range(UPGRADES + 1)}
    assert set(rooms.outcomes) == {"200", "404"}
    assert beds.answers + rooms.answers >= REQUESTS
    print(
        f"\n{beds.answers + rooms.answers} requests, {UPGRADES} upgrades, slowest answer {beds.slowest * 1000:.0f} ms; "
        f"of the plugin that went and came: {dict(rooms.outcomes)}"
    )
