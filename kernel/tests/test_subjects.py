"""The trie of patterns finds exactly what comparing every pattern would find, and leaves nothing behind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_kernel.subjects import PatternTrie
from rustcare_sdk.errors import InvalidSubject
from rustcare_sdk.subjects import pattern_matches

TOKENS = st.sampled_from(["a", "b", "c", "hl7"])
SUBJECTS = st.lists(TOKENS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.tuples(
    st.lists(TOKENS | st.just("*"), min_size=0, max_size=4), st.sampled_from(["a", "b", "*", ">"])
).map(lambda parts: ".".join((*parts[0], parts[1])))


class Item:
    """A value; the trie compares by identity."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern


@given(st.lists(PATTERNS, max_size=25), st.lists(SUBJECTS, min_size=1, max_size=10))
def test_match_finds_what_comparing_every_pattern_finds(patterns: list[str], subjects: list[str]) -> None:
    """`match` gives all values whose pattern fits, and no other, in the order they were added."""
    trie: PatternTrie[Item] = PatternTrie()
    items = [Item(pattern) for pattern in patterns]
    for item in items:
        trie.add(item.pattern, item)
    for subject in subjects:
        assert trie.match(subject) == [item for item in items if pattern_matches(item.pattern, subject)]


@given(st.lists(PATTERNS, max_size=15), st.data())
def test_removing_leaves_the_others_and_no_branch(patterns: list[str], data: st.DataObject) -> None:
    """After a removal the others are still found; after the last one the trie is as empty as a new one."""
    trie: PatternTrie[Item] = PatternTrie()
    items = [Item(pattern) for pattern in patterns]
    for item in items:
        trie.add(item.pattern, item)
    left = list(items)
    for item in data.draw(st.permutations(items)):
        trie.remove(item.pattern, item)
        left.remove(item)
        assert len(trie) == len(left)
        assert set(trie) == set(left)
        for other in items:
            if ">" not in other.pattern and "*" not in other.pattern:
                expected = [each for each in left if pattern_matches(each.pattern, other.pattern)]
                assert trie.match(other.pattern) == expected
    assert not trie._root.children
    assert not trie._root.values
    assert not trie._root.rest


def test_removing_what_is_not_there_changes_nothing() -> None:
    """A value that was not added, or not under that pattern, is ignored."""
    trie: PatternTrie[Item] = PatternTrie()
    kept, stranger = Item("a.b"), Item("a.b")
    trie.add("a.b", kept)
    for pattern in ("a.b", "a", "a.b.c", "a.>", ">", "x.y"):
        trie.remove(pattern, stranger)
    trie.remove("a.>", kept)
    assert trie.match("a.b") == [kept]
    assert len(trie) == 1


def test_a_malformed_pattern_is_refused_and_leaves_no_trace() -> None:
    """`add` raises InvalidSubject before it files anything."""
    trie: PatternTrie[Item] = PatternTrie()
    for pattern in ("", "a..b", ">.a", "a.b*", "a b", ".a"):
        with pytest.raises(InvalidSubject):
            trie.add(pattern, Item(pattern))
    assert len(trie) == 0
    assert not trie._root.children
