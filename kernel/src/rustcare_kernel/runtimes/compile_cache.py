"""Compiled WebAssembly on disk, authenticated.

A file of the cache is machine code that the kernel will run, so it is bound to what it was made from and sealed with
HMAC-SHA256 under the kernel's own key. What does not verify is compiled again and overwritten, never used. The bytes
that are verified are the bytes that are loaded: the file is read once.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import platform
import tempfile
from pathlib import Path

__all__ = ["CompileCache"]

_log = logging.getLogger(__name__)
_MAGIC = b"rustcare compiled code 1\n"
_TAG = hashlib.sha256().digest_size


def _cpu() -> str:
    """What the compiler looks at when it picks instructions."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(
                (line.partition(":")[2].strip() for line in lines if line.startswith(("flags", "Features"))), ""
            )
    except OSError:
        return platform.processor()


def _read(path: Path) -> memoryview:
    """The file in one piece that can be handed to C as it is; the interpreter is free meanwhile (it is 40 MB)."""
    with open(path, "rb", buffering=0) as file:
        data = memoryview(bytearray(os.fstat(file.fileno()).st_size))
        at = 0
        while at < len(data) and (count := file.readinto(data[at:])):
            at += count
        return data[:at]


class CompileCache:
    """Keeps compiled code in `folder`; without a folder or a key it keeps nothing.

    Args:
        settings: everything besides the code that decides what the compiler makes (its version, its settings).
    """

    def __init__(self, folder: Path | None, key: bytes, settings: str) -> None:
        self._folder = folder if key else None
        self._key = key
        self._settings = "\n".join((settings, platform.system(), platform.machine(), _cpu()))

    @property
    def enabled(self) -> bool:
        """Whether anything is kept."""
        return self._folder is not None

    def _name(self, digest: str) -> str:
        return hashlib.sha256(f"{digest}\n{self._settings}".encode()).hexdigest()

    def _tag(self, name: str, body: bytes | bytearray | memoryview) -> bytes:
        sealed = hmac.new(self._key, _MAGIC + name.encode() + b"\n", "sha256")
        sealed.update(body)
        return sealed.digest()

    def load(self, digest: str) -> memoryview | None:
        """The compiled code for the code of this digest, or None when there is none that verifies."""
        if self._folder is None:
            return None
        name = self._name(digest)
        path = self._folder / name
        try:
            data = _read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("compiled code %s cannot be read (%s); compiling again", path.name, error.strerror)
            return None
        body = data[len(_MAGIC) + _TAG :]
        if data[: len(_MAGIC)] == _MAGIC and hmac.compare_digest(
            data[len(_MAGIC) : len(_MAGIC) + _TAG], self._tag(name, body)
        ):
            return body
        _log.warning("compiled code %s has a wrong authentication tag; compiling again", path.name)
        return None

    def store(self, digest: str, body: bytes | bytearray) -> None:
        """Keep compiled code: readable by the owner only, there as a whole or not at all."""
        if self._folder is None:
            return
        name = self._name(digest)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".new-")  # mode 0600
        except OSError as error:
            _log.warning("the cache of compiled code cannot be written: %s", error.strerror)
            return
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + self._tag(name, body))
                file.write(body)
            os.replace(temporary, self._folder / name)
        except OSError as error:
            Path(temporary).unlink(missing_ok=True)
            _log.warning("the cache of compiled code cannot be written: %s", error.strerror)
