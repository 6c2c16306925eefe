"""The keys of one issuer: looked up without waiting while they are fresh, read again when they are not, or when one is missing.

However many tokens ask, keys are read once at a time, and not again before a pause: nobody can make the gateway ask an issuer
as often as they like by naming keys that do not exist. When they cannot be read, those that are known are good for some time
longer.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from rustcare_plugin_gateway.errors import IdentityUnavailable

from .jwk import ALGORITHMS, Key, KeyRefused, read_key
from .jws import TokenRefused

__all__ = ["KeySet", "KeysAway", "Loaded"]

_MAX_KEYS = 100
_MAX_ABSENT = 256


class KeysAway(Exception):
    """The keys could not be read. The text says why, in words that may be logged."""


class Loaded(msgspec.Struct, frozen=True):
    """What was read: JWKs, None when they have not changed, and for how many seconds they are good."""

    keys: list[Any] | None
    lasts: float


class KeySet:
    """The keys.

    Args:
        load: reads them; raises KeysAway.
        clock: seconds that only grow.
        allowed: algorithms that the issuer may use.
        pause: seconds between two readings on account of keys that are missing.
        again: seconds after a failure until the next attempt.
        stale: seconds for which keys may be used after their time, while they cannot be read.
        absent: seconds for which a key that is missing is not looked for again.
        gone: is told the ids of keys that are no more.
        failed: is told why reading failed, and how many keys were not understood.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Loaded]],
        clock: Callable[[], float],
        *,
        allowed: Collection[str] = ALGORITHMS,
        pause: float = 30.0,
        again: float = 15.0,
        stale: float = 86_400.0,
        absent: float = 60.0,
        gone: Callable[[Iterable[str]], None] = lambda kids: None,
        failed: Callable[[str], None] = lambda why: None,
    ) -> None:
        self._load = load
        self._clock = clock
        self._allowed = allowed
        self._pause, self._again, self._stale, self._keep_absent = pause, again, stale, absent
        self._gone, self._failed = gone, failed
        self._keys: dict[str, Key] = {}
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._reading: asyncio.Task[None] | None = None
        self._tried = float("-inf")
        self._broken = False
        self._turn = 0  # how often keys were told, rather than read
        self.expires = float("-inf")

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def fresh(self) -> bool:
        """Whether they need not be read again now."""
        return self._clock() < self.expires

    def get(self, kid: str) -> Key | None:
        """A key that is known. Without an id: the only one there is."""
        if kid:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    async def find(self, kid: str) -> Key:
        """The key; reads again where that may help.

        Raises:
            TokenRefused: the issuer has no such key.
            IdentityUnavailable: its keys cannot be read, and those that are known are too old.
        """
        await self.ensure()
        key = self.get(kid)
        if key is not None:
            return key
        now = self._clock()
        looked = self._absent.get(kid, now) <= now and now >= self._tried + (
            self._again if self._broken else self._pause
        )
        if looked:
            await self._refresh()
            key = self.get(kid)
            if key is not None:
                return key
        if self._broken and kid:
            # It may be a key that came while we could not read them: that is not the token's fault.
            raise _away()
        if looked and kid:
            self._absent.pop(kid, None)
            if len(self._absent) >= _MAX_ABSENT:
                self._absent.popitem(last=False)
            self._absent[kid] = self._clock() + self._keep_absent
        raise TokenRefused(
            "expected a key of the issuer" if kid else "expected the token to name its key", min(self._pause, 5.0)
        )

    async def ensure(self) -> None:
        """Read them unless they are fresh. Raises IdentityUnavailable when there are none that may be used."""
        if not self.fresh:
            await self._refresh()

    async def _refresh(self) -> None:
        """Read them, unless that failed a moment ago. Raises IdentityUnavailable when there are none that may be used."""
        now = self._clock()
        if self._reading is None and (not self._broken or now >= self._tried + self._again):
            # Not in the context of who happens to ask: its deadline is not that of the others.
            self._reading = asyncio.get_running_loop().create_task(self._read(), context=contextvars.Context())
        if self._reading is not None:
            # Whoever gives up waiting does not end it for the others.
            await asyncio.shield(self._reading)
        if not self.fresh and self._clock() >= self.expires + self._stale:
            raise _away()

    async def _read(self) -> None:
        self._tried = self._clock()
        turn = self._turn
        try:
            loaded = await self._load()
        except KeysAway as error:
            self._broken = True
            self._failed(str(error))
        else:
            if turn != self._turn:
                pass  # what was told meanwhile may be newer: a key that was withdrawn must not come back
            elif loaded.keys is not None:
                self._take(loaded.keys, loaded.lasts)
            else:
                self._broken = False
                self.expires = self._clock() + loaded.lasts
        finally:
            self._reading = None

    def put(self, jwks: Iterable[Any], lasts: float) -> None:
        """These are the keys now, good for so many seconds, whatever is being read.

        Those that are not understood are left out (RFC 7517, section 5).
        """
        self._turn += 1
        self._take(jwks, lasts)

    def _take(self, jwks: Iterable[Any], lasts: float) -> None:
        found: dict[str, Key] = {}
        ambiguous: set[str] = set()
        refused = 0
        for number, jwk in enumerate(jwks):
            if number >= _MAX_KEYS:
                self._failed(f"more than {_MAX_KEYS} keys")
                break
            try:
                key = read_key(jwk if isinstance(jwk, Mapping) else {}, self._allowed)
            except KeyRefused:
                refused += 1
                continue
            if key.kid in found and found[key.kid].thumbprint != key.thumbprint:
                ambiguous.add(key.kid)
            found[key.kid] = key
        for kid in ambiguous:
            # An id has one key, and that one its algorithm; which of two is meant cannot be known.
            del found[kid]
            refused += 1
        if refused:
            self._failed(f"{refused} keys were not accepted")
        before, self._keys = self._keys, found
        for kid in found:
            self._absent.pop(kid, None)
        self._broken = False
        self.expires = self._clock() + lasts
        gone = [kid for kid, key in before.items() if kid not in found or found[kid].thumbprint != key.thumbprint]
        if gone:
            self._gone(gone)

    async def close(self) -> None:
        """End what is being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])


def _away() -> IdentityUnavailable:
    return IdentityUnavailable("the keys of the token's issuer cannot be read now", hint="try again later")
