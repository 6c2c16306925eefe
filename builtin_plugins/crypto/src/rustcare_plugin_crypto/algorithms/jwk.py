"""Public keys as JSON Web Keys, and their thumbprints.

RFC 7517 (JWK), RFC 7518 section 6 (EC, RSA), RFC 8037 (OKP: Ed25519, X25519), the AKP key type of
draft-ietf-cose-dilithium (ML-DSA) and draft-ietf-jose-pqc-kem (ML-KEM), RFC 7638 (thumbprint). No private member is ever
written here.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from rustcare_plugin_crypto.errors import InvalidParameter

__all__ = ["akp_jwk", "b64u", "ec_jwk", "from_b64u", "jwks", "okp_jwk", "rsa_jwk", "thumbprint"]

#: The members that a thumbprint covers, by key type (RFC 7638 section 3.2, RFC 8037 section 2, the AKP draft).
_REQUIRED = {
    "EC": ("crv", "kty", "x", "y"),
    "RSA": ("e", "kty", "n"),
    "OKP": ("crv", "kty", "x"),
    "AKP": ("alg", "kty", "pub"),
}


def b64u(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64u(text: str) -> bytes:
    """The bytes of `b64u` (raises InvalidParameter for anything else, padding included)."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        data = None
    if data is None or b64u(data) != text:
        raise InvalidParameter(f"expected base64url without padding, got {len(text)} other characters")
    return data


def okp_jwk(curve: str, public: bytes) -> dict[str, Any]:
    """Ed25519 and X25519 (RFC 8037)."""
    return {"kty": "OKP", "crv": curve, "x": b64u(public)}


def akp_jwk(algorithm: str, public: bytes) -> dict[str, Any]:
    """Keys that are one string of bytes of a named algorithm."""
    return {"kty": "AKP", "alg": algorithm, "pub": b64u(public)}


def ec_jwk(curve: str, point: bytes, size: int) -> dict[str, Any]:
    """An uncompressed point whose coordinates have `size` bytes."""
    if len(point) != 1 + 2 * size or point[0] != 4:
        raise InvalidParameter(f"expected an uncompressed point of {1 + 2 * size} bytes, got {len(point)} bytes")
    return {"kty": "EC", "crv": curve, "x": b64u(point[1 : 1 + size]), "y": b64u(point[1 + size :])}


def rsa_jwk(modulus: int, exponent: int) -> dict[str, Any]:
    """Modulus and exponent without leading zeros (RFC 7518, section 6.3.1)."""
    n, e = (number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (modulus, exponent))
    return {"kty": "RSA", "n": b64u(n), "e": b64u(e)}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint (RFC 7638), base64url: what we use as `kid`.

    Raises:
        InvalidParameter: the key type is not known, or a required member is missing.
    """
    members = _REQUIRED.get(jwk.get("kty", ""))
    if members is None or any(not isinstance(jwk.get(member), str) for member in members):
        raise InvalidParameter(f"expected a public JWK of type {', '.join(_REQUIRED)}, got members {sorted(jwk)}")
    text = json.dumps({member: jwk[member] for member in members}, separators=(",", ":"), sort_keys=True)
    return b64u(sha256(text.encode()).digest())


def jwks(keys: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A JWK set (RFC 7517, section 5); a key without `kid` gets its thumbprint."""
    return {"keys": [{**key, "kid": key.get("kid") or thumbprint(key)} for key in keys]}
