"""Rewrap campaigns: everything that was encrypted under a key, brought to its present version, with a proof at the end.

The keyring does not know where ciphertexts lie, so their owner hands them in, page by page in a fixed order, and stores
what comes back in the place of what it handed in. A *pass* is over all of them. A pass that met a ciphertext below the
minimum proves nothing (what came back may never have been stored), so another pass follows. A pass that found every
ciphertext readable and none below is the proof. It says: these many ciphertexts, of which this is the digest, are all at
or above this version. It cannot say that the owner handed in all there are; who has the ciphertexts can recompute it.

`digest`: SHA-256, chained: d = SHA-256(d ‖ 8 bytes length ‖ ciphertext), beginning with 32 zero bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from rustcare_sdk import Database
from rustcare_sdk.contracts.crypto import CampaignProof, CampaignStatus, CipherItem

from . import operations
from .certificates import CAMPAIGN, statement
from .errors import CryptoFailed
from .keyring import INTERNAL, Caller, Key, Keyring
from .refusals import CampaignUnfinished

__all__ = ["Campaign", "Campaigns"]

_CERTIFICATES = f"{INTERNAL}certificates"


class Campaign(Struct, frozen=True):
    """Where a campaign stands. `by`: the plugin that began it; counts are of the pass that is going on."""

    id: str
    tenant: str
    by: str
    key: str
    minimum: int
    begun: str
    passes: int = 1
    page: int = 0
    seen: int = 0
    below: int = 0
    unreadable: int = 0
    digest: bytes = bytes(32)
    finished: bool = False

    def status(self) -> CampaignStatus:
        """As it is told."""
        return CampaignStatus(
            self.id, self.key, self.minimum, self.passes, self.page, self.seen, self.below, self.unreadable
        )

    def next_pass(self) -> Campaign:
        """Everything from the beginning."""
        return replace(self, passes=self.passes + 1, page=0, seen=0, below=0, unreadable=0, digest=bytes(32))


class Campaigns:
    """The campaigns of a keyring; where each stands is durable before it is answered."""

    def __init__(self, keyring: Keyring, db: Database) -> None:
        self._keyring = keyring
        self._db = db

    async def begin(self, caller: Caller, key: Key, id: str) -> Campaign:
        """A campaign to bring everything to the key's primary version."""
        made = Campaign(id, caller.tenant, caller.source, key.record.name, key.record.primary, self._keyring.time())
        await self._db.execute(
            "INSERT INTO campaigns (id, tenant, state) VALUES (?, ?, ?)",
            (made.id, made.tenant, msgspec.json.encode(made).decode()),
        )
        return made

    async def find(self, caller: Caller, id: str) -> Campaign:
        """A campaign that this caller began. Raises CampaignUnfinished."""
        row = await self._db.fetch_one("SELECT state FROM campaigns WHERE id = ? AND tenant = ?", (id, caller.tenant))
        found = None if row is None else msgspec.json.decode(row["state"], type=Campaign)
        if found is None or found.by != caller.source or found.finished:
            raise CampaignUnfinished("there is no such campaign going on", hint="begin another", address="campaign")
        return found

    async def _save(self, campaign: Campaign) -> None:
        await self._db.execute(
            "UPDATE campaigns SET state = ? WHERE id = ?", (msgspec.json.encode(campaign).decode(), campaign.id)
        )

    async def report(
        self, campaign: Campaign, key: Key, page: int, items: Sequence[CipherItem]
    ) -> tuple[list[bytes], Campaign]:
        """Look at a page; what to store instead of each (empty: it may stay), and where the campaign stands then.

        Raises:
            CampaignUnfinished: it is not this page's turn.
        """
        if page != campaign.page:
            raise CampaignUnfinished(
                f"expected page {campaign.page} of pass {campaign.passes}, got page {page}",
                hint="a page counts once; when its answer was lost, finish the pass and begin anew from page 0",
                address=f"campaign={campaign.id}",
            )
        digest, below, unreadable = campaign.digest, 0, 0
        rewrapped: list[bytes] = []
        for item in items:
            digest = sha256(digest + len(item.ciphertext).to_bytes(8, "big") + item.ciphertext).digest()
            try:
                version = operations.split(item.ciphertext)[0]
                if version < campaign.minimum:
                    rewrapped.append(operations.rewrap(key, item))
                    below += 1
                else:
                    operations.decrypt(key, item)  # a header alone can say anything
                    rewrapped.append(b"")
            except CryptoFailed:
                rewrapped.append(b"")
                unreadable += 1
        moved = replace(
            campaign,
            page=campaign.page + 1,
            seen=campaign.seen + len(items),
            below=campaign.below + below,
            unreadable=campaign.unreadable + unreadable,
            digest=digest,
        )
        await self._save(moved)
        return rewrapped, moved

    async def finish(self, campaign: Campaign) -> CampaignProof:
        """The proof, when this pass is one; else another pass begins.

        Raises:
            CampaignUnfinished: this pass met ciphertexts below the minimum, or unreadable ones.
        """
        if campaign.below or campaign.unreadable:
            await self._save(campaign.next_pass())
            raise CampaignUnfinished(
                f"of {campaign.seen} ciphertexts {campaign.below} were below version {campaign.minimum} and"
                f" {campaign.unreadable} not readable in pass {campaign.passes}",
                hint="store what was rewrapped, mend or delete what is not readable, and hand in everything from page 0",
                address=f"campaign={campaign.id}",
            )
        signer = await self._keyring.key(self._keyring.itself, _CERTIFICATES)
        digest = campaign.digest.hex()
        proof = statement(
            signer,
            CAMPAIGN,
            {
                "v": 1,
                "campaign": campaign.id,
                "tenant": campaign.tenant,
                "key": campaign.key,
                "minimum": campaign.minimum,
                "count": campaign.seen,
                "below": 0,
                "digest": digest,
                "passes": campaign.passes,
                "begun": campaign.begun,
                "finished": self._keyring.time(),
                "plugin": campaign.by,
            },
        )
        await self._save(replace(campaign, finished=True))
        return CampaignProof(proof, campaign.seen, campaign.minimum, digest)
