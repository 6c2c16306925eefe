"""Hashes of perfect subtrees, from tiles in the store and from the edge in memory: what proofs are made of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256

from rustcare_plugin_audit.notes import WIDTH
from rustcare_plugin_audit.tree import Frontier
from rustcare_plugin_audit.tree.merkle import (
    EMPTY_ROOT,
    consistency_ranges,
    fold,
    inclusion_ranges,
    perfect_nodes,
    root_of,
)

from .rows import Rows, check_tile, tile_place

__all__ = ["Tiles"]

# Expanded tiles in memory, 16 KB each: few of the leaves' own, of which there are many, so that those above them stay.
KEPT_LEAVES, KEPT_ABOVE = 64, 512

# Where the rows of an expanded tile begin, in bytes: 256 hashes, then 128 that they make, …, then the root.
_STARTS = [32 * (512 - (512 >> row)) for row in range(9)]

Range = tuple[int, int]
HashOf = Callable[[int, int], bytes]


def expand(tile: bytes) -> bytes:
    """A full tile with all the hashes above it, row by row: 511 hashes."""
    rows = [tile]
    for _ in range(8):
        row = rows[-1]
        rows.append(b"".join([sha256(b"\x01" + row[start : start + 64]).digest() for start in range(0, len(row), 64)]))
    return b"".join(rows)


class Tiles:
    """Reads tiles; the last ones used stay expanded in memory."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._leaves: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._above: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    async def inclusion(self, index: int, start: int, end: int, head: Frontier) -> list[bytes]:
        """The inclusion proof of a leaf in the subtree `[start, end)` (a whole tree: `start` 0), which `head` extends."""
        ranges = inclusion_ranges(index - start, end - start)
        return await self._proof([(start + low, start + high) for low, high in ranges], head)

    async def consistency(self, start: int, end: int, size: int, head: Frontier) -> list[bytes]:
        """The consistency proof of the subtree `[start, end)` with the tree of `size`."""
        return await self._proof(consistency_ranges(start, end, size), head)

    async def root(self, size: int, head: Frontier) -> bytes:
        """The root of the tree when it had `size` leaves."""
        if not size:
            return EMPTY_ROOT
        return (await self._proof([(0, size)], head))[0]

    async def edges(self, size: int, head: Frontier) -> list[list[bytes]]:
        """The partial tiles of the tree of `size`, lowest level first."""
        edges: list[list[bytes]] = []
        while size >> (8 * len(edges)):
            level = len(edges)
            low, high = (size >> (8 * level)) // WIDTH * WIDTH, size >> (8 * level)
            nodes = [(8 * level, index) for index in range(low, high)]
            hash_of = await self._ready(nodes, head)
            edges.append([hash_of(*node) for node in nodes])
        return edges

    def forget(self) -> None:
        """Read tiles from the store again."""
        self._leaves.clear()
        self._above.clear()

    async def _proof(self, ranges: Iterable[Range], head: Frontier) -> list[bytes]:
        parts = [perfect_nodes(low, high) for low, high in ranges]
        hash_of = await self._ready([node for nodes in parts for node in nodes], head)
        return [fold([hash_of(*node) for node in nodes]) for nodes in parts]

    async def _ready(self, nodes: Iterable[tuple[int, int]], head: Frontier) -> HashOf:
        """Fetch what these nodes need; a function that gives their hashes."""
        at_hand: dict[tuple[int, int], bytes] = {}
        missing = []
        for key in {_tile_of(level, index)[:2] for level, index in nodes}:
            level, index = key
            if (index + 1) << (8 * (level + 1)) > head.size:
                continue
            cache = self._above if level else self._leaves
            expanded = cache.get(key)
            if expanded is None:
                missing.append(key)
            else:
                cache.move_to_end(key)
                at_hand[key] = expanded
        if missing:
            found = await self._rows.many([tile_place(*key) for key in missing])
            for key in missing:
                cache = self._above if key[0] else self._leaves
                at_hand[key] = cache[key] = expand(check_tile(*key, found.get(tile_place(*key))))
            for cache, kept in ((self._leaves, KEPT_LEAVES), (self._above, KEPT_ABOVE)):
                while len(cache) > kept:
                    cache.popitem(last=False)

        def hash_of(level: int, index: int) -> bytes:
            tile_level, tile_index, row, column = _tile_of(level, index)
            expanded = at_hand.get((tile_level, tile_index))
            if expanded is None:  # in the partial tile at the edge
                return root_of(head.edges[tile_level][column << row : (column + 1) << row])
            start = _STARTS[row] + 32 * column
            return expanded[start : start + 32]

        return hash_of


def _tile_of(level: int, index: int) -> tuple[int, int, int, int]:
    """The tile (level, index) in which a node is, and its row and column there."""
    row = level % 8
    width = 8 - row
    return level // 8, index >> width, row, index & ((1 << width) - 1)
