"""Key agreement: X25519 (RFC 7748) and ECDH on P-256 (SP 800-56A revision 3, section 5.7.1.2).

| algorithm | secret | public |
|---|---|---|
| `x25519` | 32 bytes | 32 bytes |
| `ecdh-p256` | PKCS #8 DER | point, uncompressed |

What comes out is a shared secret for `kdf.hkdf`, with both public keys in its `info`; never a key itself.
"""

from __future__ import annotations

import os
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey

from .base import Agreement, Buffer, expect_length
from .jwk import ec_jwk, okp_jwk
from .signature import load_private, pkcs8

__all__ = ["AGREEMENTS", "X25519", "EcdhP256"]


class X25519(Agreement):
    """X25519. A peer of low order, whose result would be all zero, is refused (RFC 7748, section 6.1)."""

    def generate(self) -> bytes:
        """32 random bytes."""
        return os.urandom(32)

    def check(self, secret: Buffer) -> None:
        """32 bytes."""
        expect_length(secret, 32, self.name)

    def adopt(self, material: Buffer) -> bytes:
        """32 bytes, or PKCS #8 (RFC 8410)."""
        if len(material) == 32:
            return bytes(material)
        key = load_private(material, self.name)
        if not isinstance(key, x25519.X25519PrivateKey):
            raise InvalidKey(f"expected a private key for {self.name}, got one of another algorithm")
        return key.private_bytes_raw()

    def key(self, secret: Buffer) -> x25519.X25519PrivateKey:
        """The private key as `cryptography` has it (raises InvalidKey)."""
        self.check(secret)
        return x25519.X25519PrivateKey.from_private_bytes(secret)

    def public(self, secret: Buffer) -> bytes:
        """32 bytes."""
        return self.key(secret).public_key().public_bytes_raw()

    def agree(self, secret: Buffer, peer: Buffer) -> bytes:
        """32 bytes (raises CryptoFailed)."""
        key = self.key(secret)
        try:
            return key.exchange(x25519.X25519PublicKey.from_public_bytes(bytes(peer)))
        except ValueError:
            raise CryptoFailed from None

    def jwk(self, public: bytes) -> dict[str, Any]:
        """RFC 8037."""
        return {**okp_jwk("X25519", public), "use": "enc"}


class EcdhP256(Agreement):
    """ECDH on P-256. A peer that is not on the curve is refused."""

    def generate(self) -> bytes:
        """PKCS #8 DER."""
        return pkcs8(ec.generate_private_key(ec.SECP256R1()))

    def check(self, secret: Buffer) -> None:
        """A private key on P-256."""
        self.key(secret)

    def adopt(self, material: Buffer) -> bytes:
        """PKCS #8 or SEC 1, DER or PEM. The public point that may stand in it is computed anew, not believed."""
        return pkcs8(ec.derive_private_key(self.key(material).private_numbers().private_value, ec.SECP256R1()))

    def key(self, secret: Buffer) -> ec.EllipticCurvePrivateKey:
        """The private key as `cryptography` has it (raises InvalidKey)."""
        key = load_private(secret, self.name)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise InvalidKey(f"expected a private key for {self.name}, got one of another algorithm")
        return key

    def public(self, secret: Buffer) -> bytes:
        """65 bytes."""
        encoding, form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        return self.key(secret).public_key().public_bytes(encoding, form)

    def agree(self, secret: Buffer, peer: Buffer) -> bytes:
        """32 bytes; `peer` may be compressed (raises CryptoFailed)."""
        key = self.key(secret)
        try:
            return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(key.curve, bytes(peer)))
        except ValueError:
            raise CryptoFailed from None

    def jwk(self, public: bytes) -> dict[str, Any]:
        """RFC 7518, section 6.2."""
        return {**ec_jwk("P-256", public, 32), "use": "enc"}


AGREEMENTS: dict[str, Agreement] = {"x25519": X25519("x25519"), "ecdh-p256": EcdhP256("ecdh-p256")}
