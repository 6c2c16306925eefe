"""The growing edge of a log's tree: all that is needed to append, to make tiles and to know the root. Constant memory.

For each tile level it holds the hashes of the last, not yet full tile, and beside them the roots of the perfect subtrees
that they make (a compact range). A full tile is given out, and its root becomes one hash of the level above.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from .merkle import EMPTY_ROOT, fold

__all__ = ["Frontier", "Tile"]

WIDTH = 256  # hashes in a full tile, C2SP tlog-tiles

#: Level, index, and 256 hashes as they are stored.
Tile = tuple[int, int, bytes]


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
        self._stacks: list[list[bytes]] = [[]]

    @classmethod
    def restore(cls, size: int, edges: Iterable[Iterable[bytes]]) -> Frontier:
        """The edge of a tree of `size`, from the hashes of its partial tiles, lowest level first."""
        made = cls()
        made.edges, made._stacks = [], []
        for edge in edges:
            made.edges.append([])
            made._stacks.append([])
            for item in edge:
                made._push(len(made.edges) - 1, item)
        if not made.edges:
            made.edges, made._stacks = [[]], [[]]
        made.size = size
        return made

    def copy(self) -> Frontier:
        """Another one that grows by itself."""
        made = Frontier()
        made.size = self.size
        made.edges = [list(edge) for edge in self.edges]
        made._stacks = [list(stack) for stack in self._stacks]
        return made

    def append(self, hashes: Iterable[bytes]) -> list[Tile]:
        """Append leaves by their hashes; the tiles that became full, in the order in which they did."""
        tiles: list[Tile] = []
        edge, stack = self.edges[0], self._stacks[0]
        place = len(edge)
        for item in hashes:
            edge.append(item)
            node, bits = item, place
            while bits & 1:
                node = sha256(b"\x01" + stack.pop() + node).digest()
                bits >>= 1
            stack.append(node)
            place += 1
            self.size += 1
            if place == WIDTH:
                self._rise(0, tiles)
                edge, stack = self.edges[0], self._stacks[0]
                place = 0
        return tiles

    @property
    def root(self) -> bytes:
        """The root of the tree, RFC 6962."""
        nodes = [node for stack in reversed(self._stacks) for node in stack]
        return fold(nodes) if nodes else EMPTY_ROOT

    def _push(self, level: int, item: bytes) -> None:
        edge, stack = self.edges[level], self._stacks[level]
        bits = len(edge)
        edge.append(item)
        while bits & 1:
            item = sha256(b"\x01" + stack.pop() + item).digest()
            bits >>= 1
        stack.append(item)

    def _rise(self, level: int, tiles: list[Tile]) -> None:
        """The tile of a level is full: give it out, and go on a level above."""
        tiles.append((level, (self.size >> (8 * (level + 1))) - 1, b"".join(self.edges[level])))
        (root,) = self._stacks[level]
        self.edges[level], self._stacks[level] = [], []
        if level + 1 == len(self.edges):
            self.edges.append([])
            self._stacks.append([])
        self._push(level + 1, root)
        if len(self.edges[level + 1]) == WIDTH:
            self._rise(level + 1, tiles)
