"""RSA: signatures with PSS, and OAEP for keys that somebody brings wrapped. No PKCS #1 v1.5: neither for new signatures
nor for encryption, where it is an oracle.

Secrets are PKCS #8 DER, public keys SubjectPublicKeyInfo DER. PSS hashes with SHA-256 (3,072 bits) or SHA-384 (4,096), with
MGF1 of the same hash and a salt as long as the digest (FIPS 186-5, section 5.4); OAEP uses SHA-256 for both.
"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey

from .base import Algorithm, Buffer, Signature, Signer, Verifier
from .jwk import rsa_jwk
from .signature import load_private, pkcs8

__all__ = ["OAEPS", "RSA_SIGNATURES", "PssVerifier", "RsaOaep", "RsaPss", "oaep_decrypt"]

_REFUSED = (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm)


class _Rsa(Algorithm):
    """What RSA keys of one size share."""

    bits: int

    def generate(self) -> bytes:
        """PKCS #8 DER, with the exponent 65537. Takes about a second at 4,096 bits."""
        return pkcs8(rsa.generate_private_key(65537, self.bits))

    def check(self, secret: Buffer) -> None:
        """An RSA private key of this size."""
        self._key(secret)

    def adopt(self, material: Buffer) -> bytes:
        """PKCS #8 or PKCS #1, DER or PEM."""
        return pkcs8(self._key(material))

    def _key(self, secret: Buffer) -> rsa.RSAPrivateKey:
        key = load_private(secret, self.name)
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != self.bits:
            raise InvalidKey(f"expected an RSA private key of {self.bits} bits, got another key")
        if key.public_key().public_numbers().e < 65537:
            raise InvalidKey(
                "expected an RSA key with an exponent of 65,537 or more (FIPS 186-5), got one with a smaller one"
            )
        return key

    def public(self, secret: Buffer) -> bytes:
        """SubjectPublicKeyInfo DER."""
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key(secret).public_key().public_bytes(encoding, form)

    def _public_key(self, public: Buffer) -> rsa.RSAPublicKey:
        try:
            key = serialization.load_der_public_key(bytes(public))
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size != self.bits:
            raise InvalidKey(f"expected an RSA public key of {self.bits} bits in DER, got {len(public)} other bytes")
        return key


class PssSigner(Signer):
    """A private key with its padding."""

    __slots__ = ("_digest", "_padding", "_sign")

    def __init__(self, key: rsa.RSAPrivateKey, pad: padding.PSS, digest: HashAlgorithm) -> None:
        self._sign, self._padding, self._digest = key.sign, pad, digest

    def sign(self, data: Buffer) -> bytes:
        """A signature as long as the modulus."""
        return self._sign(bytes(data), self._padding, self._digest)


class PssVerifier(Verifier):
    """A public key with the parameters of PSS it is used with: hash, hash of MGF1, length of the salt in bytes."""

    __slots__ = ("_digest", "_key", "_padding")

    def __init__(self, key: rsa.RSAPublicKey, digest: HashAlgorithm, mgf: HashAlgorithm, salt: int) -> None:
        self._key, self._digest, self._padding = key, digest, padding.PSS(padding.MGF1(mgf), salt)

    def verify(self, signature: Buffer, data: Buffer) -> None:
        """Pass, or raise CryptoFailed."""
        try:
            self._key.verify(bytes(signature), bytes(data), self._padding, self._digest)
        except _REFUSED:
            raise CryptoFailed from None


class RsaPss(_Rsa, Signature):
    """RSASSA-PSS (RFC 8017, section 8.1)."""

    def __init__(self, name: str, bits: int, digest: HashAlgorithm, alg: str) -> None:
        super().__init__(name)
        self.bits, self._digest, self._alg = bits, digest, alg

    def public(self, secret: Buffer) -> bytes:
        """SubjectPublicKeyInfo DER."""
        return super().public(secret)

    def prepare(self, secret: Buffer) -> Signer:
        """A signing key ready for use."""
        pad = padding.PSS(padding.MGF1(self._digest), self._digest.digest_size)
        return PssSigner(self._key(secret), pad, self._digest)

    def verifier(self, public: Buffer) -> Verifier:
        """A public key ready for use."""
        return PssVerifier(self._public_key(public), self._digest, self._digest, self._digest.digest_size)

    def jwk(self, public: bytes) -> dict[str, Any]:
        """RFC 7518, section 6.3."""
        numbers = self._public_key(public).public_numbers()
        return {**rsa_jwk(numbers.n, numbers.e), "alg": self._alg, "use": "sig"}


def oaep_decrypt(
    key: rsa.RSAPrivateKey, ciphertext: Buffer, digest: HashAlgorithm, mgf: HashAlgorithm, label: bytes = b""
) -> bytes:
    """RSAES-OAEP (RFC 8017, section 7.1.2).

    Raises:
        CryptoFailed: for whatever reason; the padding's check is in constant time inside OpenSSL.
    """
    try:
        return key.decrypt(bytes(ciphertext), padding.OAEP(padding.MGF1(mgf), digest, label or None))
    except _REFUSED:
        raise CryptoFailed from None


class RsaOaep(_Rsa):
    """Keys to which others wrap the keys they bring (SP 800-56B revision 2, section 9)."""

    family = "wrapping"

    def __init__(self, name: str, bits: int) -> None:
        super().__init__(name)
        self.bits = bits

    def wrap(self, public: Buffer, material: Buffer, label: bytes = b"") -> bytes:
        """Encrypt a short key to `public` (raises CryptoFailed when it is too long, InvalidKey for a bad public key)."""
        pad = padding.OAEP(padding.MGF1(SHA256()), SHA256(), label or None)
        try:
            return self._public_key(public).encrypt(bytes(material), pad)
        except ValueError:
            raise CryptoFailed from None

    def unwrap(self, secret: Buffer, wrapped: Buffer, label: bytes = b"") -> bytes:
        """The key that was wrapped (raises CryptoFailed)."""
        return oaep_decrypt(self._key(secret), wrapped, SHA256(), SHA256(), label)

    def jwk(self, public: bytes) -> dict[str, Any]:
        """RFC 7518, section 6.3."""
        numbers = self._public_key(public).public_numbers()
        return {**rsa_jwk(numbers.n, numbers.e), "alg": "RSA-OAEP-256", "use": "enc"}


RSA_SIGNATURES: dict[str, Signature] = {
    "rsa-pss-3072": RsaPss("rsa-pss-3072", 3072, SHA256(), "PS256"),
    "rsa-pss-4096": RsaPss("rsa-pss-4096", 4096, SHA384(), "PS384"),
}
OAEPS: dict[str, RsaOaep] = {
    "rsa-oaep-3072": RsaOaep("rsa-oaep-3072", 3072),
    "rsa-oaep-4096": RsaOaep("rsa-oaep-4096", 4096),
}
