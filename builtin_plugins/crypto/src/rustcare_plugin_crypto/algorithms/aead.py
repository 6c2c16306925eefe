"""Key-committing authenticated encryption: AES-256-GCM, ChaCha20-Poly1305, AES-256-GCM-SIV.

    sealed = salt (16) || commitment (32) || nonce (12) || ciphertext || tag (16)
    commitment || K = HKDF-Expand-SHA256(key, "rustcare aead v1" || 0 || name || 0 || salt, 64)

*Commitment.* The three ciphers do not bind a ciphertext to one key: who knows two keys can make a ciphertext that opens
under both. Here the commitment comes from the key (HMAC-SHA-256 is collision resistant for keys of one length), so a
ciphertext opens under one key only. It is not secret; it is compared in constant time all the same.

*Salt.* With random nonces of 96 bits a key may be used 2^32 times (SP 800-38D section 8.3), and a count that must survive
restarts, forks and several processes is easy to get wrong. So the long-lived key never encrypts: each prepared key draws a
salt and encrypts under a derived key, counts in memory, and draws another salt long before the bound. The bound holds by
construction, whoever else uses the same key; deriving costs nothing per message, and opening remembers what it derived.

*Nonces* come from `os.urandom`, inside this module. Nobody can pass one in, except to `Cipher`, the bare cipher below.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from hmac import compare_digest
from typing import Protocol, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from rustcare_plugin_crypto.errors import CryptoFailed

from .base import Aead, Buffer, Sealed, Sealer, expect_length

__all__ = ["AEADS", "OVERHEAD", "Cipher", "CommittingAead"]

_SALT, _COMMITMENT, _NONCE, _TAG = 16, 32, 12, 16
_HEADER = _SALT + _COMMITMENT
_BODY = _HEADER + _NONCE
#: Bytes that sealing adds.
OVERHEAD = _BODY + _TAG
#: Messages under one derived key: far below 2^32, so that the chance of a repeated nonce stays below 2^-49.
_USES = 1 << 24
#: Derived keys that a prepared key remembers for opening.
_REMEMBERED = 256


class _Bare(Protocol):
    def encrypt(self, nonce: bytes, data: Buffer, associated_data: Buffer | None) -> bytes: ...
    def decrypt(self, nonce: Buffer, data: Buffer, associated_data: Buffer | None) -> bytes: ...


_Make: TypeAlias = Callable[[Buffer], _Bare]
_Decrypt: TypeAlias = Callable[[Buffer, Buffer, Buffer | None], bytes]
#: What the library raises for a wrong tag, and for lengths that the cipher does not take.
_REFUSED = (InvalidTag, ValueError, OverflowError)
_CIPHERS: dict[str, _Make] = {
    "aes256-gcm": AESGCM,
    "chacha20-poly1305": ChaCha20Poly1305,
    "aes256-gcm-siv": AESGCMSIV,
}


class Cipher:
    """The bare cipher below an AEAD here, with the caller's key and nonce: for derived keys and for test vectors only.

    Args:
        name: of an algorithm in `AEADS`.
        key: 32 bytes, used for nothing else. A nonce has 12 bytes and must never repeat under one key.
    """

    __slots__ = ("_decrypt", "encrypt")

    def __init__(self, name: str, key: Buffer) -> None:
        expect_length(key, 32, name)
        bare = _CIPHERS[name](key)
        #: `encrypt(nonce, data, aad)`: ciphertext and tag. The library's own method: nothing stands between.
        self.encrypt = bare.encrypt
        self._decrypt = bare.decrypt

    def __repr__(self) -> str:
        return "<Cipher>"

    def decrypt(self, nonce: Buffer, data: Buffer, aad: Buffer) -> bytes:
        """The plaintext.

        Raises:
            CryptoFailed: wrong tag, or lengths that the cipher does not take.
        """
        try:
            return self._decrypt(nonce, data, aad)
        except _REFUSED:
            raise CryptoFailed from None


class CommittingAead(Aead):
    """One of the three ciphers, made committing as the module says."""

    def generate(self) -> bytes:
        """32 random bytes."""
        return os.urandom(32)

    def check(self, secret: Buffer) -> None:
        """32 bytes."""
        expect_length(secret, 32, self.name)

    def prepare(self, secret: Buffer) -> CommittingSealer:
        """A key ready for use. One object serves many threads."""
        self.check(secret)
        return CommittingSealer(self.name, secret)


class CommittingSealer(Sealer):
    """A prepared key: see the module. Kept free of whatever costs time per message: 4 KiB of AES-GCM take 0.7 µs."""

    __slots__ = ("_known", "_name", "_now", "_secret", "_used")

    def __init__(self, name: str, secret: Buffer) -> None:
        self._name = name
        self._secret = bytes(secret)
        self._known: dict[bytes, _Decrypt] = {}
        self._renew()

    def _derive(self, salt: bytes) -> tuple[bytes, _Bare]:
        """The header that a salt makes, and its cipher."""
        info = b"rustcare aead v1\0" + self._name.encode() + b"\0" + salt
        derived = HKDFExpand(SHA256(), _COMMITMENT + 32, info).derive(self._secret)
        return salt + derived[:_COMMITMENT], _CIPHERS[self._name](derived[_COMMITMENT:])

    def _renew(self) -> None:
        """Draw a salt. Two threads at once draw two: either is good."""
        header, cipher = self._derive(os.urandom(_SALT))
        self._remember(header, cipher.decrypt)
        # One assignment, so that no thread sees the header of one key with the cipher of another.
        self._now = (header, cipher.encrypt)
        self._used = 0

    def _remember(self, header: bytes, decrypt: _Decrypt) -> None:
        while len(self._known) >= _REMEMBERED:
            self._known.pop(next(iter(self._known)), None)
        self._known[header] = decrypt

    def _decrypt_of(self, header: bytes) -> _Decrypt:
        """The cipher of a header, once its commitment is found right (raises CryptoFailed)."""
        decrypt = self._known.get(header)
        if decrypt is None:
            expected, cipher = self._derive(header[:_SALT])
            if not compare_digest(expected, header):
                raise CryptoFailed
            decrypt = cipher.decrypt
            self._remember(header, decrypt)
        return decrypt

    def _count(self, messages: int) -> None:
        """Threads may lose a count to each other: the bound is far below the one that matters."""
        self._used += messages
        if self._used > _USES:
            self._renew()
            self._used = messages

    def seal(self, data: Buffer, aad: Buffer = b"") -> bytes:
        """Encrypt; `aad` is authenticated, not stored. The result has `OVERHEAD` bytes more than `data`."""
        self._count(1)
        header, encrypt = self._now
        nonce = os.urandom(_NONCE)
        return header + nonce + encrypt(nonce, data, aad)

    def seal_many(self, data: Sequence[Buffer], aads: Sequence[bytes], before: bytes = b"") -> list[bytes]:
        """Encrypt each; all nonces are drawn at once, and each result has `before` in front, authenticated with its aad."""
        self._count(len(data))
        header, encrypt = self._now
        drawn, front = os.urandom(_NONCE * len(data)), before + header
        nonces = [drawn[at : at + _NONCE] for at in range(0, len(drawn), _NONCE)]
        return [
            front + nonce + encrypt(nonce, item, before + aad if aad else before)
            for nonce, item, aad in zip(nonces, data, aads, strict=True)
        ]

    def open(self, sealed: Buffer, aad: Buffer = b"") -> bytes:
        """Decrypt (raises CryptoFailed)."""
        text = bytes(sealed)
        if len(text) < OVERHEAD:
            raise CryptoFailed
        header = text[:_HEADER]
        decrypt = self._known.get(header) or self._decrypt_of(header)
        try:
            return decrypt(text[_HEADER:_BODY], text[_BODY:], aad)
        except _REFUSED:
            raise CryptoFailed from None

    def open_many(self, items: Sequence[Sealed], before: bytes = b"") -> tuple[list[bytes | None], list[int]]:
        """What `seal_many` made of each, None for one that fails; and the places of those.

        Mostly all are under one salt and right: they are opened in one go. Only when that does not hold is each looked at.
        """
        start = len(before)
        stop, body = start + _HEADER, start + _BODY
        try:
            front = items[0].ciphertext[:stop] if items else b""
            decrypt = self._decrypt_at(front, before)
            done: list[bytes | None] = [
                decrypt(text[stop:body], text[body:], before + item.aad if item.aad else before)
                for item in items
                if (text := item.ciphertext)[:stop] == front  # the commitment is checked of each
            ]
            if len(done) == len(items):
                return done, []
        except (CryptoFailed, *_REFUSED):
            pass
        done = [None] * len(items)
        for at, item in enumerate(items):
            text = item.ciphertext
            with suppress(CryptoFailed, *_REFUSED):
                done[at] = self._decrypt_at(text[:stop], before)(text[stop:body], text[body:], before + item.aad)
        return done, [at for at, data in enumerate(done) if data is None]

    def _decrypt_at(self, front: bytes, before: bytes) -> _Decrypt:
        """The cipher of a text that begins with `front` (raises CryptoFailed)."""
        if len(front) != len(before) + _HEADER or not front.startswith(before):
            raise CryptoFailed
        return self._decrypt_of(front[len(before) :])


AEADS: dict[str, CommittingAead] = {name: CommittingAead(name) for name in _CIPHERS}
