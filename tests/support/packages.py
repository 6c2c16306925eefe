"""What tests need of the system: what is installed, or else what root on Debian can install here.

One process installs at a time; the others wait and find what it installed. Where something is missing the tests are skipped
and say why. With `CI=true` they fail instead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

__all__ = ["Missing", "give_up", "installed"]

T = TypeVar("T")

_LOCK = Path(tempfile.gettempdir()) / f"rustcare-tests-install-{os.geteuid()}"


class Missing(Exception):
    """Something is not there; the text says why."""


def installed(
    package: str, find: Callable[[], T | None], *options: str, prepare: Callable[[], None] | None = None
) -> T:
    """What `find` finds, after the Debian package is installed if need be.

    `options` are given to `apt-get install`; `prepare` runs before it. Raises `Missing`.
    """
    found = find()
    if found is not None:
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Missing("it is not installed, and only root on Debian can install it here")
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = find()
        if found is not None:  # another process was quicker
            return found
        if prepare is not None:
            prepare()
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "update"],
            ["apt-get", "install", "-y", "--no-install-recommends", *options, package],
        ):
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=900, check=False
            )
            if done.returncode != 0:
                raise Missing(f"`{' '.join(command[:2])}` ended with {done.returncode}")
    found = find()
    if found is None:
        raise Missing("it was installed, and is not where it was expected")
    return found


def give_up(text: str) -> NoReturn:
    """Skip the test and say what is missing; fail it where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
