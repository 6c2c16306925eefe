"""The states of a plugin's life and the steps between them. Nothing else decides whether a step is allowed.

INSTALLED → VERIFIED → RESOLVED → CONSENTED → STARTING → ACTIVE → DRAINING → STOPPED → REMOVED
STARTING → RETRY (backoff) | FAILED        ACTIVE ↔ DEGRADED → QUARANTINED (trap budget spent)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

from .errors import StateForbids

__all__ = ["ALLOWED", "Machine", "State"]


class State(StrEnum):
    """Where a plugin is in its life."""

    INSTALLED = "installed"  # in the catalog
    VERIFIED = "verified"  # the stored bytes are those of the digest
    RESOLVED = "resolved"  # what it requires is provided
    CONSENTED = "consented"  # every required capability is granted to this digest
    STARTING = "starting"
    RETRY = "retry"  # the start failed in a way that may pass; the next try is due
    FAILED = "failed"  # the start failed for good, until an operator acts
    ACTIVE = "active"
    DEGRADED = "degraded"  # it runs, but says it is not well, or what it requires is gone
    QUARANTINED = "quarantined"  # it trapped too often; it stays out until an operator enables it
    DRAINING = "draining"
    STOPPED = "stopped"
    REMOVED = "removed"


_S = State

#: From each state, the states that may follow. Every state but REMOVED may also fall back to STOPPED or INSTALLED by the
#: routes below only: there are no hidden ones.
ALLOWED: dict[State, frozenset[State]] = {
    _S.INSTALLED: frozenset({_S.VERIFIED, _S.FAILED, _S.STOPPED, _S.REMOVED}),
    _S.VERIFIED: frozenset({_S.RESOLVED, _S.FAILED, _S.STOPPED, _S.REMOVED}),
    _S.RESOLVED: frozenset({_S.CONSENTED, _S.VERIFIED, _S.STOPPED, _S.REMOVED}),
    _S.CONSENTED: frozenset({_S.STARTING, _S.RESOLVED, _S.STOPPED, _S.REMOVED}),
    _S.STARTING: frozenset({_S.ACTIVE, _S.RETRY, _S.FAILED, _S.QUARANTINED, _S.STOPPED}),
    _S.RETRY: frozenset({_S.STARTING, _S.FAILED, _S.STOPPED, _S.REMOVED}),
    _S.FAILED: frozenset({_S.INSTALLED, _S.STOPPED, _S.REMOVED}),
    _S.ACTIVE: frozenset({_S.DEGRADED, _S.DRAINING, _S.QUARANTINED}),
    _S.DEGRADED: frozenset({_S.ACTIVE, _S.DRAINING, _S.QUARANTINED}),
    _S.QUARANTINED: frozenset({_S.INSTALLED, _S.STOPPED, _S.REMOVED}),
    _S.DRAINING: frozenset({_S.STOPPED, _S.ACTIVE, _S.DEGRADED, _S.QUARANTINED}),
    _S.STOPPED: frozenset({_S.INSTALLED, _S.REMOVED}),
    _S.REMOVED: frozenset(),
}

#: The states in which a plugin handles messages.
SERVING = frozenset({_S.ACTIVE, _S.DEGRADED})


class Machine:
    """One plugin's state. `changed(old, new, reason)` is told of every step."""

    __slots__ = ("_changed", "plugin", "reason", "since", "state")

    def __init__(
        self, plugin: str, changed: Callable[[State, State, str], None], state: State = State.INSTALLED
    ) -> None:
        self.plugin = plugin
        self.state = state
        self.reason = ""
        self.since = time.time()
        self._changed = changed

    def to(self, state: State, reason: str = "") -> None:
        """Step to another state. Raises StateForbids when the step is not in `ALLOWED`."""
        if state not in ALLOWED[self.state]:
            allowed = ", ".join(sorted(ALLOWED[self.state])) or "nothing"
            raise StateForbids(
                f"{self.plugin} is {self.state} and cannot become {state}; from here it can become {allowed}",
                hint="see the lifecycle in the reference",
            )
        old, self.state, self.reason, self.since = self.state, state, reason, time.time()
        self._changed(old, state, reason)

    @property
    def serving(self) -> bool:
        """Whether it handles messages now."""
        return self.state in SERVING
