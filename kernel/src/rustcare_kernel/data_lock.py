"""One kernel for each data folder: a lock that the operating system drops when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from .errors import DataFolderInUse

__all__ = ["DataFolderLock"]

LOCK_NAME = "kernel.lock"


class DataFolderLock:
    """Hold a data folder: `with DataFolderLock(data_dir): …`. Creates the folder (mode 0700) when it is not there.

    Raises:
        DataFolderInUse: when entered while another process, or this one, holds it.
    """

    def __init__(self, data_dir: Path | str) -> None:
        self.path = Path(data_dir) / LOCK_NAME
        self._handle: int | None = None

    def __enter__(self) -> DataFolderLock:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 20).decode("ascii", "replace").strip()
            os.close(handle)
            raise DataFolderInUse(
                f"Another kernel runs on this data folder{f' (process {holder})' if holder.isdigit() else ''}",
                address=str(self.path.parent),
                hint="stop it (rustcare system stop), or use another folder (--data DIR)",
            ) from None
        # The file stays when the lock goes: removing it would let a third process lock a file that has no name.
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None
