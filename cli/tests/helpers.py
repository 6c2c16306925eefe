"""The real command in a process of its own, and a kernel that it starts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["ENVIRONMENT", "command", "running_kernel", "rustcare", "rustcare_json"]

ENVIRONMENT = {**os.environ, "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}
for _name in ("RUSTCARE_DATA", "RUSTCARE_URL", "RUSTCARE_TOKEN", "RUSTCARE_KEY"):
    ENVIRONMENT.pop(_name, None)


def command(*arguments: str | Path) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "rustcare_cli", *map(str, arguments)]


def rustcare(
    *arguments: str | Path, cwd: Path | None = None, given: str = "", env: dict[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `rustcare …` to its end, with something on standard input and in the environment."""
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env={**ENVIRONMENT, **{name: str(value) for name, value in (env or {}).items()}},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        input=given,
    )


def rustcare_json(*arguments: str | Path, code: int = 0, given: str = "", env: dict[str, Any] | None = None) -> Any:
    """Run `rustcare … --json`, which must end with that exit code; what it printed."""
    done = rustcare(*arguments, "--json", given=given, env=env)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


@contextmanager
def running_kernel(data: Path, *options: str) -> Iterator[dict[str, Any]]:
    """`rustcare up` until it has started; ended by SIGTERM. What it said of itself."""
    process = subprocess.Popen(
        command("up", "--data", data, "--json", *options), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # printed when everything runs
        yield json.loads(line)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        process.stdout.close()
    assert code == 0
