"""The keys that sign access tokens, turned over with overlap: a new one is shown before it signs, an old one after.

A key's life: it is made and shown in the JWKS (`created`), signs from `signs` on until its successor does, and is shown until
the last token that it signed has ended. Then its secret part is destroyed. Nobody who fetches the JWKS at least once in an
`overlap` ever meets a token whose key they cannot have seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from rustcare_sdk import Database, RustCareError

from .jose import b64u, keyring_signature, signature_bytes, signing_input, thumbprint
from .vault import SIGNATURES, Vault

__all__ = ["SigningKey", "SigningKeys"]

#: Seconds after which what is due is looked for again, and after which a failure is tried again.
_LONGEST, _AGAIN = 3600.0, 60.0


class SigningKey(msgspec.Struct, frozen=True):
    """One key: its public part, where its secret part is, and from when it signs (Unix seconds)."""

    kid: str
    algorithm: str
    name: str
    version: int
    jwk: dict[str, Any]
    created: float
    signs: float


class SigningKeys:
    """All keys that tokens may be verified with.

    Args:
        algorithms: of `SIGNATURES`; the first one signs unless another is asked for.
        period: seconds that a key signs; 0: until it is turned over by hand.
        overlap: seconds that a key is shown before it signs.
        linger: seconds that it is shown after it has signed for the last time: the longest life of a token, and some.
    """

    def __init__(
        self,
        db: Database,
        vault: Vault,
        time: Callable[[], float],
        *,
        algorithms: tuple[str, ...] = ("ES256", "EdDSA"),
        period: float = 7_776_000,
        overlap: float = 86_400,
        linger: float = 3_660,
    ) -> None:
        self._db = db
        self._vault = vault
        self._time = time
        self.algorithms = algorithms
        self._period = period
        self._overlap = overlap
        self._linger = linger
        self._keys: list[SigningKey] = []
        self._opened = 0.0
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Read the keys, and make the first of each algorithm. Raises what the keyring raises."""
        self._opened = self._time()
        rows = await self._db.fetch("SELECT * FROM signing_keys ORDER BY signs, kid")
        self._keys = [SigningKey(**{**row, "jwk": msgspec.json.decode(row["jwk"])}) for row in rows]
        for algorithm in self.algorithms:
            if not self._of(algorithm):
                name, kind = SIGNATURES[algorithm]
                await self._vault.make(name, kind)
                await self._add(algorithm, self._time())

    def _of(self, algorithm: str) -> list[SigningKey]:
        return [key for key in self._keys if key.algorithm == algorithm]

    async def _add(self, algorithm: str, signs: float) -> SigningKey:
        """Show the primary version of the keyring's key; durable before it is shown."""
        name, _ = SIGNATURES[algorithm]
        version, jwk = await self._vault.public(name)
        key = SigningKey(thumbprint(jwk), algorithm, name, version, jwk, self._time(), signs)
        await self._db.execute(
            "INSERT INTO signing_keys (kid, algorithm, name, version, jwk, created, signs) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key.kid, algorithm, name, version, msgspec.json.encode(jwk).decode(), key.created, signs),
        )
        self._keys.append(key)
        return key

    # use

    def jwks(self) -> list[dict[str, Any]]:
        """The public keys with `kid`, `alg` and `use`, those to come included; always in the same order."""
        keys = sorted(self._keys, key=lambda key: (key.algorithm, key.signs, key.kid))
        return [{**key.jwk, "kid": key.kid, "alg": key.algorithm, "use": "sig"} for key in keys]

    def current(self, algorithm: str = "") -> SigningKey:
        """The key that signs now."""
        now = self._time()
        keys = self._of(algorithm or self.algorithms[0])
        # A clock that was set back leaves none that signs already: then the oldest one does.
        return max((key for key in keys if key.signs <= now), key=lambda key: key.signs, default=keys[0])

    async def sign(self, claims: dict[str, Any], algorithm: str = "", type_: str = "at+jwt") -> str:
        """A compact JWS over the claims, by the key that signs now."""
        key = self.current(algorithm)
        signed = signing_input({"alg": key.algorithm, "kid": key.kid, "typ": type_}, claims)
        signature = await self._vault.sign(key.name, key.version, signed)
        return f"{signed.decode()}.{b64u(signature_bytes(key.algorithm, signature))}"

    async def verify(self, header: dict[str, Any], signed: bytes, signature: bytes) -> bool:
        """Whether one of our keys made this; the algorithm is the key's, and the header must agree."""
        key = next((key for key in self._keys if key.kid == header.get("kid")), None)
        if key is None or header.get("alg") != key.algorithm or "crit" in header:
            return False
        try:
            form = keyring_signature(key.algorithm, signature)
        except ValueError:
            return False
        return await self._vault.verify(key.name, key.version, signed, form)

    # turning over

    async def rotate(self, algorithm: str = "", *, at_once: bool = False) -> SigningKey:
        """A new key, which signs after the overlap.

        Args:
            at_once: because a key has come into wrong hands: the new one signs now, and all others of the algorithm are
                gone, with them the tokens they signed.
        """
        async with self._turn:
            return await self._rotate(algorithm or self.algorithms[0], at_once=at_once)

    async def _rotate(self, algorithm: str, *, at_once: bool) -> SigningKey:
        before = self._of(algorithm)
        await self._vault.rotate(SIGNATURES[algorithm][0])
        now = self._time()
        added = await self._add(algorithm, now if at_once else now + self._overlap)
        if at_once:
            await self._drop(before)
        return added

    async def _drop(self, keys: Sequence[SigningKey]) -> None:
        """Show them no more, and then destroy them: whatever the keyring says to that, nobody accepts them now."""
        await self._db.execute_many("DELETE FROM signing_keys WHERE kid = ?", [(key.kid,) for key in keys])
        self._keys = [key for key in self._keys if key not in keys]
        for key in keys:
            await self._vault.destroy(key.name, key.version)

    async def turn(self) -> bool:
        """Do what is due: make successors, take away what has ended. Whether the JWKS changed."""
        async with self._turn:
            changed = False
            for algorithm in self.algorithms:
                keys = sorted(self._of(algorithm), key=lambda key: key.signs)
                if self._period and keys[-1].signs + self._period - self._overlap <= self._time():
                    keys.append(await self._rotate(algorithm, at_once=False))
                    changed = True
                for key, successor in pairwise(keys):
                    if successor.signs + self._linger <= self._time():
                        await self._drop([key])
                        changed = True
            return await self._drop_strays() or changed

    async def _drop_strays(self) -> bool:
        """Of an algorithm that is configured no more, the keys go as soon as no token of theirs can be left."""
        strays = [key for key in self._keys if key.algorithm not in self.algorithms]
        if not strays or self._opened + self._linger > self._time():
            return False
        for name in dict.fromkeys(key.name for key in strays):
            await self._vault.rotate(
                name
            )  # the primary version is not destroyed: it is there should the algorithm return
        await self._drop(strays)
        return True

    async def run(self, changed: Callable[[], Any], failed: Callable[[RustCareError], None]) -> None:
        """`turn`, for ever; `changed` is awaited when the JWKS has changed."""
        while True:
            wait = _LONGEST
            try:
                if await self.turn():
                    await changed()
            except RustCareError as error:
                failed(error)
                wait = _AGAIN
            await asyncio.sleep(wait)
