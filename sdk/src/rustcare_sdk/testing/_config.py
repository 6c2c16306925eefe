"""Checks a configuration against its JSON Schema and fills in defaults, with nothing but the standard library.

The kernel uses a whole JSON Schema validator; here the keywords that configurations use are enough. An unknown keyword
is an error, so that a test never passes because a rule was skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sized
from typing import Any

from rustcare_sdk.errors import InvalidManifest, ServiceError

__all__ = ["effective_config"]

_NOTES = frozenset(
    ("$schema", "$id", "$comment", "$defs", "title", "description", "default", "examples", "deprecated", "format")
)
_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


def effective_config(plugin: str, schema: bytes | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration the plugin sees. Raises an error with the kernel's code `config.invalid`."""
    if schema is None:
        if given:
            raise ServiceError("config.invalid", f"{plugin} takes no configuration, got {', '.join(sorted(given))}")
        return {}
    rules = json.loads(schema)
    filled = _with_defaults(rules, json.loads(json.dumps(dict(given))))
    for place, keyword in _problems(rules, rules, filled, "config"):
        raise ServiceError(
            "config.invalid",
            f"the configuration of {plugin} breaks its schema's rule {keyword!r}",
            address=f"{plugin}:{place}",
        )
    return dict(filled)


def _with_defaults(rules: Any, value: Any) -> Any:
    if not isinstance(rules, dict) or not isinstance(value, dict):
        return value
    for name, rule in rules.get("properties", {}).items():
        if not isinstance(rule, dict):
            continue
        if name not in value and "default" in rule:
            value[name] = json.loads(json.dumps(rule["default"]))
        elif name in value:
            value[name] = _with_defaults(rule, value[name])
        elif inner := _with_defaults(rule, {}):
            value[name] = inner
    return value


def _problems(root: Any, rules: Any, value: Any, place: str) -> list[tuple[str, str]]:
    """Every broken rule: the place, and the keyword."""
    if isinstance(rules, bool):
        return [] if rules else [(place, "false")]
    found: list[tuple[str, str]] = []
    for keyword, rule in rules.items():
        if keyword in _NOTES or keyword == "additionalProperties":
            continue
        check = _CHECKS.get(keyword)
        if check is not None:
            if not check(rule, value):
                found.append((place, keyword))
        elif keyword == "properties":
            for name, inner in rule.items():
                if isinstance(value, dict) and name in value:
                    found += _problems(root, inner, value[name], f"{place}.{name}")
        elif keyword == "items":
            for index, item in enumerate(value if isinstance(value, list) else ()):
                found += _problems(root, rule, item, f"{place}[{index}]")
        elif keyword == "propertyNames":
            for name in value if isinstance(value, dict) else ():
                found += _problems(root, rule, name, f"{place}.{name}")
        elif keyword in ("allOf", "anyOf", "oneOf", "not"):
            branches = [rule] if keyword == "not" else rule
            fits = sum(not _problems(root, branch, value, place) for branch in branches)
            wanted = {"allOf": fits == len(branches), "anyOf": fits > 0, "oneOf": fits == 1, "not": fits == 0}
            if not wanted[keyword]:
                found.append((place, keyword))
        elif keyword == "$ref":
            found += _problems(root, _referred(root, rule), value, place)
        else:
            raise InvalidManifest(
                f"the double of the kernel does not know the keyword {keyword!r} of JSON Schema",
                hint="give the harness a configuration's schema without it, or test in a kernel",
                address=f"config.schema:{place}",
            )
    extra = rules.get("additionalProperties", True)
    if isinstance(value, dict) and extra is not True:
        for name in set(value) - set(rules.get("properties", {})):
            found += [(f"{place}.{name}", "additionalProperties")] if extra is False else []
            found += _problems(root, extra, value[name], f"{place}.{name}") if isinstance(extra, dict) else []
    return found


def _referred(root: Any, reference: str) -> Any:
    target = root
    try:
        for part in reference.removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
    except (KeyError, TypeError):
        raise InvalidManifest(f"the schema refers to {reference!r}, which it does not hold") from None
    return target


def _is(kind: str, value: Any) -> bool:
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS[kind])


def _number(rule: str, limit: Any, value: Any) -> bool:
    if not _is("number", value):
        return True
    return bool(
        {
            "minimum": value >= limit,
            "maximum": value <= limit,
            "exclusiveMinimum": value > limit,
            "exclusiveMaximum": value < limit,
        }[rule]
    )


def _sized(kind: type[Sized], value: Any, least: int, most: int | float) -> bool:
    return not isinstance(value, kind) or least <= len(value) <= most


_CHECKS: dict[str, Callable[[Any, Any], bool]] = {
    "type": lambda rule, value: any(_is(kind, value) for kind in ([rule] if isinstance(rule, str) else rule)),
    "enum": lambda rule, value: any(type(item) is type(value) and item == value for item in rule),
    "const": lambda rule, value: type(rule) is type(value) and rule == value,
    "required": lambda rule, value: not isinstance(value, dict) or all(name in value for name in rule),
    "pattern": lambda rule, value: not isinstance(value, str) or re.search(rule, value) is not None,
    "minimum": lambda rule, value: _number("minimum", rule, value),
    "maximum": lambda rule, value: _number("maximum", rule, value),
    "exclusiveMinimum": lambda rule, value: _number("exclusiveMinimum", rule, value),
    "exclusiveMaximum": lambda rule, value: _number("exclusiveMaximum", rule, value),
    "multipleOf": lambda rule, value: not _is("number", value) or value % rule == 0,
    "minLength": lambda rule, value: _sized(str, value, rule, float("inf")),
    "maxLength": lambda rule, value: _sized(str, value, 0, rule),
    "minItems": lambda rule, value: _sized(list, value, rule, float("inf")),
    "maxItems": lambda rule, value: _sized(list, value, 0, rule),
    "minProperties": lambda rule, value: _sized(dict, value, rule, float("inf")),
    "maxProperties": lambda rule, value: _sized(dict, value, 0, rule),
    "uniqueItems": lambda rule, value: (
        not rule
        or not isinstance(value, list)
        or len({json.dumps(item, sort_keys=True) for item in value}) == len(value)
    ),
}
