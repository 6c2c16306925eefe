"""The OpenAPI 3.1 document, made of what routes declare: types as JSON Schemas, what callers need, every status that can occur.

A schema's `$defs` become components. Two types may have one name: the second gets its plugin's name before its own, and then
a number. Types are the same when they and all that they are made of say the same.
"""

from __future__ import annotations

import http
import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from rustcare_sdk.contracts.http import RouteRow
from rustcare_sdk.routes import FORM, segments

__all__ = ["document_of"]

PROBLEM = {
    "type": "object",
    "description": "An error (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "The request's id."},
        "code": {"type": "string", "description": "What went wrong, as a stable word."},
        "hint": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
                "required": ["pointer", "detail"],
            },
        },
    },
    "required": ["type", "title", "status"],
}
SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "session": {"type": "apiKey", "in": "cookie", "name": "__Host-rustcare"},
    "certificate": {"type": "mutualTLS"},
}
_SECURITY: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]
# What the gateway itself may answer, whatever the route.
_ALWAYS = (400, 404, 405, 408, 414, 421, 429, 431, 500, 502, 503, 504)
_REFERENCE = "#/$defs/"


class _Components:
    """The schemas of a document, each under a name of its own."""

    def __init__(self) -> None:
        self.schemas: dict[str, Any] = {"Problem": PROBLEM}
        self._meant: dict[str, Any] = {"Problem": None}

    def name(self, name: str, plugin: str, meant: Any) -> str:
        """Under which name a type stands: one that means the same, or one that is free."""
        own = f"{re.sub(r'[^A-Za-z0-9]+', '_', plugin)}_{name}"
        for candidate in itertools.chain((name, own), (f"{own}_{number}" for number in itertools.count(2))):
            if self._meant.setdefault(candidate, meant) == meant:
                return candidate
        raise AssertionError("there is always a number more")


def document_of(rows: Iterable[RouteRow], version: str) -> dict[str, Any]:
    """The document of the routes that are not hidden, without `servers`."""
    components = _Components()
    paths: dict[str, dict[str, Any]] = {}
    tags: set[str] = set()
    for row in rows:
        if row.hidden:
            continue
        tags.add(row.plugin)
        paths.setdefault(_path(row.path), {})[row.method.lower()] = _operation(row, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "RustCare", "version": version},
        "tags": [{"name": name} for name in sorted(tags)],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(components.schemas.items())),
            "securitySchemes": SCHEMES,
            "responses": {str(status): _problem(status) for status in sorted({*_ALWAYS, 401, 403, 411, 413, 415, 422})},
        },
    }


def _path(path: str) -> str:
    """`{rest...}` is a parameter too; that it may hold slashes cannot be said in OpenAPI."""
    return re.sub(r"\{([a-z0-9_]+)\.\.\.\}", r"{\1}", path)


def _operation(row: RouteRow, components: _Components) -> dict[str, Any]:
    name = row.service.removeprefix("http.route.") or f"{row.plugin}.{row.method.lower()}{row.path}"
    found: dict[str, Any] = {
        "operationId": re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_"),
        "tags": [row.plugin],
        "parameters": [
            *(
                {"name": part.text, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for part in segments(row.path)
                if part.parameter
            ),
            *({"name": name, "in": "query", "schema": {"type": "string"}} for name in row.query),
        ],
        "responses": _responses(row, components),
        "security": [] if row.public else _SECURITY,
    }
    if row.summary:
        found["summary"] = row.summary
    needs = [f"the scope `{row.scope}`"] if row.scope else []
    needs += [f"assurance level {row.aal}"] if row.aal > 1 and not row.public else []
    needs += ["a caller of the tenant `default`"] if row.tenant == "system" else []
    if needs:
        found["description"] = f"Needs {', '.join(needs)}."
    if row.body:
        schema = _hoisted(row.body, row.plugin, components)
        media = row.media_types or ("application/json", FORM)
        found["requestBody"] = {"required": True, "content": {item: {"schema": schema} for item in media}}
    elif row.media_types:
        found["requestBody"] = {"required": True, "content": {item: {} for item in row.media_types}}
    if not found["parameters"]:
        del found["parameters"]
    return found


def _responses(row: RouteRow, components: _Components) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": _phrase(row.status)}
    if row.answer:
        schema = _hoisted(row.answer, row.plugin, components)
        answer["content"] = {media: {"schema": schema} for media in row.produces or ("application/json",)}
    elif row.produces and row.status != 204:
        answer["content"] = {media: {} for media in row.produces}
    statuses = set(_ALWAYS)
    if not row.public:
        statuses |= {401, 403}
    if row.tenant != "optional" or row.browser:
        statuses.add(403)
    if row.method not in ("GET", "HEAD"):
        statuses.add(413)
    if row.body or row.media_types:
        statuses |= {413, 415, 422}
    statuses |= set(row.problems.values())
    found: dict[str, Any] = {}
    own = set(row.problems.values()) if row.produces else set()
    for status in statuses:
        if status in own:
            found[str(status)] = _problem(status, row.produces)
            continue
        found[str(status)] = (
            {"$ref": f"#/components/responses/{status}"}
            if status in _ALWAYS or status in (401, 403, 411, 413, 415, 422)
            else _problem(status)
        )
    found[str(row.status)] = answer
    if not row.answer:
        found.setdefault("204", {"description": _phrase(204)})
    if row.browser:
        found.setdefault("303", {"description": "To another page"})
    return dict(sorted(found.items()))


def _problem(status: int, produces: Iterable[str] = ()) -> dict[str, Any]:
    """An error of the gateway's, or one that the route tells in a form of its own."""
    return {
        "description": _phrase(status),
        "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
            **{media: {} for media in produces},
        },
    }


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "An answer"


def _hoisted(schema: Mapping[str, Any], plugin: str, components: _Components) -> Any:
    """A schema without `$defs`, which go into the components."""
    definitions = schema.get("$defs", {})
    names = {name: components.name(name, plugin, _closure(name, definitions)) for name in definitions}
    for name, definition in definitions.items():
        components.schemas[names[name]] = _moved(definition, names)
    return _moved({key: value for key, value in schema.items() if key != "$defs"}, names)


def _closure(name: str, definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A definition and all those that it leads to."""
    found: dict[str, Any] = {}
    wanted = [name]
    while wanted:
        one = wanted.pop()
        if one not in found and one in definitions:
            found[one] = definitions[one]
            wanted += _references(definitions[one])
    return found


def _references(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        own = value.get("$ref")
        here = [own[len(_REFERENCE) :]] if isinstance(own, str) and own.startswith(_REFERENCE) else []
        return here + [name for item in value.values() for name in _references(item)]
    return [name for item in value for name in _references(item)] if isinstance(value, (list, tuple)) else []


def _moved(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {
            key: f"#/components/schemas/{names.get(item[len(_REFERENCE) :], item[len(_REFERENCE) :])}"
            if key == "$ref" and isinstance(item, str) and item.startswith(_REFERENCE)
            else _moved(item, names)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_moved(item, names) for item in value]
    return value
