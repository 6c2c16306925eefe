"""Services of rewrap campaigns."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from rustcare_plugin_crypto.campaigns import Campaigns
from rustcare_plugin_crypto.keyring import Caller

from .base import Services, check_items

__all__ = ["CampaignServices"]


class CampaignServices(Services):
    """Begin, report, finish."""

    campaigns: Campaigns

    @serve(crypto.CAMPAIGN_BEGIN)
    async def campaign_begin(self, message: Message[crypto.CampaignBeginRequest]) -> crypto.CampaignStatus:
        """Begin to bring everything to a key's primary version."""
        key = await self.usable(message, message.data.key, "aead")
        return (await self.campaigns.begin(Caller.of(message), key, self.ctx.random(16).hex())).status()

    @serve(crypto.CAMPAIGN_REPORT)
    async def campaign_report(self, message: Message[crypto.CampaignReportRequest]) -> crypto.CampaignReportReply:
        """Look at the next page of ciphertexts."""
        asked = message.data
        check_items(len(asked.items), crypto.CAMPAIGN_REPORT)
        campaign = await self.campaigns.find(Caller.of(message), asked.campaign)
        key = await self.usable(message, campaign.key, "aead")
        rewrapped, moved = await self.campaigns.report(campaign, key, asked.page, asked.items)
        return crypto.CampaignReportReply(rewrapped, moved.status())

    @serve(crypto.CAMPAIGN_FINISH)
    async def campaign_finish(self, message: Message[crypto.CampaignFinishRequest]) -> crypto.CampaignProof:
        """The proof, or another pass."""
        caller = Caller.of(message)
        campaign = await self.campaigns.find(caller, message.data.campaign)
        if message.data.raise_minimum:
            await self.keyring.managed(caller, campaign.key)
        proof = await self.campaigns.finish(campaign)
        if message.data.raise_minimum:
            await self.keyring.change(
                caller,
                campaign.key,
                lambda record: record.with_minimum(max(proof.minimum, record.min_decryption_version)),
            )
        return proof
