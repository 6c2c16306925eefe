"""What is done with keys: encryption, signatures, codes, agreement. Part of `rustcare_sdk.contracts.crypto`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "AgreeRequest",
    "CipherItem",
    "DatakeyReply",
    "DatakeyRequest",
    "DecapsulateRequest",
    "DecryptReply",
    "DecryptRequest",
    "DsseSignReply",
    "DsseSignRequest",
    "DsseVerifyReply",
    "DsseVerifyRequest",
    "EncapsulateReply",
    "EncapsulateRequest",
    "EncryptReply",
    "EncryptRequest",
    "HashReply",
    "HashRequest",
    "HkdfRequest",
    "HmacReply",
    "HmacRequest",
    "HpkeSealRequest",
    "PasswordHashReply",
    "PasswordHashRequest",
    "PasswordVerifyReply",
    "PasswordVerifyRequest",
    "PlainItem",
    "RandomRequest",
    "RewrapRequest",
    "SecretReply",
    "SignReply",
    "SignRequest",
    "StreamReply",
    "StreamRequest",
    "TokenReply",
    "TokenRequest",
    "TransitReply",
    "TransitRequest",
    "VerifyItem",
    "VerifyReply",
    "VerifyRequest",
]


@dataclass(frozen=True)
class PlainItem:
    """`aad` is authenticated, not encrypted; `context` chooses the key of a derived key (HPKE: `info`)."""

    data: bytes = field(repr=False)
    aad: bytes = b""
    context: bytes = b""


@dataclass(frozen=True)
class EncryptRequest:
    """`version` 0: the primary one. With `text` the ciphertexts are ASCII of the form `vault:v3:` and base64."""

    key: str
    items: list[PlainItem]
    version: int = 0
    text: bool = False


@dataclass(frozen=True)
class EncryptReply:
    """A ciphertext for each, in order."""

    ciphertexts: list[bytes]
    version: int


@dataclass(frozen=True)
class CipherItem:
    """A ciphertext of either form, and what it was bound to."""

    ciphertext: bytes
    aad: bytes = b""
    context: bytes = b""


@dataclass(frozen=True)
class DecryptRequest:
    """With `partial` an item that fails becomes None; else the first one fails the request."""

    key: str
    items: list[CipherItem]
    partial: bool = False


@dataclass(frozen=True)
class DecryptReply:
    """In the order of the items."""

    data: list[bytes | None] = field(repr=False)


@dataclass(frozen=True)
class RewrapRequest:
    """Each comes back in the form in which it came."""

    key: str
    items: list[CipherItem]


@dataclass(frozen=True)
class DatakeyRequest:
    """A fresh key of `size` bytes; without `plaintext` the wrapped form only."""

    key: str
    size: int = 32
    aad: bytes = b""
    context: bytes = b""
    plaintext: bool = True


@dataclass(frozen=True)
class DatakeyReply:
    """`ciphertext` is what `crypto.decrypt` takes."""

    ciphertext: bytes
    version: int
    plaintext: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class StreamRequest:
    """The next chunks of a large object. `stream`: empty at first, then what the reply before said. `last`: no more follow.

    `aad` and `context` are those of the first request. When opening, chunks may be cut in other places than they came.
    """

    key: str
    chunks: list[bytes] = field(repr=False)
    stream: str = ""
    last: bool = False
    aad: bytes = b""
    context: bytes = b""


@dataclass(frozen=True)
class StreamReply:
    """What is ready of the result; nothing opened may be trusted as whole before the reply to the `last` request."""

    stream: str
    chunks: list[bytes] = field(repr=False)


@dataclass(frozen=True)
class SignRequest:
    """Sign each of `data` with one version of a key (0: the primary one)."""

    key: str
    data: list[bytes] = field(repr=False)
    version: int = 0
    context: bytes = b""


@dataclass(frozen=True)
class SignReply:
    """A signature for each, in order, in the algorithm's own encoding."""

    signatures: list[bytes]
    version: int
    algorithm: str


@dataclass(frozen=True)
class VerifyItem:
    """Data and what claims to be its signature (or its code)."""

    data: bytes = field(repr=False)
    signature: bytes


@dataclass(frozen=True)
class VerifyRequest:
    """`version` 0: any that may be used. With `partial` an item that fails gets version 0; else it fails the request."""

    key: str
    items: list[VerifyItem]
    version: int = 0
    context: bytes = b""
    partial: bool = False


@dataclass(frozen=True)
class VerifyReply:
    """The version that each item verifies under."""

    versions: list[int]


@dataclass(frozen=True)
class HmacRequest:
    """`version` 0: the primary one."""

    key: str
    data: list[bytes] = field(repr=False)
    version: int = 0
    context: bytes = b""


@dataclass(frozen=True)
class HmacReply:
    """A code for each, in order, whole."""

    macs: list[bytes]
    version: int


@dataclass(frozen=True)
class TokenRequest:
    """Search tokens for values: HMAC-SHA-256 under an index key, so that equal values can be found but not read.

    With `all_versions` a token for each version that is not destroyed, newest first: what to search for after a rotation.
    """

    key: str
    values: list[bytes] = field(repr=False)
    all_versions: bool = False


@dataclass(frozen=True)
class TokenReply:
    """For each value its tokens (hex, 32 digits)."""

    tokens: list[list[str]]


@dataclass(frozen=True)
class HpkeSealRequest:
    """To a key of this keyring, or, with `public`, to anybody's public key of that `algorithm`."""

    items: list[PlainItem]
    key: str = ""
    public: bytes = b""
    algorithm: str = ""


@dataclass(frozen=True)
class AgreeRequest:
    """`peer`: the other side's public key, in the encoding of the key's algorithm. The secret is HKDF of the agreed value."""

    key: str
    peer: bytes
    info: bytes = b""
    salt: bytes = b""
    size: int = 32
    version: int = 0


@dataclass(frozen=True)
class SecretReply:
    """A secret, or random bytes."""

    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class EncapsulateRequest:
    """For a key of this keyring, or, with `public`, for anybody's public key of that `algorithm`."""

    key: str = ""
    public: bytes = b""
    algorithm: str = ""
    info: bytes = b""
    size: int = 32


@dataclass(frozen=True)
class EncapsulateReply:
    """`encapsulated` goes to the other side; `version`: 0 for a foreign public key."""

    encapsulated: bytes
    version: int
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class DecapsulateRequest:
    """`info` and `size` as they were given to encapsulate."""

    key: str
    encapsulated: bytes
    info: bytes = b""
    size: int = 32
    version: int = 0


@dataclass(frozen=True)
class HkdfRequest:
    """From a key of the keyring (`hmac-…`), or from a `secret` of one's own."""

    key: str = ""
    secret: bytes = field(default=b"", repr=False)
    info: bytes = b""
    salt: bytes = b""
    size: int = 32
    hash: Literal["sha256", "sha384", "sha512"] = "sha256"
    version: int = 0


@dataclass(frozen=True)
class RandomRequest:
    """1 to 65,536 bytes."""

    size: int = 32


@dataclass(frozen=True)
class HashRequest:
    """`algorithm`: `sha256` (or `sha2-256`), `sha384`, `sha512`, `sha3-256`, …"""

    data: list[bytes] = field(repr=False)
    algorithm: str = "sha256"


@dataclass(frozen=True)
class HashReply:
    """A hash for each, in order."""

    digests: list[bytes]


@dataclass(frozen=True)
class PasswordHashRequest:
    """A password in clear."""

    password: str = field(repr=False)


@dataclass(frozen=True)
class PasswordHashReply:
    """A PHC string."""

    hash: str


@dataclass(frozen=True)
class PasswordVerifyRequest:
    """A password in clear, and the PHC string to check it against."""

    hash: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class PasswordVerifyReply:
    """`stale`: right, but hashed at another cost than today's: hash it anew and keep that."""

    valid: bool
    stale: bool = False


@dataclass(frozen=True)
class DsseSignRequest:
    """One signature for each of `keys`."""

    payload: bytes
    payload_type: str
    keys: list[str]


@dataclass(frozen=True)
class DsseSignReply:
    """The envelope's JSON. A `keyid` is the key's name and version, `audit-log/3`."""

    envelope: str


@dataclass(frozen=True)
class DsseVerifyRequest:
    """At least `threshold` of `keys` must have signed."""

    envelope: str
    keys: list[str]
    threshold: int = 1


@dataclass(frozen=True)
class DsseVerifyReply:
    """What was signed, and by which keys (`keyid`s)."""

    payload: bytes
    payload_type: str
    signers: list[str]


@dataclass(frozen=True)
class TransitRequest:
    """A request as it comes over HTTP: `path` below the mount (`encrypt/orders`), `body` the JSON object."""

    method: str
    path: str
    body: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class TransitReply:
    """The HTTP status, and the JSON object to answer with; empty for status 204."""

    status: int
    body: dict[str, Any] = field(default_factory=dict, repr=False)
