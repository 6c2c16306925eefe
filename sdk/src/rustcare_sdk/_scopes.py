"""The scopes of capabilities: for each kind of scope how it is written, what it covers, what two have in common.

Portable. `read` gives the canonical text of a scope from a manifest or a grant. `covers` also takes a concrete use as
its second scope (a key, a path, an address), which may hold characters that a scope may not; what is malformed is
covered by nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

from .errors import InvalidSubject
from .subjects import check_pattern, is_subject, pattern_covers, pattern_intersection

__all__ = [
    "HTTP_ROUTE",
    "HTTP_URL",
    "NAME",
    "NET",
    "NOTHING",
    "PATH",
    "SUBJECT",
    "SUBJECT_PATTERN",
    "BadScope",
    "Scope",
]


class BadScope(Exception):
    """A scope that is not well formed: what was expected, and a hint."""

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint


class Scope:
    """One way to write scopes."""

    example = ""

    def read(self, text: str) -> str:
        """The canonical text. Raises BadScope."""
        raise NotImplementedError

    def covers(self, a: str, b: str) -> bool:
        """Whether canonical scope `a` allows all that `b` allows; `b` may be a concrete use."""
        raise NotImplementedError

    def matches(self, scope: str, concrete: str) -> bool:
        """Whether canonical `scope` allows one concrete use."""
        return self.covers(scope, concrete)

    def common(self, a: str, b: str) -> str | None:
        """The scope that allows what both allow, or None. Where scopes nest or are disjoint, that is one of the two."""
        return b if self.covers(a, b) else a if self.covers(b, a) else None


class _Nothing(Scope):
    """Kinds without a scope: the clock and randomness."""

    def read(self, text: str) -> str:
        if text in ("", "*"):
            return ""
        raise BadScope("no scope", "leave out everything from the @ on")

    def covers(self, a: str, b: str) -> bool:
        return True

    def common(self, a: str, b: str) -> str | None:
        return ""


class _Subject(Scope):
    """Subjects to send to: patterns in a grant, whole subjects in use."""

    example = "hl7.adt.*"

    def read(self, text: str) -> str:
        try:
            return check_pattern(text)
        except InvalidSubject as error:
            raise BadScope("a subject pattern", error.hint) from None

    def covers(self, a: str, b: str) -> bool:
        return pattern_covers(a, b)

    def matches(self, scope: str, concrete: str) -> bool:
        return is_subject(concrete) and pattern_covers(scope, concrete)

    def common(self, a: str, b: str) -> str | None:
        return pattern_intersection(a, b)


class _SubjectPattern(_Subject):
    """Subjects to listen to: there a use is a pattern too."""

    def matches(self, scope: str, concrete: str) -> bool:
        try:
            return pattern_covers(scope, check_pattern(concrete))
        except InvalidSubject:
            return False


class _Name(Scope):
    """A name, or all names with a prefix: `cursor`, `cursor.*`, `*`."""

    example = "cursor.*"
    _form = re.compile(r"[^\s;*\x00-\x1f\x7f]*\*?")

    def read(self, text: str) -> str:
        if text and self._form.fullmatch(text):
            return text
        raise BadScope("a name, or a prefix ended by *", "spaces, ; and an inner * are not allowed")

    def covers(self, a: str, b: str) -> bool:
        return a == b or (a.endswith("*") and b.startswith(a[:-1]))


#: Encoded dots, slashes and backslashes could be decoded later on and change what a path means.
_TRICKS = re.compile(r"%2e|%2f|%5c|\\|[\x00-\x1f\x7f]", re.IGNORECASE)


def _safe_path(path: str) -> bool:
    if not path.startswith("/") or _TRICKS.search(path):
        return False
    segments = path.split("/")[1:]
    return "" not in segments[:-1] and "." not in segments and ".." not in segments


def _path_covers(a: str, b: str) -> bool:
    return _safe_path(b) and (a == b or (a.endswith("/*") and b.startswith(a[:-1])))


class _Path(Scope):
    """An absolute path, or all below one: `/data/in`, `/data/in/*`, `/*`."""

    example = "/data/in/*"
    _form = re.compile(r"/(?:[^;*\s?#]*|(?:[^;*\s?#]*/)?\*)")

    def read(self, text: str) -> str:
        if self._form.fullmatch(text) and _safe_path(text):
            return text
        raise BadScope(
            "an absolute path, or /* at the end of one", "no .., no //, no spaces, * only as the last segment"
        )

    def covers(self, a: str, b: str) -> bool:
        return _path_covers(a, b)


_Address = tuple[str, str, str]  # scheme or "", host, port
_DEFAULT_PORTS = {"https": "443", "http": "80"}
_ADDRESS = re.compile(r"(?:([a-z]+)://)?(\*|(?:\*\.)?[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::(\*|\d{1,5}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")


@lru_cache(maxsize=4096)
def _address(text: str) -> _Address | None:
    """The parts of `[scheme://]host:port`, canonical, or None."""
    found = _ADDRESS.fullmatch(text.lower())
    if found is None:
        return None
    scheme, host, port = found[1] or "", found[2], found[3] or ""
    if scheme and scheme not in _DEFAULT_PORTS:
        return None
    port = port or _DEFAULT_PORTS.get(scheme, "")
    if not port or (port != "*" and int(port) > 65535):
        return None
    canonical = _host(host)
    return None if canonical is None else (scheme, canonical, port if port == "*" else str(int(port)))


def _host(host: str) -> str | None:
    if host == "*":
        return host
    if host.startswith("["):
        import ipaddress

        try:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            return None
    name = host.removeprefix("*.")
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(name) > 253:
        return None
    if labels[-1].isdigit():  # a number at the end: an IPv4 address, whole and plain
        plain = len(labels) == 4 and all(x.isdigit() and str(int(x)) == x and int(x) < 256 for x in labels)
        return host if plain and host == name else None
    return host


def _address_covers(a: _Address, b: _Address) -> bool:
    if (a[0] and a[0] != b[0]) or (a[2] != "*" and a[2] != b[2]):
        return False
    return a[1] in ("*", b[1]) or (a[1].startswith("*.") and b[1] != "*" and b[1].endswith(a[1][1:]))


def _write_address(address: _Address) -> str:
    scheme, host, port = address
    return f"{scheme}://{host}:{port}" if scheme else f"{host}:{port}"


def _common_address(a: _Address, b: _Address) -> _Address | None:
    if a[0] and b[0] and a[0] != b[0]:
        return None
    scheme = a[0] or b[0]
    left, right = (scheme, a[1], "*"), (scheme, b[1], "*")
    host = b[1] if _address_covers(left, right) else a[1] if _address_covers(right, left) else None
    port = b[2] if a[2] in ("*", b[2]) else a[2] if b[2] == "*" else None
    return None if host is None or port is None else (scheme, host, port)


class _Net(Scope):
    """Addresses: `host:port`, `https://host:port`, `*.example.org:443`, `*:443`, `[::1]:*`.

    Without a scheme any protocol may be spoken; with one, only that. `*.example.org` is every name below, not itself.
    """

    example = "https://lab.example.org:443"

    def read(self, text: str) -> str:
        address = _address(text)
        if address is None:
            raise BadScope(
                "host:port or https://host:port", "the host may start with *. and the port may be *; no path, no user"
            )
        return _write_address(address)

    def covers(self, a: str, b: str) -> bool:
        left, right = _address(a), _address(b)
        return left is not None and right is not None and _address_covers(left, right)

    def matches(self, scope: str, concrete: str) -> bool:
        return "*" not in concrete and self.covers(scope, concrete)

    def common(self, a: str, b: str) -> str | None:
        left, right = _address(a), _address(b)
        both = _common_address(left, right) if left and right else None
        return None if both is None else _write_address(both)


_Target = tuple[str, _Address | None, str]  # method, address (None for a route), path
_METHOD = re.compile(r"[A-Z]+|\*")


class _Http(Scope):
    """`METHOD /path` for routes that a plugin answers, `METHOD https://host/path` for what it asks of others."""

    def __init__(self, outgoing: bool) -> None:
        self.outgoing = outgoing
        self.example = "GET https://lab.example.org/units/*" if outgoing else "GET /lab/*"

    def _parts(self, text: str) -> _Target | None:
        method, space, target = text.partition(" ")
        method = method.upper()
        if not space or not _METHOD.fullmatch(method) or " " in target:
            return None
        address: _Address | None = None
        if self.outgoing:
            scheme, _, rest = target.partition("://")
            host, slash, tail = rest.partition("/")
            address = _address(f"{scheme}://{host}")
            target = slash + tail
            if address is None or scheme.lower() not in _DEFAULT_PORTS:
                return None
        return (method, address, target) if _safe_path(target) else None

    @staticmethod
    def _write(parts: _Target) -> str:
        method, address, path = parts
        return f"{method} {_write_address(address) if address else ''}{path}"

    def read(self, text: str) -> str:
        parts = self._parts(text)
        if parts is not None:
            try:
                PATH.read(parts[2])
                return self._write(parts)
            except BadScope:
                pass
        raise BadScope(
            f"a method (or *), a space and a {'URL' if self.outgoing else 'path'}, such as {self.example!r}",
            "paths are absolute, without .., query or fragment; * only as the last segment",
        )

    def covers(self, a: str, b: str) -> bool:
        left, right = self._parts(a), self._parts(b)
        if left is None or right is None or left[0] not in ("*", right[0]):
            return False
        if left[1] is not None and (right[1] is None or not _address_covers(left[1], right[1])):
            return False
        return _path_covers(left[2], right[2])

    def matches(self, scope: str, concrete: str) -> bool:
        parts = self._parts(concrete)
        if parts is None or parts[0] == "*" or (parts[1] is not None and "*" in parts[1][1] + parts[1][2]):
            return False
        return self.covers(scope, concrete)

    def common(self, a: str, b: str) -> str | None:
        left, right = self._parts(a), self._parts(b)
        if left is None or right is None:
            return None
        method = right[0] if left[0] in ("*", right[0]) else left[0] if right[0] == "*" else None
        path = PATH.common(left[2], right[2])
        address = _common_address(left[1], right[1]) if left[1] and right[1] else None
        if method is None or path is None or (self.outgoing and address is None):
            return None
        return self._write((method, address, path))


NOTHING = _Nothing()
SUBJECT = _Subject()
SUBJECT_PATTERN = _SubjectPattern()
NAME = _Name()
PATH = _Path()
NET = _Net()
HTTP_ROUTE = _Http(outgoing=False)
HTTP_URL = _Http(outgoing=True)
