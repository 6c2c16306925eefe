"""The way of a request: id and trace → route → tenant → authenticate → rate limit → authorize → the plugin → record and count.

One ASGI callable, no stack of middleware. What can be looked up is looked up without waiting: a request whose token is known
already, and that nobody has to be asked about, waits for its plugin alone. Everything that can be known of a route, a tenant
or a kind of answer is worked out when it changes, not here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import parse_qs

from rustcare_sdk.contracts.http import Caller, HttpRequest, HttpResponse
from rustcare_sdk.errors import AuditUnavailable, HandlerFailed, RustCareError
from rustcare_sdk.message import Call

from .access import AccessLog
from .answers import Answers
from .authenticate.cache import digest_of
from .authorize import ADMIN, Authorizer, admits
from .cors import Cors, check_origin
from .credentials import Credential, Finder
from .errors import (
    BadRequest,
    IdentityUnavailable,
    MethodNotAllowed,
    NoRoute,
    NotAcceptedHere,
    RateLimited,
    Refused,
    TenantConflict,
    TooLarge,
    Unauthenticated,
)
from .forwarded import PATH, asked_about
from .headers import text_of
from .limits import Lessee, Limits
from .metrics import Counters
from .proxies import Proxies, group
from .refusals import Refusals
from .routes import Entry, RouteTable
from .server import parse_host
from .tenants import DEFAULT, Tenant, Tenants
from .trace import Tracer
from .visit import Visit

__all__ = ["Credentials", "Pipeline"]

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_monotonic = time.monotonic
_time = time.time
# A field of which two would leave open which of them counts.
_ONCE = frozenset(
    {"authorization", "x-api-key", "host", "content-type", "origin", "x-request-id", "traceparent", "sec-fetch-site"}
)
FORWARDED = PATH + "/"
LATE = 1.0  # seconds that a body took, after which its sender is looked at again
LOOPBACK = frozenset({"127.0.0.1", "::1", "[::1]", "localhost"})


class Credentials(Protocol):
    """What the pipeline needs of an authenticator."""

    def cached(self, kind: Any, credential: Any) -> Caller | None: ...
    async def authenticate(self, kind: Any, credential: Any, tenant: str, address: str) -> Caller: ...


class Pipeline:
    """The ASGI callable. Its parts are public: the gateway's own routes use them too."""

    def __init__(
        self,
        request: Callable[..., Awaitable[Any]],
        routes: RouteTable,
        tenants: Tenants,
        credentials: Credentials,
        limits: Limits,
        authorizer: Authorizer,
        access: AccessLog,
        counters: Counters,
        answers: Answers,
        finder: Finder,
        proxies: Proxies,
        refusals: Refusals,
        *,
        hosts: frozenset[str] = frozenset(),
        public_url: str = "",
        leases: Lessee | None = None,
        failed: Callable[[Visit, BaseException], None] = lambda visit, error: None,
    ) -> None:
        self.request = request
        self.routes = routes
        self.tenants = tenants
        self.credentials = credentials
        self.limits = limits
        self.authorizer = authorizer
        self.access = access
        self.counters = counters
        self.answers = answers
        self.finder = finder
        self.proxies = proxies
        self.refusals = refusals
        self.hosts = hosts
        self.public_url = public_url.rstrip("/")
        self.leases = leases
        self.failed = failed
        self._begin = Tracer().begin
        self._header = tenants.header
        self._unrouted = counters.of("", "")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = _monotonic()
        visit = Visit(scope["method"], scope["path"])
        try:
            await self._serve(visit, scope, receive, send)
        except Exception as error:
            # An answer that has begun cannot become another one: the server ends the connection.
            if visit.sent:
                self.failed(visit, error)
                raise
            await self._refuse(visit, error, send, scope["query_string"])
        finally:
            entry = visit.entry
            ended = _monotonic() - started
            status = visit.status
            (self._unrouted if entry is None else entry.stats).add(status, ended)
            if entry is not None and entry.quiet:
                pass
            elif not visit.passed and self.access.full:
                # It was refused and no plugin saw it. Were all of these kept, whoever asks in vain could fill the memory.
                self.access.lost += 1
            else:
                tenant = visit.tenant
                caller = visit.caller
                who = caller.principal or "-"
                if " " in who:  # a foreign issuer may call its subjects what it likes
                    who = who.replace(" ", "%20")
                self.access.add(
                    DEFAULT if tenant is None else tenant.id,
                    f"{int(_time() * 1e6)} {int(ended * 1e6)} {visit.id} {who} {visit.method} "
                    f"{'-' if entry is None else entry.path} {status} {caller.session or '-'}",
                )

    async def _serve(self, visit: Visit, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        claimed = self._read(visit, scope)
        entry = visit.entry
        if entry is None:
            await self._unknown(visit, claimed, send)
            return
        credential = visit.credential
        if credential is None:
            if not entry.public:
                visit.tenant = self.tenants.resolved(claimed, "", entry.optional)
                await self.count(visit)
                raise Unauthenticated("expected a credential: a token, a key or a session")
            tenant = visit.tenant = self.tenants.resolved(claimed, "", entry.optional)
            caller = visit.caller = tenant.anonymous
        else:
            found = self.credentials.cached(credential.kind, credential.value)
            if found is None:
                found = await self._ask(visit, claimed, credential)
            caller = visit.caller = found
            tenant = visit.tenant = self.tenants.resolved(claimed, caller.tenant, entry.optional)
        if entry.public and caller.tenant != tenant.id:
            caller = visit.caller = tenant.anonymous  # whoever it is, here it is nobody
        class_ = visit.class_ = tenant.classes.get(entry.limit) or tenant.classes["default"]
        if class_.limits:
            if self.leases is None:
                verdict = self.limits.take(class_, tenant.id, caller.principal, visit.address, _monotonic())
                visit.verdict = verdict
                if verdict is not None and not verdict.allowed:
                    raise _limited(verdict.retry)
            else:
                await self.count(visit)
        call = Call(tenant.id, caller.principal, visit.trace, caller.on_behalf, caller.purpose)
        if not entry.public:
            if (
                caller.tenant != tenant.id
                or (entry.scope and entry.scope not in caller.scopes and ADMIN not in caller.scopes)
                or caller.aal < entry.aal
                or entry.strict
            ):
                admits(
                    caller,
                    scope=entry.scope,
                    aal=entry.aal,
                    fresh=entry.fresh,
                    tenant=tenant.id,
                    rule=entry.tenant,
                    now=_time(),
                )
            if caller.kind == "session":
                check_origin(visit.method, visit.headers, visit.base)
            if not self.authorizer.absent:
                await self.authorizer.check(caller, entry.scope, entry.method, entry.path, visit.params, call)
        elif entry.browser:
            check_origin(visit.method, visit.headers, visit.base)
        if self.access.full and not entry.quiet:
            raise AuditUnavailable("requests cannot be put on record")
        visit.passed = True
        length = scope.get("rustcare.length", -1)
        if length == 0 or entry.forwarded:
            body = b""
        else:
            began = _monotonic()
            body = await self._body(entry, length, receive)
            if credential is not None and not entry.public and _monotonic() - began > LATE:
                await self._still(visit, claimed, credential)
        headers = visit.headers
        if body and entry.media_types:
            media = headers.get("content-type", "").partition(";")[0].strip().lower()
            if media not in entry.media_types:
                raise _media(entry)
        query = scope["query_string"]
        request: HttpRequest[Any] = HttpRequest(
            entry.method,
            visit.path,
            visit.params,
            _query(query) if query else {},
            headers,
            self.finder.cookies(headers) if entry.cookies else {},
            body,
            None,
            caller,
            visit.id,
            visit.base,
            visit.address,
            visit.prefix,
        )
        headers.pop("cookie", None)
        if entry.answer is not None:
            response = await entry.answer(visit, request)
        else:
            response = await self.request(entry.service, request, timeout=entry.timeout, type=HttpResponse, call=call)
        await self.answers.write(visit, response, receive, send, scope.get("rustcare.answer"))

    def _read(self, visit: Visit, scope: dict[str, Any]) -> Tenant | None:
        """What header and target say; the tenant that they name."""
        headers: dict[str, str] = {}
        for raw, value in scope["headers"]:
            name = text_of(raw)
            if name in headers:
                if name in _ONCE or name == self._header:
                    visit.headers = headers
                    visit.id, visit.trace = self._begin({})
                    raise BadRequest(f"expected one {name}, got two", address=name)
                headers[name] += ("; " if name == "cookie" else ", ") + value.decode("latin-1")
            else:
                headers[name] = value.decode("latin-1")
        visit.headers = headers
        visit.id, visit.trace = self._begin(headers)
        path = visit.path
        tenants = self.tenants
        prefix = ""
        if tenants.by_path and path.startswith("/t/"):
            prefix, _, rest = path[3:].partition("/")
            if prefix:
                visit.prefix = f"/t/{prefix}"
                visit.path = path = "/" + rest
        found = self.routes.router.find(visit.method, path)
        if found is not None:
            visit.entry, visit.params = found
        elif path == FORWARDED and (found := self.routes.router.find(visit.method, path[:-1])):
            visit.entry, _ = found  # a proxy asks about the path /
        client = scope["client"]
        address = "" if client is None else client[0]
        scheme = scope["scheme"]
        host = scope.get("rustcare.host") or headers.get("host", "")
        if self.proxies and self.proxies.trusts(address):
            address = self.proxies.client(address, headers.get("x-forwarded-for", ""))
            # Of several values the last is the one that the proxy has added.
            proto = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip()
            scheme = proto if proto in ("http", "https") else scheme
            named = headers.get("x-forwarded-host", "").rpartition(",")[2].strip()
            host = parse_host(named) if named else host
        visit.address = address if ":" not in address else group(address)
        visit.secure = scheme == "https"
        visit.base = self.public_url or f"{scheme}://{host}"
        if "origin" in headers:
            visit.origin = headers["origin"]
        entry = visit.entry
        if entry is not None and entry.forwarded:
            host, asked = asked_about(visit, host, scheme, tenants.by_path)
            if prefix and asked and asked != prefix:
                raise TenantConflict(
                    "expected one tenant, got two", hint="its own path and the one that it asks about differ"
                )
            prefix = asked or prefix
        if self.hosts and host not in self.hosts and not (entry is not None and entry.quiet):
            self._check_host(host)
        if entry is not None:
            state = scope.get("state")
            visit.credential = self.finder.find(
                headers,
                state.get("certificate", "") if state else "",
                "cookie" in headers
                and address in LOOPBACK
                and not visit.secure
                and (host.rpartition(":")[0] or host) in LOOPBACK,
            )
        return tenants.claimed(host, prefix, headers)

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        if name not in self.hosts and self.tenants.host(host) is None:
            raise NotAcceptedHere("expected a name under which this server is reached", address="Host")

    async def _ask(self, visit: Visit, claimed: Tenant | None, credential: Credential) -> Caller:
        """Find out who a credential belongs to. On a public route one that is not valid is as good as none."""
        entry = visit.entry
        failures = self.limits.classes["failures"]
        tenant = "" if claimed is None else claimed.id
        now = _monotonic()
        visit.tenant = claimed or self.tenants.get(self.tenants.fallback)  # whose rules an answer has that refuses
        # One program that repeats what has ended must not lock out all who share its address: it has an allowance of its own.
        own = f"{visit.address} {digest_of(credential.value).hex()}"
        over = self.limits.exhausted(failures, tenant, "", visit.address, now)
        over = over or self.limits.exhausted(failures, tenant, "", own, now)
        try:
            if over is not None:
                raise _limited(over.retry)
            return await self.credentials.authenticate(credential.kind, credential.value, tenant, visit.address)
        except Unauthenticated as error:
            self.limits.take(failures, tenant, "", own if error.again else visit.address, now)
            if entry is None or not entry.public:
                raise
            visit.denied = error
        except Refused as error:
            if entry is None or not entry.public:
                raise
            visit.denied = error
        except RustCareError as error:
            unavailable = IdentityUnavailable(
                "who the caller is cannot be found out now", hint="is the identity plugin installed and active?"
            )
            if entry is None or not entry.public:
                raise unavailable from error
            visit.denied = unavailable
        return self.tenants.resolved(claimed, "", entry.optional).anonymous

    async def _still(self, visit: Visit, claimed: Tenant | None, credential: Credential) -> None:
        """Refuse a request whose caller is not who they were when it began.

        A body may take minutes. Who holds back the end of many could go on, when they are found out, with what was revoked.
        """
        before, tenant = visit.caller, visit.tenant
        assert tenant is not None
        found = self.credentials.cached(credential.kind, credential.value)
        if found is None:
            found = await self._ask(visit, claimed, credential)
        visit.tenant = self.tenants.resolved(self.tenants.get(tenant.id), found.tenant)
        # When they last proved it is told of a key anew each time.
        if replace(found, authenticated=before.authenticated) != before or visit.tenant.id != tenant.id:
            raise Unauthenticated(
                "expected a caller whose rights are what they were when the request began",
                error="invalid_token",
                hint="send it again",
            )

    async def count(self, visit: Visit, name: str = "") -> None:
        """Count a request against the limits of its route's class, or of a named one. Raises RateLimited."""
        tenant = visit.tenant
        assert tenant is not None
        entry = visit.entry
        name = name or ("default" if entry is None else entry.limit)
        class_ = visit.class_ = tenant.classes.get(name) or tenant.classes["default"]
        if not class_.limits:
            return
        principal = visit.caller.principal
        if self.leases is None:
            verdict = self.limits.take(class_, tenant.id, principal, visit.address, _monotonic())
        else:
            verdict = await self.leases.take_or_wait(class_, tenant.id, principal, visit.address)
        visit.verdict = verdict
        if verdict is not None and not verdict.allowed:
            raise _limited(verdict.retry)

    async def _unknown(self, visit: Visit, claimed: Tenant | None, send: Send) -> None:
        """OPTIONS, and what no route answers."""
        allowed = self.routes.router.allowed(visit.path)
        tenant = visit.tenant = self.tenants.resolved(claimed, "", True)
        await self.count(visit)
        if visit.method == "OPTIONS" and (allowed or visit.path == "*"):
            fields = [(b"allow", ", ".join(allowed or ("GET", "HEAD", "OPTIONS")).encode())]
            if visit.origin and "access-control-request-method" in visit.headers:
                cors = tenant.cors or _NO_CORS
                fields += cors.preflight(visit.origin, allowed)
            await self.answers.bare(visit, 204, fields, send)
            return
        if allowed:
            raise MethodNotAllowed(f"expected one of {', '.join(allowed)}", fields=(("allow", ", ".join(allowed)),))
        raise NoRoute("no plugin answers this path")

    async def _body(self, entry: Entry, length: int, receive: Receive) -> bytes:
        limit = entry.max_body
        if length > limit:
            raise TooLarge(f"expected a body of at most {limit} bytes, got {length}")
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BadRequest("the client left before its request was complete")
            part = message.get("body", b"")
            if part:
                size += len(part)
                if size > limit:
                    raise TooLarge(f"expected a body of at most {limit} bytes, got more")
                parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _refuse(self, visit: Visit, error: Exception, send: Send, query: bytes) -> None:
        if not isinstance(error, RustCareError) or isinstance(error, HandlerFailed):
            self.failed(visit, error)
        self.counters.refused(error.code if isinstance(error, RustCareError) else "gateway.failed")
        await self.refusals.write(visit, error, send, self._back(visit, query))

    def _back(self, visit: Visit, query: bytes) -> str:
        """Where somebody who has to sign in goes on: at the page that they asked for, or whose form they sent."""
        if visit.method in ("GET", "HEAD"):
            return visit.prefix + visit.path + (f"?{query.decode('latin-1')}" if query else "")
        found = self.routes.router.find("GET", visit.path)
        return visit.prefix + visit.path if found is not None and found[0].browser else "/"

    async def settle(self) -> None:
        """Write what is waiting to be recorded, for as long as that makes progress."""
        await asyncio.shield(self.access.flush())


_NO_CORS = Cors({})


def _query(raw: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:  # UnicodeDecodeError is one
        raise BadRequest("expected a query in UTF-8 with at most 1000 parts", address="target") from None


def _limited(retry: int) -> RateLimited:
    return RateLimited(
        "more requests than the limit allows",
        hint=f"come back in {retry} s",
        fields=(("retry-after", str(retry)),),
    )


def _media(entry: Entry) -> RustCareError:
    from rustcare_sdk.routes import UnsupportedMedia

    return UnsupportedMedia(
        f"expected {' or '.join(sorted(entry.media_types))}", hint="say so in Content-Type", address="body"
    )
