"""The plugin: opens the keyring at the start, closes it at the end; its services are in `services`."""

from __future__ import annotations

from rustcare_sdk import Health
from rustcare_sdk.contracts import crypto

from .algorithms import Policy
from .algorithms.passwords import Passwords
from .campaigns import Campaigns
from .custody import Custody
from .keyring import Key, Keyring
from .schedule import Schedule
from .services.campaigns import CampaignServices
from .services.custody import CustodyServices
from .services.effects import EffectServices
from .services.encryption import EncryptionServices
from .services.exchange import ExchangeServices
from .services.signing import SigningServices
from .services.subjects import SubjectServices
from .services.transit import TransitServices
from .streams import Streams
from .subjects import Subjects
from .transit import Transit
from .transit.data import Data
from .transit.keys import Keys

__all__ = ["Crypto"]


class Crypto(
    CustodyServices,
    EncryptionServices,
    SigningServices,
    ExchangeServices,
    SubjectServices,
    CampaignServices,
    TransitServices,
    EffectServices,
):
    """Keys that never leave, and what is done with them: a keyring and its operations as services on the bus."""

    state_version = 1
    schedule: Schedule | None = None

    async def start(self) -> None:
        """Unseal. A root that does not fit is an error, and changes nothing."""
        config = self.ctx.config
        self.policy = Policy(config.get("policy", "default"))
        self.keyring = Keyring(
            self.ctx.db, self.ctx.secrets, self.ctx.log, self.policy, self.ctx.now, self.ctx.plugin.id
        )
        self.started = self.keyring.time()
        await self.keyring.open(config.get("root", {}))
        self.subjects = Subjects(self.keyring, int(config.get("subjects", {}).get("cache", 10_000)))
        await self.subjects.open()
        self.custody = Custody(self.keyring)
        self.campaigns = Campaigns(self.keyring, self.ctx.db)
        self.transit = Transit(Data(self.keyring, self.policy, self.ctx.random), Keys(self.keyring, self.custody))
        self.streams = Streams(int(config.get("streams", 256)), self.ctx.random)
        workers = config.get("passwords", {})
        self.passwords = Passwords(
            self.policy,
            int(workers.get("workers", 2)),
            int(workers.get("waiting", 32)),
            int(workers.get("niceness", 10)),
        )
        self.schedule = Schedule(self.keyring, self.ctx.now, self._rotated, self.ctx.log)
        self.ctx.spawn(self._finish_destructions(), name="destructions")
        self.ctx.spawn(self.schedule.run(), name="schedule")

    async def _finish_destructions(self) -> None:
        """What a process that was killed may have left: destroyed keys in the log's file, certificates nobody heard of."""
        await self.keyring.store.scrub()
        for reply in await self.subjects.untold():
            await self.tell_shredded(reply)

    async def _rotated(self, key: Key) -> None:
        await self.ctx.publish(crypto.ROTATED, key.record.info())

    def reschedule(self) -> None:
        """A key's next rotation may have changed."""
        if self.schedule is not None:
            self.schedule.changed()

    async def stop(self) -> None:
        """Forget every key."""
        for name in ("passwords", "streams", "subjects", "keyring"):
            part = getattr(self, name, None)
            if part is not None:
                part.close()

    async def health(self) -> Health:
        """Whether the keyring is open, and nothing destroyed waits to be scrubbed."""
        row = self.keyring.row
        waiting = self.keyring.store.unscrubbed
        return Health(
            reason="destroyed keys may still be in the database's log" if waiting else "",
            details={"keyring": row.id, "policy": self.policy.name, "unscrubbed": waiting},
        )
