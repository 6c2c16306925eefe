"""Keys of subjects such as patients, which can be destroyed. Part of `rustcare_sdk.contracts.crypto`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "OpenItem",
    "OpenReply",
    "OpenRequest",
    "Opened",
    "PseudonymReply",
    "PseudonymRequest",
    "SealItem",
    "SealReply",
    "SealRequest",
    "ShredReply",
    "ShredRequest",
]


@dataclass(frozen=True)
class SealItem:
    """`data` to encrypt under the key of `subject` (a name such as `patient/123`), bound to `context`.

    `tenant` empty: the message's own. Another one needs a message of the system itself (no principal, default tenant).
    """

    subject: str
    data: bytes = field(repr=False)
    context: bytes = b""
    tenant: str = ""


@dataclass(frozen=True)
class SealRequest:
    """A subject that has no key yet gets one."""

    items: list[SealItem]


@dataclass(frozen=True)
class SealReply:
    """For each item its ciphertext, and the subject's pseudonym (hex, 64 digits).

    The pseudonym is computed with the subject's own key: when that is destroyed, nobody can say any more whose it was.
    For a subject whose key is destroyed both are empty.
    """

    sealed: list[bytes]
    pseudonyms: list[str]


@dataclass(frozen=True)
class OpenItem:
    """A ciphertext; it names its key itself. `context` as it was sealed."""

    sealed: bytes
    context: bytes = b""


@dataclass(frozen=True)
class OpenRequest:
    """Ciphertexts to decrypt."""

    items: list[OpenItem]


@dataclass(frozen=True)
class Opened:
    """`state`: `open`, `shredded` (its key is destroyed) or `failed` (for whatever reason: that is not told)."""

    state: Literal["open", "shredded", "failed"]
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class OpenReply:
    """In the order of the items."""

    items: list[Opened]


@dataclass(frozen=True)
class PseudonymRequest:
    """Subjects by name, of one tenant (as for `SealItem`)."""

    subjects: list[str]
    tenant: str = ""


@dataclass(frozen=True)
class PseudonymReply:
    """For each subject its pseudonym; empty when it has no key, or none any more."""

    pseudonyms: list[str]


@dataclass(frozen=True)
class ShredRequest:
    """Destroy the key of a subject for good. `reason` goes into the certificate: no personal data in it."""

    subject: str
    reason: str
    tenant: str = ""


@dataclass(frozen=True)
class ShredReply:
    """The certificate: a DSSE envelope (JSON) over who, when, why, and the pseudonym of the destroyed key."""

    pseudonym: str
    destroyed_at: str
    certificate: str
