"""Many capabilities as people can read them: what reaches farthest first and by itself, what is alike together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["FEW", "Group", "grouped", "reaches_far"]

#: So many are shown one by one.
FEW = 20
#: So many alike are shown one by one.
_ALIKE = 2
_REASONS = 3

#: What a plugin does with its own things and its own names; all else reaches beyond it.
_OWN = frozenset(
    {"bus:publish", "bus:subscribe", "bus:request", "bus:serve", "db:read", "db:write", "kv:read", "kv:write"}
    | {"secret:use", "secret:create", "clock:read", "random:read", "http:route", "plugin:observe"}
)
#: Who asks this may do what an operator may; who answers that decides what callers may do.
_RULES = frozenset({"bus:request@kernel.control", "bus:serve@authz.check"})


@dataclass(frozen=True)
class Group:
    """Capabilities that are alike: what they have in common (of one alone: itself), how many, why, how many optional."""

    use: str
    count: int
    reason: str
    optional: int
    far: bool


def reaches_far(use: str) -> bool:
    """Whether a capability is to be looked at by itself: network, files, secrets, other people's names, whole subjects."""
    kind, _, scope = use.partition(";")[0].partition("@")
    if kind not in _OWN or f"{kind}@{scope}" in _RULES:
        return True
    if kind.startswith("bus:") and kind != "bus:serve":
        return scope.endswith(">") or scope.startswith("*")
    return kind == "http:route" and scope.partition(" ")[2] == "/*"


def grouped(capabilities: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Each capability that reaches far, and groups of the others. Every one is in exactly one of what is returned."""
    far = [item for item in capabilities if reaches_far(item["use"])]
    near = [item for item in capabilities if not reaches_far(item["use"])]
    narrow: dict[str, list[Mapping[str, Any]]] = {}
    for item in near:
        narrow.setdefault(_stem(item["use"], 2), []).append(item)
    wide: dict[str, list[Mapping[str, Any]]] = {}
    for stem, items in narrow.items():
        for item in items:
            wide.setdefault(stem if len(items) > _ALIKE else _stem(item["use"], 1), []).append(item)
    found = [_group(item["use"], [item]) for item in far]
    alone = [item for items in wide.values() if len(items) <= _ALIKE for item in items]
    found += [_group(item["use"], [item]) for item in alone]
    found += [_group(stem, items) for stem, items in sorted(wide.items()) if len(items) > _ALIKE]
    return found


def _stem(use: str, words: int) -> str:
    """What capabilities that are alike have in common: the beginning of a name or path. The dots stand for the rest."""
    kind, at, scope = use.partition("@")
    if kind == "http:route":
        parts = scope.partition(" ")[2].strip("/").split("/")
        return f"{kind}@… /{parts[0]}…" if words > 1 else f"{kind}@…"
    if not kind.startswith("bus:"):
        return use
    parts = scope.split(".")
    return f"{kind}{at}{'.'.join(parts[: min(words, max(1, len(parts) - 1))])}.…"


def _group(use: str, items: Sequence[Mapping[str, Any]]) -> Group:
    reasons = list(dict.fromkeys(str(item.get("reason", "")) for item in items))
    start = reasons[0].partition(": ")
    if len(reasons) > 1 and start[1] and all(text.startswith(start[0] + start[1]) for text in reasons):
        reasons = [text.removeprefix(start[0] + start[1]) for text in reasons]
        reasons[0] = f"{start[0]}: {reasons[0]}"
    more = len(reasons) - _REASONS
    shown = reasons if more <= 1 else [*reasons[:_REASONS], f"{more} more"]
    optional = sum(item.get("availability", "required") != "required" for item in items)
    return Group(use, len(items), "; ".join(shown), optional, reaches_far(items[0]["use"]))
