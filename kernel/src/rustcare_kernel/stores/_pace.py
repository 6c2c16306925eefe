"""Which statements are quick enough to run right in the event loop's thread.

A hop to another thread and back costs more than a small statement does, and under load, when two threads want the
interpreter, hundreds of times more. So a statement that has shown to be quick runs in place, and everything else in a
thread: what is new, and what took long lately.
"""

from __future__ import annotations

__all__ = ["Pace"]

_QUICK = 0.000_5  # seconds of processor time in a thread that count as quick
_LONG = 0.003  # seconds of it in the event loop that send a statement back to the thread
_TURN = 0.003  # seconds of it in the event loop, over all statements, until the others there get their turn
_PENANCE = 16  # quick runs in a thread after a long one
_REMEMBERED = 2048


class Pace:
    """Remembers for each SQL text how many quick runs in a thread it still owes before it may run in place.

    All times are the thread's own processor time: that the interpreter or the processor was taken is no statement's fault.
    """

    def __init__(self) -> None:
        self._owed: dict[str, int] = {}
        self._spent = 0.0

    def is_quick(self, sql: str) -> bool:
        return self._owed.get(sql, 1) == 0

    def was_long(self, sql: str) -> bool:
        """Whether it took long lately; what was never seen did not."""
        return self._owed.get(sql, 0) > 0

    def ran_in_thread(self, sql: str, seconds: float) -> None:
        """Note a run in a thread."""
        owed = self._owed.get(sql, 1)
        if len(self._owed) >= _REMEMBERED and sql not in self._owed:
            self._owed.clear()  # SQL that is never the same twice; forgetting costs each text one run in the thread
        self._owed[sql] = _PENANCE if seconds > _QUICK else max(0, owed - 1)

    def ran_in_place(self, sql: str, seconds: float) -> None:
        """Note a run in the event loop's thread."""
        self._spent += seconds
        if seconds > _LONG:
            self._owed[sql] = _PENANCE

    def is_due(self) -> bool:
        """Whether the event loop should have its turn now: a call that ran in place never gave it one."""
        if self._spent < _TURN:
            return False
        self._spent = 0.0
        return True
