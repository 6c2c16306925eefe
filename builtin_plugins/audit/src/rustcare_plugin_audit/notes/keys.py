"""Verifier keys (vkeys) and signature lines: https://c2sp.org/signed-note."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from rustcare_plugin_audit.errors import NoteInvalid

__all__ = ["COSIGNATURE", "ED25519", "MLDSA44", "VerifierKey", "signature_line", "unbase64"]

#: Signature types: Ed25519 over the text; a timestamped Ed25519 cosignature of a checkpoint; the same with ML-DSA-44.
ED25519, COSIGNATURE, MLDSA44 = 0x01, 0x04, 0x06

_SIZES = {ED25519: 32, COSIGNATURE: 32, MLDSA44: 1312}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAME = re.compile(r"[^\s+]+")
DASH = "—"


def unbase64(text: str, size: int | None = None) -> bytes:
    """Standard base64 with padding (RFC 4648 section 4) in its one canonical form.

    Raises:
        NoteInvalid: it is not, or it is not `size` bytes long.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        data = None
    if data is None or base64.b64encode(data).decode() != text or (size is not None and len(data) != size):
        raise NoteInvalid(f"expected base64{'' if size is None else f' of {size} bytes'}, got {text[:60]!a}")
    return data


def check_name(name: str) -> str:
    """A key's name: not empty, no Unicode spaces, no plus.

    Raises:
        NoteInvalid: it is none.
    """
    if _NAME.fullmatch(name) is None or CONTROL.search(name):
        raise NoteInvalid(f"expected a key name without spaces and plus signs, got {name[:60]!a}")
    return name


@dataclass(frozen=True)
class VerifierKey:
    """A public key with a name, as a verifier is given it. `kind`: one of the three types; `public`: raw bytes."""

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if _SIZES.get(self.kind) != len(self.public):
            raise NoteInvalid(
                f"expected a key of type 0x01 or 0x04 with 32 bytes, or 0x06 with 1312,"
                f" got type 0x{self.kind:02x} with {len(self.public)}"
            )

    @property
    def id(self) -> bytes:
        """The key's id: the first 4 bytes of SHA-256(name ‖ newline ‖ type ‖ public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """`<name>+<id in hex>+<base64(type ‖ public key)>`."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read a vkey.

        Raises:
            NoteInvalid: it is not well formed, its id does not fit its key, or its type is none that we verify.
        """
        name, _, rest = text.partition("+")
        key_id, _, material = rest.partition("+")
        raw = unbase64(material)
        if not raw:
            raise NoteInvalid("expected a verifier key <name>+<id>+<base64 of type and key>, got one without a key")
        key = cls(name, raw[0], raw[1:])
        if key.id.hex() != key_id:
            raise NoteInvalid(f"expected the id {key.id.hex()} for this key, got {key_id[:20]!a}", address=name)
        return key

    def verify(self, signature: bytes, message: bytes) -> None:
        """Check a bare signature of a message by this key (for a cosignature: without its timestamp).

        Raises:
            NoteInvalid: it is wrong.
        """
        try:
            if self.kind == MLDSA44:
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise NoteInvalid(f"the signature of {self.name}+{self.id.hex()} is wrong", address=self.name) from None


def signature_line(key: VerifierKey, data: bytes) -> bytes:
    """The signature line of a key: UTF-8, with its newline. `data`: the signature, of a cosignature with its timestamp."""
    return f"{DASH} {key.name} {base64.b64encode(key.id + data).decode()}\n".encode()
