"""Whether all revocations are known, by their revisions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.authenticate.revisions import Revisions


def at(revision: int) -> Revisions:
    """Everything up to a revision is known."""
    made = Revisions()
    made.answered(revision)
    return made


def test_before_the_first_answer_nothing_is_known() -> None:
    """A gateway that has not asked yet is behind, whatever it hears."""
    made = Revisions()
    assert made.behind
    made.heard(1)
    assert made.behind


def test_the_next_one_is_no_gap() -> None:
    """Revisions that come in their order, or again, leave nothing missing."""
    made = at(4)
    for revision in (5, 6, 6, 2, 7):
        made.heard(revision)
        assert not made.behind
    assert made.known == 7


def test_a_gap_is_closed_by_an_answer() -> None:
    """One that is missing leaves us behind until an answer covers it, whatever else comes."""
    made = at(4)
    made.heard(6)
    assert (made.behind, made.known) == (True, 4)
    made.heard(7)
    assert (made.behind, made.known) == (True, 4)
    made.answered(6)
    assert (made.behind, made.known) == (False, 7)


def test_a_gap_is_closed_by_what_was_missing() -> None:
    """Events that overtook each other leave no gap when all of them have come; before the first answer that helps nothing."""
    made = at(4)
    for revision in (7, 6):
        made.heard(revision)
        assert made.behind
    made.heard(5)
    assert (made.behind, made.known) == (False, 7)
    new = Revisions()
    new.heard(2)
    new.heard(1)
    assert new.behind


def test_what_comes_during_an_answer_counts() -> None:
    """An answer that is older than what was heard meanwhile closes the gap only if nothing is missing in between."""
    made = at(4)
    made.heard(6)
    assert made.ask() == 4
    made.heard(9)
    made.answered(6)
    assert (made.behind, made.known) == (True, 6)
    made.ask()
    made.answered(8)
    assert (made.behind, made.known) == (False, 8)


def test_a_store_that_was_put_back() -> None:
    """A lower revision than the one that was known is counted from."""
    made = at(100)
    made.answered(3)
    assert (made.behind, made.known) == (False, 3)
    made.heard(5)
    assert made.behind


def test_an_answer_that_is_older_than_what_was_heard_before_it() -> None:
    """Whoever answers knows what was told before the question: an answer without it is of a store that was put back."""
    made = at(4)
    made.heard(90)
    made.ask()
    made.answered(5)
    assert (made.behind, made.known) == (False, 5)


@given(st.permutations(range(1, 12)), st.integers(0, 11), st.integers(0, 11))
def test_never_ahead_of_what_was_heard(order: list[int], lost: int, asked: int) -> None:
    """When it is not behind, every revision up to the known one was heard or answered."""
    made, heard = at(0), set[int]()
    for turn, revision in enumerate(order):
        if revision != lost:
            made.heard(revision)
            heard.add(revision)
        if turn == asked:
            made.ask()
            answer = max(asked, *heard, 0)
            made.answered(answer)
            heard |= set(range(answer + 1))
        assert made.behind or set(range(1, max(heard, default=0) + 1)) <= heard
