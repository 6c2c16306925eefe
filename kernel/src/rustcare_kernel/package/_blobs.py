"""`BlobStore`: the kernel's content-addressed folder of packages.

What is read is checked on the very bytes that are returned, each time: a file that was exchanged behind the kernel's
back is never loaded.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ._errors import PackageError
from ._files import check_digest, digest_of, read_file, verify
from ._model import Package, package_from_blobs

__all__ = ["BlobStore"]

_TEMPORARY = ".new-"


class BlobStore:
    """Blobs by digest, in `<directory>/sha256/<hex>`. One writer (the kernel); writes are atomic and durable."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self._folder = self.directory / "sha256"

    def _path(self, digest: str) -> Path:
        return self._folder / check_digest(digest, str(self.directory)).partition(":")[2]

    def put(self, data: bytes) -> str:
        """Store bytes; their digest. On disk, folder entry included, when this returns."""
        digest = digest_of(data)
        self._write({digest: data})
        return digest

    def put_package(self, package: Package) -> str:
        """Store every blob of a package; its digest. The manifest comes last, so a package is whole or absent."""
        self._write({digest: data for digest, data in package.blobs.items() if digest != package.digest})
        self._write({package.digest: package.blobs[package.digest]})
        return package.digest

    def _write(self, blobs: dict[str, bytes]) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.directory.parent, self.directory):
                _sync_folder(folder)
        for digest, data in blobs.items():
            path = self._path(digest)
            with contextlib.suppress(PackageError):
                if read_file(path) == data:
                    continue  # there already; a damaged one is written anew
            import tempfile

            handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._folder)  # mode 0600
            try:
                with open(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        _sync_folder(self._folder)

    def get(self, digest: str) -> bytes:
        """The bytes of a digest, checked.

        Raises:
            PackageNotFound, DigestMismatch.
        """
        path = self._path(digest)
        return verify(read_file(path), digest, str(path))

    def get_package(self, digest: str) -> Package:
        """The package of a digest, every byte of it checked."""
        return package_from_blobs(digest, lambda name: read_file(self._path(name)), str(self._path(digest)))

    def __contains__(self, digest: str) -> bool:
        return self._path(digest).is_file()

    def gc(self, keep: Iterable[str]) -> int:
        """Delete every blob that none of the packages in `keep` needs, and leftovers of writes; how many went.

        A package of `keep` that is missing or damaged keeps nothing but itself: what it needs cannot be known.
        """
        needed: set[str] = set()
        for digest in keep:
            needed.add(digest)
            with contextlib.suppress(PackageError):
                needed.update(self.get_package(digest).blobs)
        names = {digest.partition(":")[2] for digest in needed}
        gone = 0
        for path in list(self._folder.iterdir()) if self._folder.is_dir() else ():
            if path.name not in names:
                path.unlink()
                gone += 1
        return gone


def _sync_folder(folder: Path) -> None:
    """Make new names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
