"""CORS as the Fetch standard has it, by the tenant's settings, and the guard against forged requests with a session.

A tenant's settings say which origins may read answers: `{"cors": {"origins": ["https://app.example.org"], "credentials": false,
"headers": ["content-type"], "expose": [], "max_age": 600}}`. With credentials there is neither `*` nor `null`, the origin of
every page that has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import CrossOrigin, InvalidSettings

__all__ = ["Cors", "check_origin"]

Fields = list[tuple[bytes, bytes]]
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Cors:
    """One tenant's rules. Raises InvalidSettings."""

    __slots__ = ("_credentials", "_expose", "_headers", "_max_age", "any", "origins")

    def __init__(self, settings: Mapping[str, Any]) -> None:
        origins = _texts(settings, "origins")
        self.any = "*" in origins
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._credentials = bool(settings.get("credentials", False))
        self._headers = ", ".join(_texts(settings, "headers") or ["authorization", "content-type", "x-tenant"])
        self._expose = ", ".join(
            [
                *_texts(settings, "expose"),
                "x-request-id",
                "traceresponse",
                "ratelimit",
                "ratelimit-policy",
                "retry-after",
            ]
        )
        self._max_age = int(settings.get("max_age", 600))
        if self._credentials and (self.any or "null" in self.origins):
            raise InvalidSettings(
                f"expected origins by name together with credentials, got {'*' if self.any else 'null'}",
                address="settings.cors.origins",
            )

    def allows(self, origin: str) -> bool:
        """Whether pages of an origin may read answers."""
        return bool(origin) and (self.any or origin.lower() in self.origins)

    def fields(self, origin: str) -> Fields:
        """Fields of an answer to a request with this `Origin`, or with none (empty)."""
        if not self.allows(origin):
            return [(b"vary", b"origin")]
        allowed = b"*" if self.any else origin.encode("latin-1")
        found = [(b"access-control-allow-origin", allowed), (b"vary", b"origin")]
        if self._credentials:
            found.append((b"access-control-allow-credentials", b"true"))
        found.append((b"access-control-expose-headers", self._expose.encode("latin-1")))
        return found

    def preflight(self, origin: str, methods: tuple[str, ...]) -> Fields:
        """Fields of the answer to a preflight for a path that is answered with these methods."""
        found = self.fields(origin)
        if self.allows(origin):
            found += [
                (b"access-control-allow-methods", ", ".join(methods).encode()),
                (b"access-control-allow-headers", self._headers.encode("latin-1")),
                (b"access-control-max-age", b"%d" % self._max_age),
            ]
        return found


def _texts(settings: Mapping[str, Any], key: str) -> list[str]:
    found = settings.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, str) and item.isascii() for item in found):
        raise InvalidSettings("expected a list of texts", address=f"settings.cors.{key}")
    if any(mark in item for item in found for mark in "\r\n,"):
        raise InvalidSettings("expected texts without line breaks and commas", address=f"settings.cors.{key}")
    return found


def check_origin(method: str, headers: Mapping[str, str], base: str) -> None:
    """Refuse a request that a page of another origin may have sent with the user's session.

    Browsers say where a request comes from: in `Sec-Fetch-Site`, older ones in `Origin` alone. A request that says neither
    comes from no browser that is in use, and no page can make a browser leave both out. Raises CrossOrigin.
    """
    if method in SAFE:
        return
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site in ("same-origin", "none"):
            return
    else:
        origin = headers.get("origin")
        if origin is not None and origin.lower() == base.lower():
            return
    raise CrossOrigin(
        "expected a request from a page of this origin",
        hint="send it from there, or with a token in Authorization instead of the session's cookie",
    )
