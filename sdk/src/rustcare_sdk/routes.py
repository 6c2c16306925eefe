"""Routes: how a plugin answers HTTP. `@route` marks a handler, as `@serve` does; the gateway carries requests to it.

Portable. The handler takes `Message[HttpRequest[T]]`, where `T` is the type of the body (leave it out for none), and
returns its content, typed, or an `HttpResponse`. What the route says here is what the gateway enforces and what
`/openapi.json` says of it. Needs the capability `http:route@METHOD /path`.

    @route("POST", "/lab/results/{id}", scope="lab.write", summary="Store a result", status=201)
    async def store(self, message: Message[HttpRequest[NewResult]]) -> Result: ...
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import InvalidPayload, RustCareError

__all__ = [
    "InvalidRoute",
    "Route",
    "Segment",
    "UnsupportedMedia",
    "content_of",
    "content_type",
    "match_path",
    "route_service",
    "segments",
]

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
METHODS: tuple[str, ...] = typing.get_args(Method)
FORM = "application/x-www-form-urlencoded"


class InvalidRoute(RustCareError):
    """A route is not well formed, or clashes with another."""

    code = "http.invalid-route"


class UnsupportedMedia(RustCareError):
    """A body came in a form that the route does not take."""

    code = "http.unsupported-media-type"


@dataclass(frozen=True)
class Route:
    """What a route is and what it asks of callers.

    Args:
        method, path: `GET`, `/lab/{id}`. A part in braces is one segment; `{rest...}` at the end is all that follows.
        scope: what the caller must have been given; empty: being known is enough.
        public: nobody needs to be known.
        aal: the least authenticator assurance level (NIST 800-63B) of the caller's session.
        tenant: `required`: the caller belongs to the tenant that the request is for; `optional`: the request may be for
            none; `system`: only callers of the tenant `default`, who look after the whole.
        limit: the class of rate limit (`default`, `read`, `write`, `login`, `bulk`, `none`).
        status: of an answer that is content alone.
        problems: the codes of errors that it raises on purpose, with the status of each.
        cookies: whether it sees cookies (never the session's).
        browser: a page for people: errors come as pages, and who is not known is sent to sign in.
        max_body: bytes. timeout: seconds, 0 for the gateway's own.
        media_types: those of bodies it takes, when not JSON (or a form, if the body has a type).
        produces: those of its answers, its own errors among them, when a standard wants others than JSON's.
        query: the names of query parameters it reads, for the description.
        fresh: seconds since the caller must have proved who they are, 0 for any time.
        hidden: not in the description.
    """

    method: Method
    path: str
    scope: str = ""
    public: bool = False
    aal: int = 1
    tenant: Literal["required", "optional", "system"] = "required"
    limit: str = "default"
    status: int = 200
    summary: str = ""
    problems: Mapping[str, int] = field(default_factory=dict)
    cookies: bool = False
    browser: bool = False
    max_body: int = 1048576
    timeout: float = 0.0
    media_types: tuple[str, ...] = ()
    produces: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    fresh: float = 0.0
    hidden: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidRoute(f"expected one of {', '.join(METHODS)}, got {self.method!r}", address=self.path)
        segments(self.path)
        if not 0 <= self.aal <= 3:
            raise InvalidRoute(f"expected an assurance level of 0 to 3, got {self.aal}", address=self.path)
        if self.public and (self.scope or self.aal > 1 or self.fresh):
            raise InvalidRoute(
                "expected a public route to ask nothing of its callers, got a scope, an assurance level or freshness",
                hint="leave out public=True, or what it asks for",
                address=self.path,
            )

    @property
    def use(self) -> str:
        """The scope of the capability that it needs, such as `GET /lab/{id}`."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Segment:
    """One part of a path: `text` itself, or the name of a parameter; `rest` takes all that follows."""

    text: str
    parameter: bool = False
    rest: bool = False


_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TEXT = re.compile(r"[A-Za-z0-9._~!$&'()+,;=:@-]+")


def segments(path: str) -> tuple[Segment, ...]:
    """The parts of a route's path. Raises InvalidRoute."""
    if not path.startswith("/"):
        raise InvalidRoute(f"expected a path that begins with /, got {path!r}", address=path)
    found: list[Segment] = []
    parts = path[1:].split("/") if path != "/" else []
    for position, part in enumerate(parts):
        name = part[1:-1] if part.startswith("{") and part.endswith("}") else ""
        rest = name.endswith("...")
        name = name.removesuffix("...")
        if name and _NAME.fullmatch(name) and (not rest or position == len(parts) - 1):
            if any(item.parameter and item.text == name for item in found):
                raise InvalidRoute(f"expected each parameter once, got {name} again", address=path)
            found.append(Segment(name, True, rest))
        elif _TEXT.fullmatch(part) and part not in (".", ".."):
            found.append(Segment(part))
        else:
            raise InvalidRoute(
                f"expected a word or a parameter such as {{id}}, got {part!r}",
                hint="{rest...} stands only at the end; no empty part, no dots alone",
                address=path,
            )
    return tuple(found)


def match_path(parts: tuple[Segment, ...], path: str) -> dict[str, str] | None:
    """The parameters of a (decoded) path that fits, else None."""
    have = path[1:].split("/") if path != "/" else []
    found: dict[str, str] = {}
    for position, part in enumerate(parts):
        if part.rest:
            rest = "/".join(have[position:])
            return {**found, part.text: rest} if rest else None
        if position >= len(have) or (have[position] == "" if part.parameter else have[position] != part.text):
            return None
        if part.parameter:
            found[part.text] = have[position]
    return found if len(have) == len(parts) else None


def route_service(plugin: str, method: str, index: int = 0) -> str:
    """The service under which a plugin's route is requested: `http.route.acme.lab-router.store`."""
    return f"http.route.{plugin}.{method}" + (f"-{index + 1}" if index else "")


# bodies


def content_type(payload: Any) -> Any:
    """The `T` of `HttpRequest[T]`, or None when the handler takes the body as it is (`HttpRequest[None]`, `[Any]`)."""
    arguments = typing.get_args(payload)
    if not arguments or arguments[0] in (Any, type(None)) or isinstance(arguments[0], typing.TypeVar):
        return None
    return arguments[0]


def content_of(
    request: Any, wanted: Any, decode: Callable[[bytes, Any], Any], convert: Callable[[Any, Any], Any]
) -> Any:
    """A request's body as the type that the handler asks for.

    Args:
        request: an `HttpRequest`.
        decode: JSON to a type. convert: what a form said, as text, to a type. Both raise InvalidPayload.

    Raises:
        UnsupportedMedia: it is neither JSON nor a form.
        InvalidPayload: it does not fit the type.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == FORM:
        from urllib.parse import parse_qsl

        try:
            pairs = parse_qsl(
                request.body.decode("utf-8"),
                keep_blank_values=True,
                strict_parsing=bool(request.body),
                max_num_fields=1000,
            )
        except (UnicodeDecodeError, ValueError):
            raise InvalidPayload("expected a form in UTF-8", address="body") from None
        return convert(dict(pairs), wanted)
    if media == "application/json" or media.endswith("+json"):
        return decode(request.body, wanted)
    raise UnsupportedMedia(
        f"expected application/json, got {media[:60] or 'no content type'}",
        hint="say Content-Type: application/json",
        address="body",
    )
