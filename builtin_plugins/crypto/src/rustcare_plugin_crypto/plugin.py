"""The plugin: opens the keyring at the start, closes it at the end; its services are in `services`."""

from __future__ import annotations

from rustcare_sdk import Health

from .algorithms import Policy
from .keyring import Keyring
from .services.keys import KeyServices
from .services.operations import SigningServices
from .services.subjects import SubjectServices
from .subjects import Subjects

__all__ = ["Crypto"]


class Crypto(KeyServices, SubjectServices, SigningServices):
    """Keys that never leave, and what is done with them: a keyring and its operations as services on the bus."""

    state_version = 1

    async def start(self) -> None:
        """Unseal. A root that does not fit is an error, and changes nothing."""
        config = self.ctx.config
        self.policy = Policy(config.get("policy", "default"))
        self.keyring = Keyring(
            self.ctx.db, self.ctx.secrets, self.ctx.log, self.policy, self.ctx.now, self.ctx.plugin.id
        )
        await self.keyring.open(config.get("root", {}))
        self.subjects = Subjects(self.keyring, int(config.get("subjects", {}).get("cache", 10_000)))
        await self.subjects.open()
        self.ctx.spawn(self._tell_the_untold(), name="certificates")

    async def _tell_the_untold(self) -> None:
        for reply in await self.subjects.untold():
            await self.keyring.store.scrub()
            await self.tell_shredded(reply)

    async def stop(self) -> None:
        """Forget every key."""
        if hasattr(self, "subjects"):
            self.subjects.close()
        if hasattr(self, "keyring"):
            self.keyring.close()

    async def health(self) -> Health:
        """Whether the keyring is open, and nothing destroyed waits to be scrubbed."""
        row = self.keyring.row
        waiting = self.keyring.store.unscrubbed
        return Health(
            reason="destroyed keys may still be in the database's log" if waiting else "",
            details={"keyring": row.id, "policy": self.policy.name, "unscrubbed": waiting},
        )
