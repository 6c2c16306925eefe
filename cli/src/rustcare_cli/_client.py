"""The way to the kernel that runs on a data folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rustcare_kernel.control import ControlClient

__all__ = ["absolute", "call", "connect"]


def connect(data: Path) -> ControlClient:
    """A connection to the kernel of a data folder. Raises ControlUnavailable when none answers."""
    return ControlClient(data)


def call(data: Path, method: str, **params: Any) -> Any:
    """Call one method."""
    with connect(data) as control:
        return control.call(method, **params)


def absolute(source: str) -> str:
    """A package's source as the kernel, which has a working folder of its own, can find it."""
    return source if source.startswith("installed:") else os.path.abspath(source)
