"""The map of disclosure counters: a compact sparse Merkle tree keyed by the 32 bytes of a pseudonym.

The hash of a subtree with no key is 32 zero bytes; with one key SHA-256(0x00 ‖ key ‖ count as 8 bytes, big-endian), at whatever
depth; with more SHA-256(0x01 ‖ left ‖ right). Bits of a key are read from the most significant of its first byte; 0 goes left.

In memory are only the hashes of the top `DEPTH` levels (`Top`, a fixed 4 MB). What is below, a *bucket* of keys that begin
with the same bits, is computed from its keys when it is needed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import NamedTuple

from rustcare_plugin_audit.errors import ProofInvalid

__all__ = ["DEPTH", "EMPTY", "MapProof", "Node", "Top", "bucket_node", "bucket_of", "bucket_path", "verify_map"]

DEPTH = 16  # levels in memory: 65,536 buckets
KEY = 32  # bytes

_ZEROS = bytes(32)
_NONE, _ONE, _MANY = 0, 1, 2


class Node(NamedTuple):
    """A subtree: how many keys it has (0, 1, or 2 for more), and its hash."""

    keys: int
    hash: bytes


EMPTY = Node(_NONE, _ZEROS)


def leaf(key: bytes, count: int) -> Node:
    """The subtree of one key."""
    return Node(_ONE, sha256(b"\x00" + key + count.to_bytes(8, "big")).digest())


def joined(left: Node, right: Node) -> Node:
    """The subtree of two halves."""
    if left.keys + right.keys < _MANY:
        return left if left.keys else right
    return Node(_MANY, sha256(b"\x01" + left.hash + right.hash).digest())


def bit(key: bytes, depth: int) -> int:
    """Bit `depth` of a key, 0 being the first."""
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def bucket_of(key: bytes) -> int:
    """The bucket of a key: its first `DEPTH` bits."""
    return int.from_bytes(key[: DEPTH // 8], "big")


def bucket_node(counts: Mapping[bytes, int], depth: int = DEPTH) -> Node:
    """The subtree of all these keys, which agree in their first `depth` bits."""
    if len(counts) > 1:
        bucket = _Bucket(counts)
        return Node(_MANY, bucket.hash(0, len(counts), depth))
    return leaf(*next(iter(counts.items()))) if counts else EMPTY


def bucket_path(
    counts: Mapping[bytes, int], key: bytes, depth: int = DEPTH
) -> tuple[list[bytes], tuple[bytes, int] | None]:
    """The siblings on the way to `key` within its bucket, lowest first, and the leaf in which it ends, if any."""
    bucket = _Bucket(counts)
    low, high = 0, len(counts)
    siblings = []
    while high - low > 1:
        middle = bucket.middle(low, high, depth)
        depth += 1
        if bit(key, depth - 1):
            siblings.append(bucket.hash(low, middle, depth))
            low = middle
        else:
            siblings.append(bucket.hash(middle, high, depth))
            high = middle
    siblings.reverse()
    return siblings, (bucket.items[low] if low < high else None)


class _Bucket:
    """Keys in order: as numbers, which are quick to compare, with the hashes of their leaves."""

    __slots__ = ("items", "leaves", "numbers")

    def __init__(self, counts: Mapping[bytes, int]) -> None:
        self.items = sorted(counts.items())
        self.numbers = [int.from_bytes(key, "big") for key, _ in self.items]
        self.leaves = [sha256(b"\x00" + key + count.to_bytes(8, "big")).digest() for key, count in self.items]

    def middle(self, low: int, high: int, depth: int) -> int:
        """Where the keys whose bit `depth` is 1 begin, among those from `low` to `high`, which agree before that bit."""
        shift = 8 * KEY - 1 - depth
        return bisect_left(self.numbers, (self.numbers[low] >> shift | 1) << shift, low, high)

    def hash(self, low: int, high: int, depth: int) -> bytes:
        """The hash over these keys, which agree in their first `depth` bits."""
        if high - low < 2:
            return self.leaves[low] if low < high else _ZEROS
        middle = self.middle(low, high, depth)
        left, right = self.hash(low, middle, depth + 1), self.hash(middle, high, depth + 1)
        return sha256(b"\x01" + left + right).digest()


class Top:
    """The top levels. Node 1 is the root, node 2n and 2n + 1 are the halves of node n, buckets are the last level."""

    __slots__ = ("_hashes", "_keys")

    def __init__(self) -> None:
        self._hashes = bytearray(32 << (DEPTH + 1))
        self._keys = bytearray(1 << (DEPTH + 1))

    def copy(self) -> Top:
        """As it is now."""
        made = Top.__new__(Top)
        made._hashes, made._keys = self._hashes[:], self._keys[:]
        return made

    def __getitem__(self, number: int) -> Node:
        return Node(self._keys[number], bytes(self._hashes[32 * number : 32 * number + 32]))

    @property
    def root(self) -> bytes:
        """The map's root."""
        return self[1].hash

    def changed(self, buckets: Mapping[int, Node]) -> dict[int, Node]:
        """The nodes that become others when these buckets do; node 1 is among them. Nothing is changed yet (`take`)."""
        new = {(1 << DEPTH) + bucket: node for bucket, node in buckets.items()}
        row: Iterable[int] = new
        for _ in range(DEPTH):
            row = {number >> 1 for number in row}
            for number in row:
                left, right = 2 * number, 2 * number + 1
                new[number] = joined(new.get(left) or self[left], new.get(right) or self[right])
        return new

    def take(self, nodes: Mapping[int, Node]) -> None:
        """Make these nodes the tree's."""
        for number, node in nodes.items():
            self._keys[number] = node.keys
            self._hashes[32 * number : 32 * number + 32] = node.hash

    def path(self, key: bytes) -> tuple[list[bytes], int]:
        """The siblings on the way to `key`, lowest first, and the depth at which the way ends: `DEPTH` when in a bucket."""
        number, siblings = 1, []
        depth = 0
        while depth < DEPTH and self._keys[number] == _MANY:
            number = 2 * number + bit(key, depth)
            siblings.append(self[number ^ 1].hash)
            depth += 1
        siblings.reverse()
        return siblings, depth


@dataclass(frozen=True)
class MapProof:
    """How many disclosures of a subject a checkpoint commits to, and which they are.

    Attributes:
        pseudonym: 64 hex digits.
        size: the checkpoint's.
        count: the subject's counter; 0 when the map has not its key.
        indices: the places of the entries, in the order of the counter; `count` of them.
        siblings: the proof's hashes, lowest first.
        leaf: the key and count in which the way ends: the subject's own, another's, or None.
        root: the map's.
        subjects: how many keys the map has.
    """

    pseudonym: str
    size: int
    count: int
    indices: list[int]
    siblings: list[bytes]
    leaf: tuple[bytes, int] | None
    root: bytes
    subjects: int

    def verify(self) -> None:
        """Check the proof. Raises ProofInvalid."""
        verify_map(bytes.fromhex(self.pseudonym), self.count, self.siblings, self.leaf, self.root)
        if len(self.indices) != self.count:
            raise ProofInvalid(f"expected {self.count} places of disclosures, got {len(self.indices)}")


def verify_map(key: bytes, count: int, siblings: Sequence[bytes], found: tuple[bytes, int] | None, root: bytes) -> None:
    """Check that the map with this root says `count` for a key (0: it has not the key).

    Args:
        siblings: lowest first; as many as the depth at which the way ends.
        found: the key and count in which the way ends, or None for nothing.

    Raises:
        ProofInvalid: the proof does not show it.
    """
    depth = len(siblings)
    if len(key) != KEY or depth > 8 * KEY or any(len(item) != 32 for item in siblings):
        raise ProofInvalid(f"expected a key of {KEY} bytes and at most {8 * KEY} hashes of 32 bytes")
    node = EMPTY
    if found is not None:
        other, said = found
        if len(other) != KEY or said < 1:
            raise ProofInvalid(f"expected a leaf with a key of {KEY} bytes and a count from 1, got {said}")
        if any(bit(key, place) != bit(other, place) for place in range(depth)):
            raise ProofInvalid(f"expected a leaf whose first {depth} bits are the key's")
        node = leaf(other, said)
    shown = found[1] if found is not None and found[0] == key else 0
    if shown != count:
        raise ProofInvalid(f"expected the count {count}, and the proof shows {shown}")
    value = node.hash
    for place, sibling in zip(range(depth - 1, -1, -1), siblings, strict=True):
        left, right = (sibling, value) if bit(key, place) else (value, sibling)
        value = sha256(b"\x01" + left + right).digest()
    if not compare_digest(value, root):
        raise ProofInvalid(f"expected the map's root {root.hex()}, got {value.hex()}")
