"""The service that says, after a crash, which recorded changes happened."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto
from rustcare_sdk.contracts.audit import EffectsReply, EffectsRequest

from rustcare_plugin_crypto.keyring import effects_among, forget_effects

from .base import Services

__all__ = ["WRITES", "EffectServices"]

#: Services whose effects are noted with the id under which they are on record.
WRITES = (
    crypto.KEY_CREATE,
    crypto.KEY_ROTATE,
    crypto.KEY_CONFIGURE,
    crypto.KEY_STATE,
    crypto.KEY_DESTROY,
    crypto.KEY_TRIM,
    crypto.KEY_IMPORT,
    crypto.KEY_RESTORE,
    crypto.ROOT_ROTATE,
    crypto.SUBJECT_SHRED,
)


class EffectServices(Services):
    """Tells what happened."""

    started: str

    @serve(crypto.EFFECTS)
    async def effects(self, message: Message[EffectsRequest]) -> EffectsReply:
        """Which recorded attempts to change something took effect, for the kernel after a crash."""
        if message.data.forget:
            await forget_effects(self.ctx.db, self.started)
            return EffectsReply()
        return EffectsReply(list(WRITES), await effects_among(self.ctx.db, message.data.attempts))
