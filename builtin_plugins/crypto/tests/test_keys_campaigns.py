"""Rewrap campaigns end with a proof, and only with a true one."""

from __future__ import annotations

import base64
import json
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rustcare_kernel import Kernel
from rustcare_sdk import RustCareError
from rustcare_sdk.contracts import crypto as c


async def report(kernel: Kernel, campaign: str, page: int, stored: list[bytes]) -> c.CampaignReportReply:
    """Hand a page in."""
    request = c.CampaignReportRequest(campaign, page, [c.CipherItem(one) for one in stored])
    reply: c.CampaignReportReply = await kernel.request(c.CAMPAIGN_REPORT, request, type=c.CampaignReportReply)
    return reply


async def prepared(kernel: Kernel) -> list[bytes]:
    """Ciphertexts under two versions of a key."""
    await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm"))
    items = [c.PlainItem(bytes([number])) for number in range(10)]
    old = (await kernel.request(c.ENCRYPT, c.EncryptRequest("k", items), type=c.EncryptReply)).ciphertexts
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
    request = c.EncryptRequest("k", items[:5], text=True)
    return list(old + (await kernel.request(c.ENCRYPT, request, type=c.EncryptReply)).ciphertexts)


async def test_a_campaign_ends_with_a_proof_after_which_the_old_version_can_go(kernel: Kernel) -> None:
    """Pass 1 rewraps, pass 2 finds nothing below: the proof has count, minimum and the digest of what is stored."""
    stored = await prepared(kernel)
    begun = await kernel.request(c.CAMPAIGN_BEGIN, c.CampaignBeginRequest("k"), type=c.CampaignStatus)
    assert begun.minimum == 2
    finish = c.CampaignFinishRequest(begun.campaign, raise_minimum=True)
    for page in range(3):
        part = stored[page * 5 : page * 5 + 5]
        reply = await report(kernel, begun.campaign, page, part)
        stored[page * 5 : page * 5 + 5] = [new or one for new, one in zip(reply.rewrapped, part, strict=True)]
    assert (reply.status.seen, reply.status.below) == (15, 10)
    with pytest.raises(RustCareError) as caught:
        await kernel.request(c.CAMPAIGN_FINISH, finish)
    assert caught.value.code == "crypto.campaign-unfinished"
    for page in range(3):
        reply = await report(kernel, begun.campaign, page, stored[page * 5 : page * 5 + 5])
        assert reply.rewrapped == [b""] * 5
    proof = await kernel.request(c.CAMPAIGN_FINISH, finish, type=c.CampaignProof)
    digest = bytes(32)
    for one in stored:
        digest = sha256(digest + len(one).to_bytes(8, "big") + one).digest()
    assert (proof.seen, proof.minimum, proof.digest) == (15, 2, digest.hex())
    envelope = json.loads(proof.proof)
    payload = base64.b64decode(envelope["payload"])
    assert {"count": 15, "minimum": 2, "below": 0, "digest": digest.hex()}.items() <= json.loads(payload).items()
    public = await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest("crypto-certificates"), type=c.KeyPublicReply)
    kind = envelope["payloadType"].encode()
    covered = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    Ed25519PublicKey.from_public_bytes(public.raw).verify(signature, covered)
    info = await kernel.request(c.KEY_TRIM, c.KeyTrimRequest("k", 2), type=c.KeyInfo)
    assert [version.state for version in info.versions] == ["destroyed", "primary"]


async def test_no_proof_while_something_is_unreadable_or_lies_about_its_version(kernel: Kernel) -> None:
    """A ciphertext that does not open counts as unreadable, whatever version it claims; the pass then proves nothing."""
    stored = await prepared(kernel)
    begun = await kernel.request(c.CAMPAIGN_BEGIN, c.CampaignBeginRequest("k"), type=c.CampaignStatus)
    liar = stored[0][:1] + (2).to_bytes(4, "big") + stored[0][5:]
    reply = await report(kernel, begun.campaign, 0, [liar, b"garbage"])
    assert (reply.status.below, reply.status.unreadable) == (0, 2)
    with pytest.raises(RustCareError) as caught:
        await kernel.request(c.CAMPAIGN_FINISH, c.CampaignFinishRequest(begun.campaign))
    assert caught.value.code == "crypto.campaign-unfinished"


async def test_pages_come_once_and_in_order(kernel: Kernel) -> None:
    """A page out of turn, a campaign of another tenant, and one that is over are refused."""
    await prepared(kernel)
    begun = await kernel.request(c.CAMPAIGN_BEGIN, c.CampaignBeginRequest("k"), type=c.CampaignStatus)
    await report(kernel, begun.campaign, 0, [])
    for page in (0, 2):
        with pytest.raises(RustCareError) as caught:
            await report(kernel, begun.campaign, page, [])
        assert caught.value.code == "crypto.campaign-unfinished"
    await kernel.request(c.CAMPAIGN_FINISH, c.CampaignFinishRequest(begun.campaign))
    with pytest.raises(RustCareError) as caught:
        await report(kernel, begun.campaign, 1, [])
    assert caught.value.code == "crypto.campaign-unfinished"
