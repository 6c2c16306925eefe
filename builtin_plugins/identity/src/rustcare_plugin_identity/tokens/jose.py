"""As much of JOSE as is needed to make tokens: thumbprints, compact serialization, the two forms of an ECDSA signature.

Verifying on the hot path is the gateway's; here a token is read only to be revoked.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

__all__ = ["Parts", "b64u", "from_b64u", "keyring_signature", "read", "signature_bytes", "signing_input", "thumbprint"]

#: The members that a thumbprint covers, by key type (RFC 7638 section 3.2, RFC 8037 section 2).
_REQUIRED = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
#: Bytes of one coordinate of a P-256 signature.
_SIZE = 32
#: Longer is none of ours.
MAX_TOKEN = 16_384


def b64u(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64u(text: str) -> bytes:
    """The bytes of `b64u`; ValueError for anything else, padding and spare bits included."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        raise ValueError("expected base64url without padding") from None
    if b64u(data) != text:
        raise ValueError("expected base64url without padding")
    return data


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of a public key (RFC 7638), base64url: its `kid`."""
    members = {member: jwk[member] for member in _REQUIRED[jwk["kty"]]}
    return b64u(sha256(msgspec.json.encode(members, order="sorted")).digest())


def signature_bytes(algorithm: str, signature: bytes) -> bytes:
    """The keyring's signature as JWS wants it: ECDSA as r and s of fixed length (RFC 7518, section 3.4), not DER."""
    if algorithm != "ES256":
        return signature
    r, s = decode_dss_signature(signature)
    return r.to_bytes(_SIZE, "big") + s.to_bytes(_SIZE, "big")


def keyring_signature(algorithm: str, signature: bytes) -> bytes:
    """The other way; ValueError when it has not the length."""
    if len(signature) != 2 * _SIZE:
        raise ValueError(f"expected a signature of {2 * _SIZE} bytes, got {len(signature)}")
    if algorithm != "ES256":
        return signature
    return encode_dss_signature(int.from_bytes(signature[:_SIZE], "big"), int.from_bytes(signature[_SIZE:], "big"))


def signing_input(header: Mapping[str, Any], claims: Mapping[str, Any]) -> bytes:
    """What is signed of a compact JWS (RFC 7515, section 5.1)."""
    return f"{b64u(msgspec.json.encode(header))}.{b64u(msgspec.json.encode(claims))}".encode()


class Parts(msgspec.Struct, frozen=True):
    """A compact JWS, taken apart and not verified."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def read(token: str) -> Parts:
    """The parts of a compact JWS whose header and claims are JSON objects; ValueError for anything else."""
    if len(token) > MAX_TOKEN:
        raise ValueError("expected a shorter token")
    pieces = token.split(".")
    if len(pieces) != 3:
        raise ValueError("expected three parts")
    try:
        header, claims = (msgspec.json.decode(from_b64u(piece), type=dict[str, Any]) for piece in pieces[:2])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("expected JSON objects") from None
    return Parts(header, claims, token.rpartition(".")[0].encode(), from_b64u(pieces[2]))
