"""HKDF (RFC 5869) with SHA-256, SHA-384 and SHA-512.

`hkdf` for shared secrets (SP 800-56C revision 2, section 5: extract, then expand), `expand` for keys that are uniformly
random already (the feedback mode of SP 800-108). Different uses of one key are told apart by `info`, never by luck:
build it with `label`, which keeps its parts apart by their lengths.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from rustcare_plugin_crypto.errors import InvalidParameter, UnknownAlgorithm

from .base import Buffer
from .hashes import hash_algorithm

__all__ = ["KDFS", "expand", "hkdf", "label"]

#: The name of a derivation and of the hash it uses.
KDFS = {"hkdf-sha256": "sha2-256", "hkdf-sha384": "sha2-384", "hkdf-sha512": "sha2-512"}


def _hash(name: str, length: int) -> str:
    if name not in KDFS:
        raise UnknownAlgorithm(f"expected a key derivation, got {name!r}", hint=f"there are: {', '.join(KDFS)}")
    most = 255 * hash_algorithm(KDFS[name]).digest_size
    if not 0 < length <= most:
        raise InvalidParameter(
            f"expected 1 to {most} bytes of output from {name} (RFC 5869, section 2.3), got {length}"
        )
    return KDFS[name]


def hkdf(name: str, secret: Buffer, length: int, salt: bytes = b"", info: bytes = b"") -> bytes:
    """`length` bytes from a shared secret.

    Raises:
        UnknownAlgorithm: no derivation of that name.
        InvalidParameter: more than 255 times the hash's length is asked for, or nothing.
    """
    return HKDF(hash_algorithm(_hash(name, length)), length, salt or None, info).derive(secret)


def expand(secret: Buffer, length: int, info: bytes, name: str = "hkdf-sha256") -> bytes:
    """`length` bytes from a uniformly random key (raises as `hkdf` does)."""
    return HKDFExpand(hash_algorithm(_hash(name, length)), length, info).derive(secret)


def label(*parts: str | bytes) -> bytes:
    """Parts joined so that no two lists of parts give the same bytes: each with its length, four bytes, before it."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
