"""Requests to a plugin's routes, as the gateway makes them once it has let the caller in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode

from rustcare_sdk import codec
from rustcare_sdk.contracts.http import Caller, HttpRequest, HttpResponse
from rustcare_sdk.message import Call
from rustcare_sdk.plugin import Handler, payload_type
from rustcare_sdk.routes import FORM, content_of, content_type, match_path, segments

if TYPE_CHECKING:
    from ._harness import PluginHarness

__all__ = ["ask_route"]


async def ask_route(
    owner: PluginHarness,
    method: str,
    target: str,
    json: Any,
    form: Mapping[str, str] | None,
    body: bytes,
    headers: dict[str, str],
    cookies: dict[str, str],
    caller: Caller | None,
    base: str,
    address: str,
) -> HttpResponse:
    """`PluginHarness.http`."""
    path, _, query = target.partition("?")
    path = unquote(path, errors="strict")
    handler, params = _find(owner, method, path)
    headers = {name.lower(): value for name, value in headers.items()}
    if json is not None:
        body = codec.encode(json)
        headers.setdefault("content-type", "application/json")
    elif form is not None:
        body = urlencode(form).encode()
        headers.setdefault("content-type", FORM)
    if caller is None:
        caller = Caller(owner.call.principal, owner.call.tenant)
    call = Call(caller.tenant, caller.principal, "", caller.on_behalf, caller.purpose)
    asked = HttpRequest[Any](
        method, path, params, parse_qs(query, keep_blank_values=True), headers,
        cookies if handler.route is not None and handler.route.cookies else {},
        body, None, caller, "0" * 32, base, address,
    )  # fmt: skip
    wanted = content_type(payload_type(type(owner.plugin), handler.method))
    if wanted is not None:
        asked.content = content_of(
            asked,
            wanted,
            lambda data, type_: owner._as_type(codec.decode(data), type_, "body"),
            lambda data, type_: owner._as_type(_from_form(data, type_), type_, "body"),
        )
    message = owner._message(handler.subject, asked, "test", call, None)
    found = await owner._answered(message, lambda: owner._invoke(handler, message), None)
    if not isinstance(found, HttpResponse):
        assert handler.route is not None
        found = HttpResponse(204 if found is None else handler.route.status, found)
    if found.content is not None:
        found.content = codec.decode(codec.encode(found.content))
    return found


def _find(owner: PluginHarness, method: str, path: str) -> tuple[Handler, dict[str, str]]:
    fits: list[tuple[int, Handler, dict[str, str]]] = []
    for handler in owner._handlers:
        if handler.route is not None and handler.route.method == method:
            parts = segments(handler.route.path)
            params = match_path(parts, path)
            if params is not None:
                fits.append((sum(2 if part.rest else part.parameter for part in parts), handler, params))
    if not fits:
        routes = ", ".join(handler.subject for handler in owner._handlers if handler.kind == "route") or "no routes"
        raise AssertionError(f"{type(owner.plugin).__name__} has {routes}, so {method} {path} does not reach it")
    _, handler, params = min(fits, key=lambda item: item[0])
    return handler, params


def _from_form(data: dict[str, str], wanted: Any) -> Any:
    """What a form says, its fields turned from text as far as the type asks for numbers and truths."""
    import msgspec

    try:
        return dataclasses.asdict(msgspec.convert(data, wanted, strict=False))
    except (msgspec.ValidationError, TypeError):
        return data
