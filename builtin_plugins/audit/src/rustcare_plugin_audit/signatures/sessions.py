"""Series of signings in one continuous period of controlled access (21 CFR 11.200(a)(1)).

The first signing takes all components, those that follow at least one. What is remembered is only in memory: after a restart,
a hand-over to another version, or a pause that is too long, all components are asked for again.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta

__all__ = ["Sessions"]

KEPT = 10_000


class Sessions:
    """Who may sign with one component. `pause`: how long after a signing the next one may follow."""

    def __init__(self, pause: timedelta) -> None:
        self._pause = pause
        self._last: OrderedDict[tuple[str, str, str], datetime] = OrderedDict()

    def continues(self, tenant: str, principal: str, session: str, now: datetime) -> bool:
        """Whether a signing now follows one of the same person in the same session."""
        if not session:
            return False
        last = self._last.get((tenant, principal, session))
        return last is not None and timedelta(0) <= now - last <= self._pause

    def signed(self, tenant: str, principal: str, session: str, now: datetime) -> None:
        """A signing was put on record."""
        if session:
            self._last[tenant, principal, session] = now
            self._last.move_to_end((tenant, principal, session))
            while len(self._last) > KEPT:
                self._last.popitem(last=False)

    def end(self, tenant: str, principal: str, session: str) -> None:
        """A signing was refused: the series is over."""
        self._last.pop((tenant, principal, session), None)
