"""Which entries are evidence: a pattern over an entry and its outcome.

What hardly varies in a log (kind, action, capability, plugin) is looked at once for each combination and remembered, so
that one pass over millions of entries can serve some hundred patterns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Literal

import msgspec

from rustcare_plugin_audit.entry import Entry

__all__ = ["NEVER", "Key", "Match", "Matcher", "holds", "key_of", "outcome_of", "value_at"]

#: The outcome of what needs none: facts, disclosures.
NEVER = "none"
_DENIED = frozenset({"capability.denied", "authz.denied"})
_WITH_OUTCOME = frozenset({"use", "operation"})


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions that all hold; of a list one must. `*` in text stands for anything.

    `outcome`: `success`, `failure`, `denied` (a failure for want of a right), `interrupted`, `open`, `none`. `purpose`: an
    empty one means that none is on record. `details`: keys that must be there, with their values; `>=2` and `<2` compare
    numbers, and of a list its length. `sealed`, `changes`, `disclosure`, `digest`: whether the entry has such.
    """

    kind: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    capability: tuple[str, ...] = ()
    plugin: tuple[str, ...] = ()
    purpose: tuple[str, ...] = ()
    outcome: tuple[Literal["success", "failure", "denied", "interrupted", "open", "none"], ...] = ()
    principal: Literal["", "some", "none"] = ""
    details: dict[str, str] = {}
    sealed: bool | None = None
    changes: bool | None = None
    disclosure: bool | None = None
    digest: bool | None = None


Key = tuple[str, str, str, str]


def key_of(entry: Entry) -> Key:
    """What is looked at once: kind, action, capability, plugin."""
    what, who = entry.what, entry.who
    if what is None:
        return entry.kind, "", "", who.plugin if who is not None else ""
    return entry.kind, what.action, what.capability, who.plugin if who is not None else ""


def outcome_of(kind: str, outcome: str = "open", code: str = "") -> str:
    """The outcome as patterns name it."""
    if kind not in _WITH_OUTCOME:
        return NEVER
    return "denied" if outcome == "failure" and code in _DENIED else outcome


class Matcher:
    """Whether any of some patterns fits. `waits`: it has to know the outcome."""

    def __init__(self, matches: Iterable[Match]) -> None:
        self.matches = tuple(matches)
        self.waits = any(match.outcome for match in self.matches)

    def candidates(self, key: Key) -> tuple[Match, ...]:
        """The patterns that fit the constant part of an entry."""
        return tuple(match for match in self.matches if _fits(match, key))


def _fits(match: Match, key: Key) -> bool:
    wanted = (match.kind, match.action, match.capability, match.plugin)
    return all(not patterns or _any(patterns, value) for patterns, value in zip(wanted, key, strict=True))


def holds(match: Match, entry: Entry, outcome: str) -> bool:
    """Whether the rest of a pattern fits as well."""
    if match.outcome and outcome not in match.outcome and not (outcome == "denied" and "failure" in match.outcome):
        return False
    if match.principal and (entry.who is not None and entry.who.principal != "") != (match.principal == "some"):
        return False
    if match.purpose and not _purpose(match.purpose, entry.why):
        return False
    for wanted, there in (
        (match.sealed, bool(entry.sealed)),
        (match.changes, bool(entry.changes)),
        (match.disclosure, entry.disclosure is not None),
        (match.digest, entry.who is not None and bool(entry.who.digest)),
    ):
        if wanted is not None and wanted != there:
            return False
    return all(_detail(pattern, entry.details.get(name)) for name, pattern in match.details.items())


def _purpose(patterns: tuple[str, ...], why: str) -> bool:
    return _any(patterns, why) if why else "" in patterns


def _detail(pattern: str, value: Any) -> bool:
    if value is None:
        return False
    for sign in (">=", "<"):
        if pattern.startswith(sign):
            number = len(value) if isinstance(value, (list, dict)) else value
            if not isinstance(number, int):
                return False
            bound = int(pattern.removeprefix(sign))
            return number >= bound if sign == ">=" else number < bound
    if isinstance(value, bool):
        value = "true" if value else "false"
    return _any((pattern,), value if isinstance(value, str) else str(value))


def _any(patterns: Iterable[str], value: str) -> bool:
    return any(pattern == value or ("*" in pattern and _glob(pattern).fullmatch(value)) for pattern in patterns)


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def value_at(entry: Entry, path: str) -> str:
    """The text at a path such as `details.digest`, `trace` or `what.subject`; nothing when there is none."""
    found: Any = entry
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else getattr(found, step, None)
        if found is None:
            return ""
    return found if isinstance(found, str) else str(found)
