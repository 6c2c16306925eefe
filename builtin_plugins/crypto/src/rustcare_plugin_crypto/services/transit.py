"""The service through which a gateway mounts the transit API."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from rustcare_plugin_crypto.keyring import Caller
from rustcare_plugin_crypto.transit import Transit

from .base import Services

__all__ = ["TransitServices"]


class TransitServices(Services):
    """Answers HTTP requests that somebody else received."""

    transit: Transit

    @serve(crypto.TRANSIT)
    async def transit_request(self, message: Message[crypto.TransitRequest]) -> crypto.TransitReply:
        """Answer one."""
        asked = message.data
        handle = self.transit.handler(Caller.of(message))
        return crypto.TransitReply(*await handle(asked.method, asked.path, asked.body))
