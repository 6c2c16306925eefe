"""What a proxy asks about: the request that it holds, as its header fields describe it.

nginx (`auth_request`) sends what its configuration says, by custom `X-Original-Method` and `X-Original-URI` or -`URL`;
Traefik (`forwardAuth`) `X-Forwarded-Method`, `-Proto`, `-Host` and `-Uri`; Envoy (`ext_authz` over HTTP) the method itself and
the path behind the prefix that it was told. Whoever sends such fields himself learns what he himself may do, nothing more.

Proxies pass on fields that they do not set themselves, so a client may send what another kind of proxy would: fields that
describe two requests are refused. A path is read as that of a request to the gateway is, and refused for the same reasons.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from .errors import BadRequest
from .server import parse_host, parse_target
from .visit import Visit

__all__ = ["PATH", "asked_about"]

#: Where proxies ask.
PATH = "/auth/check"

_METHOD = re.compile(r"[A-Za-z-]{1,32}").fullmatch


def asked_about(visit: Visit, host: str, scheme: str, prefixes: bool) -> tuple[str, str]:
    """Set what a visit asks about. The host, and the tenant in the path, of the request in question.

    Args:
        host, scheme: of the request that asks.
        prefixes: whether a path may begin with the tenant.

    Raises:
        BadRequest: two requests are described, or one that the gateway would not take itself.
    """
    headers = visit.headers
    behind = visit.path.removeprefix(PATH)
    method = _one(
        "method",
        headers.get("x-original-method", "").upper(),
        headers.get("x-forwarded-method", "").upper(),
        visit.method if behind else "",
    )
    hosts, paths = [headers.get("x-forwarded-host", "")], [behind]
    url = headers.get("x-original-url", "")
    if url:
        try:
            parts = urlsplit(url)
        except ValueError:
            raise BadRequest("expected a URL", address="X-Original-URL") from None
        paths.append(_path(parts.path, "X-Original-URL"))
        if parts.netloc:
            hosts.append(parts.netloc)
            scheme = parts.scheme
    paths += [_path(headers.get(name, ""), name) for name in ("x-original-uri", "x-forwarded-uri")]
    scheme = headers.get("x-forwarded-proto", scheme)
    named = _one("host", *(parse_host(one) if one else "" for one in hosts))
    path = _one("path", *paths) or "/"
    if method and _METHOD(method) is None:
        raise BadRequest("expected the method of a request", address="X-Original-Method")
    visit.asked_method = method or visit.method
    visit.asked_path = path
    host = named or host
    visit.base = f"{scheme}://{host}"
    return host, path[3:].partition("/")[0] if prefixes and path.startswith("/t/") else ""


def _one(what: str, *said: str) -> str:
    """What is said, empty when nothing is."""
    found = {one for one in said if one}
    if len(found) > 1:
        raise BadRequest(
            f"expected one {what} of the request that is asked about, got two",
            hint="of X-Original-*, X-Forwarded-* and the path behind /auth/check have the proxy drop those it does not set",
        )
    return found.pop() if found else ""


def _path(target: str, name: str) -> str:
    target = target.partition("?")[0]
    if not target:
        return ""
    if not target.startswith("/"):
        raise BadRequest("expected a target that begins with /", address=name)
    try:
        return parse_target("", target.encode("latin-1", "replace"), "").path
    except BadRequest as error:
        raise BadRequest(error.message, address=name) from None
