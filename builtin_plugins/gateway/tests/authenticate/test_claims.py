"""Whether claims hold now, at their very edges."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.authenticate.claims import MAX_TIME, check, find, words_of
from rustcare_plugin_gateway.authenticate.jws import TokenRefused

from tests.support.tokens import NOW, claims_of

TIMES = st.integers(NOW - 100, NOW + 100) | st.floats(NOW - 100, NOW + 100)


def holds(claims: dict[str, Any], **options: Any) -> bool:
    """Whether they hold at NOW."""
    try:
        check(claims, issuer="rustcare", audience="rustcare", now=NOW, **options)
    except TokenRefused:
        return False
    return True


@given(TIMES, TIMES, TIMES, st.sampled_from([0, 5, 60]), st.sampled_from([0, 5, 60]))
def test_times_have_bounds(exp: float, nbf: float, iat: float, leeway: float, grace: float) -> None:
    """A token counts from `nbf` and `iat` (less the leeway) on, and before `exp` (and the grace)."""
    expected = exp + grace > NOW and nbf <= NOW + leeway and iat <= NOW + leeway
    assert holds(claims_of(exp=exp, nbf=nbf, iat=iat), leeway=leeway, grace=grace) is expected


@given(
    st.sampled_from(["exp", "nbf", "iat"]), st.none() | st.booleans() | st.text() | st.lists(st.integers(), max_size=2)
)
def test_times_are_numbers(name: str, value: Any) -> None:
    """A time that is there but no number is refused (RFC 7519, section 2, NumericDate)."""
    assert not holds({**claims_of(), name: value})


def test_times_have_limits() -> None:
    """The end of the year 9999 is a time; the second after is none."""
    assert holds(claims_of(exp=MAX_TIME))
    assert not holds(claims_of(exp=MAX_TIME + 1))
    assert not holds(claims_of(iat=-1))


def test_times_that_need_not_be_there() -> None:
    """`nbf` and `iat` may be left out, `exp` may not."""
    assert holds(claims_of(nbf=None, iat=None))
    assert not holds(claims_of(exp=None))


@pytest.mark.parametrize(
    ("aud", "good"), [("rustcare", True), (["a", "rustcare"], True), (["a"], False), ([], False), ("a", False)]
)
def test_audience_is_one_or_several(aud: Any, good: bool) -> None:
    """RFC 7519, section 4.1.3: our audience must be the one, or one of several."""
    assert holds(claims_of(aud=aud)) is good


def test_what_is_not_valid_yet_is_refused_no_longer_than_that() -> None:
    """A refusal may be remembered until the token becomes valid, and no longer."""
    with pytest.raises(TokenRefused) as caught:
        check(claims_of(nbf=NOW + 20), issuer="rustcare", audience="rustcare", now=NOW, leeway=5)
    assert caught.value.keep == 15


def test_claims_are_found_by_their_path() -> None:
    """A name counts before a path, since names of claims have dots (they may be addresses)."""
    claims = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "https://x.example/roles": ["r"], "t": "text"}
    assert [find(claims, path) for path in ("a.b", "a.c.d", "https://x.example/roles")] == [1, 3, ["r"]]
    assert [find(claims, path) for path in ("a.x", "t.x", "x", "a.b.c")] == [None] * 4


@pytest.mark.parametrize(
    ("value", "words"), [(None, ()), ("", ()), (" a  b ", ("a", "b")), ([], ()), (["a", "", "b c"], ("a", "b c"))]
)
def test_words_come_as_text_or_list(value: Any, words: tuple[str, ...]) -> None:
    """Words are separated by blanks (RFC 6749, section 3.3), or stand in a list; empty ones are none."""
    assert words_of(value, "scope") == words
