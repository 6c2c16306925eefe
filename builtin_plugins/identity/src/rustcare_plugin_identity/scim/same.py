"""Values of attributes as PATCH compares them: which are the same, which a client means, which are preferred."""

from __future__ import annotations

from typing import Any

from .filters import And, Compare, Filter
from .schemas import Attribute
from .values import single_value

__all__ = ["FEW", "alone", "is_named", "made_by", "not_yet", "only_primary", "value_key"]

#: Up to here comparing one by one is cheaper than to hash what is there.
FEW = 16


def only_primary(others: list[Any], fresh: list[Any]) -> None:
    """When a fresh value is primary, no other stays so (RFC 7644, section 3.5.2)."""
    if any(isinstance(item, dict) and item.get("primary") is True for item in fresh):
        for item in others:
            if isinstance(item, dict) and item.get("primary") is True:
                item["primary"] = False


def not_yet(have: list[Any], made: list[Any]) -> list[Any]:
    """Those that are not there yet, each once."""
    if len(made) <= FEW:
        return [item for place, item in enumerate(made) if item not in have and item not in made[:place]]
    seen = {_hashable(item) for item in have}
    found = []
    for item in made:
        known = _hashable(item)
        if known not in seen:
            seen.add(known)
            found.append(item)
    return found


def _hashable(item: Any) -> Any:
    return frozenset(item.items()) if isinstance(item, dict) else item


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
