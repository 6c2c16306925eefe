"""How the log is kept: one table, an ordered map of blobs, so that one statement writes a whole commit, and atomically.

| kind | number | data |
|---|---|---|
| `TILE` | level << 48, index | 256 hashes: a full tile (C2SP tlog-tiles) |
| `CHECKPOINT` | size | the signed note of that size |
| `KEPT` | size | further signature lines of that checkpoint (cosignatures), which is never thinned out |
| `STATE` | 0 | the lowest index that is not pruned, 8 bytes |
| `ENTRIES` | index of the first entry | entries of one commit within one bundle of 256 |

A row of entries: a byte that says whether hashes follow, the count (2 bytes), the leaf hashes if so, then the entries,
each after its length (2 bytes). Hashes are there when the bundle was not full yet at that commit: until its tile is stored
they say which entry is wrong when one is. Numbers are big-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from rustcare_sdk.context import Database

from rustcare_plugin_audit.errors import LogCorrupt, NoteInvalid
from rustcare_plugin_audit.notes import WIDTH, bundle, unbundle
from rustcare_plugin_audit.tree import Tile

__all__ = [
    "CHECKPOINT",
    "ENTRIES",
    "INSERT",
    "KEPT",
    "STATE",
    "TILE",
    "EntryRow",
    "Rows",
    "entry_rows",
    "place",
    "tile_place",
]

TILE: Final = 1
CHECKPOINT: Final = 2
KEPT: Final = 3
STATE: Final = 4
ENTRIES: Final = 7  # the highest, so that these rows are appended at the end of the table

INSERT = "INSERT INTO audit_log (place, data) VALUES (?, ?)"
_UPSERT = f"{INSERT} ON CONFLICT (place) DO UPDATE SET data = excluded.data"
_RANGE = "SELECT place, data FROM audit_log WHERE place >= ? AND place < ? ORDER BY place"
_LAST = "SELECT place, data FROM audit_log WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1"
_NUMBER = (1 << 56) - 1

Row = tuple[int, bytes]


def place(kind: int, number: int = 0) -> int:
    """The key of a row."""
    return kind << 56 | number


def tile_place(level: int, index: int) -> int:
    """The key of a tile's row."""
    return TILE << 56 | level << 48 | index


class EntryRow(NamedTuple):
    """A row of entries, read. `hashes`: of the leaves, empty when the row has none."""

    start: int
    entries: list[bytes]
    hashes: bytes

    @classmethod
    def read(cls, key: int, data: bytes) -> EntryRow:
        """Raises LogCorrupt when the row is not well formed."""
        start = key & _NUMBER
        flag, count = data[:1], int.from_bytes(data[1:3], "big")
        end = 3 + 32 * count if flag == b"\x01" else 3
        try:
            entries = unbundle(data, end)
        except NoteInvalid as error:
            raise LogCorrupt(
                f"a row of entries is damaged: {error.message}", address=f"leaf {start}", leaf=start
            ) from None
        if flag not in (b"\x00", b"\x01") or len(entries) != count or not 1 <= count <= WIDTH - start % WIDTH:
            raise LogCorrupt(
                f"expected a row of {count} entries, got {len(entries)}", address=f"leaf {start}", leaf=start
            )
        return cls(start, entries, data[3:end])


def entry_rows(start: int, entries: Sequence[bytes], hashes: Sequence[bytes]) -> list[Row]:
    """The rows of one commit's entries: one for each bundle that they touch."""
    rows = []
    done, total = 0, len(entries)
    while done < total:
        first = start + done
        count = min(WIDTH - first % WIDTH, total - done)
        partial = (first + count) % WIDTH > 0
        own = b"".join(hashes[done : done + count]) if partial else b""
        data = bytes([partial]) + count.to_bytes(2, "big") + own + bundle(entries[done : done + count])
        rows.append((place(ENTRIES, first), data))
        done += count
    return rows


def tile_rows(tiles: Sequence[Tile]) -> list[Row]:
    """The rows of full tiles."""
    return [(tile_place(level, index), data) for level, index, data in tiles]


class Rows:
    """Reads and small writes of the table."""

    def __init__(self, db: Database) -> None:
        self.db = db

    async def last(self, kind: int, below: int | None = None) -> Row | None:
        """The row of a kind with the highest number (below a bound)."""
        high = place(kind + 1) if below is None else place(kind, below)
        row = await self.db.fetch_one(_LAST, (place(kind), high))
        return None if row is None else (row["place"] & _NUMBER, row["data"])

    async def get(self, key: int) -> bytes | None:
        """One row's data."""
        row = await self.db.fetch_one("SELECT data FROM audit_log WHERE place = ?", (key,))
        return None if row is None else row["data"]

    async def many(self, keys: Sequence[int]) -> dict[int, bytes]:
        """The data of several rows, as far as they exist."""
        if not keys:
            return {}
        holes = ", ".join("?" * len(keys))
        rows = await self.db.fetch(f"SELECT place, data FROM audit_log WHERE place IN ({holes})", tuple(keys))
        return {row["place"]: row["data"] for row in rows}

    async def between(self, kind: int, low: int, high: int, limit: int | None = None) -> list[Row]:
        """Rows of a kind with numbers in `[low, high)`, in order."""
        sql, params = _RANGE, [place(kind, low), place(kind, high)]
        if limit is not None:
            sql, params = f"{_RANGE} LIMIT ?", [*params, limit]
        return [(row["place"] & _NUMBER, row["data"]) for row in await self.db.fetch(sql, params)]

    async def tiles(self, level: int, low: int, high: int) -> list[bytes]:
        """The full tiles `[low, high)` of a level.

        Raises:
            LogCorrupt: one is missing or has not 256 hashes.
        """
        rows = await self.db.fetch(_RANGE, (tile_place(level, low), tile_place(level, high)))
        found = {row["place"] - tile_place(level, 0): row["data"] for row in rows}
        for index in range(low, high):
            check_tile(level, index, found.get(index))
        return [found[index] for index in range(low, high)]

    async def entries(self, start: int, end: int) -> list[EntryRow]:
        """The rows that hold the entries `[start, end)`, in order; the first may begin earlier."""
        low = place(ENTRIES, start - start % WIDTH)
        rows = await self.db.fetch(
            "SELECT place, data FROM audit_log WHERE place < ? AND place >="
            " COALESCE((SELECT MAX(place) FROM audit_log WHERE place >= ? AND place <= ?), ?) ORDER BY place",
            (place(ENTRIES, end), low, place(ENTRIES, start), low),
        )
        return [EntryRow.read(row["place"], row["data"]) for row in rows]

    async def first(self) -> int:
        """The lowest index that is not pruned."""
        data = await self.get(place(STATE))
        return 0 if data is None else int.from_bytes(data, "big")

    async def drop_entries(self, low: int, high: int) -> None:
        """Delete the entries `[low, high)`, whole rows, and remember where the log begins now. Atomic, durable."""
        async with self.db.transaction() as tx:
            await tx.execute(
                "DELETE FROM audit_log WHERE place >= ? AND place < ?", (place(ENTRIES, low), place(ENTRIES, high))
            )
            await tx.execute(_UPSERT, (place(STATE), high.to_bytes(8, "big")))

    async def put(self, key: int, data: bytes) -> None:
        """Write one row, over what is there."""
        await self.db.execute(_UPSERT, (key, data))

    async def drop(self, keys: Sequence[int]) -> None:
        """Delete rows."""
        await self.db.execute_many("DELETE FROM audit_log WHERE place = ?", [(key,) for key in keys])


def check_tile(level: int, index: int, data: bytes | None) -> bytes:
    """A full tile as it must be.

    Raises:
        LogCorrupt: it is missing or has not 256 hashes.
    """
    if data is None or len(data) != 32 * WIDTH:
        got = "none" if data is None else f"one of {len(data)} bytes"
        raise LogCorrupt(
            f"expected a tile of {32 * WIDTH} bytes, got {got}",
            address=f"tile {level}/{index}",
            leaf=index << (8 * (level + 1)),
        )
    return data
