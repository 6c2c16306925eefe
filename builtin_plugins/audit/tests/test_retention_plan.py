"""Retention: periods, policies, holds, and what a plan may let go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.entry import Disclosure, Entry, What, Which, Who
from rustcare_plugin_audit.errors import PolicyInvalid
from rustcare_plugin_audit.reports.matching import Match
from rustcare_plugin_audit.retention.holds import PLACED, RELEASED, HoldBook, LegalHold, covering
from rustcare_plugin_audit.retention.plan import Planner
from rustcare_plugin_audit.retention.policies import Period, RetentionPolicy, applying, policies_of

YEAR = 365 * 86_400_000_000
P, Q = "11" * 32, "22" * 32


def micros(text: str) -> int:
    """µs since 1970 of a date."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def entry(time: int, action: str = "read", **more: Any) -> Entry:
    """An entry as the log has it."""
    kind = more.pop("kind", "use")
    which = Which(more.pop("tenant", "default"))
    return Entry(v=1, id="e", time=time, kind=kind, who=Who(principal="a"), what=What(action), which=which, **more)


def policy(keep: str, id_: str = "p", limit: str = "", **match: Any) -> RetentionPolicy:
    """A policy of a test."""
    return RetentionPolicy(id_, "x", "x", "x", keep, limit, (Match(**match),) if match else ())


def plan_of(entries: list[Entry], policies: list[RetentionPolicy], holds: list[LegalHold], at: int) -> Any:
    """The plan for a log of these entries."""
    planner = Planner(policies, holds, at, 0, len(entries))
    for place, one in enumerate(entries):
        planner.feed(place, one)
    return planner.close()


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        ("P6Y", "2020-01-31", "2026-01-31"),
        ("P1Y", "2024-02-29", "2025-03-01"),
        ("P18M", "2020-08-31", "2022-03-01"),
        ("P90D", "2020-01-01", "2020-03-31"),
        ("P1Y2M3D", "2020-11-30", "2022-02-02"),
    ],
)
def test_periods(period: str, begin: str, end: str) -> None:
    """A period ends on the same day of its year or month, or, where there is none, the day after."""
    expected = datetime.fromisoformat(end).replace(tzinfo=UTC)
    if (period, begin) == ("P1Y2M3D", "2020-11-30"):
        expected = datetime(2022, 2, 2, tzinfo=UTC)
    assert Period(period).after(micros(begin)) == int(expected.timestamp()) * 1_000_000


@given(st.integers(0, 2**51), st.integers(0, 2**51), st.sampled_from(["P6Y", "P18M", "P90D", "P1Y1M1D"]))
def test_a_later_beginning_never_ends_earlier(one: int, two: int, period: str) -> None:
    """Periods keep the order of their beginnings, and end after them."""
    first, second = sorted((one, two))
    found = Period(period)
    assert first < found.after(first) <= found.after(second)


@pytest.mark.parametrize("text", ["", "P", "6Y", "PT6H", "P1W", "P-1Y", "P6Y "])
def test_other_periods_are_refused(text: str) -> None:
    """What is no period of years, months and days is refused."""
    with pytest.raises(PolicyInvalid):
        Period(text)


def test_policies_by_jurisdiction() -> None:
    """The jurisdictions of the configuration choose the policies; its own ones come on top; examples only when named."""
    assert {one.jurisdiction for one in policies_of({})} == {"us", "us-sox"}
    assert [one.id for one in policies_of({"jurisdictions": ["us-ma"]})] == ["us-ma-hospital"]
    own = {"id": "mine", "jurisdiction": "here", "source": "x", "says": "x", "keep": "P3Y"}
    assert [one.id for one in policies_of({"jurisdictions": [], "policies": [own]})] == ["mine"]


@pytest.mark.parametrize(
    "config",
    [
        {"jurisdictions": ["atlantis"]},
        {"policies": [{"id": "x"}]},
        {
            "policies": [
                {"id": "us-hipaa-documentation", "jurisdiction": "us", "source": "x", "says": "x", "keep": "P1Y"}
            ]
        },
        {"policies": [{"id": "x", "jurisdiction": "x", "source": "x", "says": "x", "keep": "P2Y", "limit": "P1Y"}]},
        {
            "policies": [
                {
                    "id": "x",
                    "jurisdiction": "x",
                    "source": "x",
                    "says": "x",
                    "keep": "P2Y",
                    "match": [{"outcome": ["success"]}],
                }
            ]
        },
    ],
)
def test_policies_that_make_no_sense_are_refused(config: dict[str, Any]) -> None:
    """An unknown jurisdiction, a missing field, an id twice, a limit before the end, a condition on outcomes: all refused."""
    with pytest.raises(PolicyInvalid):
        policies_of(config)


def test_the_longest_policy_keeps() -> None:
    """Of several policies the one that keeps longest decides; after it the entry may go."""
    entries = [entry(0)]
    policies = [policy("P1Y", "short"), policy("P3Y", "long")]
    kept = plan_of(entries, policies, [], 2 * YEAR)
    assert (kept.prune_before, kept.ranges[0].policy) == (0, "long")
    assert kept.blocked_by == "entry 0: kept by long until 1973-01-01T00:00:00Z"
    assert plan_of(entries, policies, [], 4 * YEAR).prune_before == 1


def test_what_no_policy_applies_to_is_kept() -> None:
    """An entry of another kind than any policy is about stays for ever, and keeps what comes after it."""
    entries = [entry(0, "read"), entry(0, "other"), entry(0, "read")]
    found = plan_of(entries, [policy("P1Y", action=("read",))], [], 50 * YEAR)
    assert (found.prune_before, found.blocked_by) == (1, "entry 1: no policy applies")
    assert [one.disposable for one in found.ranges] == [True, False, True]


def test_outcomes_go_by_the_policies_for_all_entries() -> None:
    """An outcome says nothing of what it is of; the attempts before it keep it."""
    policies = [policy("P1Y", "all"), policy("P9Y", "some", action=("read",))]
    outcome = Entry(v=1, id="o", time=0, kind="outcome", of=[[0, "success"]])
    assert [one.id for one in applying(policies, outcome)] == ["all"]
    assert [one.id for one in applying(policies[1:], outcome)] == ["some"]


def test_what_is_overdue_shows() -> None:
    """Where a limit has passed the range says since when."""
    found = plan_of([entry(0)], [policy("P1Y", limit="P2Y")], [], 3 * YEAR)
    assert found.ranges[0].overdue == "1972-01-01T00:00:00Z"


def test_an_entry_that_cannot_be_read_is_kept() -> None:
    """Nobody can judge what is not there."""
    planner = Planner([policy("P1Y")], [], 9 * YEAR, 0, 2)
    planner.feed(0, None)
    planner.feed(1, entry(0))
    assert planner.close().prune_before == 0


def fact(place: int, action: str, details: dict[str, Any]) -> tuple[int, Entry]:
    """An entry about a hold."""
    return place, entry(place, action, kind="fact", details=details)


def test_holds_are_what_the_log_says() -> None:
    """Placed is in force until released; a release of nothing is nothing; what is not a fact does not count."""
    book = HoldBook()
    hold = LegalHold("h", 3, 3, by="a", reason="r", reference="case 1", pseudonym=P, since=5, until=9)
    book.feed(*fact(1, RELEASED, {"hold": "h"}))
    book.feed(2, entry(2, PLACED, details=hold.details()))
    assert book.all() == []
    book.feed(*fact(3, PLACED, hold.details()))
    assert book.in_force() == [hold]
    assert hold.scope == "patient and time"
    book.feed(*fact(4, RELEASED, {"hold": "h"}))
    assert book.in_force() == []
    assert [(one.released, one.released_by) for one in book.all()] == [(4, "a")]


def test_what_a_hold_covers() -> None:
    """By patient, by tenant, by time (of the entry or of the disclosure it states), by everything; and its own entry."""
    told = entry(50, disclosure=Disclosure(P, 1, time=5), subjects=[P])
    assert covering([LegalHold("h", 9, 0)], 1, told) == ["h"]
    assert covering([LegalHold("h", 9, 0, pseudonym=Q)], 1, told) == []
    assert covering([LegalHold("h", 9, 0, pseudonym=P, since=0, until=6)], 1, told) == ["h"]
    assert covering([LegalHold("h", 9, 0, since=6, until=50)], 1, told) == []
    assert covering([LegalHold("h", 9, 0, tenant="north")], 1, told) == []
    assert covering([LegalHold("h", 1, 0, tenant="north")], 1, told) == ["h"]


ENTRIES = st.lists(
    st.builds(
        entry,
        time=st.integers(0, 6).map(lambda year: year * YEAR),
        action=st.sampled_from(["read", "plugin.install"]),
        tenant=st.sampled_from(["default", "north"]),
        subjects=st.lists(st.sampled_from([P, Q]), max_size=2, unique=True),
    )
    | st.builds(
        lambda time: Entry(v=1, id="o", time=time * YEAR, kind="outcome", of=[[0, "success"]]), st.integers(0, 6)
    ),
    max_size=20,
)
HOLDS = st.lists(
    st.builds(
        LegalHold,
        id=st.uuids().map(str),
        place=st.integers(0, 25),
        placed=st.just(0),
        tenant=st.sampled_from(["", "north"]),
        pseudonym=st.sampled_from(["", P]),
        since=st.integers(0, 4).map(lambda year: year * YEAR),
        until=st.integers(3, 8).map(lambda year: year * YEAR),
    ),
    max_size=3,
)
POLICIES = st.lists(
    st.sampled_from(
        [policy("P1Y", "one"), policy("P3Y", "three", action=("plugin.*",)), policy("P2Y", "two", limit="P3Y")]
    ),
    max_size=3,
    unique_by=lambda one: one.id,
)


@given(ENTRIES, HOLDS, POLICIES, st.integers(0, 12))
def test_holds_always_win(
    entries: list[Entry], holds: list[LegalHold], policies: list[RetentionPolicy], year: int
) -> None:
    """Nothing that a hold covers, that a policy keeps, or that no policy is about is below the line, or called disposable."""
    at = year * YEAR
    found = plan_of(entries, policies, holds, at)
    for place, one in enumerate(entries):
        free = (
            not covering(holds, place, one)
            and bool(applying(policies, one))
            and all(Period(rule.keep).after(one.time) <= at for rule in applying(policies, one))
        )
        told = next(range_ for range_ in found.ranges if range_.first <= place <= range_.last)
        assert told.disposable == free
        if place < found.prune_before:
            assert free
        if not free:
            assert not set(one.subjects) & set(found.subjects)
    assert found.prune_before == len(entries) or found.blocked_by.startswith(f"entry {found.prune_before}: ")
