"""How many short codes somebody may type that no device has: ten in ten minutes.

A code has 34 bits and many may wait, so guessing must be slow (RFC 8628, section 5.1). Who guesses is signed in, so it is the
principal that is counted; a guess is counted before it is looked up, so any number of them at once cannot get ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import DeviceTooFast

__all__ = ["FREE", "Guesses"]

#: Wrong codes that are looked up, and the seconds in which they are counted.
FREE, _FORGET = 10, 600.0
_MOST = 10_000  # principals that are remembered


class Guesses:
    """Counts, in memory: what waits under a code lasts no longer either."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._counts: dict[str, tuple[int, float]] = {}  # in the order in which they began

    def __len__(self) -> int:
        return len(self._counts)

    def begin(self, principal: str) -> None:
        """Count a code before it is looked up. Raises DeviceTooFast."""
        now = self._now()
        count, since = self._counts.get(principal, (0, now))
        if now >= since + _FORGET:
            del self._counts[principal]
            count, since = 0, now
        if count >= FREE:
            raise DeviceTooFast("too many codes that no device has", hint="wait ten minutes")
        if principal not in self._counts and len(self._counts) >= _MOST:
            del self._counts[next(iter(self._counts))]
        self._counts[principal] = (count + 1, since)

    def right(self, principal: str) -> None:
        """It was no guess: a device has it."""
        count, since = self._counts.get(principal, (0, 0.0))
        if count > 1:
            self._counts[principal] = (count - 1, since)
        elif count:
            del self._counts[principal]
