"""Versions follow SemVer 2.0.0; ranges hold what their table says."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_sdk.errors import InvalidVersion
from rustcare_sdk.version import Range, Version

_small = st.integers(0, 3)
_identifiers = st.sampled_from(["0", "1", "2", "10", "a", "rc", "alpha", "x-y", "1a", "-"])
_pre = st.just("") | st.lists(_identifiers, min_size=1, max_size=3).map(".".join)
versions = st.builds(Version, _small, _small, _small, _pre, st.sampled_from(["", "b.1", "001"]))
cores = st.tuples(_small, _small, _small)


@given(versions)
def test_round_trip(version: Version) -> None:
    """The text of a version parses to the same version, build metadata included."""
    again = Version.parse(str(version))
    assert str(again) == str(version)
    assert again == version


@given(versions, versions, versions)
def test_precedence_is_a_total_order(a: Version, b: Version, c: Version) -> None:
    """Exactly one of less, equal, greater holds; the order is transitive; equal versions hash alike."""
    assert [a < b, a == b, a > b].count(True) == 1
    if a <= b and b <= c:
        assert a <= c
    if a == b:
        assert hash(a) == hash(b)
    assert Version(a.major, a.minor, a.patch, a.pre, "other") == a


def test_the_order_of_the_specification() -> None:
    """The chain of examples of SemVer 2.0.0, section 11."""
    chain = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 2.0.0"
    chain += " 2.1.0 2.1.1"
    found = [Version.parse(text) for text in chain.split()]
    assert all(a < b for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    "text",
    ["1", "1.2", "01.2.3", "1.2.3-01", "1.2.3-", "v1.2.3", "1.2.3 ", "1.2.3-a..b", "١.2.3", "", "1.2.3-" + "9" * 5000],
)
def test_malformed_versions(text: str) -> None:
    """What SemVer does not allow is refused, with the address."""
    with pytest.raises(InvalidVersion, match=r"^here: expected a version"):
        Version.parse(text, "here")


@given(cores, versions)
def test_caret_keeps_the_leftmost_number(base: tuple[int, int, int], version: Version) -> None:
    """`^x.y.z`: not below, and the numbers up to the first that is not zero are the same."""
    wanted = Range.parse("^" + ".".join(map(str, base)))
    first = next((index for index, number in enumerate(base) if number), 2)
    same = version.core[: first + 1] == base[: first + 1]
    assert wanted.contains(version) == (not version.pre and same and version.core >= base)


@given(cores, versions)
def test_tilde_keeps_the_minor_version(base: tuple[int, int, int], version: Version) -> None:
    """`~x.y.z`: not below, with the same major and minor version."""
    wanted = Range.parse("~" + ".".join(map(str, base)))
    assert wanted.contains(version) == (not version.pre and version.core[:2] == base[:2] and version.core >= base)


@given(cores, cores, versions)
def test_bounds_are_conjunctions(low: tuple[int, int, int], high: tuple[int, int, int], version: Version) -> None:
    """`>=a,<b` holds exactly what both bounds hold."""
    lower, upper = (".".join(map(str, core)) for core in (low, high))
    wanted = Range.parse(f">={lower}, <{upper}")
    assert wanted.contains(version) == (not version.pre and low <= version.core < high)


@pytest.mark.parametrize(
    ("wanted", "inside", "outside"),
    [
        (">=0.1,<0.2", ["0.1.0", "0.1.9"], ["0.0.9", "0.2.0", "0.2.0-alpha", "0.1.0-rc.1"]),
        ("^1", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9", "1.0.0-rc.1"]),
        ("^0", ["0.0.0", "0.9.9"], ["1.0.0"]),
        ("^0.2", ["0.2.0", "0.2.9"], ["0.3.0"]),
        ("^0.0", ["0.0.0", "0.0.9"], ["0.1.0"]),
        ("~1", ["1.0.0", "1.9.0"], ["2.0.0"]),
        ("~1.2", ["1.2.0", "1.2.9"], ["1.3.0", "1.1.9"]),
        ("1.2.3", ["1.2.3", "1.2.3+build"], ["1.2.4", "1.2.3-rc.1"]),
        (">1.2.3,<=1.4.0", ["1.2.4", "1.4.0"], ["1.2.3", "1.4.1"]),
        ("^1.2.3-rc.1", ["1.2.3-rc.2", "1.2.3", "1.9.0"], ["1.2.3-beta", "1.2.4-rc.2"]),
        ("*", ["0.0.0", "9.9.9"], ["1.0.0-rc.1"]),
    ],
)
def test_ranges(wanted: str, inside: list[str], outside: list[str]) -> None:
    """Each form of a range, by example; pre-releases only where a bound names one."""
    held = Range.parse(wanted)
    assert [text for text in inside if not held.contains(text)] == []
    assert [text for text in outside if held.contains(text)] == []
    assert Range.parse(str(held)) == held


@pytest.mark.parametrize("text", ["", "1.2", "=1", ">1.2", "^", "^1,", "1 2", "!=1.0.0", "^1.2-rc.1", "latest"])
def test_malformed_ranges(text: str) -> None:
    """A range that could be read in two ways, or not at all, is refused."""
    with pytest.raises(InvalidVersion, match="expected"):
        Range.parse(text, "plugin.toml:plugin.engine")
