"""Whether the claims of a token hold now (RFC 7519, section 4.1), and reading single ones of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .jws import TokenRefused

__all__ = ["MAX_TIME", "Times", "check", "find", "text_of", "words_of"]

#: The latest moment that a token may speak of: the end of the year 9999, Unix seconds.
MAX_TIME = 253_402_300_799
_KEEP = 60.0


class Times(msgspec.Struct, frozen=True):
    """When a token ends, counted with the grace, and when it was issued (0: it does not say), Unix seconds."""

    ends: float
    issued: float


def check(
    claims: Mapping[str, Any], *, issuer: str, audience: str, now: float, leeway: float = 0.0, grace: float = 0.0
) -> Times:
    """Whether a token is by this issuer, for this audience, and valid now.

    Args:
        leeway: seconds that the issuer's clock may be ahead of ours (`nbf`, `iat`).
        grace: seconds that it may be behind (`exp`).

    Raises:
        TokenRefused
    """
    if claims.get("iss") != issuer:
        raise TokenRefused("expected a token of an issuer that is known")
    audiences = claims.get("aud")
    if isinstance(audiences, list):
        if audience not in audiences or not all(isinstance(one, str) for one in audiences):
            raise TokenRefused("expected a token for this audience")
    elif audiences != audience:
        raise TokenRefused("expected a token for this audience")
    ends, begins, issued = (_time(claims, name) for name in ("exp", "nbf", "iat"))
    if ends is None:
        raise TokenRefused("expected a token that ends")
    if now >= ends + grace:
        raise TokenRefused("the token has expired")
    for moment in (begins, issued):
        if moment is not None and moment > now + leeway:
            raise TokenRefused("the token is not valid yet", min(_KEEP, moment - now - leeway))
    return Times(ends + grace, issued or 0.0)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TIME:
        raise TokenRefused(f"expected {name} to be a number of seconds")
    return value


def find(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or by the names of the objects around it with dots in between; None when it is not there."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def text_of(claims: Mapping[str, Any], name: str, most: int = 255) -> str:
    """A claim that is text, empty when it is not there. Raises TokenRefused for anything else, or longer."""
    value = claims.get(name, "")
    if not isinstance(value, str) or len(value) > most or not value.isprintable():
        raise TokenRefused(f"expected {name} to be text of at most {most} characters")
    return value


def words_of(value: Any, name: str) -> tuple[str, ...]:
    """A claim that is a list of words, or text with blanks between them. Raises TokenRefused for anything else."""
    if value is None:
        return ()
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and word.isprintable() for word in words):
        raise TokenRefused(f"expected {name} to be words")
    return tuple(word for word in words if word)
