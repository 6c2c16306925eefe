"""Compiled Extism modules, kept under the kernel's seal.

Extism can keep compiled code in a folder (Go's takes eight seconds to compile), but believes whatever it finds there. So
it gets a private, empty folder of this process; what verifies in the kernel's own cache is put there just before a module
is compiled, and taken out again, to be sealed, right after.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from .compile_cache import CompileCache

__all__ = ["PrivateFolder"]

T = TypeVar("T")
_ENVIRONMENT = "EXTISM_CACHE_CONFIG"
# Until there is a folder: none at all. Extism's default is one in the home directory.
os.environ[_ENVIRONMENT] = ""


class PrivateFolder:
    """The folder of this process; made on first use, removed at exit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Path | None = None

    def _folder(self) -> Path:
        if self._root is None:
            self._root = Path(tempfile.mkdtemp(prefix="rustcare-extism-"))  # mode 0700
            atexit.register(shutil.rmtree, self._root, ignore_errors=True)
            (self._root / "code").mkdir()
            config = self._root / "cache.toml"
            config.write_text(f"[cache]\ndirectory = {json.dumps(str(self._root / 'code'))}\n", encoding="utf-8")
            os.environ[_ENVIRONMENT] = str(config)
        return self._root / "code"

    def compile(self, make: Callable[[], T], digest: str, cache: CompileCache) -> T:
        """`make()`, which compiles the module of that digest, with the cache's help."""
        if not cache.enabled:
            return make()
        with self._lock:
            folder = self._folder()
            sealed = cache.load(digest)
            kept = {} if sealed is None else msgspec.msgpack.decode(sealed, type=dict[str, bytes])
            try:
                for name, data in kept.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(data)
                made = make()
                if sealed is None:
                    cache.store(digest, msgspec.msgpack.encode(self._files(folder)))
            finally:
                for path in folder.glob("modules/*/*"):
                    path.unlink(missing_ok=True)
            return made

    @staticmethod
    def _files(folder: Path) -> dict[str, bytes]:
        """The compiled code, without the statistics beside it."""
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.glob("modules/*/*")
            if path.is_file() and not path.suffix
        }
