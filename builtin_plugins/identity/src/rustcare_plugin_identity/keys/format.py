"""The form of API keys: `rck_`, eight characters that may be shown, `_`, the secret and a checksum.

The checksum (CRC-32 of all before it, base 62, six characters) tells a typing error, or a find of a secret scanner, from a key
without asking anybody. It is no proof of anything.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

__all__ = ["KEY", "make", "prefix_of", "well_formed"]

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PREFIX, _SECRET, _CHECKSUM = 8, 43, 6
#: The form of a key, without its checksum looked at.
KEY = re.compile(rf"rck_[0-9A-Za-z]{{{_PREFIX}}}_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}")


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECKSUM)


def make(random: Callable[[int], bytes]) -> str:
    """A new key of 256 random bits, besides its prefix of 47."""
    prefix = _base62(int.from_bytes(random(16), "big"), _PREFIX)
    secret = _base62(int.from_bytes(random(32), "big"), _SECRET)
    bare = f"rck_{prefix}_{secret}"
    return bare + _checksum(bare)


def well_formed(key: str) -> bool:
    """Whether it has the form of a key, checksum and all."""
    return bool(KEY.fullmatch(key)) and _checksum(key[:-_CHECKSUM]) == key[-_CHECKSUM:]


def prefix_of(key: str) -> str:
    """The part that may be shown."""
    return key[: len("rck_") + _PREFIX]
