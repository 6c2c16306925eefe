"""What binds a signature to its record so that it cannot be excised, copied or moved (21 CFR 11.70).

The commitment is SHA-256 over a label, 16 random bytes of salt, and the canonical JSON of the record's name and version, the
SHA-256 of its bytes, and the signature's id, signer, time and meaning. The salt and the digest of a record about a person are
sealed under that person's key, so that what is in clear says nothing about the record, even to somebody who can guess it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from rustcare_plugin_audit.entry import SALT, canonical_value
from rustcare_plugin_audit.errors import InvalidRequest

__all__ = ["Bound", "commitment", "digest_of", "same"]

_LABEL = b"rustcare/audit/signature/v1\x00"


@dataclass(frozen=True)
class Bound:
    """What a signature is bound to. `digest`: SHA-256 of the record's bytes; `time`: µs since 1970."""

    id: str
    signer: str
    time: int
    meaning: str
    record: str
    version: str
    digest: bytes


def digest_of(data: bytes, digest: bytes, address: str) -> bytes:
    """The SHA-256 of a record that is given by its bytes or by this. Raises InvalidRequest unless it is one of them."""
    if bool(data) == bool(digest):
        raise InvalidRequest(
            "expected the record's bytes or their SHA-256, got " + ("both" if data else "neither"), address=address
        )
    if digest and len(digest) != 32:
        raise InvalidRequest(f"expected a SHA-256 of 32 bytes, got {len(digest)}", address=address)
    return digest or hashlib.sha256(data).digest()


def commitment(salt: bytes, bound: Bound) -> bytes:
    """The commitment, 32 bytes."""
    if len(salt) != SALT:
        raise InvalidRequest(f"expected a salt of {SALT} bytes, got {len(salt)}")
    said = {
        "id": bound.id,
        "signer": bound.signer,
        "time": bound.time,
        "meaning": bound.meaning,
        "record": bound.record,
        "version": bound.version,
        "sha256": bound.digest.hex(),
    }
    return hashlib.sha256(_LABEL + salt + canonical_value(said)).digest()


def same(one: bytes, other: bytes) -> bool:
    """Whether two commitments are the same, in constant time."""
    return hmac.compare_digest(one, other)
