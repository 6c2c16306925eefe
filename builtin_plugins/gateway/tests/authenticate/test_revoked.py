"""What was revoked is kept as long as it matters, and what does not fit is made wider, never forgotten."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.authenticate.cache import digest_of
from rustcare_plugin_gateway.authenticate.revoked import Revoked
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.contracts.identity import Revocation


class Clock:
    """A clock that stands until it is set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def revocation(kind: Any, id: str, before: float = 0.0, until: float = 2000.0, tenant: str = "t") -> Revocation:
    """One that was told."""
    return Revocation(1, kind, id, tenant, before, until)


ADA = Caller("user/ada", "t", session="s1")


def test_tokens_are_ended_by_id_session_and_account() -> None:
    """A token is ended by its `jti`, by its session, and by its account when it was issued before; by no other."""
    for one, covered in (
        (revocation("token", "j1"), True),
        (revocation("token", "j2"), False),
        (revocation("session", "s1"), True),
        (revocation("session", "s2"), False),
        (revocation("account", "ada", before=901), True),
        (revocation("account", "ada", before=900), False),
        (revocation("account", "bob", before=901), False),
        (revocation("account", "ada", before=901, tenant="u"), False),
        (revocation("session", "j1"), False),
        (revocation("key", digest_of("x").hex()), False),
    ):
        revoked = Revoked(10, Clock())
        revoked.note(one)
        assert revoked.covers_token(ADA, "j1", 900) is covered, one


def test_a_row_goes_when_its_time_is_over() -> None:
    """After `until` a row is dropped with the next one that is noted."""
    clock = Clock()
    revoked = Revoked(10, clock)
    revoked.note(revocation("token", "j1", until=1500))
    clock.now = 1499.0
    revoked.note(revocation("token", "j2", until=3000))
    assert len(revoked) == 2
    clock.now = 1500.0
    revoked.note(revocation("token", "j3", until=3000))
    assert len(revoked) == 2
    assert not revoked.covers_token(ADA, "j1", 900)
    assert revoked.covers_token(ADA, "j2", 900)


def test_one_that_is_told_again_lasts_as_long_as_the_longest() -> None:
    """Of two for the same thing the later `until` and the later `before` count."""
    clock = Clock()
    revoked = Revoked(10, clock)
    revoked.note(revocation("account", "ada", before=950, until=1900))
    revoked.note(revocation("account", "ada", before=910, until=1200))
    clock.now = 1800.0
    revoked.note(revocation("token", "other"))
    assert revoked.covers_token(ADA, "j", 940)


def test_one_without_an_end_is_kept() -> None:
    """A revocation that does not say for how long it matters is kept for a day."""
    clock = Clock()
    revoked = Revoked(10, clock)
    revoked.note(revocation("token", "j1", until=0.0))
    clock.now += 80_000
    revoked.note(revocation("token", "j2", until=0.0))
    assert revoked.covers_token(ADA, "j1", 900)


def test_what_does_not_fit_is_made_wider() -> None:
    """When there is no room, all tokens of before are refused until what was dropped has passed; later ones are not."""
    clock = Clock()
    revoked = Revoked(3, clock)
    for number in range(10):
        revoked.note(revocation("token", f"j{number}", until=1100 + number))
    assert len(revoked) == 3
    bob = Caller("user/bob", "t")
    assert all(revoked.covers_token(bob, f"j{number}", 900) for number in range(10))
    assert revoked.covers_token(bob, "another", 1000)
    assert not revoked.covers_token(bob, "later", 1002)
    clock.now = 1106.0
    assert not revoked.covers_token(bob, "another", 1000)


def test_an_answer_from_before_says_nothing() -> None:
    """`since` tells of what was noted after a turn, for this credential, its session or its account, and of nothing else."""
    for one, concerns in (
        (revocation("key", digest_of("x").hex()), True),
        (revocation("credential", digest_of("x").hex()), True),
        (revocation("credential", digest_of("y").hex()), False),
        (revocation("session", "s1"), True),
        (revocation("account", "ada"), True),
        (revocation("account", "bob"), False),
    ):
        revoked = Revoked(10, Clock())
        turn = revoked.turn
        revoked.note(one)
        assert revoked.since(turn, ADA, digest_of("x")) is concerns, one
        assert not revoked.since(revoked.turn, ADA, digest_of("x"))


def test_what_did_not_fit_concerns_every_answer() -> None:
    """What was dropped for want of room after a turn may have concerned any answer from before."""
    revoked = Revoked(2, Clock())
    turn = revoked.turn
    for number in range(3):
        revoked.note(revocation("token", str(number), until=1500 + number))
    assert revoked.since(turn, ADA, digest_of("x"))


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["token", "session", "account"]), st.integers(0, 6), st.integers(990, 1010), st.integers(1, 50)
    ),
    max_size=40,
)


@given(ROWS, st.integers(1, 6), st.integers(0, 20))
def test_nothing_is_forgotten_before_its_time(rows: list[tuple[Any, int, int, int]], size: int, step: int) -> None:
    """However small the list is and whatever came, a token that was revoked and has not passed is covered."""
    clock = Clock()
    revoked = Revoked(size, clock)
    told: list[Revocation] = []
    for kind, number, before, lasts in rows:
        told.append(revocation(kind, str(number), float(before), clock.now + lasts))
        revoked.note(told[-1])
        clock.now += step / 10
        assert len(revoked) <= size
        assert len(revoked._ends) <= 2 * size + 1
        for one in told:
            if one.until <= clock.now:
                continue
            caller = Caller(
                f"user/{one.id if one.kind == 'account' else 'ada'}",
                "t",
                session=one.id if one.kind == "session" else "",
            )
            # A token that could exist when it was revoked: issued before that moment.
            assert revoked.covers_token(caller, one.id if one.kind == "token" else "", min(one.before, 1000.0) - 1)
