"""JSON Schemas (draft 2020-12) of types that contracts use, from their annotations. Portable: standard library only.

Understood are str, int, float, bool, bytes (base64), None, Any, datetime, list, tuple, dict, Literal, Optional and unions,
enums and dataclasses. Anything else is described as anything.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import types
import typing
from typing import Any

__all__ = ["schema_of"]

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    type(None): {"type": "null"},
    datetime.datetime: {"type": "string", "format": "date-time"},
    dict: {"type": "object"},
    list: {"type": "array"},
}


def schema_of(annotation: Any) -> dict[str, Any]:
    """The schema of a type, with the dataclasses that it uses under `$defs`. Of two with one name the second gets a number."""
    definitions: dict[str, Any] = {}
    found = _schema(annotation, definitions, {})
    return {**found, "$defs": definitions} if definitions else found


def _schema(annotation: Any, definitions: dict[str, Any], names: dict[type, str]) -> dict[str, Any]:
    plain = _PLAIN.get(annotation) if isinstance(annotation, type) else None
    if plain is not None:
        return dict(plain)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _schema(arguments[0], definitions, names)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(item, definitions, names) for item in arguments]}
    if origin is list or (origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis):
        return {"type": "array", "items": _schema(arguments[0], definitions, names)}
    if origin is tuple:
        items = [_schema(item, definitions, names) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions, names)}
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return {"enum": [item.value for item in annotation]}
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _dataclass(annotation, definitions, names)
    return {}


def _dataclass(cls: type, definitions: dict[str, Any], names: dict[type, str]) -> dict[str, Any]:
    name = names.get(cls)
    if name is None:
        same = sum(other.__name__ == cls.__name__ for other in names)
        name = names[cls] = f"{cls.__name__}_{same + 1}" if same else cls.__name__
        definitions[name] = {}  # it may hold itself
        hints = typing.get_type_hints(cls, include_extras=True)
        properties: dict[str, Any] = {}
        required = []
        for field in dataclasses.fields(cls):
            found = _schema(hints[field.name], definitions, names)
            if field.default is not dataclasses.MISSING:
                if isinstance(field.default, (str, int, float, bool, type(None))):
                    found["default"] = field.default
            elif field.default_factory is dataclasses.MISSING:
                required.append(field.name)
            properties[field.name] = found
        text = (cls.__doc__ or "").strip().partition("\n")[0]
        made: dict[str, Any] = {"type": "object", "properties": properties}
        if text and not text.startswith(f"{cls.__name__}("):
            made["description"] = text
        definitions[name] = {**made, "required": required} if required else made
    return {"$ref": f"#/$defs/{name}"}
