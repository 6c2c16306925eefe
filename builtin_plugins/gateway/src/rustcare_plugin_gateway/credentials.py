"""Which credential a request carries, and its cookies. It may carry one: two could be read as two callers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from .errors import AmbiguousCredentials

__all__ = ["HOST_COOKIE", "PLAIN_COOKIE", "Credential", "Finder", "cookies_of"]

#: The session's cookie: bound to this host, to https and to the path / by its name (RFC 6265bis, section 4.1.3.2).
HOST_COOKIE = "__Host-rustcare"
#: Its name over plain http, where a browser refuses the other.
PLAIN_COOKIE = "rustcare"
KEY_PREFIX = "rck_"


class Credential(NamedTuple):
    """`value` is a secret."""

    kind: Literal["token", "key", "session", "certificate"]
    value: str

    def __repr__(self) -> str:
        return f"Credential(kind={self.kind!r})"


_made = tuple.__new__  # what the class itself does, without asking it: one is made for each request


class Finder:
    """Finds credentials.

    Args:
        insecure: whether the session's cookie may have the name for plain http, wherever the request comes from.
    """

    def __init__(self, insecure: bool) -> None:
        self._insecure = insecure

    def find(self, headers: dict[str, str], certificate: str = "", local: bool = False) -> Credential | None:
        """The credential. `Authorization` and `X-API-Key` are taken out of `headers`.

        Args:
            certificate: the SHA-256 of the client's, as hex; it counts when there is nothing else.
            local: the request never left this machine.

        Raises:
            AmbiguousCredentials: there are several.
        """
        found: Credential | None = None
        authorization = headers.pop("authorization", None)
        if (
            authorization is not None
            and authorization[:7] == "Bearer "
            and not ("x-api-key" in headers or "cookie" in headers)
        ):
            value = authorization[7:].strip()
            return _made(Credential, ("key" if value.startswith(KEY_PREFIX) else "token", value))
        if authorization is not None and authorization[:7].lower() == "bearer ":
            value = authorization[7:].strip()
            found = Credential("key" if value.startswith(KEY_PREFIX) else "token", value)
        key = headers.pop("x-api-key", None)
        if key is not None:
            if authorization is not None:  # of whatever kind: somebody means something by it
                raise _two()
            found = Credential("key", key.strip())
        cookie = headers.get("cookie")
        if cookie is not None and PLAIN_COOKIE in cookie:
            names = (HOST_COOKIE, PLAIN_COOKIE) if local or self._insecure else (HOST_COOKIE,)
            values = [
                value
                for name, value in (pair.strip().split("=", 1) for pair in cookie.split(";") if "=" in pair)
                if name in names
            ]
            if values:
                if authorization is not None or key is not None or len(values) > 1:
                    raise _two()
                found = Credential("session", values[0])
        if found is None and certificate:
            return Credential("certificate", certificate)
        return found

    def cookies(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The cookies of a request without the session's."""
        found = cookies_of(headers.get("cookie", ""))
        for name in (HOST_COOKIE, PLAIN_COOKIE):
            found.pop(name, None)
        return found


def _two() -> AmbiguousCredentials:
    return AmbiguousCredentials(
        "expected one credential, got several", hint="send a token, a key or the session's cookie, and only once"
    )


def cookies_of(text: str) -> dict[str, str]:
    """The cookies of a `Cookie` field (RFC 6265, section 5.4). Of two with one name the first counts, as browsers mean it."""
    found: dict[str, str] = {}
    for pair in text.split(";"):
        name, mark, value = pair.strip().partition("=")
        if mark and name:
            found.setdefault(name, value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value)
    return found
