"""What the double of the kernel writes down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustcare_sdk.capability import Capability

__all__ = ["LogEntry", "Use"]


@dataclass(frozen=True)
class Use:
    """One use of a capability: what, on what, for which tenant, and whether it was allowed."""

    action: str
    scope: str
    tenant: str
    allowed: bool

    @property
    def capability(self) -> Capability:
        """The use as the narrowest capability that would allow it."""
        kind, _, action = self.action.partition(":")
        return Capability(kind, action, self.scope)

    def __str__(self) -> str:
        return str(self.capability)


@dataclass(frozen=True)
class LogEntry:
    """One line of the plugin's log."""

    level: str
    event: str
    fields: dict[str, Any]
