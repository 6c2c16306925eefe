"""The growing edge of a log's tree: all that is needed to append, to make tiles and to know the root. Constant memory.

For each tile level it holds the hashes of the last, not yet full tile, and beside them the roots of the perfect subtrees
that they make (a compact range). A full tile is given out, and its root becomes one hash of the level above.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from .merkle import EMPTY_ROOT

__all__ = ["Frontier", "Tile"]

WIDTH = 256  # hashes in a full tile, C2SP tlog-tiles

#: Level, index, and 256 hashes as they are stored.
Tile = tuple[int, int, bytes]

_Stack = list[bytes]


class Frontier:
    """The edge of a tree.

    Attributes:
        size: how many leaves the tree has.
        edges: for each level, the hashes of its partial tile (none to 255).
    """

    __slots__ = ("_stacks", "edges", "size")

    def __init__(self) -> None:
        self.size = 0
        self.edges: list[list[bytes]] = [[]]
        self._stacks: list[_Stack] = [[]]

    @classmethod
    def restore(cls, size: int, edges: Iterable[Sequence[bytes]]) -> Frontier:
        """The edge of a tree of `size`, from the hashes of its partial tiles, lowest level first."""
        made = cls()
        made.edges = [list(edge) for edge in edges] or [[]]
        made._stacks = [[] for _ in made.edges]
        for edge, stack in zip(made.edges, made._stacks, strict=True):
            _pile(stack, 0, edge)
        made.size = size
        return made

    def copy(self) -> Frontier:
        """Another one that grows by itself."""
        made = Frontier()
        made.size = self.size
        made.edges = [list(edge) for edge in self.edges]
        made._stacks = [list(stack) for stack in self._stacks]
        return made

    def append(self, hashes: Sequence[bytes]) -> list[Tile]:
        """Append leaves by their hashes; the tiles that became full, in the order in which they did."""
        tiles: list[Tile] = []
        done, total = 0, len(hashes)
        while done < total:
            part = hashes[done : done + WIDTH - len(self.edges[0])]
            done += len(part)
            self.size += len(part)
            self._add(0, part, tiles)
        return tiles

    @property
    def root(self) -> bytes:
        """The root of the tree, RFC 6962."""
        found = b""
        for stack in self._stacks:
            for node in stack:
                if node:
                    found = sha256(b"\x01" + node + found).digest() if found else node
        return found or EMPTY_ROOT

    def _add(self, level: int, hashes: Sequence[bytes], tiles: list[Tile]) -> None:
        """Add hashes to the partial tile of a level, at most as many as it has room for."""
        edge = self.edges[level]
        _pile(self._stacks[level], len(edge), hashes)
        edge += hashes
        if len(edge) < WIDTH:
            return
        tiles.append((level, (self.size >> (8 * (level + 1))) - 1, b"".join(edge)))
        root = self._stacks[level][-1]
        self.edges[level], self._stacks[level] = [], []
        if level + 1 == len(self.edges):
            self.edges.append([])
            self._stacks.append([])
        self._add(level + 1, [root], tiles)


def _pile(stack: _Stack, place: int, hashes: Sequence[bytes]) -> None:
    """Add the hashes at `place` and after it to a compact range: `stack[k]` is the perfect subtree of 2^k hashes, or none."""
    row = hashes
    level = 0
    while row:
        if level == len(stack):
            stack.append(b"")
        if place & 1:
            row = [stack[level], *row]
        stack[level] = row[-1] if len(row) & 1 else b""
        row = [sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row) - 1, 2)]
        place >>= 1
        level += 1
