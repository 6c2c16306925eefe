"""Version 2 is well when it is asked before the commit (after its start, and with the state taken over), then it is not."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Health, Message, Plugin, serve


class SickAfterCommit(Plugin):
    """Counts messages, and hands its count over."""

    def __init__(self) -> None:
        self.handled = 0
        self.asked = 0

    @serve("hostile.sick-after-commit")
    async def count(self, message: Message[Any]) -> int:
        """How many messages it has handled."""
        self.handled += 1
        return self.handled

    async def export_state(self) -> int:
        return self.handled

    async def import_state(self, state: int) -> None:
        self.handled = state

    async def health(self) -> Health:
        self.asked += 1
        return Health(self.asked <= 2, "" if self.asked <= 2 else "made to be ill once it is committed")
