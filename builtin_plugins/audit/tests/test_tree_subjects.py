"""The map of disclosure counters against a naive recursive implementation."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.errors import ProofInvalid
from rustcare_plugin_audit.tree.subjects import (
    DEPTH,
    EMPTY,
    MapProof,
    Node,
    Top,
    bucket_node,
    bucket_of,
    bucket_path,
    verify_map,
)

# Keys that share long beginnings as well as ones that share nothing.
keys = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.integers(0, 40).map(lambda n: n.to_bytes(32, "big")),
    st.integers(0, 40).map(lambda n: bytes(2) + n.to_bytes(2, "big") + bytes(28)),
)
maps = st.dictionaries(keys, st.integers(1, 2**40), max_size=20)


def naive(items: list[tuple[bytes, int]], depth: int = 0) -> bytes:
    """The hash of a subtree, as docs/reference/audit-log-format.md says it."""
    if not items:
        return bytes(32)
    if len(items) == 1:
        key, count = items[0]
        return sha256(b"\x00" + key + count.to_bytes(8, "big")).digest()
    bits = [bin(key[depth // 8] | 256)[3:][depth % 8] for key, _ in items]
    left = [item for item, bit in zip(items, bits, strict=True) if bit == "0"]
    right = [item for item, bit in zip(items, bits, strict=True) if bit == "1"]
    return sha256(b"\x01" + naive(left, depth + 1) + naive(right, depth + 1)).digest()


def top_of(counts: dict[bytes, int]) -> Top:
    """The top of a map."""
    buckets: dict[int, dict[bytes, int]] = {}
    for key, count in counts.items():
        buckets.setdefault(bucket_of(key), {})[key] = count
    top = Top()
    if buckets:
        top.take(top.changed({number: bucket_node(found) for number, found in buckets.items()}))
    return top


def proof_of(counts: dict[bytes, int], key: bytes) -> tuple[list[bytes], tuple[bytes, int] | None]:
    """The siblings and the leaf for a key."""
    path, depth = top_of(counts).path(key)
    prefix = int.from_bytes(key, "big") >> (256 - depth)
    near = {other: n for other, n in counts.items() if int.from_bytes(other, "big") >> (256 - depth) == prefix}
    below, found = bucket_path(near, key, depth)
    return below + path, found


@given(maps)
def test_root_is_the_recursive_one(counts: dict[bytes, int]) -> None:
    """The top over buckets has the root of the whole map."""
    assert top_of(counts).root == naive(list(counts.items()))


@given(maps, keys)
def test_every_key_is_proved_with_its_count_or_absent(counts: dict[bytes, int], key: bytes) -> None:
    """For any key, in the map or not, there is a proof of its count, and of no other one."""
    siblings, found = proof_of(counts, key)
    root = naive(list(counts.items()))
    verify_map(key, counts.get(key, 0), siblings, found, root)
    with pytest.raises(ProofInvalid):
        verify_map(key, counts.get(key, 0) + 1, siblings, found, root)


@given(maps.filter(bool), st.data())
def test_a_key_of_the_map_cannot_be_proved_absent(counts: dict[bytes, int], data: st.DataObject) -> None:
    """A proof that leaves the leaf out, or puts another there, does not lead to the root."""
    key = data.draw(st.sampled_from(sorted(counts)))
    siblings, _ = proof_of(counts, key)
    root = naive(list(counts.items()))
    with pytest.raises(ProofInvalid):
        verify_map(key, 0, siblings, None, root)
    other = bytes([key[0]]) + bytes(b ^ 255 for b in key[1:])
    with pytest.raises(ProofInvalid):
        verify_map(key, 0, siblings, (other, counts[key]), root)


@given(maps.filter(lambda counts: len(counts) > 1), st.data())
def test_a_changed_proof_is_refused(counts: dict[bytes, int], data: st.DataObject) -> None:
    """One changed bit of a sibling is refused, and so is a sibling less."""
    key = data.draw(st.sampled_from(sorted(counts)))
    siblings, found = proof_of(counts, key)
    place, bit = data.draw(st.integers(0, len(siblings) - 1)), data.draw(st.integers(0, 255))
    changed = list(siblings)
    changed[place] = (int.from_bytes(changed[place], "big") ^ 1 << bit).to_bytes(32, "big")
    root = naive(list(counts.items()))
    for wrong in (changed, siblings[1:], siblings[:-1]):
        with pytest.raises(ProofInvalid):
            verify_map(key, counts[key], wrong, found, root)


@given(maps, maps)
def test_changes_are_seen_only_when_taken(before: dict[bytes, int], after: dict[bytes, int]) -> None:
    """`changed` computes the new root without touching the tree; `take` makes it the tree's."""
    top = top_of(before)
    both = {**before, **after}
    buckets: dict[int, Node] = {}
    for number in {bucket_of(key) for key in after}:
        buckets[number] = bucket_node({key: n for key, n in both.items() if bucket_of(key) == number})
    if not buckets:
        return
    new = top.changed(buckets)
    assert top.root == naive(list(before.items()))
    assert new[1].hash == naive(list(both.items()))
    copy = top.copy()
    top.take(new)
    assert top.root == naive(list(both.items()))
    assert copy.root == naive(list(before.items()))


def test_the_empty_map_is_32_zero_bytes() -> None:
    """A map without keys has a root that is no hash of anything."""
    assert Top().root == EMPTY.hash == bytes(32)
    assert DEPTH % 8 == 0  # a bucket is named by whole bytes


def test_a_proof_with_fewer_places_than_its_count_is_refused() -> None:
    """A map proof comes with the place of every disclosure."""
    key = bytes(range(32))
    counts = {key: 2}
    siblings, found = proof_of(counts, key)
    proof = MapProof(key.hex(), 9, 2, [1, 5], siblings, found, naive(list(counts.items())), 1)
    proof.verify()
    with pytest.raises(ProofInvalid, match="2 places"):
        replace(proof, indices=[1]).verify()
