"""HTTP's side of SCIM: bodies in `application/scim+json`, conditional requests, and errors in the form clients expect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from rustcare_sdk import Message
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from .directory import DEFAULT_COUNT, Query
from .errors import InvalidSyntax, InvalidValue, ScimError, UnsupportedContent, error_of, translated
from .mapping import Shown, version_of
from .provisioning import Asking
from .schemas import GROUPS
from .values import Selection, check_schemas

__all__ = [
    "MEDIA_TYPE",
    "SEARCH_SCHEMA",
    "answered",
    "asking_of",
    "body_of",
    "document",
    "query_of",
    "selection_of",
    "shown_to",
]

MEDIA_TYPE = "application/scim+json"
SEARCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
_JSON = (MEDIA_TYPE, "application/json")
_MOST = 2**31 - 1


async def answered(answer: Callable[[], Awaitable[HttpResponse]]) -> HttpResponse:
    """An answer, or the error that came instead, as a SCIM client reads it. Other errors are the gateway's to tell."""
    try:
        return await answer()
    except RustCareError as error:
        known = translated(error)
        if not isinstance(known, ScimError):
            raise
        return document(error_of(known), known.status)


def document(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """An answer with a body."""
    return HttpResponse(status, body=msgspec.json.encode(content), media_type=MEDIA_TYPE, headers=dict(headers or {}))


def asking_of(message: Message[HttpRequest[Any]]) -> Asking:
    """For whom a request is."""
    request = message.data
    match = request.headers.get("if-match", "")
    return Asking(
        message.tenant,
        f"{request.base}{request.prefix}/scim/v2",
        request.caller.scopes,
        tuple(tag.strip() for tag in match.split(",") if tag.strip()),
    )


def body_of(request: HttpRequest[Any]) -> Any:
    """A body as JSON. Raises UnsupportedContent, InvalidSyntax."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in _JSON:
        raise UnsupportedContent(f"expected {MEDIA_TYPE}, got another media type", address="Content-Type")
    try:
        return msgspec.json.decode(request.body)
    except (ValueError, RecursionError):  # never the library's own text: it may quote the body
        raise InvalidSyntax("expected JSON in UTF-8", address="body") from None


def shown_to(request: HttpRequest[Any], shown: Shown, selection: Selection, status: int = 200) -> HttpResponse:
    """A resource, as far as the client wants to see it, with its ETag; 304 when a client that reads has it already."""
    meta = shown.resource["meta"]
    tag = meta["version"]
    known = [item.strip() for item in request.headers.get("if-none-match", "").split(",")]
    if request.method in ("GET", "HEAD") and any(item == "*" or version_of(item) == version_of(tag) for item in known):
        return HttpResponse(304, headers={"ETag": tag})
    headers = {"ETag": tag, "Location" if status == 201 else "Content-Location": meta["location"]}
    return document(selection.show(shown.kind, shown.resource), status, headers)


def selection_of(request: HttpRequest[Any]) -> Selection:
    """Which attributes the query's parameters ask for. Raises InvalidPath, InvalidValue."""
    return Selection(_listed(request, "attributes"), _listed(request, "excludedAttributes"))


def _listed(request: HttpRequest[Any], name: str) -> list[str]:
    return [item for value in _values(request, name) for item in value.split(",")]


def _values(request: HttpRequest[Any], name: str) -> list[str]:
    return [value for key, values in request.query.items() if key.lower() == name.lower() for value in values]


def query_of(request: HttpRequest[Any]) -> tuple[Query, Selection]:
    """What a request asks to find: of GET by its parameters, of POST to `/.search` by its body (RFC 7644, section 3.4.3).

    Raises:
        InvalidSyntax, InvalidValue, InvalidPath.
    """
    if request.method == "POST":
        sent = body_of(request)
        if not isinstance(sent, dict):
            raise InvalidSyntax("expected an object", address="body")
        check_schemas(sent, SEARCH_SCHEMA)
        fields = {name.lower(): value for name, value in sent.items() if value is not None}
        selection = Selection(
            _words(fields.get("attributes", []), "attributes"),
            _words(fields.get("excludedattributes", []), "excludedAttributes"),
        )
    else:
        names = ("filter", "sortBy", "sortOrder", "startIndex", "count")
        fields = {name.lower(): values[0] for name in names if (values := _values(request, name))}
        selection = selection_of(request)
    order = _text(fields.get("sortorder", "ascending"), "sortOrder").lower()
    if order not in ("ascending", "descending"):
        raise InvalidValue("expected ascending or descending", address="sortOrder")
    query = Query(
        _text(fields.get("filter", ""), "filter"),
        _text(fields.get("sortby", ""), "sortBy"),
        order == "descending",
        _number(fields.get("startindex", 1), "startIndex"),
        _number(fields.get("count", DEFAULT_COUNT), "count"),
        selection.shows(GROUPS, "members"),
    )
    return query, selection


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise InvalidValue("expected text", address=name)
    return value


def _words(value: Any, name: str) -> list[str]:
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list):
        raise InvalidValue("expected a list of attributes", address=name)
    return [_text(word, name) for word in words]


def _number(value: Any, name: str) -> int:
    """A number as it came, in text or in JSON, cut to what a database counts to."""
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit():
        raise InvalidValue("expected a whole number", address=name)
    number = _MOST if len(digits) > 10 else min(int(digits), _MOST)
    return -number if text.startswith("-") else number
