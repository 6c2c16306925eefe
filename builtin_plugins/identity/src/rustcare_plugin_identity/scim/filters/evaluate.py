"""Decides a filter on a resource. The filter is checked against the schema once, and becomes a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rustcare_plugin_identity.accounts.names import folded
from rustcare_plugin_identity.scim.errors import InvalidFilter
from rustcare_plugin_identity.scim.schemas import Attribute, Found, Kind
from rustcare_plugin_identity.scim.values import instant

from .nodes import And, AttributePath, Compare, Filter, Not, Or, Present, ValuePath

__all__ = ["Predicate", "bind", "elements"]

#: Whether a resource (or a value of an attribute) fits.
Predicate = Callable[[dict[str, Any]], bool]
_TEXTUAL = ("co", "sw", "ew")
_ORDERED = ("gt", "ge", "lt", "le")


def bind(filter_: Filter, kind: Kind, *, lenient: bool = False) -> Predicate:
    """The function of a filter on resources of a kind.

    Args:
        lenient: what the kind does not have has no value, instead of being an error: for queries over several kinds (RFC
            7644, section 3.4.2.1).

    Raises:
        InvalidFilter: an attribute does not exist or must not be asked about, or an operator or value does not fit it.
    """
    return _Binder(kind, lenient).bind(filter_)


def elements(filter_: Filter, attribute: Attribute) -> Predicate:
    """The function of the filter in brackets on one value of a multi-valued attribute. Raises InvalidFilter."""
    return _inner(filter_, attribute)


class _Binder:
    def __init__(self, kind: Kind, lenient: bool) -> None:
        self._kind = kind
        self._lenient = lenient

    def bind(self, node: Filter) -> Predicate:
        if isinstance(node, (And, Or, Not)):
            return _logical(node, self.bind)
        found = self._find(node.path)
        if found is None:
            return lambda resource: isinstance(node, Compare) and _equals_nothing(node)
        container, attribute = found.container, found.attribute
        if attribute is None:
            raise _unknown(node.path)
        if isinstance(node, ValuePath):
            inner = _inner(node.filter, attribute)
            return lambda resource: any(inner(item) for item in _values(resource, container, attribute))
        target = found.sub
        if target is None and attribute.type == "complex" and isinstance(node, Compare):
            target = attribute.sub("value")
            if target is None or not attribute.multi:
                raise InvalidFilter(
                    f"expected a sub-attribute, since {attribute.name} has parts", address=f"filter:{node.path}"
                )
        test = _test(node, target or attribute)
        if target is None:
            return lambda resource: test(_values(resource, container, attribute))
        name = target.name
        return lambda resource: test(
            [item[name] for item in _values(resource, container, attribute) if item.get(name) is not None]
        )

    def _find(self, path: AttributePath) -> Found | None:
        if path.name.lower() == "schemas" and not path.uri and not path.sub:
            return Found("", _SCHEMAS)
        found = self._kind.find(path)
        if found is None and not self._lenient:
            raise _unknown(path)
        return found


_SCHEMAS = Attribute("schemas", "reference", "Its schemas", multi=True, case_exact=False)


def _unknown(path: AttributePath) -> InvalidFilter:
    return InvalidFilter("expected an attribute of the schema, got another name", address=f"filter:{path}")


def _logical(node: And | Or | Not, bind_one: Callable[[Filter], Predicate]) -> Predicate:
    if isinstance(node, Not):
        inner = bind_one(node.item)
        return lambda value: not inner(value)
    parts = [bind_one(item) for item in node.items]
    if isinstance(node, And):
        return lambda value: all(part(value) for part in parts)
    return lambda value: any(part(value) for part in parts)


def _inner(node: Filter, attribute: Attribute) -> Predicate:
    if isinstance(node, (And, Or, Not)):
        return _logical(node, lambda item: _inner(item, attribute))
    sub = attribute.sub(node.path.name) if not node.path.uri and not node.path.sub else None
    if attribute.type != "complex" and node.path.name.lower() == "value" and not node.path.sub:
        test = _test(node, attribute)  # of a simple attribute's values
        return lambda value: test([value])
    if sub is None or isinstance(node, ValuePath):
        raise InvalidFilter(
            f"expected a sub-attribute of {attribute.name}, got another name", address=f"filter:{node.path}"
        )
    test = _test(node, sub)
    name = sub.name
    return lambda value: test([value[name]] if value.get(name) is not None else [])


def _values(resource: dict[str, Any], container: str, attribute: Attribute) -> list[Any]:
    if container:
        resource = resource.get(container, {})
    value = resource.get(attribute.name)
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _test(node: Compare | Present | ValuePath, attribute: Attribute) -> Callable[[list[Any]], bool]:
    """Whether any of an attribute's values fits; of none, `ne` holds, and `eq null`."""
    if attribute.returned == "never":
        raise InvalidFilter("expected an attribute that can be read", address=f"filter:{node.path}")
    if isinstance(node, Present):
        return lambda values: any(value not in ("", [], {}) for value in values)
    assert isinstance(node, Compare)
    if node.value is None:
        if node.operator not in ("eq", "ne"):
            raise _misfit(node, attribute)
        present = node.operator == "ne"
        return lambda values: bool(values) == present
    key, wanted = _comparable(node, attribute)
    if node.operator == "ne":
        return lambda values: not values or any(key(value) != wanted for value in values)
    compare = _COMPARE[node.operator]
    return lambda values: any(compare(key(value), wanted) for value in values)


def _equals_nothing(node: Compare) -> bool:
    return (node.value is None) == (node.operator == "eq") and node.operator in ("eq", "ne")


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda have, wanted: bool(have == wanted),
    "co": lambda have, wanted: wanted in have,
    "sw": lambda have, wanted: bool(have.startswith(wanted)),
    "ew": lambda have, wanted: bool(have.endswith(wanted)),
    "gt": lambda have, wanted: bool(have > wanted),
    "ge": lambda have, wanted: bool(have >= wanted),
    "lt": lambda have, wanted: bool(have < wanted),
    "le": lambda have, wanted: bool(have <= wanted),
}


def _misfit(node: Compare, attribute: Attribute) -> InvalidFilter:
    return InvalidFilter(
        f"expected an operator and a value that fit {attribute.name}, which is of type {attribute.type}, "
        f"got {node.operator} and {type(node.value).__name__}",
        address=f"filter:{node.path}",
    )


def _comparable(node: Compare, attribute: Attribute) -> tuple[Callable[[Any], Any], Any]:
    """How values are brought to a form that compares, and the filter's own value in it."""
    value, operator = node.value, node.operator
    if attribute.type == "boolean":
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"  # as some clients write it
        if not isinstance(value, bool) or operator not in ("eq", "ne"):
            raise _misfit(node, attribute)
        return bool, value
    if attribute.type in ("integer", "decimal"):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or operator in _TEXTUAL:
            raise _misfit(node, attribute)
        return lambda have: have, value
    if not isinstance(value, str) or (attribute.type in ("binary", "complex") and operator in (*_ORDERED, *_TEXTUAL)):
        raise _misfit(node, attribute)
    if attribute.type == "dateTime" and operator not in _TEXTUAL:
        when = instant(value)
        if when is None:
            raise _misfit(node, attribute)
        return lambda have: instant(have), when
    if attribute.case_exact:
        return str, value
    return lambda have: folded(str(have)), folded(value)
