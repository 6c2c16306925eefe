"""What a proxy asks about: the request that it holds, as its header fields describe it.

nginx (`auth_request`) sends what its configuration says, by custom `X-Original-Method` and `X-Original-URI` or -`URL`;
Traefik (`forwardAuth`) `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`; Envoy (`ext_authz` over HTTP) the method itself and
the path behind the prefix that it was told. Whoever sends such fields himself learns what he himself may do, nothing more.
"""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from .errors import BadRequest
from .visit import Visit

__all__ = ["PATH", "asked_about"]

#: Where proxies ask.
PATH = "/auth/check"


def asked_about(visit: Visit, host: str, scheme: str) -> tuple[str, str]:
    """Set what a visit asks about. The host, and the tenant in the path, of the request in question."""
    headers = visit.headers
    method = headers.get("x-original-method") or headers.get("x-forwarded-method") or visit.method
    target = headers.get("x-original-uri") or headers.get("x-forwarded-uri") or ""
    url = headers.get("x-original-url", "")
    host = headers.get("x-forwarded-host", host).lower()
    scheme = headers.get("x-forwarded-proto", scheme)
    if url:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise BadRequest("expected a URL", address="X-Original-URL") from None
        if parts.netloc:
            host, scheme = parts.netloc.lower(), parts.scheme or scheme
        target = target or parts.path
    path = unquote(target.partition("?")[0]) if target else visit.path.removeprefix(PATH) or "/"
    visit.asked_method = method.upper()
    visit.asked_path = path
    visit.base = f"{scheme}://{host}"
    prefix = path[3:].partition("/")[0] if path.startswith("/t/") else ""
    return host, prefix
