"""Values of attributes as PATCH compares them: which are the same, which a client means, which are preferred."""

from __future__ import annotations

from typing import Any

from .filters import And, Compare, Filter
from .schemas import Attribute
from .values import single_value

__all__ = ["FEW", "alone", "is_named", "made_by", "merged", "only_primary", "value_key"]

#: So many may be compared with all that is there.
FEW = 16


def only_primary(others: list[Any], fresh: list[Any]) -> None:
    """When a fresh value is primary, no other stays so (RFC 7644, section 3.5.2)."""
    if any(isinstance(item, dict) and item.get("primary") is True for item in fresh):
        for item in others:
            if isinstance(item, dict) and item.get("primary") is True:
                item["primary"] = False


def merged(attribute: Attribute, have: list[Any], made: list[Any]) -> list[Any]:
    """What of `made` is to be put to what there is: values that are new, each once.

    A value that is there already for the same purpose is not there twice (RFC 7643, section 2.4): it gets what else is said of
    it. Of a fresh or changed primary value no other stays primary.
    """
    known = {_purpose(attribute, item): item for item in have}
    fresh: list[Any] = []
    changed: list[Any] = []
    for item in made:
        same = known.setdefault(_purpose(attribute, item), item)
        if same is item:
            fresh.append(item)
        elif isinstance(same, dict):
            same.update(item)
            changed.append(same)
    touched = {id(item) for item in changed}
    only_primary([item for item in have if id(item) not in touched], [*fresh, *changed])
    return fresh


def _purpose(attribute: Attribute, item: Any) -> Any:
    """A value and what it is for; of what has no `value` the whole of it."""
    if not isinstance(item, dict):
        return item
    value, sub = item.get("value"), attribute.sub("value")
    if value is None or sub is None:
        return frozenset(item.items())
    return value if sub.case_exact else str(value).casefold(), str(item.get("type", "")).casefold()


def alone(attribute: Attribute, value: Any) -> Any:
    """What a client means that writes a single value as a list of one, or as an object that has it as its `value`."""
    if attribute.multi:
        return value
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if attribute.type != "complex" and isinstance(value, dict) and "value" in value:
        return value["value"]
    return value


def value_key(item: Any) -> str:
    """By what values are found again: their `value`, in any case; empty for what has none."""
    return str(item.get("value", "") if isinstance(item, dict) else item).casefold()


def is_named(attribute: Attribute, item: Any, wanted: Any) -> bool:
    """Whether an item is the one that a client names. How it is shown, and where it is, does not make it another one."""
    if not isinstance(item, dict) or not isinstance(wanted, dict):
        return bool(item == wanted)
    beside = {"display", "$ref"} if "value" in wanted else {"display"}
    names = [name for name in wanted if name not in beside]
    return bool(names) and all(_same(attribute.sub(name), item.get(name), wanted[name]) for name in names)


def _same(sub: Attribute | None, have: Any, wanted: Any) -> bool:
    if sub is not None and not sub.case_exact and isinstance(have, str) and isinstance(wanted, str):
        return have.casefold() == wanted.casefold()
    return bool(have == wanted)


def made_by(filter_: Filter, attribute: Attribute) -> dict[str, Any] | None:
    """The value that a filter of `eq` alone describes, or None."""
    if attribute.type != "complex":
        return None
    made: dict[str, Any] = {}
    for part in filter_.items if isinstance(filter_, And) else (filter_,):
        sub = attribute.sub(part.path.name) if isinstance(part, Compare) and part.operator == "eq" else None
        if sub is None or not isinstance(part, Compare) or part.value is None:
            return None
        made[sub.name] = single_value(sub, part.value)
    return made
