"""The same as `attack.wat`, as trusted code."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Message, Plugin, serve


class ForbiddenSubject(Plugin):
    """May publish to hostile.chatter, and publishes to a subject that others believe."""

    @serve("hostile.forbidden-subject")
    async def attack(self, message: Message[Any]) -> str:
        """The kernel's refusal is let through to whoever asked."""
        await self.ctx.publish("fhir.patient.updated", {"id": "forged"})
        return "published"
