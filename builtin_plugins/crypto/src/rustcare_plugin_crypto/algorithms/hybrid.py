"""Ed25519 and ML-DSA-65 together: forging needs both to be broken, and both must verify.

    M         = "rustcare ed25519+ml-dsa-65 v1" || 0 || SHA-512(public keys) || data
    classical = Ed25519(M)
    quantum   = ML-DSA-65(M || classical), context "rustcare ed25519+ml-dsa-65 v1"
    signature = uint16(64) || classical || uint16(3309) || quantum

Neither part is a signature of `data` itself, so neither can be cut out and used alone; the hash of both public keys ties
a part to its partner's key, and the second part signs the first. Secret: the two seeds, 64 bytes; public: 32 + 1,952
bytes. The form is ours: the composite signatures of the IETF (draft-ietf-lamps-pq-composite-sigs) are still a draft.
"""

from __future__ import annotations

import os
from hashlib import sha512
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from rustcare_plugin_crypto.errors import CryptoFailed

from .base import Buffer, Signature, Signer, Verifier, expect_length
from .jwk import akp_jwk

__all__ = ["HYBRID", "Hybrid"]

_LABEL = b"rustcare ed25519+ml-dsa-65 v1"
_CLASSICAL, _QUANTUM = 64, 3309
_SIZE = 2 + _CLASSICAL + 2 + _QUANTUM
_FIRST, _SECOND = _CLASSICAL.to_bytes(2, "big"), _QUANTUM.to_bytes(2, "big")


def _start(public: bytes) -> bytes:
    """What stands before the data in M."""
    return _LABEL + b"\0" + sha512(public).digest()


class HybridSigner(Signer):
    """Both signing keys."""

    __slots__ = ("_classical", "_quantum", "_start")

    def __init__(self, classical: ed25519.Ed25519PrivateKey, quantum: mldsa.MLDSA65PrivateKey, public: bytes) -> None:
        self._classical, self._quantum, self._start = classical.sign, quantum.sign, _start(public)

    def sign(self, data: Buffer) -> bytes:
        """3,377 bytes."""
        message = self._start + data
        first = self._classical(message)
        return _FIRST + first + _SECOND + self._quantum(message + first, _LABEL)


class HybridVerifier(Verifier):
    """Both public keys."""

    __slots__ = ("_classical", "_quantum", "_start")

    def __init__(self, public: bytes) -> None:
        self._classical = ed25519.Ed25519PublicKey.from_public_bytes(public[:32])
        self._quantum = mldsa.MLDSA65PublicKey.from_public_bytes(public[32:])
        self._start = _start(public)

    def verify(self, signature: Buffer, data: Buffer) -> None:
        """Pass when both verify, or raise CryptoFailed; which of them failed is not told."""
        given = bytes(signature)
        middle = 2 + _CLASSICAL
        if len(given) != _SIZE or given[:2] != _FIRST or given[middle : middle + 2] != _SECOND:
            raise CryptoFailed
        first, second = given[2:middle], given[middle + 2 :]
        message = self._start + data
        try:
            self._classical.verify(first, message)
            self._quantum.verify(second, message + first, _LABEL)
        except (InvalidSignature, ValueError):
            raise CryptoFailed from None


class Hybrid(Signature):
    """The two together, as the module says."""

    def generate(self) -> bytes:
        """64 random bytes: the seed of Ed25519, then that of ML-DSA-65."""
        return os.urandom(64)

    def check(self, secret: Buffer) -> None:
        """64 bytes."""
        expect_length(secret, 64, self.name)

    def _keys(self, secret: Buffer) -> tuple[ed25519.Ed25519PrivateKey, mldsa.MLDSA65PrivateKey, bytes]:
        self.check(secret)
        classical = ed25519.Ed25519PrivateKey.from_private_bytes(secret[:32])
        quantum = mldsa.MLDSA65PrivateKey.from_seed_bytes(secret[32:])
        public = classical.public_key().public_bytes_raw() + quantum.public_key().public_bytes_raw()
        return classical, quantum, public

    def prepare(self, secret: Buffer) -> Signer:
        """Both signing keys ready for use."""
        return HybridSigner(*self._keys(secret))

    def public(self, secret: Buffer) -> bytes:
        """1,984 bytes: Ed25519's 32, then ML-DSA-65's 1,952."""
        return self._keys(secret)[2]

    def verifier(self, public: Buffer) -> Verifier:
        """Both public keys ready for use."""
        expect_length(public, 32 + 1952, self.name)
        return HybridVerifier(bytes(public))

    def jwk(self, public: bytes) -> dict[str, Any]:
        """Key type AKP under a name of our own, which no other implementation takes for a standard one."""
        return {**akp_jwk("urn:rustcare:ed25519+ml-dsa-65", public), "use": "sig"}


HYBRID = Hybrid("ed25519+ml-dsa-65")
