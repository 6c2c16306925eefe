"""Versions after SemVer 2.0.0, and ranges of them: `>=0.1,<0.2`, `^1`, `~1.2`, `1.2.3`, `*`.

Portable. A small implementation of our own, because the ones on the index order Python's versions, not these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from .errors import InvalidVersion

__all__ = ["MAX_LENGTH", "Range", "Version"]

#: The longest version or range, in characters.
MAX_LENGTH = 255

_NUMBER = r"0|[1-9]\d{0,17}"
_PRE = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})(?:-({_PRE}(?:\.{_PRE})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)
_COMPARATOR = re.compile(
    rf"(>=|<=|>|<|=|\^|~)?\s*({_NUMBER})(?:\.({_NUMBER}))?(?:\.({_NUMBER}))?(?:-({_PRE}(?:\.{_PRE})*))?", re.ASCII
)


@total_ordering
@dataclass(frozen=True, eq=False)
class Version:
    """A version. Order and equality are SemVer's precedence, so build metadata makes no difference."""

    major: int
    minor: int
    patch: int
    pre: str = ""
    build: str = ""

    @classmethod
    def parse(cls, text: str, address: str = "") -> Version:
        """Read `1.2.3-rc.1+build`. Raises InvalidVersion."""
        found = _VERSION.fullmatch(text) if len(text) <= MAX_LENGTH else None
        if found is None:
            raise InvalidVersion(
                f"expected a version such as 1.2.3 or 1.2.3-rc.1, got {text[:MAX_LENGTH]!r}",
                hint="SemVer 2.0: three numbers without leading zeros; no v in front",
                address=address,
            )
        return cls(int(found[1]), int(found[2]), int(found[3]), found[4] or "", found[5] or "")

    @property
    def core(self) -> tuple[int, int, int]:
        """Major, minor and patch."""
        return self.major, self.minor, self.patch

    @property
    def precedence(self) -> tuple[Any, ...]:
        """What versions are compared by (SemVer 2.0.0, section 11): a release comes after its pre-releases."""
        if not self.pre:
            return (*self.core, (1,))
        fields = [(0, int(item), "") if item.isdigit() else (1, 0, item) for item in self.pre.split(".")]
        return (*self.core, (0, *fields))

    def __str__(self) -> str:
        pre = f"-{self.pre}" if self.pre else ""
        return f"{self.major}.{self.minor}.{self.patch}{pre}" + (f"+{self.build}" if self.build else "")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self.precedence == other.precedence

    def __lt__(self, other: Version) -> bool:
        return self.precedence < other.precedence

    def __hash__(self) -> int:
        return hash(self.precedence)


@dataclass(frozen=True)
class Range:
    """A set of versions: every one of its bounds must hold.

    | written | means |
    |---|---|
    | `1.2.3`, `=1.2.3` | that version |
    | `^1.2.3`, `^1` | at least it, and the same leftmost number that is not zero |
    | `~1.2.3`, `~1.2` | at least it, and the same minor version (`~1`: the same major version) |
    | `>=0.1,<0.2` | both; missing numbers are zero |
    | `>1.2.3`, `<=1.2.3` | these need all three numbers |
    | `*` | any release |

    A pre-release is in a range only when a bound names a pre-release of the same three numbers.
    """

    bounds: tuple[tuple[str, Version], ...]
    text: str

    @classmethod
    def parse(cls, text: str, address: str = "") -> Range:
        """Read a range. Raises InvalidVersion."""
        bounds: list[tuple[str, Version]] = []
        if len(text) > MAX_LENGTH:
            raise InvalidVersion(f"expected at most {MAX_LENGTH} characters, got {len(text)}", address=address)
        if text.strip() == "*":
            return cls((), "*")
        for part in text.split(","):
            bounds.extend(_bounds(part.strip(), text, address))
        return cls(tuple(bounds), ",".join(part.strip() for part in text.split(",")))

    def contains(self, version: Version | str) -> bool:
        """Whether a version is in the range."""
        item = Version.parse(version) if isinstance(version, str) else version
        if item.pre and not any(bound.pre and bound.core == item.core for _, bound in self.bounds):
            return False
        return all(_holds(operator, item, bound) for operator, bound in self.bounds)

    def __str__(self) -> str:
        return self.text


def _holds(operator: str, item: Version, bound: Version) -> bool:
    if operator == ">=":
        return item >= bound
    if operator == "<":
        return item < bound
    if operator == ">":
        return item > bound
    if operator == "<=":
        return item <= bound
    return item == bound


def _bounds(part: str, text: str, address: str) -> list[tuple[str, Version]]:
    found = _COMPARATOR.fullmatch(part)
    if found is None:
        raise InvalidVersion(
            f"expected a range such as >=0.1,<0.2 or ^1, got {text!r}",
            hint="bounds are joined by commas; ^ and ~ stand before a version",
            address=address,
        )
    operator, pre = found[1] or "=", found[5] or ""
    numbers = [int(number) for number in found.group(2, 3, 4) if number is not None]
    given = len(numbers)
    if given < 3 and (pre or operator in ("=", ">", "<=")):
        raise InvalidVersion(
            f"expected three numbers in {part!r}, got {given}",
            hint=f"write ^{part.lstrip('=<> ')} or ~{part.lstrip('=<> ')}, or spell the version out",
            address=address,
        )
    major, minor, patch = (*numbers, 0, 0)[:3]
    low = Version(major, minor, patch, pre)
    if operator == "^":
        if major or given == 1:
            high = Version(major + 1, 0, 0)
        elif minor or given == 2:
            high = Version(0, minor + 1, 0)
        else:
            high = Version(0, 0, patch + 1)
    elif operator == "~":
        high = Version(major + 1, 0, 0) if given == 1 else Version(major, minor + 1, 0)
    else:
        return [(operator, low)]
    return [(">=", low), ("<", high)]
