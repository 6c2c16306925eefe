"""Keys: made, turned over, taken out, put back. Part of `rustcare_sdk.contracts.crypto`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ._crypto_operations import CipherItem

__all__ = [
    "CampaignBeginRequest",
    "CampaignFinishRequest",
    "CampaignProof",
    "CampaignReportReply",
    "CampaignReportRequest",
    "CampaignStatus",
    "JwksReply",
    "JwksRequest",
    "KeyBackupReply",
    "KeyBackupRequest",
    "KeyConfigureRequest",
    "KeyCreateRequest",
    "KeyDestroyRequest",
    "KeyExportReply",
    "KeyExportRequest",
    "KeyImportRequest",
    "KeyInfo",
    "KeyListReply",
    "KeyListRequest",
    "KeyPublicReply",
    "KeyPublicRequest",
    "KeyRequest",
    "KeyRestoreRequest",
    "KeyStateRequest",
    "KeyTrimRequest",
    "KeyVersion",
    "KeyWrappingReply",
    "KeyWrappingRequest",
    "RootRotateRequest",
    "RootStatus",
    "RootStatusRequest",
]


@dataclass(frozen=True)
class KeyVersion:
    """One version of a key; `created`: RFC 3339."""

    version: int
    state: Literal["primary", "enabled", "disabled", "destroyed"]
    created: str


@dataclass(frozen=True)
class KeyInfo:
    """A key without its secret part. `rotate_after`: seconds, 0 for never; `owner`: the plugin that made it, or empty.

    `users`: the plugins that may use it besides, `*` for all.
    """

    name: str
    algorithm: str
    versions: list[KeyVersion] = field(default_factory=list)
    min_decryption_version: int = 1
    derived: bool = False
    exportable: bool = False
    rotate_after: int = 0
    imported: bool = False
    owner: str = ""
    users: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class KeyCreateRequest:
    """Make a key; when there is one of this name and algorithm already, it is answered as it is (`made` does not matter).

    `algorithm`: `aes256-gcm`, `chacha20-poly1305`, `aes256-gcm-siv`, `ed25519`, `ecdsa-p256`, `ecdsa-p384`,
    `rsa-pss-3072`, `ml-dsa-44`, `ml-dsa-65`, `ed25519+ml-dsa-65`, `hmac-sha256`, … `derived`: a key for each context.
    `users`: plugins that may use it besides its maker (`*`: all). A key that the operator makes is for all unless said.
    """

    name: str
    algorithm: str
    derived: bool = False
    exportable: bool = False
    rotate_after: int = 0
    users: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class KeyRequest:
    """A key by name."""

    key: str


@dataclass(frozen=True)
class KeyListRequest:
    """At most `limit` keys, by name, from the one behind `after`."""

    after: str = ""
    limit: int = 1000


@dataclass(frozen=True)
class KeyListReply:
    """Keys that the caller may use; `next`: the `after` of the next page, or empty."""

    keys: list[KeyInfo]
    next: str = ""


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
class KeyConfigureRequest:
    """Settings to change; None leaves one as it is. A key can be made less exportable, never more."""

    key: str
    min_decryption_version: int | None = None
    rotate_after: int | None = None
    exportable: bool | None = None
    users: list[str] | None = None


@dataclass(frozen=True)
class KeyStateRequest:
    """`primary`: new work is done with this version from now on. The primary one itself cannot be disabled."""

    key: str
    version: int
    state: Literal["primary", "enabled", "disabled"]


@dataclass(frozen=True)
class KeyDestroyRequest:
    """Destroy one version for good; 0: all of them, and nothing can be done with the key any more."""

    key: str
    version: int = 0


@dataclass(frozen=True)
class KeyTrimRequest:
    """Destroy all versions below `version`, which is at most the key's `min_decryption_version`."""

    key: str
    version: int


@dataclass(frozen=True)
class KeyExportRequest:
    """`recipient`: a public RSA key (PEM); the secret is then wrapped for it as an import is, else it comes as it is."""

    key: str
    version: int = 0
    recipient: str = ""


@dataclass(frozen=True)
class KeyExportReply:
    """`secret`: in the algorithm's own encoding, or wrapped for the recipient."""

    key: str
    version: int
    algorithm: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class KeyWrappingRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class KeyWrappingReply:
    """`public`: RSA-4096, PEM. A wrapped key = RSA-OAEP(a 32-byte AES key) followed by AES-KWP(the key under it)."""

    public: str


@dataclass(frozen=True)
class KeyImportRequest:
    """`wrapped`: see `KeyWrappingReply`; `hash`: that of OAEP. `version`: a new one of a key that is there."""

    name: str
    algorithm: str
    wrapped: bytes
    hash: Literal["sha1", "sha224", "sha256", "sha384", "sha512"] = "sha256"
    derived: bool = False
    exportable: bool = False
    version: bool = False
    users: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class KeyBackupRequest:
    """`recipient`: the wrapping key (PEM) of another keyring, for exportable keys; else only this keyring can read it."""

    key: str
    recipient: str = ""


@dataclass(frozen=True)
class KeyBackupReply:
    """All versions that are not destroyed, wrapped."""

    backup: bytes


@dataclass(frozen=True)
class KeyRestoreRequest:
    """`name`: under another name than it had. A key that is there already is only replaced with `force`."""

    backup: bytes
    name: str = ""
    force: bool = False


@dataclass(frozen=True)
class JwksRequest:
    """Keys by name; none: all with a public part."""

    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class JwksReply:
    """A JWK for each version that is not destroyed (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


@dataclass(frozen=True)
class RootStatusRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class RootStatus:
    """`secret`: the name of the secret it uses; `since`: RFC 3339; `policy`: `default` or `fips`; `keyring`: its number."""

    kind: Literal["secret", "passphrase", "age", "pkcs11"]
    secret: str
    since: str
    policy: str
    keyring: int


@dataclass(frozen=True)
class RootRotateRequest:
    """The new root; empty fields as configured. `renew`: a new keyring key as well, and every key wrapped anew under it."""

    kind: Literal["secret", "passphrase", "age", "pkcs11"]
    secret: str = ""
    renew: bool = False


@dataclass(frozen=True)
class CampaignBeginRequest:
    """Find and rewrap what is under versions of a key below its primary one."""

    key: str


@dataclass(frozen=True)
class CampaignStatus:
    """`minimum`: the version that everything shall have at least. Counts are those of the pass that is going on."""

    campaign: str
    key: str
    minimum: int
    passes: int = 1
    page: int = 0
    seen: int = 0
    below: int = 0
    unreadable: int = 0


@dataclass(frozen=True)
class CampaignReportRequest:
    """The next page (from 0 on) of all ciphertexts there are, in a fixed order."""

    campaign: str
    page: int
    items: list[CipherItem]


@dataclass(frozen=True)
class CampaignReportReply:
    """For each item its new ciphertext, to be stored in its place, or empty when it may stay."""

    rewrapped: list[bytes]
    status: CampaignStatus


@dataclass(frozen=True)
class CampaignFinishRequest:
    """Ends a pass. When all that it saw was readable and none below, that is the proof; else a new pass begins.

    `raise_minimum`: set the key's `min_decryption_version` as well.
    """

    campaign: str
    raise_minimum: bool = False


@dataclass(frozen=True)
class CampaignProof:
    """`proof`: a DSSE envelope (JSON) over the key, the minimum, the count, and `digest` (hex) over all ciphertexts seen."""

    proof: str
    seen: int
    minimum: int
    digest: str
