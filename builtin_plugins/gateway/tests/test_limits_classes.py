"""Classes of limits: whose requests count together, what is told, what a tenant may say."""

from __future__ import annotations

import pytest
from rustcare_plugin_gateway.errors import InvalidSettings
from rustcare_plugin_gateway.limits import Limits


def limits(*rows: dict[str, object]) -> Limits:
    """Limits with one class."""
    return Limits({"test": list(rows)}, 1000)


def test_callers_do_not_use_up_each_others_allowance() -> None:
    """By principal: each caller has an allowance; who is not known shares that of their address."""
    found = limits({"by": "principal", "rate": 2, "per": 60})
    of = found.classes["test"]
    for _ in range(2):
        for who, address in (("user/1", "a"), ("user/2", "a"), ("", "a"), ("", "b")):
            verdict = found.take(of, "t", who, address, 100.0)
            assert verdict is not None
            assert verdict.allowed
    for who, address in (("user/1", "z"), ("user/2", "z"), ("", "a"), ("", "b")):
        verdict = found.take(of, "t", who, address, 100.0)
        assert verdict is not None
        assert (verdict.allowed, verdict.left, verdict.retry) == (False, 0, 30)


@pytest.mark.parametrize(
    ("by", "same"), [("tenant", ("t", "user/9", "z")), ("address", ("u", "user/9", "a")), ("all", ("u", "x", "z"))]
)
def test_what_is_counted_together(by: str, same: tuple[str, str, str]) -> None:
    """By tenant, by address, or everything."""
    found = limits({"by": by, "rate": 1, "per": 60})
    of = found.classes["test"]
    first = found.take(of, "t", "user/1", "a", 100.0)
    second = found.take(of, *same, 100.0)
    assert first is not None
    assert second is not None
    assert (first.allowed, second.allowed) == (True, False)


def test_what_one_limit_refuses_counts_for_none() -> None:
    """Of two limits, a request that the second refuses leaves the first as it was."""
    found = limits({"by": "principal", "rate": 10, "per": 60}, {"by": "all", "rate": 1, "per": 60})
    of = found.classes["test"]
    assert found.take(of, "t", "user/1", "a", 100.0).allowed  # type: ignore[union-attr]
    for _ in range(20):
        assert not found.take(of, "t", "user/1", "a", 100.0).allowed  # type: ignore[union-attr]
    later = found.take(of, "t", "user/1", "a", 161.0)
    assert later is not None
    assert later.allowed


def test_the_tightest_limit_is_told() -> None:
    """`RateLimit` speaks of the limit that has least left, `RateLimit-Policy` of all of them."""
    found = limits({"by": "principal", "rate": 100, "per": 60, "burst": 50}, {"by": "tenant", "rate": 4, "per": 60})
    of = found.classes["test"]
    verdict = found.take(of, "t", "user/1", "a", 100.0)
    assert verdict is not None
    assert verdict.field() == b'"test-tenant";r=3;t=16'
    assert of.policy == b'"test";q=50;w=30, "test-tenant";q=4;w=60'


def test_a_tenant_has_limits_and_keys_of_its_own() -> None:
    """A tenant's class of the same name stands in for the configured one, and its requests count by themselves."""
    found = limits({"by": "all", "rate": 1, "per": 60})
    own = found.of_tenant("north", {"test": [{"by": "all", "rate": 3, "per": 60}]})
    assert found.take(found.classes["test"], "south", "", "a", 100.0).allowed  # type: ignore[union-attr]
    verdicts = [found.take(own["test"], "north", "", "a", 100.0) for _ in range(4)]
    assert [verdict.allowed for verdict in verdicts if verdict] == [True, True, True, False]
    assert own["login"] is found.classes["login"]


@pytest.mark.parametrize(
    "row", [{}, {"by": "moon", "rate": 1}, {"by": "all", "rate": 0}, {"by": "all", "rate": "x"}, 7]
)
def test_what_is_no_limit_is_refused(row: object) -> None:
    """With the place where it stands."""
    with pytest.raises(InvalidSettings, match=r"config.limits.test\[0\]"):
        Limits({"test": [row]}, 1000)


def test_a_look_does_not_count() -> None:
    """`exhausted` says whether the next one would be refused, and changes nothing."""
    found = limits({"by": "address", "rate": 1, "per": 60})
    of = found.classes["test"]
    for _ in range(5):
        assert found.exhausted(of, "t", "", "a", 100.0) is None
    found.take(of, "t", "", "a", 100.0)
    over = found.exhausted(of, "t", "", "a", 100.0)
    assert over is not None
    assert over.retry == 60
