"""Statements of disposals: DSSE envelopes (Dead Simple Signing Envelope 1.0) signed with the log's key.

A statement names the line below which entries are gone, and the tree as it was when that was decided; a second one, when it is
done, names the head before and after. Both are entries of the log, and can be checked without it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec
from rustcare_sdk import Context
from rustcare_sdk.contracts import crypto

from rustcare_plugin_audit.sealing import LOG_KEY

__all__ = ["PRUNE", "SHRED", "envelope", "pae", "payload_of"]

#: A prefix is pruned: `origin`, `before`, `size`, `root`, and more.
PRUNE = "application/vnd.rustcare.prune+json"
#: A subject's key is destroyed because the retention of all its entries has ended.
SHRED = "application/vnd.rustcare.disposal-by-shredding+json"

_encoder = msgspec.json.Encoder(order="sorted")


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


async def envelope(ctx: Context, payload_type: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """A signed envelope over canonical JSON."""
    payload = _encoder.encode(dict(said))
    asked = crypto.SignRequest(LOG_KEY, [pae(payload_type, payload)])
    reply: crypto.SignReply = await ctx.request(crypto.SIGN, asked, type=crypto.SignReply)
    return {
        "payloadType": payload_type,
        "payload": b64encode(payload).decode(),
        "signatures": [
            {"keyid": f"{LOG_KEY}/{reply.version}", "sig": b64encode(reply.signatures[0]).decode()},
        ],
    }


def payload_of(statement: Mapping[str, Any]) -> dict[str, Any]:
    """What an envelope says; nothing is verified."""
    from base64 import b64decode

    found: dict[str, Any] = json.loads(b64decode(str(statement["payload"])))
    return found
