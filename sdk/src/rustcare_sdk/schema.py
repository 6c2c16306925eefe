"""The JSON Schema of `plugin.toml`, for editors: `python -m rustcare_sdk.schema` prints it.

Host only. It is derived from the structs of `rustcare_sdk.manifest`; a test keeps `docs/reference/manifest.schema.json`
current. A schema cannot say everything: what a capability may name, whether an entry exists, is for the reader.
"""

from __future__ import annotations

import json
import typing
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ._manifest_reader import fields_of, format_duration, format_size
from .manifest import Manifest
from .version import Range, Version

__all__ = ["manifest_schema", "manifest_schema_text"]

_BOUND = r"(>=|<=|>|<|=|\^|~)? *\d+(\.\d+){0,2}(-[0-9A-Za-z.-]+)?"
_FORMS: dict[str, dict[str, Any]] = {
    "size": {"type": "string", "pattern": r"^\d{1,15} ?(B|KiB|MiB|GiB)$", "examples": ["32MiB"]},
    "duration": {"type": "string", "pattern": r"^\d{1,9}(\.\d{1,3})? ?(ms|s|m|h)$", "examples": ["200ms", "5s"]},
    "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"},
    "range": {"type": "string", "pattern": rf"^(\*|{_BOUND}( *, *{_BOUND})*)$", "examples": [">=0.1,<0.2", "^1"]},
    "capability": {"type": "string", "pattern": r"^[a-z]+:[a-z]+(@[^;]+)?(;[a-z]+=[^;]+)*$"},
}
_META = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern", "ge": "minimum", "le": "maximum"}
_NAMES = {"type": "string", "pattern": r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"}


def manifest_schema() -> dict[str, Any]:
    """The schema (draft 2020-12)."""
    schema = _table(Manifest)
    schema["properties"]["runtime"]["anyOf"] = [{"required": [name]} for name in ("python", "component", "extism")]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "plugin.toml of RustCare Engine"}
    return {**head, **schema}


def manifest_schema_text() -> str:
    """The schema as the file in the documentation holds it."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"


def _table(struct: type[Struct]) -> dict[str, Any]:
    hints = typing.get_type_hints(struct, include_extras=True)
    forms = {field.name: field.extra.get("form", "") for field in fields_of(struct)}
    properties: dict[str, Any] = {}
    required = []
    for field in msgspec.structs.fields(struct):
        found = _value(hints[field.name], forms[field.name])
        if field.required:
            required.append(field.encode_name)
        elif isinstance(field.default, (str, int, float)):
            found["default"] = _default(field.default, forms[field.name])
        properties[field.encode_name] = found
    text = (struct.__doc__ or "").strip()
    found = {"type": "object", "description": text, "properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found


def _default(value: Any, form: str) -> Any:
    if form == "size":
        return format_size(value)
    return format_duration(value) if form == "duration" else value


def _value(annotation: Any, form: str) -> dict[str, Any]:
    """The schema of one value."""
    said: dict[str, Any] = {}
    if typing.get_origin(annotation) is Annotated:
        annotation, *metas = typing.get_args(annotation)
        for meta in metas:
            if isinstance(meta, Meta):
                said.update({name: getattr(meta, key) for key, name in _META.items() if getattr(meta, key) is not None})
                if meta.description:
                    said["description"] = meta.description
    inner = _FORMS.get(form) or _FORMS.get({Range: "range", Version: "version"}.get(annotation, ""))
    if inner is not None:
        return {**said, **inner}
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return {**said, "enum": list(arguments)}
    if origin is tuple:
        return {**said, "type": "array", "items": _value(arguments[0], "")}
    if origin is dict:
        return {**said, "type": "object", "propertyNames": _NAMES, "additionalProperties": _value(arguments[1], "")}
    if type(None) in arguments:
        return {**_value(next(item for item in arguments if item is not type(None)), ""), **said}
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return {**_table(annotation), **said}
    return {**said, "type": {str: "string", int: "integer", float: "number"}[annotation]}


if __name__ == "__main__":
    print(manifest_schema_text(), end="")
