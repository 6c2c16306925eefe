"""AES key wrap: KW (RFC 3394, SP 800-38F section 6.2) and KWP (RFC 5649, SP 800-38F section 6.3).

Deterministic and without nonce: for wrapping keys, and for nothing that an attacker could choose.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap,
    aes_key_wrap_with_padding,
)

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey, InvalidParameter

from .base import Buffer

__all__ = ["unwrap", "unwrap_padded", "wrap", "wrap_padded"]


def _expect(wrapping: Buffer) -> None:
    if len(wrapping) not in (16, 24, 32):
        raise InvalidKey(f"expected a wrapping key of 16, 24 or 32 bytes, got {len(wrapping)}")


def wrap(wrapping: Buffer, material: Buffer) -> bytes:
    """KW: 16 bytes or more, a multiple of 8; the result has 8 more (raises InvalidParameter for another length)."""
    _expect(wrapping)
    if len(material) < 16 or len(material) % 8:
        raise InvalidParameter(f"expected a multiple of 8 bytes, 16 or more, to wrap with AES-KW, got {len(material)}")
    return aes_key_wrap(wrapping, material)


def unwrap(wrapping: Buffer, wrapped: Buffer) -> bytes:
    """What was wrapped (raises CryptoFailed)."""
    _expect(wrapping)
    try:
        return aes_key_unwrap(wrapping, wrapped)
    except (InvalidUnwrap, ValueError):
        raise CryptoFailed from None


def wrap_padded(wrapping: Buffer, material: Buffer) -> bytes:
    """KWP: any length but nothing (raises InvalidParameter)."""
    _expect(wrapping)
    if not material:
        raise InvalidParameter("expected at least one byte to wrap with AES-KWP, got none")
    return aes_key_wrap_with_padding(wrapping, material)


def unwrap_padded(wrapping: Buffer, wrapped: Buffer) -> bytes:
    """What was wrapped with padding (raises CryptoFailed)."""
    _expect(wrapping)
    try:
        return aes_key_unwrap_with_padding(wrapping, wrapped)
    except (InvalidUnwrap, ValueError):
        raise CryptoFailed from None
