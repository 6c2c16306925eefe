"""What an authenticator signs: a challenge that proves itself, so that one nobody answers leaves nothing behind.

A sign-in page may be loaded by anybody any number of times; a row for each would be theirs to fill. So a challenge is a
nonce, the time at which it ends and a code over both and what it is for. Only one that was answered well is written down,
and a second answer finds it there.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Awaitable, Callable

from rustcare_sdk.context import Database

__all__ = ["LIFETIME", "Challenges"]

#: Seconds that a challenge stands: as long as a form may wait.
LIFETIME = 600.0

_NONCE = 16
_HEAD = _NONCE + 8


class Challenges:
    """Makes challenges and takes each once.

    Args:
        mac: a keyed hash of 32 bytes.
    """

    def __init__(
        self,
        db: Database,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        mac: Callable[[bytes], Awaitable[bytes]],
    ) -> None:
        self._db = db
        self._now = now
        self._random = random
        self._mac = mac

    async def make(self, *bound: str) -> bytes:
        """A challenge for one purpose, as `bound` names it (what for, tenant, relying party, account)."""
        head = self._random(_NONCE) + struct.pack(">d", self._now() + LIFETIME)
        return head + await self._code(head, bound)

    async def genuine(self, challenge: bytes, *bound: str) -> bool:
        """Whether it was made here for this purpose, and its time has not passed."""
        head = challenge[:_HEAD]
        if len(challenge) != _HEAD + 32:
            return False
        if not hmac.compare_digest(challenge[_HEAD:], await self._code(head, bound)):
            return False
        return bool(struct.unpack(">d", head[_NONCE:])[0] > self._now())

    async def take(self, challenge: bytes) -> bool:
        """Whether this is the first answer to a genuine challenge; of two at once, one wins."""
        now = self._now()
        nonce = challenge[:_NONCE].hex()
        expires = struct.unpack(">d", challenge[_NONCE:_HEAD])[0]
        await self._db.execute("DELETE FROM passkey_challenges WHERE expires < ?", (now - LIFETIME,))
        taken = await self._db.execute(
            "INSERT INTO passkey_challenges (nonce, expires) VALUES (?, ?) ON CONFLICT (nonce) DO NOTHING",
            (nonce, expires),
        )
        return taken == 1

    async def _code(self, head: bytes, bound: tuple[str, ...]) -> bytes:
        # Each part with its length: no two purposes have the same bytes.
        parts = b"".join(struct.pack(">I", len(part.encode())) + part.encode() for part in bound)
        return await self._mac(b"passkey\0" + head + parts)
