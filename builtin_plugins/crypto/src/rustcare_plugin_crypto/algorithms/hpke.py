"""HPKE (RFC 9180, base mode, one message): encrypting to a public key, without a shared key or an answer.

| algorithm | KEM | secret | public |
|---|---|---|---|
| `hpke-x25519` | DHKEM(X25519, HKDF-SHA256) | 32 bytes | 32 bytes |
| `hpke-p256` | DHKEM(P-256, HKDF-SHA256) | PKCS #8 DER | point, uncompressed |
| `hpke-ml-kem-768` | ML-KEM-768 | seed, 64 bytes | 1,184 bytes |
| `hpke-x25519+ml-kem-768` | X-Wing | 96 bytes: ML-KEM's, X25519's | 1,216 bytes: ML-KEM's, X25519's |

All with HKDF-SHA256 and AES-256-GCM. `sealed = enc || ciphertext`. The library has no associated data for single
messages: what must be bound goes into `info`.
Base mode does not say who encrypted; sign what is inside where that matters.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519

from rustcare_plugin_crypto.errors import CryptoFailed

from .agreement import AGREEMENTS
from .base import Agreement, Algorithm, Buffer, Hpke, Kem, expect_length
from .jwk import akp_jwk
from .kem import KEMS

__all__ = ["HPKES"]

_REFUSED = (InvalidTag, ValueError, TypeError)


class _Hpke(Hpke):
    """HPKE over one kind of key that stands elsewhere too."""

    def __init__(self, name: str, keys: Agreement | Kem, kem: hpke.KEM, load: Callable[[bytes], Any]) -> None:
        super().__init__(name)
        self._keys: Any = keys
        self._load = load
        self._suite = hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)

    def generate(self) -> bytes:
        """As of the algorithm whose keys these are."""
        return bytes(self._keys.generate())

    def check(self, secret: Buffer) -> None:
        """As of the algorithm whose keys these are."""
        self._keys.check(secret)

    def adopt(self, material: Buffer) -> bytes:
        """As of the algorithm whose keys these are."""
        return bytes(self._keys.adopt(material))

    def public(self, secret: Buffer) -> bytes:
        """As of the algorithm whose keys these are."""
        return bytes(self._keys.public(secret))

    def jwk(self, public: bytes) -> dict[str, Any]:
        """As of the algorithm whose keys these are."""
        return dict(self._keys.jwk(public))

    def _private(self, secret: Buffer) -> Any:
        return self._keys.key(secret)

    def seal(self, public: Buffer, data: Buffer, info: Buffer = b"") -> bytes:
        """Encrypt to `public`."""
        try:
            return self._suite.encrypt(data, self._load(bytes(public)), info)
        except _REFUSED:
            raise CryptoFailed from None

    def open(self, secret: Buffer, sealed: Buffer, info: Buffer = b"") -> bytes:
        """Decrypt (raises CryptoFailed)."""
        key = self._private(secret)
        try:
            return self._suite.decrypt(sealed, key, info)
        except _REFUSED:
            raise CryptoFailed from None


class _XWing(Algorithm):
    """The keys of X-Wing: ML-KEM-768's, then X25519's."""

    family = "kem"

    def generate(self) -> bytes:
        return os.urandom(96)

    def check(self, secret: Buffer) -> None:
        expect_length(secret, 96, self.name)

    def public(self, secret: Buffer) -> bytes:
        self.check(secret)
        return KEMS["ml-kem-768"].public(secret[:64]) + AGREEMENTS["x25519"].public(secret[64:])

    def key(self, secret: Buffer) -> hpke.MLKEM768X25519PrivateKey:
        self.check(secret)
        return hpke.MLKEM768X25519PrivateKey(
            mlkem.MLKEM768PrivateKey.from_seed_bytes(secret[:64]),
            x25519.X25519PrivateKey.from_private_bytes(secret[64:]),
        )

    def jwk(self, public: bytes) -> dict[str, Any]:
        return {**akp_jwk("urn:rustcare:x25519+ml-kem-768", public), "use": "enc"}


def _p256(public: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)


def _xwing(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    if len(public) != 1184 + 32:
        raise ValueError("not 1,216 bytes")
    return hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(public[:1184]),
        x25519.X25519PublicKey.from_public_bytes(public[1184:]),
    )


_ML_KEM: Any = KEMS["ml-kem-768"]
_X_WING: Any = _XWing("hpke-x25519+ml-kem-768")
HPKES: dict[str, Hpke] = {
    "hpke-x25519": _Hpke(
        "hpke-x25519", AGREEMENTS["x25519"], hpke.KEM.X25519, x25519.X25519PublicKey.from_public_bytes
    ),
    "hpke-p256": _Hpke("hpke-p256", AGREEMENTS["ecdh-p256"], hpke.KEM.P256, _p256),
    "hpke-ml-kem-768": _Hpke("hpke-ml-kem-768", _ML_KEM, hpke.KEM.MLKEM768, mlkem.MLKEM768PublicKey.from_public_bytes),
    "hpke-x25519+ml-kem-768": _Hpke("hpke-x25519+ml-kem-768", _X_WING, hpke.KEM.MLKEM768_X25519, _xwing),
}
