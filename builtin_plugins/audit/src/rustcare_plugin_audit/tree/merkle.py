"""Merkle trees of RFC 6962 (and RFC 9162): hashes, roots, proofs and their verification. Pure functions over bytes.

A proof is made in two steps. `inclusion_ranges` and `consistency_ranges` say which subtrees' hashes it consists of, as
ranges of leaves `[low, high)`; `perfect_nodes` says of which perfect subtrees (the ones that are stored) each range is made.
So nothing here knows where hashes are kept.

Subtrees `[start, end)` other than whole trees: draft-ietf-plants-merkle-tree-certs-02, sections 4.1 to 4.4. RFC 6962's
proofs are among theirs: a consistency proof of size m is that of the subtree [0, m).

Verifiers raise `ProofInvalid`; there is no boolean to forget about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from hmac import compare_digest

from rustcare_plugin_audit.errors import ProofInvalid

__all__ = [
    "EMPTY_ROOT",
    "HASH",
    "consistency_ranges",
    "fold",
    "inclusion_ranges",
    "leaf_hash",
    "node_hash",
    "perfect_nodes",
    "prove_consistency",
    "prove_inclusion",
    "root_from_inclusion",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
    "verify_subtree_consistency",
    "verify_subtree_inclusion",
]

HASH = 32  # bytes
EMPTY_ROOT = sha256(b"").digest()

Range = tuple[int, int]


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two neighbours: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over the hashes of leaves (or of perfect subtrees of one size), RFC 6962 section 2.1."""
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        above = [sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, len(row) - 1, 2)]
        if len(row) & 1:
            above.append(row[-1])
        row = above
    return row[0]


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over subtrees that stand side by side, each smaller than the one to its left."""
    found = hashes[-1]
    for left in reversed(hashes[:-1]):
        found = node_hash(left, found)
    return found


def perfect_nodes(low: int, high: int) -> list[tuple[int, int]]:
    """The perfect subtrees `(level, index)`, left to right, of which the subtree of leaves `[low, high)` is made.

    Node `(level, index)` covers the leaves from `index << level` to `(index + 1) << level`.
    """
    nodes = []
    while low < high:
        level = (high - low).bit_length() - 1
        nodes.append((level, low >> level))
        low += 1 << level
    return nodes


# which hashes a proof has


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """The ranges whose hashes are the inclusion proof of a leaf, lowest first: RFC 6962 section 2.1.1, PATH.

    Raises:
        ProofInvalid: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"expected a leaf of 0 to {size - 1}, got {index}")
    low, high = 0, size
    ranges = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    ranges.reverse()
    return ranges


def consistency_ranges(start: int, end: int, size: int) -> list[Range]:
    """The ranges whose hashes prove that the subtree `[start, end)` is part of the tree of `size`, lowest first.

    With `start` 0 that is RFC 6962 section 2.1.2, PROOF(end, D[size]).

    Raises:
        ProofInvalid: it is no subtree, or not one of that tree.
    """
    check_subtree(start, end)
    if end > size:
        raise ProofInvalid(f"expected a subtree within {size} leaves, got one that ends at {end}")
    ranges, bottom, whole = _path(start, end, size)
    found = [siblings for siblings, _ in reversed(ranges)]
    return found if whole else [bottom, *found]


def check_subtree(start: int, end: int) -> None:
    """A subtree `[start, end)` has leaves, and begins at a multiple of the power of two that holds its size.

    Raises:
        ProofInvalid: it does not.
    """
    if not 0 <= start < end or start % (1 << (end - start - 1).bit_length()):
        raise ProofInvalid(f"expected a subtree of a Merkle tree, got the leaves from {start} to {end}")


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _path(start: int, end: int, size: int) -> tuple[list[tuple[Range, str]], Range, bool]:
    """The way down from the root to `[start, end)`: each step's sibling, and on which side it is.

    `left`, `right`: of the whole tree's path only; `both`: to the left, and part of the subtree too. Then the range at which
    the way ends, and whether it is the subtree as it is (else its last part).
    """
    low, high, whole = 0, size, True
    steps: list[tuple[Range, str]] = []
    while (low, high) != (start, end):
        middle = low + _split(high - low)
        if end <= middle:
            steps.append(((middle, high), "right"))
            high = middle
        elif middle <= start:
            steps.append(((low, middle), "left"))
            low = middle
        else:
            steps.append(((low, middle), "both"))
            low = start = middle
            whole = False
    return steps, (low, high), whole


# making proofs from hashes at hand


def prove_inclusion(index: int, size: int, hash_of: Callable[[int, int], bytes]) -> list[bytes]:
    """The inclusion proof of a leaf, with a function that gives the hash of a perfect subtree `(level, index)`."""
    return [_range_hash(low, high, hash_of) for low, high in inclusion_ranges(index, size)]


def prove_consistency(start: int, end: int, size: int, hash_of: Callable[[int, int], bytes]) -> list[bytes]:
    """The consistency proof of the subtree `[start, end)` (a whole tree: `start` 0) with the tree of `size`."""
    return [_range_hash(low, high, hash_of) for low, high in consistency_ranges(start, end, size)]


def _range_hash(low: int, high: int, hash_of: Callable[[int, int], bytes]) -> bytes:
    return fold([hash_of(level, index) for level, index in perfect_nodes(low, high)])


# checking proofs


def root_from_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that a proof leads to from the hash of a leaf: RFC 9162 section 2.1.3.2.

    Raises:
        ProofInvalid: the proof has not the length that this place in a tree of this size needs.
    """
    ranges = inclusion_ranges(index, size)
    _check_hashes((leaf, *proof))
    _check_length(proof, len(ranges))
    found = leaf
    for (low, _), sibling in zip(ranges, proof, strict=True):
        found = node_hash(sibling, found) if low < index else node_hash(found, sibling)
    return found


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with the hash `leaf` is at `index` of the tree of `size` with this root.

    Raises:
        ProofInvalid: the proof does not show it.
    """
    _check_root(root_from_inclusion(index, size, leaf, proof), root, f"leaf {index} of {size}")


def verify_subtree_inclusion(
    index: int, start: int, end: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf at `index` is in the subtree `[start, end)` with this root.

    Raises:
        ProofInvalid: the proof does not show it, or it is no subtree.
    """
    check_subtree(start, end)
    verify_inclusion(index - start, end - start, leaf, proof, root)


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of `new` leaves extends that of `old`: RFC 9162 section 2.1.4.2.

    An empty old tree (`old` 0) is refused: every tree extends it, so there is nothing to prove.

    Raises:
        ProofInvalid: the proof does not show it.
    """
    if old < 1:
        raise ProofInvalid(f"expected an old tree of 1 leaf or more, got {old}")
    verify_subtree_consistency(0, old, new, proof, old_root, new_root)


def verify_subtree_consistency(
    start: int, end: int, size: int, proof: Sequence[bytes], subtree_root: bytes, root: bytes
) -> None:
    """Check that the subtree `[start, end)` with its root is part of the tree of `size` with its root.

    A subtree without leaves is part of every tree that reaches as far: its root is the empty one, its proof is empty, and
    nothing is learned about `root`.

    Raises:
        ProofInvalid: the proof does not show it, or it is no subtree of that tree.
    """
    if 0 <= start == end <= size:
        _check_length(proof, 0)
        _check_root(EMPTY_ROOT, subtree_root, "no leaves")
        return
    check_subtree(start, end)
    if end > size:
        raise ProofInvalid(f"expected a tree of {end} leaves or more, got {size}")
    steps, _, whole = _path(start, end, size)
    _check_hashes((subtree_root, root, *proof))
    _check_length(proof, len(steps) + (not whole))
    rest = iter(proof)
    part = tree = subtree_root if whole else next(rest)
    for (_, side), sibling in zip(reversed(steps), rest, strict=True):
        if side == "right":
            tree = node_hash(tree, sibling)
            continue
        tree = node_hash(sibling, tree)
        if side == "both":
            part = node_hash(sibling, part)
    _check_root(part, subtree_root, f"the leaves from {start} to {end}")
    _check_root(tree, root, f"the tree of {size}")


def _check_hashes(hashes: Sequence[bytes]) -> None:
    for item in hashes:
        if len(item) != HASH:
            raise ProofInvalid(f"expected hashes of {HASH} bytes, got one of {len(item)}")


def _check_length(proof: Sequence[bytes], expected: int) -> None:
    if len(proof) != expected:
        raise ProofInvalid(f"expected a proof of {expected} hashes, got {len(proof)}")


def _check_root(found: bytes, expected: bytes, what: str) -> None:
    if not compare_digest(found, expected):
        raise ProofInvalid(f"expected the root {expected.hex()} for {what}, got {found.hex()}")
