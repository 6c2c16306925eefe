"""HTTP as plugins see it: a request that was authenticated, limited and authorized before it came here, and an answer.

A plugin declares routes with `rustcare_sdk.route`; the gateway carries requests to them. What is a caller's credential
(`Authorization`, the session's cookie) never reaches a route.

| subject | request or event | answer |
|---|---|---|
| `kernel.routes` | `RoutesRequest` | `RoutesReply` |
| `gateway.status` | `GatewayRequest` | `GatewayStatus` |
| `http.routes` | event `RoutesChanged` | |
| `http.access` | event `AccessBatch` | |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

__all__ = [
    "ACCESS",
    "CHANGED",
    "GATEWAY_STATUS",
    "ROUTES",
    "AccessBatch",
    "Caller",
    "GatewayRequest",
    "GatewayStatus",
    "HttpRequest",
    "HttpResponse",
    "RouteRow",
    "RoutesChanged",
    "RoutesReply",
    "RoutesRequest",
]

#: Service of the kernel: the routes that plugins answer now (`RoutesRequest` → `RoutesReply`).
ROUTES = "kernel.routes"
#: Service of the gateway: where it is reached (`GatewayRequest` → `GatewayStatus`).
GATEWAY_STATUS = "gateway.status"
#: Event: routes came or went (`RoutesChanged`).
CHANGED = "http.routes"
#: Event: requests that were answered, for the audit log (`AccessBatch`).
ACCESS = "http.access"

T = TypeVar("T")


@dataclass(frozen=True)
class Caller:
    """Who asks. `principal` is `user/ID` or `service/ID`, empty for nobody known; `kind` how they proved it.

    `aal`: the authenticator assurance level of NIST 800-63B (0 for nobody known). `session`: the session's id, or that
    of the API key or certificate (never the credential); it is the `sid` of tokens made with it. `authenticated`: when they
    last proved who they are, Unix seconds. `name`: to be shown, not to decide by.
    """

    principal: str = ""
    tenant: str = "default"
    kind: Literal["anonymous", "session", "token", "key", "certificate"] = "anonymous"
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    aal: int = 0
    session: str = ""
    authenticated: float = 0.0
    on_behalf: str = ""
    purpose: str = ""
    name: str = ""


@dataclass
class HttpRequest(Generic[T]):
    """A request to a route. Treat it as read-only.

    `path` is decoded and begins with `/`; `params` are its parts that the route names; `headers` have lower-case names,
    a repeated one is joined by `, `; `cookies` are there when the route asks for them, without the session's own.
    `content` is the body as the type `T` of the handler's `Message[HttpRequest[T]]` (JSON, or a form), else None.
    `base` is the origin that the client sees (`https://clinic.example.org`): what the client says it is, unless the gateway's
    configuration names it (`public_url`) or the names it may have (`hosts`). `address` is the client's; of IPv6 its network
    (`2001:0db8:0000:0001::/64`), all of which one client has. `prefix` stood before the path and named the tenant
    (`/t/clinic`); a page puts it before the paths that it links to.
    """

    method: str
    path: str
    params: dict[str, str] = field(default_factory=dict)
    query: dict[str, list[str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    content: Any = field(default=None, repr=False)
    caller: Caller = Caller()
    id: str = ""
    base: str = ""
    address: str = ""
    prefix: str = ""

    def argument(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        found = self.query.get(name)
        return found[0] if found else default


@dataclass
class HttpResponse:
    """An answer. One of `content` (becomes JSON), `text`, `body` and `stream` is the body; none: it is empty.

    `set_cookies` are whole values of `Set-Cookie`. `stream` (trusted only) is an async iterator of bytes; it is closed when
    the client leaves. A handler may also return its content alone: then the status is the route's own.
    """

    status: int = 200
    content: Any = None
    text: str = field(default="", repr=False)
    body: bytes = field(default=b"", repr=False)
    media_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    set_cookies: list[str] = field(default_factory=list, repr=False)
    stream: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class RoutesRequest:
    """The routes of one plugin, or of all (empty)."""

    plugin: str = ""


@dataclass(frozen=True)
class RouteRow:
    """A route as it is served now: `service` is where to request it. The other fields are those of `rustcare_sdk.routes.Route`.

    `body` and `answer` are JSON Schemas, empty where the handler says no type. `sandboxed`: the plugin is not trusted, so
    neither are its pages.
    """

    service: str
    plugin: str
    version: str
    method: str
    path: str
    scope: str = ""
    public: bool = False
    aal: int = 1
    tenant: Literal["required", "optional", "system"] = "required"
    limit: str = "default"
    status: int = 200
    summary: str = ""
    cookies: bool = False
    browser: bool = False
    max_body: int = 1048576
    timeout: float = 0.0
    problems: dict[str, int] = field(default_factory=dict)
    media_types: tuple[str, ...] = ()
    hidden: bool = False
    query: tuple[str, ...] = ()
    fresh: float = 0.0
    body: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)
    produces: tuple[str, ...] = ()
    sandboxed: bool = False


@dataclass(frozen=True)
class RoutesReply:
    """The routes, by path and method; `revision` grows with every change."""

    revision: int
    routes: list[RouteRow] = field(default_factory=list)


@dataclass(frozen=True)
class GatewayRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class GatewayStatus:
    """Where the gateway is reached: `url` is the origin for people and programs (the configured public one, else that of the
    address it listens on, such as `http://127.0.0.1:8080`); `host` and `port` as bound."""

    url: str
    host: str = ""
    port: int = 0


@dataclass(frozen=True)
class RoutesChanged:
    """Which plugin's routes came or went."""

    revision: int
    plugin: str = ""


@dataclass(frozen=True)
class AccessBatch:
    """Requests that were answered: one row each, in the order of their end. Nothing in it is a path or a query's value.

    A row is a line of words with a space between them, `-` for one that is empty: when it ended (Unix microseconds), how long
    it took (microseconds), its id, the principal, the method, the route's path, the status, the session. `tenant` is theirs.
    """

    tenant: str
    rows: list[str] = field(default_factory=list)
