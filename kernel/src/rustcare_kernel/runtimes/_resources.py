"""`importlib.resources` for packages that are run from their verified bytes, not from files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable, TraversableResources
from typing import Any

__all__ = ["PackageResources"]


class _Entry(Traversable):
    """A file or folder of a package; `path` is empty or ends without a slash."""

    def __init__(self, files: Mapping[str, bytes], path: str) -> None:
        self._files = files
        self._path = path

    @property
    def name(self) -> str:
        return self._path.rpartition("/")[2]

    def is_file(self) -> bool:
        return self._path in self._files

    def is_dir(self) -> bool:
        return any(name.startswith(f"{self._path}/") for name in self._files)

    def iterdir(self) -> Iterator[_Entry]:
        below = f"{self._path}/"
        names = {name[len(below) :].partition("/")[0] for name in self._files if name.startswith(below)}
        return (_Entry(self._files, below + name) for name in sorted(names))

    def joinpath(self, *descendants: Any) -> _Entry:
        parts = [part for each in descendants for part in str(each).split("/") if part not in ("", ".")]
        return _Entry(self._files, "/".join([self._path, *parts]))

    def __truediv__(self, child: Any) -> _Entry:
        return self.joinpath(child)

    def read_bytes(self) -> bytes:
        try:
            return self._files[self._path]
        except KeyError:
            raise FileNotFoundError(f"the package has no file {self._path}") from None

    def read_text(self, encoding: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8")

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        raw = io.BytesIO(self.read_bytes())
        return raw if "b" in mode else io.TextIOWrapper(raw, *args, **kwargs)


class PackageResources(TraversableResources):
    """The reader of one package, whose files are all below `folder`."""

    def __init__(self, files: Mapping[str, bytes], folder: str) -> None:
        self._root = _Entry(files, folder)

    def files(self) -> Traversable:
        return self._root
