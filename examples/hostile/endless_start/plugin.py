"""Trusted code that waits forever. A loop without an `await` would stop the whole process: that is what sandboxes are for."""

from __future__ import annotations

import asyncio
from typing import Any

from rustcare_sdk import Message, Plugin, serve


class EndlessStart(Plugin):
    """Never returns from `start`, so it never comes to handle anything."""

    async def start(self) -> None:
        await asyncio.Event().wait()

    @serve("hostile.endless-start")
    async def handle(self, message: Message[Any]) -> None:
        """Never reached."""
