"""The keyring key: every stored secret is wrapped under it, every stored record carries a code under it.

Wrapped form: `0x01 ‖ nonce (12 bytes) ‖ AES-256-GCM ciphertext and tag`, with what it is for as associated data, so that
rows cannot change places. Nonces are random (NIST SP 800-38D, section 8.2.2: at most 2^32 under one key).
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

__all__ = ["Envelope", "unwrap_with", "wrap_with"]

_FORMAT = b"\x01"
_NONCE = 12


def wrap_with(key: bytes, secret: bytes, purpose: bytes) -> bytes:
    """Wrap under a 32-byte key."""
    nonce = os.urandom(_NONCE)
    return _FORMAT + nonce + AESGCM(key).encrypt(nonce, secret, purpose)


def unwrap_with(key: bytes, wrapped: bytes, purpose: bytes) -> bytes | None:
    """What was wrapped, or None when the key, the purpose or the wrapped form is not the right one."""
    if wrapped[:1] != _FORMAT or len(wrapped) < 1 + _NONCE + 16:
        return None
    try:
        return AESGCM(key).decrypt(wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :], purpose)
    except InvalidTag:
        return None


class Envelope:
    """Wraps and codes under one keyring key, from which a key for each of the two is derived (HKDF, RFC 5869).

    Args:
        key: 32 bytes. The copy here is overwritten by `clear`; copies that Python and OpenSSL made are not.
    """

    def __init__(self, key: bytes) -> None:
        self._key = bytearray(key)
        self._wrapping = self._derive(b"rustcare/keyring/wrapping/1")
        self._coding = self._derive(b"rustcare/keyring/coding/1")
        self._backup = self._derive(b"rustcare/keyring/backup/1")

    def __repr__(self) -> str:
        return "Envelope(…)"

    def _derive(self, info: bytes) -> bytearray:
        return bytearray(HKDFExpand(SHA256(), 32, info).derive(bytes(self._key)))

    @property
    def key(self) -> bytes:
        """The keyring key itself: for a root to wrap, and nothing else."""
        return bytes(self._key)

    def wrap(self, secret: bytes, purpose: bytes) -> bytes:
        """Wrap a secret for a purpose."""
        return wrap_with(bytes(self._wrapping), secret, purpose)

    def unwrap(self, wrapped: bytes, purpose: bytes) -> bytes | None:
        """The secret, or None."""
        return unwrap_with(bytes(self._wrapping), wrapped, purpose)

    def seal_backup(self, content: bytes) -> bytes:
        """Wrap what leaves the keyring and may come back."""
        return wrap_with(bytes(self._backup), content, b"rustcare/backup/1")

    def open_backup(self, wrapped: bytes) -> bytes | None:
        """What was backed up from this keyring, or None."""
        return unwrap_with(bytes(self._backup), wrapped, b"rustcare/backup/1")

    def code(self, record: bytes) -> bytes:
        """HMAC-SHA-256 of a record."""
        return hmac.digest(bytes(self._coding), record, "sha256")

    def check(self, record: bytes, code: bytes) -> bool:
        """Whether a code is the record's, in constant time."""
        return hmac.compare_digest(self.code(record), code)

    def clear(self) -> None:
        """Overwrite the keys held here."""
        for buffer in (self._key, self._wrapping, self._coding, self._backup):
            buffer[:] = bytes(len(buffer))
