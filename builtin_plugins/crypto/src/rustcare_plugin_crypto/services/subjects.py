"""Services of subjects' keys."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from rustcare_plugin_crypto.keyring import Caller
from rustcare_plugin_crypto.refusals import InvalidRequest

from .base import Services, check_items

__all__ = ["SubjectServices"]

_MAX_REASON = 1000


class SubjectServices(Services):
    """Seal, open, name, destroy."""

    @serve(crypto.SUBJECT_SEAL)
    async def subject_seal(self, message: Message[crypto.SealRequest]) -> crypto.SealReply:
        """Encrypt under the keys of subjects; new ones get theirs, all in one durable write."""
        check_items(len(message.data.items), crypto.SUBJECT_SEAL)
        sealed, pseudonyms = await self.subjects.seal(Caller.of(message), message.data.items)
        return crypto.SealReply(sealed, pseudonyms)

    @serve(crypto.SUBJECT_OPEN)
    async def subject_open(self, message: Message[crypto.OpenRequest]) -> crypto.OpenReply:
        """Decrypt what was sealed."""
        check_items(len(message.data.items), crypto.SUBJECT_OPEN)
        return crypto.OpenReply(await self.subjects.unseal(Caller.of(message), message.data.items))

    @serve(crypto.SUBJECT_PSEUDONYM)
    async def subject_pseudonym(self, message: Message[crypto.PseudonymRequest]) -> crypto.PseudonymReply:
        """The pseudonyms of subjects that have keys."""
        check_items(len(message.data.subjects), crypto.SUBJECT_PSEUDONYM)
        asked = message.data
        return crypto.PseudonymReply(await self.subjects.pseudonyms(Caller.of(message), asked.subjects, asked.tenant))

    @serve(crypto.SUBJECT_SHRED)
    async def subject_shred(self, message: Message[crypto.ShredRequest]) -> crypto.ShredReply:
        """Destroy a subject's key, then tell."""
        asked = message.data
        if not 0 < len(asked.reason) <= _MAX_REASON:
            raise InvalidRequest(
                f"expected a reason of 1 to {_MAX_REASON} characters, got {len(asked.reason)}",
                hint="it stands in the certificate: no personal data",
                address=f"{crypto.SUBJECT_SHRED}:reason",
            )
        reply = await self.subjects.shred(
            Caller.of(message), asked.subject, asked.tenant, asked.reason, message.principal
        )
        await self.tell_shredded(reply)
        return reply

    async def tell_shredded(self, reply: crypto.ShredReply) -> None:
        """Publish the event of a destroyed key, and remember that it was."""
        await self.ctx.publish(crypto.SHREDDED, reply)
        await self.subjects.told(reply)
