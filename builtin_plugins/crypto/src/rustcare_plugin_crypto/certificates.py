"""What the keyring states and signs itself: DSSE envelopes (github.com/secure-systems-lab/dsse) of JSON statements."""

from __future__ import annotations

from typing import Any

import msgspec

from .algorithms import dsse
from .keyring import Key

__all__ = ["CAMPAIGN", "DESTROYED_SUBJECT", "destroyed_subject", "statement"]

#: Payload types.
DESTROYED_SUBJECT = "application/vnd.rustcare.subject-key-destroyed+json"
CAMPAIGN = "application/vnd.rustcare.rewrap-campaign+json"


def statement(signer: Key, payload_type: str, content: dict[str, Any]) -> str:
    """The envelope's JSON, signed with a key's primary version; `keyid` is name and version."""
    payload = msgspec.json.encode(content, order="deterministic")
    version = signer.record.primary
    return dsse.seal(payload_type, payload, {f"{signer.record.name}/{version}": signer.prepared(version)}).to_json()


def destroyed_subject(
    signer: Key, *, pseudonym: str, tenant: str, destroyed_at: str, reason: str, principal: str, plugin: str
) -> str:
    """The certificate that the key behind a pseudonym was destroyed: by whom, when and why."""
    content = {
        "v": 1,
        "pseudonym": pseudonym,
        "tenant": tenant,
        "destroyed_at": destroyed_at,
        "reason": reason,
        "principal": principal,
        "plugin": plugin,
    }
    return statement(signer, DESTROYED_SUBJECT, content)
