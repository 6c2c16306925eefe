"""A kernel that is killed (SIGKILL) loses no event; a data folder that is put back in time does not start."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.syslog_server import SyslogServer, parse
from tests.support.witness_server import WitnessProcess

ROOT = Path(__file__).parents[3]
ORIGIN = "log.example/audit"


@contextmanager
def node(data: Path, config: dict[str, Any], first: int, count: int) -> Iterator[subprocess.Popen[str]]:
    """The kernel's process; killed at the end."""
    command = [sys.executable, "-m", "tests.support.sink_node", str(data), json.dumps(config), str(first), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def key_of(process: subprocess.Popen[str]) -> str:
    """The log's verifier key, which it prints after the first line."""
    return line(process).removeprefix("key ")


def patients(server: SyslogServer) -> set[str]:
    """Whom the received events are about."""
    rows = [json.loads(parse(one).text) for one in server.messages]
    return {one["patient"] for row in rows for one in row.get("about", ()) if "patient" in one}


def test_nothing_acknowledged_is_lost_when_the_kernel_is_killed(tmp_path: Path) -> None:
    """Killed at any moment, five times, the receiver away half of the time: every acknowledged store arrives, in order."""
    draw = random.Random(7)
    acknowledged: list[str] = []
    with SyslogServer() as server:
        sink = {"name": "s", "format": "entry", "to": "syslog", "host": "127.0.0.1", "port": server.port}
        sink |= {"plain": True, "personal": "opened", "batch": 3}
        config = {"origin": ORIGIN, "sinks": [sink]}
        for turn in range(5):
            if turn % 2:
                server.down()
            with node(tmp_path / "data", config, turn * 1000, 500) as process:
                assert line(process) == "ready"
                key_of(process)
                for _ in range(draw.randrange(5, 60)):
                    acknowledged.append("Patient/" + line(process).removeprefix("ok "))
            if turn % 2:
                server.up()
        with node(tmp_path / "data", config, 0, 0), server.changed:
            arrived = server.changed.wait_for(lambda: patients(server) >= set(acknowledged), 60)
    assert arrived, set(acknowledged) - patients(server)
    settled = [json.loads(parse(one).text)["outcome_index"] for one in server.messages if b'"outcome_index"' in one]
    # At least once: after a kill the last batch may come again, but nothing is left out in between.
    seen = -1
    repeats = 0
    for place in settled:
        repeats += place < seen
        seen = max(seen, place)
    assert repeats <= 5


@pytest.mark.parametrize("restart", [False, True], ids=["same-witness", "restarted-witness"])
def test_a_data_folder_that_is_put_back_does_not_start(tmp_path: Path, restart: bool) -> None:
    """An older copy of the whole data folder, keys included, is found out by the witness at the start; both sizes are
    named, and nothing can be stored. The newer folder starts again."""
    data, old, new = (tmp_path / name for name in ("data", "old", "new"))
    with WitnessProcess(tmp_path / "witness") as witness:
        config = {"origin": ORIGIN, "witnesses": [witness.config], "witness_interval": 0}
        with node(data, config, 0, 5) as process:
            assert line(process) == "ready"
            witness.trust(ORIGIN, key_of(process))
            while line(process) != "stored":
                pass
        shutil.copytree(data, old)
        with node(data, config, 100, 20) as process:
            assert line(process) == "ready"
            while line(process) != "stored":
                pass
            witness.cosigned(40)
        data.rename(new)
        old.rename(data)
        if restart:
            witness.kill()
            witness.start()
        with node(data, config, 200, 1) as process:
            said = line(process)
            assert said.startswith("down ")
            assert "expected a log of at least" in said
        shutil.rmtree(data)
        new.rename(data)
        with node(data, config, 300, 1) as process:
            assert line(process) == "ready"
            assert key_of(process)
            assert line(process) == "ok p300"
