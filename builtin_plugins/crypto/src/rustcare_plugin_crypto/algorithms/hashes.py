"""Digests: SHA-2 (FIPS 180-4) and SHA-3 (FIPS 202). No SHA-1 and no MD5: nothing here needs them.

A digest of personal data is personal data: who needs to compare such values uses a keyed token (`mac`), not a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes

from rustcare_plugin_crypto.errors import UnknownAlgorithm

from .base import Buffer

__all__ = ["HASHES", "digest", "hash_algorithm"]

HASHES: dict[str, tuple[Callable[..., Any], hashes.HashAlgorithm]] = {
    "sha2-256": (hashlib.sha256, hashes.SHA256()),
    "sha2-384": (hashlib.sha384, hashes.SHA384()),
    "sha2-512": (hashlib.sha512, hashes.SHA512()),
    "sha3-256": (hashlib.sha3_256, hashes.SHA3_256()),
    "sha3-384": (hashlib.sha3_384, hashes.SHA3_384()),
    "sha3-512": (hashlib.sha3_512, hashes.SHA3_512()),
}


def _of(name: str) -> tuple[Callable[..., Any], hashes.HashAlgorithm]:
    if name not in HASHES:
        raise UnknownAlgorithm(f"expected a hash, got {name!r}", hint=f"there are: {', '.join(HASHES)}")
    return HASHES[name]


def digest(name: str, data: Buffer) -> bytes:
    """The digest of `data` (raises UnknownAlgorithm)."""
    return bytes(_of(name)[0](data).digest())


def hash_algorithm(name: str) -> hashes.HashAlgorithm:
    """The hash as `cryptography` knows it (raises UnknownAlgorithm)."""
    return _of(name)[1]
