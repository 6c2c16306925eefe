"""Version 2 starts and is healthy, and fails when the state of version 1 is handed to it."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Message, Plugin, serve


class TrapInHandover(Plugin):
    """Takes nothing over."""

    @serve("hostile.trap-in-handover")
    async def count(self, message: Message[Any]) -> int:
        """Never reached."""
        return 0

    async def import_state(self, state: int) -> None:
        raise ArithmeticError("made to fail while it takes over")
