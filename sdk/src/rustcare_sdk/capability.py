"""Capabilities: typed permissions, written `kind:action@scope;key=value`.

Portable. Parsed once to a frozen `Capability`; `str()` gives the canonical text, which parses to the same. An unknown
kind, action or option is an error, never ignored. Options only narrow: `bus:request@fhir.store;rate=100/s` allows what
`bus:request@fhir.store` allows, less often.

Wildcards: in scopes of kind `bus` `*` is one token and a last `>` one or more; a path may end in `/*`; a host may begin
with `*.`; every other scope may end in `*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from ._scopes import HTTP_ROUTE, HTTP_URL, NAME, NET, NOTHING, PATH, SUBJECT, SUBJECT_PATTERN, BadScope, Scope
from .errors import InvalidCapability

__all__ = [
    "KINDS",
    "Action",
    "Capability",
    "CapabilityDiff",
    "Change",
    "covers",
    "diff",
    "intersect",
    "matches",
    "net_scope",
    "parse",
]


@dataclass(frozen=True)
class Action:
    """One thing a capability can allow: what it means, how its scope is written, which options it takes."""

    summary: str
    scope: Scope
    options: tuple[str, ...] = ()


_RATE = ("rate",)

#: Every kind and its actions.
KINDS: Mapping[str, Mapping[str, Action]] = MappingProxyType(
    {
        "bus": {
            "publish": Action("publish events", SUBJECT, _RATE),
            "subscribe": Action("receive events", SUBJECT_PATTERN),
            "request": Action("ask a service", SUBJECT, _RATE),
            "serve": Action("answer requests to a service", SUBJECT),
            "originate": Action("say for which tenant and principal a call is (trusted tier only)", NAME, _RATE),
        },
        "db": {
            "read": Action("query the plugin's own database", NAME, _RATE),
            "write": Action("change the plugin's own database", NAME, _RATE),
        },
        "kv": {
            "read": Action("read the plugin's own key-value space", NAME, _RATE),
            "write": Action("change the plugin's own key-value space", NAME, _RATE),
        },
        "secret": {
            "use": Action("have the kernel compute with a secret", NAME, _RATE),
            "reveal": Action("read a secret itself (trusted tier only)", NAME, _RATE),
            "create": Action("make a random secret where there is none (trusted tier only)", NAME, _RATE),
        },
        "net": {
            "connect": Action("open connections", NET, _RATE),
            "listen": Action("accept connections", NET),
        },
        "http": {
            "request": Action("send HTTP requests", HTTP_URL, _RATE),
            "route": Action("answer HTTP requests", HTTP_ROUTE),
        },
        "fs": {
            "read": Action("read files", PATH, _RATE),
            "write": Action("write files", PATH, _RATE),
        },
        "clock": {"read": Action("read the clock", NOTHING, _RATE)},
        "random": {"read": Action("get random bytes", NOTHING, _RATE)},
        "plugin": {
            "observe": Action("see the state of plugins", NAME, _RATE),
            "manage": Action("start, stop and replace plugins", NAME, _RATE),
        },
    }
)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE_FORM = re.compile(r"([1-9]\d{0,8})/([smhd])")


@dataclass(frozen=True)
class Capability:
    """A permission. Made by `parse`; `options` are canonical pairs, sorted by key."""

    kind: str
    action: str
    scope: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        scope = f"@{self.scope}" if self.scope else ""
        return f"{self.kind}:{self.action}{scope}" + "".join(f";{key}={value}" for key, value in self.options)

    @property
    def rate(self) -> float | None:
        """How many uses a second are allowed, or None for any number."""
        for key, value in self.options:
            if key == "rate":
                count, unit = value.split("/")
                return int(count) / _UNITS[unit]
        return None


# reading


@lru_cache(maxsize=4096)
def parse(text: str, address: str = "") -> Capability:
    """The capability a text stands for; `address` says in errors where the text is.

    Raises:
        InvalidCapability: it names what is allowed there, and the closest match.
    """
    head, *options = text.split(";")
    left, at, scope = head.partition("@")
    kind, colon, action = left.partition(":")
    if not colon:
        raise InvalidCapability(
            f"expected kind:action@scope, got {text!r}", hint="such as bus:publish@hl7.adt.*", address=address
        )
    actions = KINDS.get(kind)
    if actions is None:
        raise _unknown("kind", kind, KINDS, text, address)
    rule = actions.get(action)
    if rule is None:
        raise _unknown(f"action of {kind}", action, actions, text, address)
    if at and not scope:
        raise InvalidCapability(f"expected a scope after the @ in {text!r}, got nothing", address=address)
    try:
        canonical = rule.scope.read(scope)
    except BadScope as bad:
        example = f"such as {kind}:{action}@{rule.scope.example}" if rule.scope.example else ""
        raise InvalidCapability(
            f"expected {bad.expected} as the scope of {kind}:{action}, got {scope!r}",
            hint="; ".join(part for part in (example if not scope else "", bad.hint or example) if part),
            address=address,
        ) from None
    return Capability(kind, action, canonical, _read_options(f"{kind}:{action}", rule, options, text, address))


def _read_options(name: str, rule: Action, options: list[str], text: str, address: str) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise InvalidCapability(f"expected key=value after the ; in {text!r}, got {option!r}", address=address)
        if key not in rule.options:
            raise _unknown(f"option of {name}", key, rule.options, text, address)
        if key in found:
            raise InvalidCapability(f"expected option {key} once, got it twice in {text!r}", address=address)
        found[key] = _read_rate(value, address)
    return tuple(sorted(found.items()))


def _read_rate(text: str, address: str) -> str:
    """A rate in the shortest unit that keeps it whole, so that equal rates are written the same: 120/m is 2/s."""
    form = _RATE_FORM.fullmatch(text)
    if form is None:
        raise InvalidCapability(
            f"expected a rate such as 100/s, got {text!r}", hint="a whole number per s, m, h or d", address=address
        )
    count, seconds = int(form[1]), _UNITS[form[2]]
    for unit, length in _UNITS.items():
        if count * length % seconds == 0:
            return f"{count * length // seconds}/{unit}"
    raise AssertionError("the rate's own unit keeps it whole")


def _unknown(what: str, got: str, allowed: Iterable[str], text: str, address: str) -> InvalidCapability:
    import difflib

    names = sorted(allowed)
    close = difflib.get_close_matches(got.lower(), names, n=1)
    expected = "one of " + ", ".join(names) if names else "none"
    return InvalidCapability(
        f"unknown {what}: expected {expected}, got {got!r} in {text!r}",
        hint=f"did you mean {close[0]}?" if close else "",
        address=address,
    )


def net_scope(host: str, port: int | str, scheme: str = "") -> str:
    """The scope of one address, as capabilities of kind `net` write it: brackets around IPv6, lower case.

    Raises InvalidCapability when host and port are no address.
    """
    name = f"[{host}]" if ":" in host and not host.startswith("[") else host
    text = f"{scheme}://{name}:{port}" if scheme else f"{name}:{port}"
    try:
        return NET.read(text)
    except BadScope as bad:
        raise InvalidCapability(f"expected {bad.expected}, got {text!r}", hint=bad.hint) from None


# comparing


def covers(a: Capability, b: Capability) -> bool:
    """Whether `a` grants all that `b` asks. `b` may be one concrete use: `Capability("kv", "read", key)`."""
    if a.kind != b.kind or a.action != b.action:
        return False
    if a.options and not _options_cover(a, b):
        return False
    return a.scope == b.scope or KINDS[a.kind][a.action].scope.covers(a.scope, b.scope)


def _options_cover(a: Capability, b: Capability) -> bool:
    theirs = dict(b.options)
    return all(key in theirs and _per_day(theirs[key]) <= _per_day(value) for key, value in a.options)


def _per_day(rate: str) -> int:
    count, unit = rate.split("/")
    return int(count) * 86400 // _UNITS[unit]


def matches(capability: Capability, action: str, concrete: str = "") -> bool:
    """Whether a capability allows one concrete use of `kind:action`: a subject, key, path or address, no wildcards.

    Only for `bus:subscribe` the use is itself a pattern. Options are not looked at: a rate is the caller's to count.
    """
    if action != f"{capability.kind}:{capability.action}":
        return False
    return KINDS[capability.kind][capability.action].scope.matches(capability.scope, concrete)


def intersect(a: Capability, b: Capability) -> Capability | None:
    """The capability that allows exactly what both allow, or None when they have nothing in common."""
    if a.kind != b.kind or a.action != b.action:
        return None
    scope = KINDS[a.kind][a.action].scope.common(a.scope, b.scope)
    if scope is None:
        return None
    options = dict(a.options)
    for key, value in b.options:
        options[key] = min(options.get(key, value), value, key=_per_day)
    return Capability(a.kind, a.action, scope, tuple(sorted(options.items())))


@dataclass(frozen=True)
class Change:
    """A capability that took the place of another."""

    old: Capability
    new: Capability

    def __str__(self) -> str:
        return f"{self.old} → {self.new}"


@dataclass(frozen=True)
class CapabilityDiff:
    """How one set of capabilities differs from another. Everything is sorted by text.

    `added` are wholly new, `widened` allow more than what they replace, `narrowed` are covered by what was held before,
    `removed` have no successor, `unchanged` are in both.
    """

    added: tuple[Capability, ...] = ()
    widened: tuple[Change, ...] = ()
    narrowed: tuple[Change, ...] = ()
    removed: tuple[Capability, ...] = ()
    unchanged: tuple[Capability, ...] = ()

    @property
    def asks_more(self) -> bool:
        """Whether anything is wanted that the old set does not cover: then a new consent is needed."""
        return bool(self.added or self.widened)

    def apply(self, old: Iterable[Capability]) -> frozenset[Capability]:
        """The new set, from the old one."""
        gone = {*self.removed, *(change.old for change in (*self.widened, *self.narrowed))} - {*self.unchanged}
        come = {*self.added, *(change.new for change in (*self.widened, *self.narrowed))}
        return frozenset((set(old) - gone) | come)


def diff(old: Iterable[Capability], new: Iterable[Capability]) -> CapabilityDiff:
    """What changed between two sets of capabilities."""
    before, after = sorted(set(old), key=str), sorted(set(new), key=str)
    unchanged = [item for item in before if item in after]
    gone = [item for item in before if item not in unchanged]
    added: list[Capability] = []
    widened: list[Change] = []
    narrowed: list[Change] = []
    for item in (item for item in after if item not in unchanged):
        wider = [held for held in gone if covers(held, item)] or [held for held in unchanged if covers(held, item)][:1]
        smaller = [held for held in gone if covers(item, held)]
        if wider:
            narrowed.extend(Change(held, item) for held in wider)
        elif smaller:
            widened.extend(Change(held, item) for held in smaller)
        else:
            added.append(item)
    replaced = {change.old for change in (*widened, *narrowed)}
    removed = [item for item in gone if item not in replaced]
    return CapabilityDiff(tuple(added), tuple(widened), tuple(narrowed), tuple(removed), tuple(unchanged))
