"""What a root is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from msgspec import Struct

__all__ = ["DEFAULT_SECRETS", "FIPS_KINDS", "KINDS", "PURPOSE", "Kind", "Root", "RootDescription"]

Kind = Literal["secret", "passphrase", "age", "pkcs11"]
KINDS: tuple[Kind, ...] = ("secret", "passphrase", "age", "pkcs11")

#: argon2id and age's ChaCha20-Poly1305 are not among the approved algorithms.
FIPS_KINDS = frozenset({"secret", "pkcs11"})

#: The secret each kind uses, unless the configuration names another.
DEFAULT_SECRETS: Mapping[str, str] = {
    "secret": "crypto.root",
    "passphrase": "crypto.passphrase",
    "age": "crypto.age",
    "pkcs11": "crypto.pin",
}

#: Associated data of a wrapped keyring key.
PURPOSE = b"rustcare/keyring/root-1"


class RootDescription(Struct, frozen=True):
    """Which root it is, stored beside the keyring: nothing in it is secret.

    `secret`: the name of the secret it uses. `salt`, `memory` (KiB), `time` (passes), `lanes`: argon2id's, for a
    passphrase. `module` (path of the library), `token` (label), `label` (of the key): a PKCS#11 token's.
    """

    kind: Kind
    secret: str
    salt: bytes = b""
    memory: int = 0
    time: int = 0
    lanes: int = 0
    module: str = ""
    token: str = ""
    label: str = ""


class Root(Protocol):
    """Wraps and unwraps the keyring key (32 bytes). Both raise RootRefused; neither changes anything."""

    async def wrap(self, key: bytes) -> bytes: ...
    async def unwrap(self, wrapped: bytes) -> bytes: ...
