"""What clients send, checked against the schemas and brought to one form; and what clients see of a resource.

In that form names are spelled as in the schemas, values have their attribute's type, what is empty is left out (RFC 7643,
section 2.5: null and [] are "no value"), and of several values at most one is primary.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from .errors import InvalidPath, InvalidSyntax, InvalidValue
from .filters import AttributePath, parse_attribute
from .schemas import Attribute, Found, Kind

__all__ = ["Resource", "Selection", "attribute_value", "check_whole", "instant", "read_resource", "single_value"]

#: A resource in its one form.
Resource = dict[str, Any]

_MAX_TEXT = 65536
_MAX_VALUES = 10_000
_MAX_NAMES = 1000


def read_resource(kind: Kind, sent: Any) -> Resource:
    """A resource as a client sent it, without what is read-only and what no schema knows.

    Raises:
        InvalidSyntax: it is no object, or says that it is something else.
        InvalidValue: a value does not fit its attribute.
    """
    if not isinstance(sent, dict):
        raise InvalidSyntax("expected an object", address="body")
    check_schemas(sent, kind.core.id)
    found: Resource = {}
    for name, value in sent.items():
        extension = kind.extension(name)
        if extension is not None:
            inner = _object(value, extension.id, extension.attributes)
            if inner:
                found.setdefault(extension.id, {}).update(inner)
            continue
        where = locate(kind, name)
        if where is None or where.sub or where.attribute is None or where.attribute.mutability == "readOnly":
            continue
        made = attribute_value(where.attribute, value)
        if made is not None:
            holder = found.setdefault(where.container, {}) if where.container else found
            holder[where.attribute.name] = made
    return found


def check_schemas(sent: Mapping[str, Any], wanted: str) -> None:
    """Raise InvalidSyntax when a message says that it is something else than what is wanted (or says it wrongly)."""
    schemas = next((value for name, value in sent.items() if name.lower() == "schemas"), None)
    if schemas is None:
        return
    if not isinstance(schemas, list) or wanted.lower() not in (str(item).lower() for item in schemas):
        raise InvalidSyntax(f"expected {wanted} among the schemas", address="body.schemas")


def locate(kind: Kind, name: str) -> Found | None:
    """Where a name that a client used leads, or None when it is no name of ours."""
    try:
        return kind.find(parse_attribute(name))
    except InvalidPath:
        return None


def check_whole(kind: Kind, resource: Resource) -> None:
    """Raise InvalidValue when a required attribute has no value, or more than one value is primary."""
    for attribute in kind.attributes:
        value = resource.get(attribute.name)
        if attribute.required and value is None:
            raise InvalidValue(f"expected a value of {attribute.name}, which is required", address=attribute.name)
        if isinstance(value, list):
            _one_primary(attribute, value)


def _one_primary(attribute: Attribute, values: list[Any]) -> None:
    if sum(isinstance(item, dict) and item.get("primary") is True for item in values) > 1:
        raise InvalidValue("expected at most one primary value, got more", address=attribute.name)


def attribute_value(attribute: Attribute, value: Any) -> Any:
    """The whole value of an attribute; None when it is empty. One value is taken for a list of one. Raises InvalidValue."""
    if not attribute.multi:
        return single_value(attribute, value)
    if value is None:
        return None
    values = value if isinstance(value, list) else [value]
    if len(values) > _MAX_VALUES:
        raise InvalidValue(f"expected at most {_MAX_VALUES} values, got {len(values)}", address=attribute.name)
    made = [item for item in (single_value(attribute, item) for item in values) if item is not None]
    return made or None


def single_value(attribute: Attribute, value: Any) -> Any:
    """One value of an attribute; None when it is empty. Raises InvalidValue."""
    if value is None:
        return None
    if attribute.type == "complex":
        if isinstance(value, str) and attribute.sub("value") is not None:
            # The short form of some clients: of members, of a manager, who is taken away by an empty one.
            value = {"value": value} if value or attribute.multi else {}
        return _object(value, attribute.name, attribute.subs) or None
    return _PLAIN[attribute.type](attribute, value)


def _object(value: Any, address: str, attributes: Iterable[Attribute]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidValue(f"expected an object, got {_name(value)}", address=address)
    known = {item.name.lower(): item for item in attributes}
    found = {}
    for name, inner in value.items():
        attribute = known.get(name.lower())
        if attribute is not None and attribute.mutability != "readOnly":
            made = attribute_value(attribute, inner)
            if made is not None:
                found[attribute.name] = made
    return found


def _text(attribute: Attribute, value: Any) -> str | None:
    if not isinstance(value, str):
        raise InvalidValue(f"expected text, got {_name(value)}", address=attribute.name)
    if len(value) > _MAX_TEXT:
        raise InvalidValue(f"expected at most {_MAX_TEXT} characters, got {len(value)}", address=attribute.name)
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidValue("expected text without NUL and lone surrogates", address=attribute.name)
    return value


def _truth(attribute: Attribute, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"  # as some clients write it
    if not isinstance(value, bool):
        raise InvalidValue(f"expected true or false, got {_name(value)}", address=attribute.name)
    return value


def _number(attribute: Attribute, value: Any) -> int | float:
    whole = attribute.type == "integer"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not math.isfinite(value):
        raise InvalidValue(f"expected a number, got {_name(value)}", address=attribute.name)
    if abs(value) > 2**53:
        raise InvalidValue("expected a number of at most 53 bits", address=attribute.name)
    number: int | float = value
    return number


def _instant(attribute: Attribute, value: Any) -> str:
    if not isinstance(value, str) or instant(value) is None:
        raise InvalidValue("expected a time such as 2026-01-31T12:00:00Z", address=attribute.name)
    return value


def _binary(attribute: Attribute, value: Any) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise InvalidValue("expected base64", address=attribute.name) from None
    return str(value)


_PLAIN = {
    "string": _text,
    "reference": _text,
    "boolean": _truth,
    "integer": _number,
    "decimal": _number,
    "dateTime": _instant,
    "binary": _binary,
}


def instant(text: str) -> float | None:
    """An xsd:dateTime (or a date) as Unix seconds, else None; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(text)
        return found.timestamp() if found.tzinfo else datetime.fromisoformat(f"{text}+00:00").timestamp()
    except (ValueError, OverflowError):
        return None


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


class Selection:
    """Which attributes a client wants to see (RFC 7644, section 3.9): `attributes`, or all but `excludedAttributes`."""

    def __init__(self, wanted: Iterable[str] = (), unwanted: Iterable[str] = ()) -> None:
        self._wanted = _paths(wanted)
        self._unwanted = _paths(unwanted)
        if self._wanted and self._unwanted:
            raise InvalidValue("expected attributes or excludedAttributes, got both", address="attributes")
        #: By kind, so that every name is looked up once, not once for each attribute of each resource.
        self._named: dict[str, tuple[_Named, _Named]] = {}

    def shows(self, kind: Kind, name: str) -> bool:
        """Whether the client sees anything of an attribute of the core schema."""
        attribute = next(item for item in kind.attributes if item.name == name)
        wanted, unwanted = self._names(kind)
        if attribute.returned != "default":
            return attribute.returned == "always"
        return (not self._wanted or ("", name) in wanted) and "" not in unwanted.get(("", name), ())

    def show(self, kind: Kind, resource: Resource) -> Resource:
        """What the client sees."""
        shown: Resource = {}
        for name, value in resource.items():
            if name == "schemas":
                shown[name] = value
                continue
            extension = kind.extension(name)
            if extension is None:
                attribute = next(item for item in kind.attributes if item.name == name)
                found = self._part(kind, attribute, "", value)
            else:
                inner = {}
                for attribute in extension.attributes:
                    if attribute.name in value:
                        part = self._part(kind, attribute, extension.id, value[attribute.name])
                        if part is not None:
                            inner[attribute.name] = part
                found = inner or None
            if found is not None:
                shown[name] = found
        return shown

    def _part(self, kind: Kind, attribute: Attribute, container: str, value: Any) -> Any:
        """An attribute as far as it is shown, or None."""
        if attribute.returned == "never":
            return None
        wanted, unwanted = (named.get((container, attribute.name)) for named in self._names(kind))
        if attribute.returned != "always":
            if self._wanted and wanted is None:
                return None
            if "" in (unwanted or ()) or (attribute.returned == "request" and wanted is None):
                return None
        if attribute.type != "complex":
            return value
        shown = {
            item.name
            for item in attribute.subs
            if _sub_shown(item, wanted if self._wanted and attribute.returned != "always" else None, unwanted)
        }
        if isinstance(value, list):
            cut = [{name: inner for name, inner in item.items() if name in shown} for item in value]
            return [item for item in cut if item] or None
        return {name: inner for name, inner in value.items() if name in shown} or None

    def _names(self, kind: Kind) -> tuple[_Named, _Named]:
        found = self._named.get(kind.name)
        if found is None:
            found = self._named[kind.name] = _named(kind, self._wanted), _named(kind, self._unwanted)
        return found


#: The sub-attributes that are named of an attribute, "" for itself; by its container (an extension's URI, or "") and name.
_Named = dict[tuple[str, str], set[str]]


def _paths(names: Iterable[str]) -> list[AttributePath]:
    found = [parse_attribute(name.strip()) for name in names if name.strip()]
    if len(found) > _MAX_NAMES:
        raise InvalidValue(f"expected at most {_MAX_NAMES} attributes, got {len(found)}", address="attributes")
    return found


def _named(kind: Kind, paths: Iterable[AttributePath]) -> _Named:
    found: _Named = {}
    for path in paths:
        where = kind.find(path)
        if where is None:
            continue
        extension = kind.extension(where.container) if where.attribute is None else None
        attributes = (where.attribute,) if where.attribute is not None else extension.attributes if extension else ()
        for attribute in attributes:
            found.setdefault((where.container, attribute.name), set()).add(where.sub.name if where.sub else "")
    return found


def _sub_shown(sub: Attribute, wanted: set[str] | None, unwanted: set[str] | None) -> bool:
    if sub.returned == "never":
        return False
    if sub.returned == "always":
        return True
    if unwanted is not None and sub.name in unwanted:
        return False
    if sub.returned == "request":
        return wanted is not None and sub.name in wanted
    return wanted is None or "" in wanted or sub.name in wanted
