"""The benchmarks are run by people only now and then, so a test sees to it that they still run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("room", ["runtimes", "start", "recorder", "tokens", "workers"])
def test_a_benchmark_runs_and_prints_a_figure_for_each_row(room: str) -> None:
    """`python -m tests.benchmarks ROOM --json` ends well; every row has a figure above zero. No figure is judged."""
    command = [sys.executable, "-m", "tests.benchmarks", room, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert rows
    for row in rows:
        assert row["ours"] > 0, row["name"]
        assert row["floor"] is None or row["ratio"] > 0, row["name"]
