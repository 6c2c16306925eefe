"""HMAC with SHA-256 and SHA-512 (FIPS 198-1, RFC 2104). Secrets: as many random bytes as the tag has."""

from __future__ import annotations

import hmac
import os
from hashlib import sha256, sha512
from typing import Any

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey

from .base import Buffer, Mac, MacKey

__all__ = ["MACS", "Hmac", "HmacKey"]

_HASHES: dict[str, tuple[Any, int]] = {"hmac-sha256": (sha256, 32), "hmac-sha512": (sha512, 64)}


class HmacKey(MacKey):
    """A key whose two inner states are computed once; a tag starts from a copy of them."""

    __slots__ = ("_state",)

    def __init__(self, digest: Any, secret: Buffer) -> None:
        self._state = hmac.new(bytes(secret), digestmod=digest)

    def sign(self, data: Buffer) -> bytes:
        """The tag of `data`: 32 or 64 bytes."""
        state = self._state.copy()
        state.update(data)
        return state.digest()

    def verify(self, tag: Buffer, data: Buffer) -> None:
        """Pass, or raise CryptoFailed; the whole tag is expected, and compared in constant time."""
        if not hmac.compare_digest(self.sign(data), bytes(tag)):
            raise CryptoFailed


class Hmac(Mac):
    """HMAC over one hash."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._digest, self.size = _HASHES[name]

    def generate(self) -> bytes:
        """As many random bytes as the tag has."""
        return os.urandom(self.size)

    def check(self, secret: Buffer) -> None:
        """At least 14 bytes: 112 bits, the least that SP 800-131A revision 2 section 10 allows."""
        if not 14 <= len(secret) <= 1024:
            raise InvalidKey(f"expected 14 to 1,024 bytes of key for {self.name}, got {len(secret)}")

    def prepare(self, secret: Buffer) -> HmacKey:
        """A key ready for use."""
        self.check(secret)
        return self.unchecked(secret)

    def unchecked(self, secret: Buffer) -> HmacKey:
        """A key of any length: for derivations and test vectors, where the key is not a secret of ours."""
        return HmacKey(self._digest, secret)


MACS: dict[str, Hmac] = {name: Hmac(name) for name in _HASHES}
