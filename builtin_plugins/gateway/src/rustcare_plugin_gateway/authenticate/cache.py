"""Callers by the SHA-256 of their credential: found without waiting, and dropped at once when they are revoked.

It is bounded. When it is full, the oldest entry that was not used since it was last passed over makes room (the clock
algorithm): a hit then costs one assignment, where keeping the order of use would cost a change of a list. An index from what
can be revoked (account, session, token, key of an issuer) to entries makes a revocation cost what it ends, whatever the size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from itertools import islice
from typing import Literal

from rustcare_sdk.contracts.http import Caller

__all__ = ["Cache", "Entry", "Kind", "digest_of"]

Kind = Literal["token", "key", "session", "certificate"]
Name = tuple[str, ...]

_SWEEP = 2  # of the oldest entries, how many are looked at when one is added: more go than come


def digest_of(credential: str) -> bytes:
    """What a credential is kept under; identity names it by the same in revocations."""
    return sha256(credential.encode("utf-8", "surrogatepass")).digest()


class Entry:
    """A caller until `expires` (Unix seconds). `kind` is that of the credential: the same text as another kind is nobody's.

    `names`: under what it can be revoked, such as `("session", ID)`.
    """

    __slots__ = ("caller", "expires", "kind", "names", "used")

    def __init__(self, kind: Kind, caller: Caller, expires: float, names: tuple[Name, ...]) -> None:
        self.kind = kind
        self.caller = caller
        self.expires = expires
        self.names = names
        self.used = False


class Cache:
    """The entries.

    Args:
        size: how many there are at most.
        clock: Unix seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._size = size
        self._clock = clock
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._names: dict[Name, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, kind: Kind, digest: bytes) -> Caller | None:
        """The caller, if a credential of that kind is known and still good."""
        entry = self._entries.get(digest)
        if entry is None or entry.expires <= self._clock() or entry.kind != kind:
            return None
        entry.used = True
        return entry.caller

    def put(self, digest: bytes, entry: Entry) -> None:
        """Keep a caller."""
        self._drop(digest)
        now = self._clock()
        entries = self._entries
        for oldest in list(islice(entries, _SWEEP)):
            if entries[oldest].expires <= now:
                self._drop(oldest)
        while len(entries) >= self._size:
            oldest, passed = next(iter(entries.items()))
            if passed.used and passed.expires > now:
                passed.used = False
                entries.move_to_end(oldest)
            else:
                self._drop(oldest)
        entries[digest] = entry
        for name in entry.names:
            self._names.setdefault(name, set()).add(digest)

    def _drop(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is None:
            return
        for name in entry.names:
            digests = self._names.get(name)
            if digests is not None:
                digests.discard(digest)
                if not digests:
                    del self._names[name]

    def forget(self, name: Name) -> int:
        """Drop all entries with a name; how many."""
        digests = list(self._names.get(name, ()))
        for digest in digests:
            self._drop(digest)
        return len(digests)

    def forget_credential(self, digest: bytes) -> None:
        """Drop what is kept of one credential."""
        self._drop(digest)

    def clear(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self._names.clear()
