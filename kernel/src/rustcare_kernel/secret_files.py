"""Secrets by name: files in the data folder's `secrets/` (readable by the owner only), else the environment.

A secret's value never leaves this module but through `Context.secrets`, and is never logged.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["SecretFiles"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class SecretFiles:
    """The secrets of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> bytes | None:
        """A secret's bytes: the file's, or the variable's `RUSTCARE_SECRET_<NAME>`; None when there is neither."""
        if not _NAME.fullmatch(name):
            return None
        try:
            return (self._folder / name).read_bytes()
        except OSError:
            value = os.environ.get("RUSTCARE_SECRET_" + re.sub(r"[.-]", "_", name).upper())
            return value.encode() if value is not None else None

    def create(self, name: str, value: bytes) -> bool:
        """Write a secret down durably unless there is one of that name; whether it was written."""
        if not _NAME.fullmatch(name) or self.get(name) is not None:
            return False
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self._folder / f".{name}.{os.getpid()}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, value)
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            os.link(temporary, self._folder / name)  # fails when another made it meanwhile
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True
