"""What a browser keeps and sends: cookies, the page to go on to, and what it says it is.

Cookies have the prefix `__Host-` (RFC 6265bis, section 4.1.3.2): https only, this host only, the whole of it. Over plain http,
which is for one's own machine, browsers refuse that; there the names are without.
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from rustcare_sdk.contracts.http import HttpRequest
from rustcare_sdk.contracts.identity import Client

__all__ = ["Cookie", "client_of", "cookie_of", "drop_cookie", "fits_cookie", "local_path", "set_cookie"]

#: `""` is the session, `login` a login that waits for its second factor, `link` the secret of a link, `device` that by which a
#: browser is known again.
Cookie = Literal["", "login", "link", "device"]

_YEAR = 365 * 86400
_LASTS: dict[str, int] = {"login": 600, "link": 3600, "device": _YEAR}
_VALUE = re.compile(r"[A-Za-z0-9._~+/=:-]{1,2048}").fullmatch
_PATH = re.compile(r"/(?![/\\])[!$&-;=?-Z_a-z~%@]*").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def _name(request: HttpRequest[Any], cookie: Cookie) -> str:
    name = f"rustcare-{cookie}" if cookie else "rustcare"
    return f"__Host-{name}" if request.base.startswith("https:") else name


def fits_cookie(value: str) -> bool:
    """Whether a text can be a cookie's value, and says nothing else to the browser."""
    return _VALUE(value) is not None


def set_cookie(request: HttpRequest[Any], cookie: Cookie, value: str) -> str:
    """A value of `Set-Cookie`. The session's cookie goes when the browser is closed; the server ends it sooner.

    Raises ValueError for a text that does not fit (`fits_cookie`): all that are made here do.
    """
    if not fits_cookie(value):
        raise ValueError("expected the value of a cookie, got a text that is none")
    secure = "; Secure" if request.base.startswith("https:") else ""
    lasts = f"; Max-Age={_LASTS[cookie]}" if cookie else ""
    return f"{_name(request, cookie)}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{lasts}"


def drop_cookie(request: HttpRequest[Any], cookie: Cookie) -> str:
    """A value of `Set-Cookie` that takes the cookie away."""
    secure = "; Secure" if request.base.startswith("https:") else ""
    return f"{_name(request, cookie)}=; Path=/; HttpOnly; SameSite=Lax{secure}; Max-Age=0"


def cookie_of(request: HttpRequest[Any], cookie: Cookie) -> str:
    """The value of a cookie, empty when there is none that could be ours."""
    value = request.cookies.get(_name(request, cookie), "")
    return value if _VALUE(value) else ""


def client_of(request: HttpRequest[Any]) -> Client:
    """What somebody signs in with."""
    return Client(
        request.address, request.headers.get("user-agent", "")[:512], request.base, cookie_of(request, "device")
    )


def local_path(text: str, default: str = "/account") -> str:
    """A path on this server to go on to, or the default: never another origin, whatever a link says.

    What browsers read as another host (`//host`, `/\\host`, `/%5chost` once decoded, a scheme, control characters) is none.
    """
    if not text or len(text) > 2048 or not _PATH(text) or _CONTROL.search(unquote(text)):
        return default
    try:
        split = urlsplit(text)
    except ValueError:
        return default
    if split.scheme or split.netloc or unquote(split.path)[1:2] in ("/", "\\"):
        return default
    return default if split.path == "/" else quote(text, safe="/?&=%~!$'()*+,;:@-._")
