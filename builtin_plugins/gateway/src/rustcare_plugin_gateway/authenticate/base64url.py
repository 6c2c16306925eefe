"""Base64url as JOSE has it (RFC 7515, section 2): no padding, no other characters, one text for each value.

Two texts for one value would be two tokens with one signature: a token that was refused, or revoked by its text, could come
back with another last character.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from binascii import Error as Base64Error
from binascii import a2b_base64

__all__ = ["decode", "encode"]

# The plain alphabet's own two characters, and padding, become one that is in no alphabet.
_PLAIN = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"", b"==", b"=")
# A last character that leaves no bits over, for a text of 4n + 2 and of 4n + 3 characters.
_LAST = (b"", b"", frozenset(b"AQgw"), frozenset(b"AEIMQUYcgkosw048"))


def encode(data: bytes) -> bytes:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=")


def decode(text: bytes) -> bytes:
    """The bytes of a text. ValueError for everything that `encode` does not make."""
    over = len(text) & 3
    if over and (over == 1 or text[-1] not in _LAST[over]):
        raise ValueError("expected base64url without padding and spare bits")
    try:
        return a2b_base64(text.translate(_PLAIN) + _PADDING[over], strict_mode=True)
    except Base64Error:
        raise ValueError("expected base64url") from None
