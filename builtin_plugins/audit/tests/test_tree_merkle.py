"""Merkle trees against a naive recursive implementation of RFC 6962 section 2.1."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.errors import ProofInvalid
from rustcare_plugin_audit.tree.frontier import Frontier
from rustcare_plugin_audit.tree.merkle import (
    EMPTY_ROOT,
    leaf_hash,
    perfect_nodes,
    prove_consistency,
    prove_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)

sizes = st.integers(1, 200)


def split(size: int) -> int:
    """The largest power of two below `size`."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_consistency(start: int, end: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, for subtrees as draft-ietf-plants-merkle-tree-certs has it."""
    if start == 0 and end == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = split(len(leaves))
    if end <= k:
        return [*naive_consistency(start, end, leaves[:k], whole), naive_root(leaves[k:])]
    if k <= start:
        return [*naive_consistency(start - k, end - k, leaves[k:], whole), naive_root(leaves[:k])]
    return [*naive_consistency(0, end - k, leaves[k:], False), naive_root(leaves[:k])]


def some(size: int) -> list[bytes]:
    """Leaves, none like another."""
    return [b"leaf %d" % number for number in range(size)]


def hashes_of(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    """Hashes of perfect subtrees, computed anew."""
    return lambda level, index: naive_root(leaves[index << level : (index + 1) << level])


def test_root_of_nothing_is_the_hash_of_nothing() -> None:
    """The empty tree's root is SHA-256 of the empty string."""
    assert root_of([]) == EMPTY_ROOT == Frontier().root == naive_root([])


@given(sizes)
def test_root_is_the_recursive_one(size: int) -> None:
    """The root over leaf hashes is MTH of RFC 6962."""
    leaves = some(size)
    assert root_of([leaf_hash(leaf) for leaf in leaves]) == naive_root(leaves)


@given(sizes, st.data())
def test_inclusion_proof_is_the_recursive_one_and_verifies(size: int, data: st.DataObject) -> None:
    """Every leaf's proof is PATH of RFC 6962, and a verifier accepts it."""
    index = data.draw(st.integers(0, size - 1))
    leaves = some(size)
    proof = prove_inclusion(index, size, hashes_of(leaves))
    assert proof == naive_path(index, leaves)
    verify_inclusion(index, size, leaf_hash(leaves[index]), proof, naive_root(leaves))


@given(sizes, st.data())
def test_consistency_proof_is_the_recursive_one_and_verifies(size: int, data: st.DataObject) -> None:
    """Every pair of sizes has the proof of RFC 6962, and a verifier accepts it."""
    old = data.draw(st.integers(1, size))
    leaves = some(size)
    proof = prove_consistency(0, old, size, hashes_of(leaves))
    assert proof == naive_consistency(0, old, leaves)
    verify_consistency(old, size, proof, naive_root(leaves[:old]), naive_root(leaves))


@given(sizes, st.data())
def test_subtree_proofs_are_the_recursive_ones_and_verify(size: int, data: st.DataObject) -> None:
    """Every subtree is proved consistent with the tree, and its leaves included in it."""
    level = data.draw(st.integers(0, size.bit_length()))
    start = data.draw(st.integers(0, (size - 1) >> level)) << level
    end = data.draw(st.integers(start + 1, min(size, start + (1 << level))))
    leaves = some(size)
    part = naive_root(leaves[start:end])
    proof = prove_consistency(start, end, size, hashes_of(leaves))
    assert proof == naive_consistency(start, end, leaves)
    verify_subtree_consistency(start, end, size, proof, part, naive_root(leaves))
    index = data.draw(st.integers(start, end - 1))
    path = naive_path(index - start, leaves[start:end])
    verify_subtree_inclusion(index, start, end, leaf_hash(leaves[index]), path, part)


@given(sizes, st.data())
def test_changed_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    """One changed bit anywhere in a proof, leaf or root is refused."""
    index = data.draw(st.integers(0, size - 1))
    leaves = some(size)
    parts = [leaf_hash(leaves[index]), naive_root(leaves), *naive_path(index, leaves)]
    place = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[place] = (int.from_bytes(parts[place], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(ProofInvalid):
        verify_inclusion(index, size, parts[0], parts[2:], parts[1])


@given(sizes, st.data())
def test_changed_consistency_proof_is_refused(size: int, data: st.DataObject) -> None:
    """One changed bit anywhere in a proof or root is refused."""
    old = data.draw(st.integers(1, size))
    leaves = some(size)
    parts = [naive_root(leaves[:old]), naive_root(leaves), *naive_consistency(0, old, leaves)]
    place = data.draw(st.integers(0, len(parts) - 1))
    bit = data.draw(st.integers(0, 255))
    parts[place] = (int.from_bytes(parts[place], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(ProofInvalid):
        verify_consistency(old, size, parts[2:], parts[0], parts[1])


@given(sizes, st.data())
def test_proof_for_another_place_or_size_is_refused(size: int, data: st.DataObject) -> None:
    """A proof says where: for another index, or an old tree of another size, it is refused."""
    index, other = (data.draw(st.integers(0, size - 1)) for _ in range(2))
    leaves = some(size)
    root = naive_root(leaves)
    if other != index:
        with pytest.raises(ProofInvalid):
            verify_inclusion(other, size, leaf_hash(leaves[index]), naive_path(index, leaves), root)
        with pytest.raises(ProofInvalid):
            verify_consistency(
                other + 1, size, naive_consistency(0, index + 1, leaves), naive_root(leaves[: index + 1]), root
            )


def test_consistency_with_an_empty_tree_is_refused() -> None:
    """Size 0 is no old tree: everything extends it, so a proof would show nothing."""
    with pytest.raises(ProofInvalid, match="1 leaf or more"):
        verify_consistency(0, 1, [], EMPTY_ROOT, leaf_hash(b""))


def test_proof_with_hashes_of_another_length_is_refused() -> None:
    """Two hashes that were cut at another place do not make the same node."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    root = root_of([left, right])
    with pytest.raises(ProofInvalid, match="32 bytes"):
        verify_inclusion(0, 2, left[:-1], [left[-1:] + right], root)


@given(st.integers(0, 300), st.integers(1, 300))
def test_ranges_are_made_of_perfect_subtrees(level: int, size: int) -> None:
    """The nodes of a subtree cover its leaves, each once and in order."""
    low = (level % 9) << 9
    covered = []
    for height, index in perfect_nodes(low, low + size):
        covered += range(index << height, (index + 1) << height)
    assert covered == list(range(low, low + size))


@given(st.lists(st.integers(1, 700), min_size=1, max_size=6))
def test_frontier_has_the_roots_and_tiles_of_the_whole_tree(batches: list[int]) -> None:
    """However leaves are batched, root, partial tiles and full tiles are those of the tree."""
    grown, hashes, tiles = Frontier(), list[bytes](), []
    for batch in batches:
        new = [leaf_hash(b"%d" % number) for number in range(len(hashes), len(hashes) + batch)]
        hashes += new
        tiles += grown.append(new)
        assert grown.root == root_of(hashes)
    expected = [(0, index, b"".join(hashes[index * 256 : index * 256 + 256])) for index in range(len(hashes) // 256)]
    assert tiles == expected
    assert grown.edges[0] == hashes[len(expected) * 256 :]
    again = Frontier.restore(grown.size, grown.edges)
    more = [leaf_hash(b"more")]
    assert again.append(more) == grown.copy().append(more)
    assert again.root == root_of(hashes + more)


def test_a_full_tile_of_tiles_goes_up_a_level() -> None:
    """After 65,536 leaves a tile of level 1 is given out, which holds the roots of the tiles below."""
    hashes = [leaf_hash(b"%d" % number) for number in range(65_536)]
    tiles = Frontier().append(hashes)
    assert [tile[:2] for tile in tiles[-2:]] == [(0, 255), (1, 0)]
    assert tiles[-1][2] == b"".join(root_of(hashes[start : start + 256]) for start in range(0, 65_536, 256))
