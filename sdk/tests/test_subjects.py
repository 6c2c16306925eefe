"""Subjects and patterns: what is well formed, what fits, what covers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_sdk.errors import InvalidSubject
from rustcare_sdk.subjects import (
    check_pattern,
    check_subject,
    is_subject,
    pattern_covers,
    pattern_intersection,
    pattern_matches,
)

#: Small enough to try every subject: tokens of two letters and up to five of them. A pattern of up to four tokens that
#: fits some subject at all fits one of these; `x` is in no pattern, so a wildcard can be told from a literal.
UNIVERSE = [".".join(tokens) for size in range(1, 6) for tokens in itertools.product("abx", repeat=size)]

patterns = st.builds(
    lambda tokens, rest: ".".join([*tokens, *rest]),
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=3),
    st.sampled_from([[], [">"]]),
) | st.just(">")


def fits(pattern: str, subject: str) -> bool:
    """The definition, told another way than the code does."""
    tokens, words = pattern.split("."), subject.split(".")
    if tokens[-1] == ">":
        tokens = tokens[:-1] + ["*"] * max(1, len(words) - len(tokens) + 1)
    return len(tokens) == len(words) and all(token in ("*", word) for token, word in zip(tokens, words, strict=True))


@given(patterns)
def test_matching_follows_the_definition(pattern: str) -> None:
    """`*` is one token, `>` one or more: on every subject of the universe."""
    assert [s for s in UNIVERSE if pattern_matches(pattern, s)] == [s for s in UNIVERSE if fits(pattern, s)]


@given(patterns, patterns)
def test_covering_is_inclusion(a: str, b: str) -> None:
    """`a` covers `b` exactly when every subject that `b` fits, `a` fits; two that cover each other are one."""
    assert pattern_covers(a, b) == all(fits(a, s) for s in UNIVERSE if fits(b, s))
    if pattern_covers(a, b) and pattern_covers(b, a):
        assert a == b


@given(patterns, patterns)
def test_intersection_is_exact(a: str, b: str) -> None:
    """The intersection fits exactly what both fit, and is the same from both sides."""
    both = [s for s in UNIVERSE if fits(a, s) and fits(b, s)]
    found = pattern_intersection(a, b)
    assert found == pattern_intersection(b, a)
    assert both == ([] if found is None else [s for s in UNIVERSE if fits(found, s)])
    if found is not None:
        assert check_pattern(found) == found


@pytest.mark.parametrize("text", ["a", "hl7.adt.a01", "A-1.b_2", "x" * 255])
def test_well_formed(text: str) -> None:
    """Letters, digits, `_` and `-`, in tokens separated by dots; a subject is also a pattern."""
    assert is_subject(text)
    assert check_subject(text) == text
    assert check_pattern(text) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "empty"),
        (".a", "empty"),
        ("a..b", "empty"),
        ("a.>.b", "only at the end"),
        ("a.b*", "whole token"),
        ("a b", "A-Z"),
        ("é", "A-Z"),
        ("a\n", "A-Z"),
        ("x" * 256, "at most 255"),
    ],
)
def test_malformed(text: str, hint: str) -> None:
    """A malformed subject or pattern is refused with a hint."""
    for check in (check_subject, check_pattern):
        with pytest.raises(InvalidSubject, match=hint):
            check(text, "here")
    assert not is_subject(text)


@pytest.mark.parametrize("text", ["*", "a.*", ">", "a.>"])
def test_a_pattern_is_no_subject(text: str) -> None:
    """Wildcards are refused where a message is sent."""
    assert check_pattern(text) == text
    with pytest.raises(InvalidSubject, match="spelled out"):
        check_subject(text)
