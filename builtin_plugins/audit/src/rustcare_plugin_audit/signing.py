"""The log's key: the signature lines of checkpoints, and the verifier keys that outsiders need."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from rustcare_sdk import Context
from rustcare_sdk.errors import RustCareError

from .notes import ED25519, MLDSA44, VerifierKey, cosignature_line, message_of, signature_line
from .sealing import LOG_KEY, LOG_KEY_ML_DSA, Crypto

__all__ = ["LogKey"]


class LogKey:
    """Signs checkpoints with the keyring's primary version of the log's key; with `ml_dsa` a second line by ML-DSA-44."""

    def __init__(self, ctx: Context, origin: str, *, ml_dsa: bool = False) -> None:
        self._ctx = ctx
        self._crypto = Crypto(ctx)
        self.origin = origin
        self._ml_dsa = ml_dsa
        self.keys: list[VerifierKey] = []
        self._keys: dict[tuple[str, int], VerifierKey] = {}

    async def load(self) -> None:
        """Get the public keys that sign now from the keyring: the log's own first."""
        names = [LOG_KEY, *([LOG_KEY_ML_DSA] if self._ml_dsa else [])]
        self.keys = [await self._public(name, 0) for name in names]
        await self.versions()

    @property
    def vkey(self) -> str:
        """The verifier key of the log (C2SP signed-note), the one that signs now."""
        return self.keys[0].vkey

    def known(self) -> list[VerifierKey]:
        """Every key that may have signed a checkpoint of this log, as far as it was asked for."""
        return list(dict.fromkeys(self._keys.values()))

    async def versions(self) -> list[VerifierKey]:
        """All versions of the log's own key, the newest first: older checkpoints are signed by older ones."""
        newest = await self._crypto.public(LOG_KEY)
        found = [await self._public(LOG_KEY, newest.version)]
        for version in range(newest.version - 1, 0, -1):
            with suppress(RustCareError):  # trimmed: what it signed can no more be verified here
                found.append(await self._public(LOG_KEY, version))
        return found

    async def _public(self, name: str, version: int) -> VerifierKey:
        key = self._keys.get((name, version)) if version else None
        if key is None:
            found = await self._crypto.public(name, version)
            key = VerifierKey(self.origin, ED25519 if name == LOG_KEY else MLDSA44, found.raw)
            self._keys[name, found.version] = key
        return key

    async def sign(self, body: bytes) -> list[bytes]:
        """The signature lines of a checkpoint's text."""
        if not self._ml_dsa:
            return [await self._own_line(body)]
        return list(await asyncio.gather(self._own_line(body), self._second_line(body)))

    async def _own_line(self, body: bytes) -> bytes:
        signature, version = await self._crypto.sign_versioned(body)
        key = await self._public(LOG_KEY, version)
        if key != self.keys[0]:  # the keyring has rotated it
            self.keys[0] = key
        return signature_line(key, signature)

    async def _second_line(self, body: bytes) -> bytes:
        time = int(self._ctx.now().timestamp())
        message = message_of(body.decode(), self.keys[1], time)
        signature, version = await self._crypto.sign_versioned(message, LOG_KEY_ML_DSA)
        key = await self._public(LOG_KEY_ML_DSA, version)
        if key != self.keys[1]:
            self.keys[1] = key
        return cosignature_line(key, time, signature)
