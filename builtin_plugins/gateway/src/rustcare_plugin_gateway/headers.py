"""Header fields that every answer has, made once for each kind of answer."""

from __future__ import annotations

__all__ = ["HTML_POLICY", "PROTECTIVE", "SANDBOX", "Hardening", "text_of"]

Fields = list[tuple[bytes, bytes]]

#: What a page may load when its handler says nothing: what comes from its own origin, and no script that stands in it.
HTML_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'"
#: What browsers are told beside that of all that a sandboxed plugin answers (CSP 3, section 6.3.2): its pages have an origin
#: of their own, though they come from where people sign in. So they can neither read nor do anything in the reader's name.
SANDBOX = (b"content-security-policy", b"sandbox allow-forms allow-scripts")
#: Fields by which an answer speaks for the whole host, or would lift what protects it: not for a sandboxed plugin to say.
PROTECTIVE = frozenset(
    {
        "alt-svc",
        "clear-site-data",
        "content-security-policy",
        "cross-origin-opener-policy",
        "permissions-policy",
        "service-worker-allowed",
        "strict-transport-security",
        "x-content-type-options",
    }
)
_PERMISSIONS = (
    b"accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), "
    b"midi=(), payment=(), usb=()"
)


class Hardening:
    """The fields, by whether the answer is a page, is private (nobody may store it) and went over https.

    Args:
        hsts: seconds for `Strict-Transport-Security` (RFC 6797); 0 leaves it out.
    """

    def __init__(self, hsts: int) -> None:
        self._made = {
            (page, private, https): _make(page, private, https, hsts)
            for page in (False, True)
            for private in (False, True)
            for https in (False, True)
        }

        self._lines = {
            kind: b"".join(name + b": " + value + b"\r\n" for name, value in fields)
            for kind, fields in self._made.items()
        }

    def fields(self, page: bool, private: bool, https: bool) -> Fields:
        """Not to be changed."""
        return self._made[page, private, https]

    def lines(self, page: bool, private: bool, https: bool) -> bytes:
        """The same as it goes out."""
        return self._lines[page, private, https]


def _make(page: bool, private: bool, https: bool, hsts: int) -> Fields:
    found = [
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", HTML_POLICY if page else _DATA_POLICY),
        (b"referrer-policy", b"strict-origin" if page else b"no-referrer"),
    ]
    if page:
        found += [(b"permissions-policy", _PERMISSIONS), (b"cross-origin-opener-policy", b"same-origin")]
    if private:
        found.append((b"cache-control", b"no-store"))
    if https and hsts:
        found.append((b"strict-transport-security", b"max-age=%d; includeSubDomains" % hsts))
    return found


# Names of fields, from what came to what plugins see. Bounded: a client can invent names without end.
_names: dict[bytes, str] = {}


def text_of(name: bytes) -> str:
    """The name of a header field as text. It is the same object each time, which makes dictionaries of them cheap."""
    found = _names.get(name)
    if found is None:
        found = name.decode("latin-1")
        if len(_names) < 1000:
            _names[name] = found
    return found
