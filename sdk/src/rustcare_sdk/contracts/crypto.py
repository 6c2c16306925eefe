"""Keys and what is done with them, on the bus. A key is named; its secret part never leaves the keyring.

| service | request | answer |
|---|---|---|
| `crypto.key.create` | `KeyCreateRequest` | `KeyInfo` |
| `crypto.key.public` | `KeyPublicRequest` | `KeyPublicReply` |
| `crypto.sign` | `SignRequest` | `SignReply` |
| `crypto.token` | `TokenRequest` | `TokenReply` |
| `crypto.subject.seal` | `SealRequest` | `SealReply` |
| `crypto.subject.open` | `OpenRequest` | `OpenReply` |
| `crypto.subject.pseudonym` | `PseudonymRequest` | `PseudonymReply` |
| `crypto.subject.shred` | `ShredRequest` | `ShredReply` |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "KEY_CREATE",
    "KEY_PUBLIC",
    "SHREDDED",
    "SIGN",
    "SUBJECT_OPEN",
    "SUBJECT_PSEUDONYM",
    "SUBJECT_SEAL",
    "SUBJECT_SHRED",
    "TOKEN",
    "KeyCreateRequest",
    "KeyInfo",
    "KeyPublicReply",
    "KeyPublicRequest",
    "KeyVersion",
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
    "SignReply",
    "SignRequest",
    "TokenReply",
    "TokenRequest",
]

#: Service: make a named key (`KeyCreateRequest` → `KeyInfo`).
KEY_CREATE = "crypto.key.create"
#: Service: the public part of a key (`KeyPublicRequest` → `KeyPublicReply`).
KEY_PUBLIC = "crypto.key.public"
#: Service: sign (`SignRequest` → `SignReply`).
SIGN = "crypto.sign"
#: Service: keyed search tokens (`TokenRequest` → `TokenReply`).
TOKEN = "crypto.token"
#: Service: encrypt under the keys of subjects such as patients (`SealRequest` → `SealReply`).
SUBJECT_SEAL = "crypto.subject.seal"
#: Service: decrypt what was sealed (`OpenRequest` → `OpenReply`).
SUBJECT_OPEN = "crypto.subject.open"
#: Service: the pseudonyms of subjects (`PseudonymRequest` → `PseudonymReply`).
SUBJECT_PSEUDONYM = "crypto.subject.pseudonym"
#: Service: destroy the key of a subject (`ShredRequest` → `ShredReply`).
SUBJECT_SHRED = "crypto.subject.shred"
#: Event: the key of a subject was destroyed (`ShredReply`).
SHREDDED = "crypto.subject.shredded"


@dataclass(frozen=True)
class KeyVersion:
    """One version of a key; `created`: RFC 3339."""

    version: int
    state: Literal["primary", "enabled", "disabled", "destroyed"]
    created: str


@dataclass(frozen=True)
class KeyInfo:
    """A key without its secret part. `rotate_after`: seconds, 0 for never."""

    name: str
    algorithm: str
    versions: list[KeyVersion] = field(default_factory=list)
    min_decryption_version: int = 1
    derived: bool = False
    exportable: bool = False
    rotate_after: int = 0


@dataclass(frozen=True)
class KeyCreateRequest:
    """Make a key; when there is one of this name and algorithm already, it is answered as it is (`made` does not matter).

    `algorithm`: `aes256-gcm`, `chacha20-poly1305`, `aes256-gcm-siv`, `ed25519`, `ecdsa-p256`, `ecdsa-p384`,
    `rsa-pss-3072`, `ml-dsa-44`, `ml-dsa-65`, `ed25519+ml-dsa-65`, `hmac-sha256`, … `derived`: a key for each context.
    """

    name: str
    algorithm: str
    derived: bool = False
    exportable: bool = False
    rotate_after: int = 0


@dataclass(frozen=True)
class KeyPublicRequest:
    """Version 0 is the primary one."""

    key: str
    version: int = 0


@dataclass(frozen=True)
class KeyPublicReply:
    """`raw`: the algorithm's own encoding of a public key (32 bytes for Ed25519); `jwk`: RFC 7517."""

    key: str
    version: int
    algorithm: str
    raw: bytes
    jwk: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SignRequest:
    """Sign each of `data` with one version of a key (0: the primary one)."""

    key: str
    data: list[bytes]
    version: int = 0


@dataclass(frozen=True)
class SignReply:
    """A signature for each, in order, in the algorithm's own encoding."""

    signatures: list[bytes]
    version: int
    algorithm: str


@dataclass(frozen=True)
class TokenRequest:
    """Search tokens for values: HMAC-SHA-256 under an index key, so that equal values can be found but not read.

    With `all_versions` a token for each version that is not destroyed, newest first: what to search for after a rotation.
    """

    key: str
    values: list[bytes]
    all_versions: bool = False


@dataclass(frozen=True)
class TokenReply:
    """For each value its tokens (hex, 32 digits)."""

    tokens: list[list[str]]


@dataclass(frozen=True)
class SealItem:
    """`data` to encrypt under the key of `subject` (a name such as `patient/123`), bound to `context`.

    `tenant` empty: the message's own. Another one needs a message of the system itself (no principal, default tenant).
    """

    subject: str
    data: bytes
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
    data: bytes = b""


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
