"""Services that sign, and that make search tokens."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from .base import Services, check_items

__all__ = ["SigningServices"]

_TOKEN = 16  # bytes


class SigningServices(Services):
    """Sign and token."""

    @serve(crypto.SIGN)
    async def sign(self, message: Message[crypto.SignRequest]) -> crypto.SignReply:
        """A signature for each."""
        asked = message.data
        check_items(len(asked.data), crypto.SIGN)
        key = await self.usable(message, asked.key, "signature")
        version = key.record.for_new_work(asked.version)
        signer = key.prepared(version, asked.context)
        return crypto.SignReply([signer.sign(data) for data in asked.data], version, key.record.algorithm)

    @serve(crypto.TOKEN)
    async def token(self, message: Message[crypto.TokenRequest]) -> crypto.TokenReply:
        """Search tokens."""
        asked = message.data
        check_items(len(asked.values), crypto.TOKEN)
        key = await self.usable(message, asked.key, "mac")
        versions = key.record.usable() if asked.all_versions else [key.record.primary]
        macs = [key.prepared(version) for version in versions]
        return crypto.TokenReply([[mac.sign(value)[:_TOKEN].hex() for mac in macs] for value in asked.values])
