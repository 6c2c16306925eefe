"""DSSE: signed envelopes (github.com/secure-systems-lab/dsse, protocol 1.0.2), with one or several signatures.

What is signed is the pre-authentication encoding of type and payload, never the JSON around them: an envelope cannot be
read as another type, and nothing depends on how JSON was written.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidParameter

from .base import Signer, Verifier

__all__ = ["Envelope", "pae", "seal", "verify"]

#: Signatures that are looked at in one envelope; more would be work for nothing.
_MOST = 64


def pae(kind: str, payload: bytes) -> bytes:
    """`DSSEv1 LEN(type) type LEN(payload) payload`, lengths in bytes as decimal numbers."""
    name = kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


@dataclass(frozen=True)
class Envelope:
    """`kind`: the payload's type (a media type or URI); `signatures`: pairs of key id (a hint, maybe empty) and signature."""

    kind: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...]

    def to_json(self) -> str:
        """The envelope as JSON text."""
        signatures = [{"keyid": name, "sig": b64encode(signature).decode()} for name, signature in self.signatures]
        payload = b64encode(self.payload).decode()
        return json.dumps({"payload": payload, "payloadType": self.kind, "signatures": signatures})

    @classmethod
    def from_json(cls, text: str | bytes) -> Envelope:
        """Read an envelope; standard and URL-safe base64 are taken, as the protocol asks.

        Raises:
            InvalidParameter: it is not an envelope.
        """
        try:
            found = json.loads(text)
            pairs = tuple((str(item.get("keyid") or ""), _decode(item["sig"])) for item in found["signatures"])
            kind, payload = found["payloadType"], _decode(found["payload"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidParameter("expected a DSSE envelope in JSON, got something else") from None
        if not isinstance(kind, str) or not 0 < len(pairs) <= _MOST:
            raise InvalidParameter(
                f"expected a DSSE envelope with a type and 1 to {_MOST} signatures, got {len(pairs)}"
            )
        return cls(kind, payload, pairs)


def _decode(text: Any) -> bytes:
    if not isinstance(text, str):
        raise TypeError("base64 must be text")
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    return b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def seal(kind: str, payload: bytes, signers: Mapping[str, Signer]) -> Envelope:
    """Sign with each key; `signers` by key id, at least one."""
    if not signers:
        raise InvalidParameter("expected at least one signer of an envelope, got none")
    message = pae(kind, payload)
    return Envelope(kind, payload, tuple((name, signer.sign(message)) for name, signer in signers.items()))


def verify(
    envelope: Envelope, keys: Mapping[str, Verifier], threshold: int = 1, kind: str | None = None
) -> Sequence[str]:
    """The names of the keys that signed, in the order of `keys`; each key counts once, whatever key ids say.

    Args:
        envelope: what came.
        keys: the trusted public keys by name.
        threshold: how many of them must have signed.
        kind: the type that is expected; None takes any (say so only where the caller looks at it).

    Raises:
        CryptoFailed: too few of the keys signed, or the type is another.
        InvalidParameter: the threshold is below one or above the number of keys.
    """
    if not 1 <= threshold <= len(keys):
        raise InvalidParameter(f"expected a threshold of 1 to {len(keys)}, got {threshold}")
    if kind is not None and envelope.kind != kind:
        raise CryptoFailed
    message = pae(envelope.kind, envelope.payload)
    found = []
    for name, key in keys.items():
        # A key id is an unauthenticated hint: it decides the order of trying, not what is tried.
        for _, signature in sorted(envelope.signatures[:_MOST], key=lambda pair: pair[0] != name):
            try:
                key.verify(signature, message)
            except CryptoFailed:
                continue
            found.append(name)
            break
    if len(found) < threshold:
        raise CryptoFailed
    return found
