"""Paths of tiles, and bundles of entries: https://c2sp.org/tlog-tiles."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence

from rustcare_plugin_audit.errors import NoteInvalid

__all__ = ["MAX_ENTRY", "WIDTH", "bundle", "bundle_path", "parse_path", "tile_path", "unbundle"]

WIDTH = 256  # hashes in a full tile, entries in a full bundle
MAX_ENTRY = 0xFFFF  # bytes of an entry
MAX_LEVEL = 63

_length = struct.Struct(">H").pack

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<number>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Where a tile is served: `tile/<L>/<N>`, of a partial one `tile/<L>/<N>.p/<W>`.

    Raises:
        NoteInvalid: level, index or width is out of bounds.
    """
    if not 0 <= level <= MAX_LEVEL:
        raise NoteInvalid(f"expected a level of 0 to {MAX_LEVEL}, got {level}")
    return f"tile/{level}/{_number(index, width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """Where a bundle of entries is served: `tile/entries/<N>[.p/<W>]`."""
    return f"tile/entries/{_number(index, width)}"


def parse_path(path: str) -> tuple[int | None, int, int]:
    """The level (None for entries), index and width that a path names.

    Raises:
        NoteInvalid: it is no path of a tile or bundle, or not in its one form.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise NoteInvalid(f"expected tile/<L>/<N> or tile/entries/<N>, got {path[:80]!a}")
    level = None if found["level"] == "entries" else int(found["level"])
    index = int(found["number"].replace("x", "").replace("/", ""))
    width = int(found["width"] or WIDTH)
    if (bundle_path(index, width) if level is None else tile_path(level, index, width)) != path:
        raise NoteInvalid(f"expected the path in its shortest form, got {path[:80]!a}")
    return level, index, width


def _number(index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= WIDTH:
        raise NoteInvalid(f"expected an index from 0 and a width of 1 to {WIDTH}, got {index} and {width}")
    text = str(index)
    text = text.zfill(-(-len(text) // 3) * 3)
    parts = [text[start : start + 3] for start in range(0, len(text), 3)]
    path = "".join(f"x{part}/" for part in parts[:-1]) + parts[-1]
    return path if width == WIDTH else f"{path}.p/{width}"


def bundle(entries: Sequence[bytes]) -> bytes:
    """Entries one after the other, each after its length (2 bytes, big-endian).

    Raises:
        NoteInvalid: an entry is longer than 65,535 bytes.
    """
    if entries and max(map(len, entries)) > MAX_ENTRY:
        raise NoteInvalid(f"expected entries of at most {MAX_ENTRY} bytes, got one of {max(map(len, entries))}")
    return b"".join([part for entry in entries for part in (_length(len(entry)), entry)])


def unbundle(data: bytes, start: int = 0) -> list[bytes]:
    """The entries of a bundle that begins at byte `start` of `data`.

    Raises:
        NoteInvalid: the data ends within an entry.
    """
    entries = []
    position, end = start, len(data)
    while position < end:
        stop = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if stop > end or position + 2 > end:
            raise NoteInvalid(f"expected {stop - position} bytes for an entry, got {end - position}")
        entries.append(data[position + 2 : stop])
        position = stop
    return entries
