"""What a request is for: its target (RFC 9112, section 3.2) and the name in `Host`, accepted in one form alone.

Where two readers could understand a path in two ways (dot segments, encoded slashes, broken percent-encoding, bytes that are
no UTF-8), one of them is a check that is passed by. So none of these is repaired; all of them are refused.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from rustcare_plugin_gateway.errors import BadRequest

__all__ = ["Target", "parse_host", "parse_target"]


_known: dict[bytes, Target] = {}


class Target(NamedTuple):
    """`path` is decoded, `raw` as it came, `query` as it came and without the `?`."""

    path: str
    raw: bytes
    query: bytes


# A path that means what it says: no escapes, and no segment that begins with a dot.
_PLAIN = re.compile(rb"(?:/(?:[A-Za-z0-9_~$&'()*+,;=:@!-][A-Za-z0-9._~$&'()*+,;=:@!-]*)?)+").fullmatch
_PATH = re.compile(rb"(?:/(?:[A-Za-z0-9._~$&'()*+,;=:@!-]|%[0-9A-Fa-f]{2})*)+").fullmatch
# Encoded: a slash, a backslash, a control character. Whatever decodes paths twice would see another path.
_TWO_FACED = re.compile(rb"%(?:2[fF]|5[cC]|[01][0-9A-Fa-f]|7[fF]|25(?:2[fFeE]|5[cC]))").search
_QUERY = re.compile(rb"(?:[A-Za-z0-9._~$&'()*+,;=:@!/?\[\]{}|^\"<>`\\-]|%[0-9A-Fa-f]{2})*").fullmatch
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?)*\.?").fullmatch
_ADDRESS = re.compile(r"\[[0-9a-f:.]{2,45}\]").fullmatch
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]+)(/[^?#]*)?(\?[^#]*)?").fullmatch


def parse_target(method: str, url: bytes, host: str) -> Target:
    """The target of a request. Raises BadRequest."""
    if not url.startswith(b"/"):
        return _other_form(method, url, host)
    known = _known.get(url)
    if known is not None:
        return known
    raw, _, query = url.partition(b"?")
    path = raw.decode("ascii") if _PLAIN(raw) is not None else _decoded(raw)
    if query and _QUERY(query) is None:
        raise BadRequest("expected a query of RFC 3986 characters and escapes such as %20", address="target")
    found = Target(path, raw, query)
    if len(url) <= 256:  # what many ask for is looked at once
        if len(_known) >= 4096:
            _known.clear()
        _known[url] = found
    return found


def _other_form(method: str, url: bytes, host: str) -> Target:
    """`*` of OPTIONS, and the absolute form, which must name the host that `Host` names."""
    if url == b"*" and method == "OPTIONS":
        return Target("*", b"*", b"")
    found = _ABSOLUTE(url)
    if found is None:
        raise BadRequest("expected a target that begins with /", address="target")
    if parse_host(found[1].decode("latin-1")) != host:
        raise BadRequest("expected the host of the target and that in Host to be the same", address="target")
    return parse_target(method, (found[2] or b"/") + (found[3] or b""), host)


def _decoded(raw: bytes) -> str:
    if _PATH(raw) is None:
        raise BadRequest("expected a path of RFC 3986 characters and escapes such as %20", address="target")
    if _TWO_FACED(raw) is not None:
        raise BadRequest("expected no encoded slash, backslash or control character in the path", address="target")
    try:
        path = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("expected a path in UTF-8", address="target") from None
    if any(part in (".", "..") for part in path.split("/")):
        raise BadRequest("expected a path without the segments . and ..", address="target")
    return path


def parse_host(text: str) -> str:
    """The value of `Host` in lower case, with its port if it has one. Raises BadRequest (RFC 9112, section 3.2).

    A name that ends with a dot is the same without it (RFC 3986, section 3.2.2), so that it is the same tenant's too.
    """
    host = text.lower()
    name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not colon:
        name, port = host, ""
    elif not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
        raise BadRequest("expected a port of 1 to 65535 in Host", address="Host")
    if len(name) > 253 or (_NAME(name) is None and _ADDRESS(name) is None):
        raise BadRequest("expected a name or an address in Host", address="Host")
    return host if not name.endswith(".") else f"{name[:-1]}{colon}{port}"
