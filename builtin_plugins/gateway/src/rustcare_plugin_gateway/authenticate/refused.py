"""Tokens that were refused a moment ago: refused again without being verified again. Two generations, so it is bounded."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import msgspec

__all__ = ["Refusal", "Refused"]


class Refusal(msgspec.Struct, frozen=True):
    """Why, and until when (Unix seconds) that will not change."""

    text: str
    until: float


class Refused:
    """What was refused.

    Args:
        size: how many are kept at most.
        clock: Unix seconds.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self._half = max(1, size // 2)
        self._clock = clock
        self._young: dict[Hashable, Refusal] = {}
        self._old: dict[Hashable, Refusal] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: Hashable) -> Refusal | None:
        """Why it was refused, if that still holds."""
        found = self._young.get(key) or self._old.get(key)
        return found if found is not None and found.until > self._clock() else None

    def put(self, key: Hashable, text: str, keep: float) -> None:
        """Keep a refusal for some seconds."""
        if keep <= 0:
            return
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = Refusal(text, self._clock() + keep)

    def clear(self) -> None:
        """Forget all: there are other keys now."""
        self._young, self._old = {}, {}
