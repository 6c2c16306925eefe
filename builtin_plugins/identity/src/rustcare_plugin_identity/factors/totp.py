"""Codes that change with the time (RFC 6238), their secret, and the picture by which an app learns it.

Six digits, thirty seconds, SHA-1: what every app reads. SHA-1 is here the hash inside an HMAC, where its weakness (two
inputs with one hash) is of no use to anybody.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

import segno
from cryptography.hazmat.primitives import constant_time
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

__all__ = [
    "DIGITS",
    "PERIOD",
    "SECRET_SIZE",
    "code_at",
    "matching_step",
    "otpauth_uri",
    "qr_svg",
    "step_of",
    "to_base32",
]

#: Digits of a code.
DIGITS = 6
#: Seconds that a code stands.
PERIOD = 30
#: Bytes of a secret: as many as HMAC-SHA-1 gives (RFC 4226, section 4, R6).
SECRET_SIZE = 20

# RFC 6238 allows one step for what the clocks differ and for the time that typing takes (section 5.2).
_WINDOW = (0, -1, 1)
_HASHES: Mapping[str, type[SHA1] | type[SHA256] | type[SHA512]] = {"sha1": SHA1, "sha256": SHA256, "sha512": SHA512}
_CODE = re.compile(r"[0-9]+")


def step_of(now: float) -> int:
    """The time step of a point in time (Unix seconds)."""
    return int(now // PERIOD)


def code_at(secret: bytes, step: int, *, digits: int = DIGITS, algorithm: str = "sha1") -> str:
    """The code of a time step. `algorithm`: `sha1`, `sha256` or `sha512`; `digits`: 6 to 8."""
    return HOTP(secret, digits, _HASHES[algorithm]()).generate(step).decode("ascii")


def matching_step(secret: bytes, answer: str, now: float, after: int) -> int | None:
    """The time step whose code was answered: this one, the one before or the one to come, and later than `after`.

    Every candidate is compared, in constant time. Spaces between digits do not matter.
    """
    given = re.sub(r"\s", "", answer)
    if len(given) != DIGITS or not _CODE.fullmatch(given):
        return None
    found: int | None = None
    for distance in _WINDOW:
        step = step_of(now) + distance
        same = constant_time.bytes_eq(code_at(secret, step).encode(), given.encode())
        if same and step > after and found is None:
            found = step
    return found


def to_base32(secret: bytes) -> str:
    """A secret as people type it."""
    return base64.b32encode(secret).decode("ascii").rstrip("=")


def otpauth_uri(secret: bytes, account: str, issuer: str) -> str:
    """`otpauth://totp/ISSUER:ACCOUNT?…`, as apps read it (Key URI format)."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='')}"
    said = urlencode(
        {"secret": to_base32(secret), "issuer": issuer, "digits": DIGITS, "period": PERIOD}, quote_via=quote
    )
    return f"otpauth://totp/{label}?{said}"


def qr_svg(text: str, title: str) -> str:
    """A QR code as an SVG element for a page: black on white in any colour scheme, sized by the page's style sheet."""
    return segno.make_qr(text, error="m").svg_inline(
        dark="#000", light="#fff", border=4, title=title, svgclass="qr", lineclass=None, omitsize=True
    )
