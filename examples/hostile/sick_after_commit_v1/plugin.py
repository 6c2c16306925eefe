"""Version 1 behaves."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Message, Plugin, serve


class SickAfterCommit(Plugin):
    """Counts messages, and hands its count over."""

    def __init__(self) -> None:
        self.handled = 0

    @serve("hostile.sick-after-commit")
    async def count(self, message: Message[Any]) -> int:
        """How many messages it has handled."""
        self.handled += 1
        return self.handled

    async def export_state(self) -> int:
        return self.handled

    async def import_state(self, state: int) -> None:
        self.handled = state
