"""Ed25519, ECDSA on P-256 and P-384, ML-DSA-44 and ML-DSA-65.

| algorithm | secret | public | signature |
|---|---|---|---|
| `ed25519` | seed, 32 bytes (RFC 8032) | 32 bytes | 64 bytes |
| `ecdsa-p256`, `ecdsa-p384` | PKCS #8 DER | point, uncompressed (SEC 1, section 2.3.3) | DER (RFC 3279, section 2.2.3) |
| `ml-dsa-44`, `ml-dsa-65` | seed, 32 bytes (FIPS 204, algorithm 6) | 1,312 / 1,952 bytes | 2,420 / 3,309 bytes |

ECDSA hashes with the SHA-2 of its curve's size. JOSE's fixed-length form of an ECDSA signature is `ecdsa_fixed`.
RSA is in `rsa`, the hybrid in `hybrid`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey

from .base import Buffer, Signature, Signer, Verifier, expect_length
from .jwk import akp_jwk, ec_jwk, okp_jwk

__all__ = ["SIGNATURES", "Ecdsa", "EcdsaVerifier", "Ed25519", "MlDsa", "ecdsa_fixed", "ecdsa_unfixed", "load_private"]

_REFUSED = (InvalidSignature, ValueError, TypeError, OverflowError)


class _PrivateKey(Protocol):
    def sign(self, data: Buffer) -> bytes: ...


class _PublicKey(Protocol):
    def verify(self, signature: Buffer, data: Buffer) -> None: ...


def load_private(material: Buffer, name: str) -> Any:
    """The private key in PKCS #8 (or SEC 1, PKCS #1), DER or PEM, without a password.

    Raises:
        InvalidKey: it cannot be read. The reason is withheld: it may quote the key.
    """
    data = bytes(material)
    load = serialization.load_pem_private_key if data.startswith(b"-----") else serialization.load_der_private_key
    try:
        return load(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidKey(
            f"expected a private key for {name} in PKCS #8 (DER or PEM), got {len(data)} other bytes"
        ) from None


def pkcs8(key: Any) -> bytes:
    """A private key as PKCS #8 DER."""
    encoding, form = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
    return cast(bytes, key.private_bytes(encoding, form, serialization.NoEncryption()))


class DirectSigner(Signer):
    """A key whose own `sign` is all there is to do."""

    __slots__ = ("_sign",)

    def __init__(self, key: _PrivateKey) -> None:
        self._sign = key.sign

    def sign(self, data: Buffer) -> bytes:
        """The library's signature."""
        return self._sign(data)


class DirectVerifier(Verifier):
    """A public key whose own `verify` is all there is to do."""

    __slots__ = ("_verify",)

    def __init__(self, key: _PublicKey) -> None:
        self._verify = key.verify

    def verify(self, signature: Buffer, data: Buffer) -> None:
        """Pass, or raise CryptoFailed."""
        try:
            self._verify(signature, data)
        except _REFUSED:
            raise CryptoFailed from None


class Ed25519(Signature):
    """Ed25519 (RFC 8032, FIPS 186-5 section 7.6): deterministic; strict about non-canonical encodings."""

    def generate(self) -> bytes:
        """32 random bytes."""
        return os.urandom(32)

    def check(self, secret: Buffer) -> None:
        """32 bytes."""
        expect_length(secret, 32, self.name)

    def adopt(self, material: Buffer) -> bytes:
        """A seed, or PKCS #8 (RFC 8410)."""
        if len(material) == 32:
            return bytes(material)
        key = load_private(material, self.name)
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise InvalidKey(f"expected a private key for {self.name}, got one of another algorithm")
        return key.private_bytes_raw()

    def _key(self, secret: Buffer) -> ed25519.Ed25519PrivateKey:
        self.check(secret)
        return ed25519.Ed25519PrivateKey.from_private_bytes(secret)

    def prepare(self, secret: Buffer) -> Signer:
        """A signing key ready for use."""
        return DirectSigner(self._key(secret))

    def public(self, secret: Buffer) -> bytes:
        """32 bytes."""
        return self._key(secret).public_key().public_bytes_raw()

    def verifier(self, public: Buffer) -> Verifier:
        """A public key ready for use."""
        expect_length(public, 32, self.name)
        return DirectVerifier(ed25519.Ed25519PublicKey.from_public_bytes(bytes(public)))

    def jwk(self, public: bytes) -> dict[str, Any]:
        """RFC 8037."""
        return {**okp_jwk("Ed25519", public), "alg": "EdDSA", "use": "sig"}


_MLDSA: dict[str, tuple[Any, Any, int]] = {
    "ml-dsa-44": (mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey, 1312),
    "ml-dsa-65": (mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey, 1952),
}


class MlDsa(Signature):
    """ML-DSA (FIPS 204), pure, hedged, with an empty context."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._private, self._public, self._size = _MLDSA[name]

    def generate(self) -> bytes:
        """A random seed of 32 bytes."""
        return os.urandom(32)

    def check(self, secret: Buffer) -> None:
        """32 bytes."""
        expect_length(secret, 32, self.name)

    def adopt(self, material: Buffer) -> bytes:
        """A seed, or PKCS #8 that has the seed (RFC 9881); the expanded form alone is refused."""
        if len(material) == 32:
            return bytes(material)
        key = load_private(material, self.name)
        if not isinstance(key, self._private):
            raise InvalidKey(f"expected a private key for {self.name}, got one of another algorithm")
        return cast(bytes, key.private_bytes_raw())

    def _key(self, secret: Buffer) -> Any:
        self.check(secret)
        return self._private.from_seed_bytes(secret)

    def prepare(self, secret: Buffer) -> Signer:
        """A signing key ready for use: the expansion of the seed is done here, once."""
        return DirectSigner(self._key(secret))

    def public(self, secret: Buffer) -> bytes:
        """1,312 bytes (44) or 1,952 (65)."""
        return cast(bytes, self._key(secret).public_key().public_bytes_raw())

    def verifier(self, public: Buffer) -> Verifier:
        """A public key ready for use."""
        expect_length(public, self._size, self.name)
        return DirectVerifier(self._public.from_public_bytes(bytes(public)))

    def jwk(self, public: bytes) -> dict[str, Any]:
        """Key type AKP of the draft for ML-DSA in JOSE."""
        return {**akp_jwk(self.name.upper(), public), "use": "sig"}


_CURVES: dict[str, tuple[ec.EllipticCurve, HashAlgorithm, str, str, int]] = {
    "ecdsa-p256": (ec.SECP256R1(), SHA256(), "P-256", "ES256", 32),
    "ecdsa-p384": (ec.SECP384R1(), SHA384(), "P-384", "ES384", 48),
}


class EcdsaVerifier(Verifier):
    """A public key on a curve, with the hash it is used with. Signatures in DER."""

    __slots__ = ("_key", "_scheme")

    def __init__(self, key: ec.EllipticCurvePublicKey, digest: HashAlgorithm) -> None:
        self._key, self._scheme = key, ec.ECDSA(digest)

    def verify(self, signature: Buffer, data: Buffer) -> None:
        """Pass, or raise CryptoFailed."""
        try:
            self._key.verify(signature, data, self._scheme)
        except _REFUSED:
            raise CryptoFailed from None


class EcdsaSigner(Signer):
    """A private key on a curve."""

    __slots__ = ("_scheme", "_sign")

    def __init__(self, key: ec.EllipticCurvePrivateKey, digest: HashAlgorithm) -> None:
        self._sign, self._scheme = key.sign, ec.ECDSA(digest)

    def sign(self, data: Buffer) -> bytes:
        """A signature in DER."""
        return self._sign(data, self._scheme)


class Ecdsa(Signature):
    """ECDSA (FIPS 186-5, section 6) with a random per-message number from OpenSSL's generator."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._curve, self._hash, self._crv, self._alg, self._size = _CURVES[name]

    def generate(self) -> bytes:
        """PKCS #8 DER."""
        return pkcs8(ec.generate_private_key(self._curve))

    def check(self, secret: Buffer) -> None:
        """A private key on this curve."""
        self._key(secret)

    def adopt(self, material: Buffer) -> bytes:
        """PKCS #8 or SEC 1, DER or PEM. The public point that may stand in it is computed anew, not believed."""
        return pkcs8(ec.derive_private_key(self._key(material).private_numbers().private_value, self._curve))

    def _key(self, secret: Buffer) -> ec.EllipticCurvePrivateKey:
        key = load_private(secret, self.name)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != self._curve.name:
            raise InvalidKey(f"expected a private key for {self.name}, got one of another algorithm")
        return key

    def prepare(self, secret: Buffer) -> Signer:
        """A signing key ready for use."""
        return EcdsaSigner(self._key(secret), self._hash)

    def public(self, secret: Buffer) -> bytes:
        """The uncompressed point: 65 bytes (P-256) or 97 (P-384)."""
        encoding, form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        return self._key(secret).public_key().public_bytes(encoding, form)

    def verifier(self, public: Buffer) -> Verifier:
        """A public key ready for use; compressed points are taken too."""
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, bytes(public))
        except ValueError:
            raise InvalidKey(f"expected a point on the curve for {self.name}, got {len(public)} other bytes") from None
        return EcdsaVerifier(key, self._hash)

    def jwk(self, public: bytes) -> dict[str, Any]:
        """RFC 7518, section 6.2."""
        return {**ec_jwk(self._crv, public, self._size), "alg": self._alg, "use": "sig"}


def ecdsa_fixed(signature: bytes, size: int) -> bytes:
    """A DER signature as r || s of `size` bytes each (RFC 7518 section 3.4, IEEE P1363).

    Raises:
        CryptoFailed: it is not DER, or r or s is too long.
    """
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    except (ValueError, OverflowError):
        raise CryptoFailed from None


def ecdsa_unfixed(signature: bytes, size: int) -> bytes:
    """r || s of exactly `size` bytes each as DER (raises CryptoFailed for another length)."""
    if len(signature) != 2 * size:
        raise CryptoFailed
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))


_MAKE: dict[str, Callable[[str], Signature]] = {
    "ed25519": Ed25519,
    "ecdsa-p256": Ecdsa,
    "ecdsa-p384": Ecdsa,
    "ml-dsa-44": MlDsa,
    "ml-dsa-65": MlDsa,
}
SIGNATURES: dict[str, Signature] = {name: make(name) for name, make in _MAKE.items()}
