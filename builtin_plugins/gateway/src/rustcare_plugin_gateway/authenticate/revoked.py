"""What was revoked, for as long as it matters: asked when a credential is met for the first time, or was under way meanwhile.

A revocation is kept until nothing that it ended could be valid by its own time. There is room for so many; when there are
more, what does not fit is not forgotten but made wider: every token that was issued up to then is refused until the last of
what was dropped has passed. Access tokens live for minutes, so that is what it costs, and only under an attack.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.contracts.identity import Revocation

__all__ = ["Revoked", "account_name"]

Name = tuple[str, ...]

#: Seconds for which a revocation is kept that does not say for how long it matters.
_UNSAID = 86_400.0


class _Row:
    """One thing that was revoked: tokens issued before `before` are not valid; `turn` is when we heard of it."""

    __slots__ = ("before", "turn", "until")

    def __init__(self, before: float, until: float, turn: int) -> None:
        self.before = before
        self.until = until
        self.turn = turn


class Revoked:
    """The list. `turn` counts what was noted: whoever waits for an answer remembers it, and asks what came since.

    Args:
        size: how many are kept at most.
        clock: Unix seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._size = size
        self._clock = clock
        self._rows: dict[Name, _Row] = {}
        self._ends: list[tuple[float, Name]] = []
        self._floor = 0.0
        self._floor_until = 0.0
        self._floor_turn = 0
        self.turn = 0

    def __len__(self) -> int:
        return len(self._rows)

    def note(self, revocation: Revocation) -> Name:
        """Write one down. The name of the entries that are to be dropped; `("credential", hex)` is one credential."""
        name = name_of(revocation)
        self.turn += 1
        now = self._clock()
        until = revocation.until or now + _UNSAID
        row = self._rows.get(name)
        if row is not None:
            row.before = max(row.before, revocation.before)
            row.turn = self.turn
            if until > row.until:
                row.until = until
                heapq.heappush(self._ends, (row.until, name))
        else:
            self._rows[name] = _Row(revocation.before, until, self.turn)
            heapq.heappush(self._ends, (until, name))
        self.purge(now)
        while len(self._rows) > self._size:
            self._widen(now)
        if len(self._ends) > 2 * self._size:
            self._ends = [(row.until, name) for name, row in self._rows.items()]
            heapq.heapify(self._ends)
        return name

    def purge(self, now: float) -> None:
        """Drop what does not matter any more."""
        while self._ends and self._ends[0][0] <= now:
            _, name = heapq.heappop(self._ends)
            row = self._rows.get(name)
            if row is not None and row.until <= now:
                del self._rows[name]

    def _widen(self, now: float) -> None:
        _, name = heapq.heappop(self._ends)
        row = self._rows.get(name)
        if row is None:
            return
        del self._rows[name]
        self._floor_until = max(self._floor_until, row.until)
        # Not below `before`: an account's tokens up to then are dead, be it ahead of this clock.
        self._floor = max(self._floor, now + 1.0, row.before)
        self._floor_turn = max(self._floor_turn, row.turn)

    def covers_token(self, caller: Caller, jti: str, issued: float) -> bool:
        """Whether a token of identity's was revoked. `issued`: its `iat`."""
        if self._floor_until and issued < self._floor and self._clock() < self._floor_until:
            return True
        rows = self._rows
        if jti and ("token", jti) in rows:
            return True
        if caller.session and ("session", caller.session) in rows:
            return True
        row = rows.get(account_name(caller))
        return row is not None and issued < row.before

    def since(self, turn: int, caller: Caller, digest: bytes) -> bool:
        """Whether anything of this credential was noted after a turn, so that an answer from before it says nothing."""
        if self.turn == turn:
            return False
        if self._floor_turn > turn:
            return True
        names: list[Name] = [("credential", digest.hex()), account_name(caller)]
        if caller.session:
            names.append(("session", caller.session))
        return any(row is not None and row.turn > turn for row in map(self._rows.get, names))


def name_of(revocation: Revocation) -> Name:
    """Under which name entries are found that a revocation ends."""
    if revocation.kind == "account":
        return ("account", revocation.tenant, revocation.id)
    return ("credential" if revocation.kind == "key" else revocation.kind, revocation.id)


def account_name(caller: Caller) -> Name:
    """The account of a caller's principal."""
    return ("account", caller.tenant, caller.principal.partition("/")[2])
