"""Whether every revocation up to now was heard of: by their revisions, which have no gaps."""

from __future__ import annotations

__all__ = ["Revisions"]

_MAX_AHEAD = 10_000


class Revisions:
    """Counts revisions. `behind`: some are missing, and nothing that they might have ended may be accepted."""

    def __init__(self) -> None:
        self.known = 0
        self.behind = True
        self._answered = False  # until the first answer nothing is known
        self._ahead: set[int] = set()
        self._asked: frozenset[int] = frozenset()

    def ask(self) -> int:
        """After which one to ask. What was heard up to now is in the answer."""
        self._asked = frozenset(self._ahead)
        return self.known

    def heard(self, revision: int) -> None:
        """An event came. They may overtake each other, and old ones may be told again."""
        if revision <= self.known:
            return
        if len(self._ahead) < _MAX_AHEAD:
            self._ahead.add(revision)
        self._close_up()

    def answered(self, revision: int) -> None:
        """All up to this one were told in an answer. What came ahead of it since the question may still leave a gap.

        An answer that is behind what was known, or heard before the question, is of a store that was put back to an earlier
        state: it counts from there.
        """
        self._answered = True
        self.known = revision
        self._ahead = {one for one in self._ahead if one > revision and one not in self._asked}
        self._close_up()

    def _close_up(self) -> None:
        while self.known + 1 in self._ahead:
            self.known += 1
            self._ahead.discard(self.known)
        self.behind = not self._answered or bool(self._ahead)
