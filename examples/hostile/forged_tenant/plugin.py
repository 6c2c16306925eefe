"""The same as `attack.wat`, as trusted code: through everything that the SDK offers."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.message import Call

TRACE = "00-11111111111111111111111111111111-2222222222222222-01"


class ForgedTenant(Plugin):
    """Publishes what it may, and claims in every place it can write to that somebody else does."""

    @serve("hostile.forged-tenant")
    async def attack(self, message: Message[Any]) -> str:
        """Rewrite the message it handles, publish a message it made itself, and claim in headers and data."""
        forged = Call("victim", "administrator", TRACE)
        for target, name, value in ((message, "call", forged), (message.call, "tenant", "victim")):
            try:
                setattr(target, name, value)
            except AttributeError:
                continue  # messages are frozen
        claims = {"tenant": "victim", "principal": "administrator", "source": "kernel", "traceparent": TRACE}
        await self.ctx.publish(
            "hostile.claim", Message("hostile.claim", claims, "kernel", forged, headers=claims), headers=claims
        )
        return "claimed"
