"""A signed token taken apart (RFC 7515, compact serialization), with everything refused that its header could talk us into.

The header names a key of its issuer (`kid`) and repeats that key's algorithm; it decides nothing. Keys that it brings along
(`jwk`, `jku`, `x5c`, `x5u`) are not used, whatever they are; only malformed ones are refused. The signature covers the text
as it came, so nothing is written again.
"""

from __future__ import annotations

from typing import Any

import msgspec

from . import base64url
from .json_object import read_object
from .jwk import ALGORITHMS, Key

__all__ = ["MAX_TOKEN", "Jws", "TokenRefused", "read_token", "verified"]

#: Bytes of a token.
MAX_TOKEN = 16_384
_MAX_HEADER = 4_096  # characters of its first part
_MAX_KID = 256
# These say that something is to be understood otherwise than as it stands: `crit` what we must understand (and there is
# nothing that we do), `b64` the payload's form (RFC 7797), `enc` and `zip` what is encrypted (RFC 7516), `cty` what is nested.
_REFUSED = frozenset({"crit", "b64", "enc", "zip", "cty"})
# Keys, and where there are some, by their form (RFC 7515, section 4.1); the usual header has none of them.
_USUAL = frozenset({"alg", "kid", "typ"})
_TEXT = ("x5t", "x5t#S256")
_ADDRESSES = ("jku", "x5u")


class TokenRefused(ValueError):
    """A token is not acceptable. The text may be shown to whoever sent it; nothing of the token is in it.

    Args:
        keep: seconds for which the same token would be refused again, whatever happens.
    """

    def __init__(self, text: str, keep: float = 60.0) -> None:
        super().__init__(text)
        self.keep = keep


class Jws(msgspec.Struct, frozen=True):
    """A token's parts. Nothing of it counts before `verified`. `type` is the header's `typ`, as a short media type."""

    algorithm: str
    kid: str
    type: str
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def read_token(token: bytes) -> Jws:
    """The parts of a token, not verified. Raises TokenRefused."""
    if len(token) > MAX_TOKEN:
        raise TokenRefused(f"expected a token of at most {MAX_TOKEN} bytes")
    parts = token.split(b".")
    if len(parts) != 3 or len(parts[0]) > _MAX_HEADER:
        raise TokenRefused("expected a signed token of three parts")
    try:
        header = read_object(base64url.decode(parts[0]))
        claims = read_object(base64url.decode(parts[1]))
        signature = base64url.decode(parts[2])
    except ValueError:
        raise TokenRefused("expected two JSON objects and a signature in base64url") from None
    algorithm, kid, type_ = header.get("alg"), header.get("kid", ""), header.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("expected an algorithm that is accepted")
    if not isinstance(kid, str) or len(kid) > _MAX_KID or not isinstance(type_, str):
        raise TokenRefused("expected kid and typ to be short text")
    if not _REFUSED.isdisjoint(header):
        raise TokenRefused("expected a token without extensions")
    if not header.keys() <= _USUAL:
        _check_form(header)
    return Jws(algorithm, kid, _media(type_), claims, token[: -len(parts[2]) - 1], signature)


def verified(jws: Jws, key: Key) -> dict[str, Any]:
    """The claims, when the key signed them by its own algorithm. Raises TokenRefused."""
    if jws.algorithm not in key.algorithms:
        raise TokenRefused("expected the algorithm of the key")
    try:
        key.verify(jws.signature, jws.signed)
    except ValueError:
        raise TokenRefused("expected a signature of the issuer") from None
    return jws.claims


def _check_form(header: dict[str, Any]) -> None:
    chain = header.get("x5c", [])
    if not (
        all(isinstance(header.get(name, ""), str) for name in _TEXT)
        and all(str(header.get(name, "https://")).startswith(("http://", "https://")) for name in _ADDRESSES)
        and isinstance(header.get("jwk", {}), dict)
        and isinstance(chain, list)
        and all(isinstance(one, str) for one in chain)
    ):
        raise TokenRefused("expected a well-formed header")


def _media(type_: str) -> str:
    """A media type in its short form (RFC 7515, section 4.1.9)."""
    return type_.lower().removeprefix("application/")
