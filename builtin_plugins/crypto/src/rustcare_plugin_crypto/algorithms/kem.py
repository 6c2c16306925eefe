"""ML-KEM-768 (FIPS 203). Secret: the seed d || z, 64 bytes; public: 1,184 bytes; ciphertext: 1,088; shared secret: 32.

A ciphertext that was tampered with decapsulates to another secret and not to an error (implicit rejection): whatever is
encrypted under the derived key then fails, as `CryptoFailed`.
"""

from __future__ import annotations

import os
from typing import Any

from cryptography.hazmat.primitives.asymmetric import mlkem

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey

from .base import Buffer, Kem, expect_length
from .jwk import akp_jwk
from .signature import load_private

__all__ = ["KEMS", "MlKem768"]


class MlKem768(Kem):
    """ML-KEM-768."""

    def generate(self) -> bytes:
        """A random seed of 64 bytes."""
        return os.urandom(64)

    def check(self, secret: Buffer) -> None:
        """64 bytes."""
        expect_length(secret, 64, self.name)

    def adopt(self, material: Buffer) -> bytes:
        """A seed, or PKCS #8 that has the seed."""
        if len(material) == 64:
            return bytes(material)
        key = load_private(material, self.name)
        if not isinstance(key, mlkem.MLKEM768PrivateKey):
            raise InvalidKey(f"expected a private key for {self.name}, got one of another algorithm")
        return key.private_bytes_raw()

    def key(self, secret: Buffer) -> mlkem.MLKEM768PrivateKey:
        """The private key as `cryptography` has it (raises InvalidKey)."""
        self.check(secret)
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(secret)

    def public(self, secret: Buffer) -> bytes:
        """The encapsulation key, 1,184 bytes."""
        return self.key(secret).public_key().public_bytes_raw()

    def encapsulate(self, public: Buffer) -> tuple[bytes, bytes]:
        """A fresh shared secret (32 bytes) and its ciphertext (1,088 bytes); raises CryptoFailed for a bad key."""
        try:
            return mlkem.MLKEM768PublicKey.from_public_bytes(public).encapsulate()
        except ValueError:
            raise CryptoFailed from None

    def decapsulate(self, secret: Buffer, ciphertext: Buffer) -> bytes:
        """The shared secret, 32 bytes (raises CryptoFailed for a wrong length)."""
        key = self.key(secret)
        try:
            return key.decapsulate(ciphertext)
        except ValueError:
            raise CryptoFailed from None

    def jwk(self, public: bytes) -> dict[str, Any]:
        """Key type AKP of draft-ietf-jose-pqc-kem."""
        return {**akp_jwk("ML-KEM-768", public), "use": "enc"}


KEMS: dict[str, Kem] = {"ml-kem-768": MlKem768("ml-kem-768")}
