"""Public keys as JSON (RFC 7517, 7518, 8037), each for one algorithm.

A key that cannot be used safely is no key: a point off its curve or of small order, an RSA modulus that is short, a key that
is published with its secret. What a token may be signed with is decided here, by the key, and never by the token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from hashlib import sha256
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    SECP384R1,
    EllipticCurve,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, HashAlgorithm

from . import base64url

__all__ = ["ALGORITHMS", "Key", "KeyRefused", "read_key", "thumbprint"]

Verify = Callable[[bytes, bytes], None]

#: The algorithms that are verified. `Ed25519` is the name of RFC 9864 for what RFC 8037 calls `EdDSA`.
ALGORITHMS = frozenset({"ES256", "ES384", "EdDSA", "Ed25519", "RS256", "PS256"})

_MAX_KID = 256
_RSA_BITS = range(2048, 8193)
_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n"), "oct": ("k", "kty")}
_SECRET = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_CURVES: dict[str, tuple[str, EllipticCurve, HashAlgorithm, int]] = {
    "P-256": ("ES256", SECP256R1(), SHA256(), 32),
    "P-384": ("ES384", SECP384R1(), SHA384(), 48),
}
# Of edwards25519 (RFC 8032, section 5.1).
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303021406
# The y of the points of order 1, 2, 4 and 8: a signature by such a key fits many messages.
_SMALL = frozenset({1, _P - 1, 0, _Y8, _P - _Y8})


class KeyRefused(ValueError):
    """A JWK is no public key that is accepted here. The text says why, in words that may be logged."""


class Key(msgspec.Struct, frozen=True):
    """A public key. `algorithms`: the values of `alg` that a token may have; `verify(signature, data)` raises ValueError."""

    kid: str
    algorithms: frozenset[str]
    thumbprint: str
    verify: Verify


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of a key (RFC 7638; RFC 8037, section 2), base64url. Raises KeyRefused."""
    kind = jwk.get("kty")
    names = _MEMBERS.get(kind) if isinstance(kind, str) else None
    if names is None or not all(isinstance(jwk.get(name), str) for name in names):
        raise KeyRefused("expected a key of a type that is known, with all its members")
    text = msgspec.json.encode({name: jwk[name] for name in names}, order="sorted")
    return base64url.encode(sha256(text).digest()).decode()


def read_key(jwk: Mapping[str, Any], allowed: Collection[str] = ALGORITHMS) -> Key:
    """A key to verify with.

    Args:
        allowed: of `ALGORITHMS`, those that its issuer may use. A key that does not say its `alg` is for the one that goes
            with its type; an RSA key for RS256, or for PS256 when only that is allowed.

    Raises:
        KeyRefused
    """
    if any(name in jwk for name in _SECRET):
        raise KeyRefused("expected a public key, got a secret one")
    if jwk.get("use", "sig") != "sig":
        raise KeyRefused("expected a key for signatures")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise KeyRefused("expected a key to verify with")
    kid = jwk.get("kid", "")
    if not isinstance(kid, str) or len(kid) > _MAX_KID:
        raise KeyRefused(f"expected a kid of at most {_MAX_KID} characters")
    kind = jwk.get("kty")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise KeyRefused("expected a key of the type EC, OKP or RSA")
    print_ = thumbprint(jwk)
    algorithm = jwk.get("alg")
    if algorithm is not None and (not isinstance(algorithm, str) or algorithm not in ALGORITHMS):
        raise KeyRefused(f"expected one of {', '.join(sorted(ALGORITHMS))}")
    names, verify = reader(jwk, algorithm, allowed)
    if algorithm is not None:
        if algorithm not in names:
            raise KeyRefused("expected an algorithm that goes with the key")
        names = frozenset({algorithm})
    names &= frozenset(allowed)
    if not names:
        raise KeyRefused("expected a key for an algorithm that is allowed")
    return Key(kid or print_, names, print_, verify)


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64url.decode(jwk[name].encode("ascii"))
    except ValueError:  # UnicodeEncodeError is one
        raise KeyRefused(f"expected base64url in {name}") from None


def _elliptic(jwk: Mapping[str, Any], algorithm: str | None, allowed: Collection[str]) -> tuple[frozenset[str], Verify]:
    if jwk["crv"] not in _CURVES:
        raise KeyRefused("expected the curve P-256 or P-384")
    name, curve, digest, size = _CURVES[jwk["crv"]]
    x, y = _bytes(jwk, "x"), _bytes(jwk, "y")
    if len(x) != size or len(y) != size:
        raise KeyRefused(f"expected coordinates of {size} bytes")
    try:
        public = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve).public_key()
    except ValueError:
        raise KeyRefused("expected a point on the curve") from None
    scheme, number = ECDSA(digest), int.from_bytes

    def verify(signature: bytes, data: bytes) -> None:
        # r and s in their one length (RFC 7518, section 3.4), each of 1 to the order less 1: the library refuses others.
        if len(signature) != 2 * size:
            raise ValueError("expected a signature of another length")
        der = encode_dss_signature(number(signature[:size], "big"), number(signature[size:], "big"))
        try:
            public.verify(der, data, scheme)
        except InvalidSignature:
            raise ValueError("expected a signature by this key") from None

    return frozenset({name}), verify


def _edwards(jwk: Mapping[str, Any], algorithm: str | None, allowed: Collection[str]) -> tuple[frozenset[str], Verify]:
    if jwk["crv"] != "Ed25519":
        raise KeyRefused("expected the curve Ed25519")
    x = _bytes(jwk, "x")
    if len(x) != 32:
        raise KeyRefused("expected a key of 32 bytes")
    y = int.from_bytes(x, "little") & ((1 << 255) - 1)
    if y >= _P or y in _SMALL:
        raise KeyRefused("expected a point of large order in its one form")
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if pow(square, (_P - 1) // 2, _P) != 1:
        raise KeyRefused("expected a point on the curve")
    public = Ed25519PublicKey.from_public_bytes(x)

    def verify(signature: bytes, data: bytes) -> None:
        try:
            public.verify(signature, data)
        except InvalidSignature:
            raise ValueError("expected a signature by this key") from None

    return frozenset({"EdDSA", "Ed25519"}), verify


def _rsa(jwk: Mapping[str, Any], algorithm: str | None, allowed: Collection[str]) -> tuple[frozenset[str], Verify]:
    n, e = int.from_bytes(_bytes(jwk, "n"), "big"), int.from_bytes(_bytes(jwk, "e"), "big")
    if n.bit_length() not in _RSA_BITS or not n & 1:
        raise KeyRefused(f"expected a modulus of {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits")
    if not 65537 <= e < 2**32 or not e & 1:
        raise KeyRefused("expected an odd exponent of 65537 to 4294967295")
    if algorithm is None:
        algorithm = "PS256" if "PS256" in allowed and "RS256" not in allowed else "RS256"
    public = RSAPublicNumbers(e, n).public_key()
    digest = SHA256()
    padding = PSS(MGF1(digest), digest.digest_size) if algorithm == "PS256" else PKCS1v15()

    def verify(signature: bytes, data: bytes) -> None:
        try:
            public.verify(signature, data, padding, digest)
        except InvalidSignature:
            raise ValueError("expected a signature by this key") from None

    return frozenset({algorithm} & {"RS256", "PS256"}), verify


_READERS: dict[str, Callable[[Mapping[str, Any], str | None, Collection[str]], tuple[frozenset[str], Verify]]] = {
    "EC": _elliptic,
    "OKP": _edwards,
    "RSA": _rsa,
}
