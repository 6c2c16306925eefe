"""Roots that are a key computed from a secret: random bytes through HKDF, a passphrase through argon2id (RFC 9106)."""

from __future__ import annotations

import asyncio

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from rustcare_plugin_crypto.envelope import unwrap_with, wrap_with
from rustcare_plugin_crypto.refusals import RootRefused

from ._contract import PURPOSE, RootDescription

__all__ = ["LANES", "MEMORY", "MIN_PASSPHRASE", "MIN_SECRET", "TIME", "DerivedRoot", "passphrase_root", "secret_root"]

#: Bytes that a random secret has at least.
MIN_SECRET = 16
#: Bytes that a passphrase has at least.
MIN_PASSPHRASE = 8

#: Cost of the passphrase: the second recommended option of RFC 9106, section 4 (KiB, passes, lanes).
MEMORY, TIME, LANES = 65536, 3, 4

#: Bounds for what is read back from the store: beyond them nobody wrote it but to make the start hang.
_MOST_MEMORY, _MOST_TIME, _MOST_LANES = 4 * 1024 * 1024, 64, 64


class DerivedRoot:
    """A root whose key is in memory while the keyring is opened or wrapped."""

    def __init__(self, key: bytes, description: RootDescription) -> None:
        self._key = key
        self._description = description

    def __repr__(self) -> str:
        return f"DerivedRoot({self._description.kind})"

    async def wrap(self, key: bytes) -> bytes:
        return wrap_with(self._key, key, PURPOSE)

    async def unwrap(self, wrapped: bytes) -> bytes:
        key = unwrap_with(self._key, wrapped, PURPOSE)
        if key is None:
            raise RootRefused(
                f"the secret {self._description.secret!r} does not open the keyring",
                hint="give the secret it was made with; nothing was changed",
                address=f"root.kind={self._description.kind}",
            )
        return key


def secret_root(secret: bytes, description: RootDescription) -> DerivedRoot:
    """The root of a random secret. Raises RootRefused when that is too short to be one."""
    if len(secret) < MIN_SECRET:
        raise RootRefused(
            f"expected a secret of at least {MIN_SECRET} random bytes in {description.secret!r}, got {len(secret)}",
            hint="for something that a person remembers there is root.kind passphrase",
            address="root.kind=secret",
        )
    return DerivedRoot(HKDF(SHA256(), 32, None, PURPOSE).derive(secret), description)


async def passphrase_root(passphrase: bytes, description: RootDescription) -> DerivedRoot:
    """The root of a passphrase; takes a fraction of a second, in a thread. Raises RootRefused."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise RootRefused(
            f"expected a passphrase of at least {MIN_PASSPHRASE} bytes in {description.secret!r}, got {len(passphrase)}",
            address="root.kind=passphrase",
        )
    memory, time, lanes = description.memory, description.time, description.lanes
    sane = 8 * lanes <= memory <= _MOST_MEMORY and 1 <= time <= _MOST_TIME and 1 <= lanes <= _MOST_LANES
    if not sane or len(description.salt) < 16:
        raise RootRefused("the stored cost of the passphrase is out of bounds", address="root.kind=passphrase")
    key = await asyncio.to_thread(hash_secret_raw, passphrase, description.salt, time, memory, lanes, 32, Type.ID)
    return DerivedRoot(key, description)
