"""Checks of key agreement and key encapsulation."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x448, x25519
from rustcare_plugin_crypto.algorithms.agreement import AGREEMENTS
from rustcare_plugin_crypto.algorithms.jwk import from_b64u
from rustcare_plugin_crypto.algorithms.kem import KEMS
from rustcare_plugin_crypto.algorithms.signature import pkcs8
from rustcare_plugin_crypto.errors import CryptoFailed

from tests.conformance.wycheproof import Check, Group, Test, Unsupported, expect, raw

__all__ = ["CHECKS"]

_CURVES: dict[str, ec.EllipticCurve] = {
    curve.name: curve
    for curve in (
        ec.SECP192R1(), ec.SECP224R1(), ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1(),
        ec.BrainpoolP256R1(), ec.BrainpoolP384R1(), ec.BrainpoolP512R1(),
    )
}  # fmt: skip
_CURVES |= {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(), "P-256K": ec.SECP256K1()}


def _curve(name: str) -> ec.EllipticCurve:
    found = next((curve for key, curve in _CURVES.items() if key.lower() == name.lower()), None)
    if found is None:
        raise Unsupported(f"the curve {name}")
    return found


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _exchange(private: Any, public: Any, shared: bytes) -> str:
    """ECDH of two keys; those on P-256 go through our agreement, in its encodings."""
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("not keys on a curve")
    if private.curve.name == public.curve.name == "secp256r1":
        expect(AGREEMENTS["ecdh-p256"].agree(pkcs8(private), _point(public)), shared)
        return "ours"
    expect(private.exchange(ec.ECDH(), public), shared)
    return "library"


def _scalar(group: Group, test: Test) -> ec.EllipticCurvePrivateKey:
    try:
        return ec.derive_private_key(int.from_bytes(raw(test["private"]), "big"), _curve(group["curve"]))
    except UnsupportedAlgorithm:
        raise Unsupported(f"the curve {group['curve']}") from None


def _ecdh_asn(name: str, group: Group, test: Test) -> str:
    """ECDH, public keys as SubjectPublicKeyInfo."""
    private = _scalar(group, test)
    return _exchange(private, serialization.load_der_public_key(raw(test["public"])), raw(test["shared"]))


def _ecdh_point(name: str, group: Group, test: Test) -> str:
    """ECDH, public keys as points, compressed or not."""
    private, public, shared = _scalar(group, test), raw(test["public"]), raw(test["shared"])
    if private.curve.name == "secp256r1":
        expect(AGREEMENTS["ecdh-p256"].agree(pkcs8(private), public), shared)
        return "ours"
    return _exchange(private, ec.EllipticCurvePublicKey.from_encoded_point(private.curve, public), shared)


def _ecdh_pem(name: str, group: Group, test: Test) -> str:
    """ECDH, both keys in PEM."""
    _curve(group["curve"])
    private = serialization.load_pem_private_key(test["private"].encode(), None)
    return _exchange(private, serialization.load_pem_public_key(test["public"].encode()), raw(test["shared"]))


def _member(jwk: dict[str, Any], name: str) -> bytes:
    """A member of a JSON Web Key; a key that lacks it is a bad key, not a malformed file."""
    value = jwk.get(name)
    if not isinstance(value, str):
        raise CryptoFailed
    return from_b64u(value)


def _ecdh_jwk(name: str, group: Group, test: Test) -> str:
    """ECDH, both keys as JSON Web Keys."""
    own, peer = test["private"], test["public"]
    curve = _curve(own["crv"])
    private = ec.derive_private_key(int.from_bytes(_member(own, "d"), "big"), curve)
    if peer.get("crv") != own["crv"] or peer.get("kty") != "EC":
        raise CryptoFailed
    size = (curve.key_size + 7) // 8
    x, y = _member(peer, "x"), _member(peer, "y")
    if len(x) != size or len(y) != size:
        raise CryptoFailed  # RFC 7518, section 6.2.1.2: coordinates have the full length
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\4" + x + y)
    return _exchange(private, public, raw(test["shared"]))


def _xdh_exchange(private: bytes, public: bytes, curve: str, shared: bytes) -> str:
    if curve in ("curve25519", "X25519", "x25519"):
        expect(AGREEMENTS["x25519"].agree(private, public), shared)
        return "ours"
    if curve in ("curve448", "X448", "x448"):
        key = x448.X448PrivateKey.from_private_bytes(private)
        expect(key.exchange(x448.X448PublicKey.from_public_bytes(public)), shared)
        return "library"
    raise Unsupported(f"XDH on {curve}")


def _xdh(name: str, group: Group, test: Test) -> str:
    """XDH on raw keys."""
    return _xdh_exchange(raw(test["private"]), raw(test["public"]), group["curve"], raw(test["shared"]))


def _xdh_loaded(group: Group, private: Any, public: Any, shared: bytes) -> str:
    kinds = (x25519.X25519PrivateKey, x25519.X25519PublicKey), (x448.X448PrivateKey, x448.X448PublicKey)
    own, peer = kinds[group["curve"] == "curve448"]
    if not isinstance(private, own) or not isinstance(public, peer):
        raise ValueError("not keys on the same curve")
    return _xdh_exchange(private.private_bytes_raw(), public.public_bytes_raw(), group["curve"], shared)


def _xdh_asn(name: str, group: Group, test: Test) -> str:
    """XDH, PKCS #8 and SubjectPublicKeyInfo in DER."""
    private = serialization.load_der_private_key(raw(test["private"]), None)
    return _xdh_loaded(group, private, serialization.load_der_public_key(raw(test["public"])), raw(test["shared"]))


def _xdh_pem(name: str, group: Group, test: Test) -> str:
    """XDH, both keys in PEM."""
    private = serialization.load_pem_private_key(test["private"].encode(), None)
    public = serialization.load_pem_public_key(test["public"].encode())
    return _xdh_loaded(group, private, public, raw(test["shared"]))


def _xdh_jwk(name: str, group: Group, test: Test) -> str:
    """XDH, both keys as JSON Web Keys (RFC 8037)."""
    own, peer = test["private"], test["public"]
    curve = {"curve25519": "X25519", "curve448": "X448"}.get(group["curve"], str(group["curve"]))
    if any(key.get("kty") != "OKP" or key.get("crv") != curve for key in (own, peer)):
        raise CryptoFailed
    return _xdh_exchange(_member(own, "d"), _member(peer, "x"), curve, raw(test["shared"]))


_ML_KEM: dict[str, tuple[Any, Any]] = {
    "ML-KEM-768": (mlkem.MLKEM768PrivateKey, mlkem.MLKEM768PublicKey),
    "ML-KEM-1024": (mlkem.MLKEM1024PrivateKey, mlkem.MLKEM1024PublicKey),
}


def _ml_kem(group: Group) -> tuple[Any, Any]:
    if group["parameterSet"] not in _ML_KEM:
        raise Unsupported(str(group["parameterSet"]))
    return _ML_KEM[group["parameterSet"]]


def _mlkem(name: str, group: Group, test: Test) -> str:
    """The seed gives the stated encapsulation key, and the ciphertext the stated secret."""
    private, _ = _ml_kem(group)
    seed, ciphertext, shared = raw(test["seed"]), raw(test["c"]), raw(test["K"])
    if len(seed) == 64 and test.get("ek"):
        expect(private.from_seed_bytes(seed).public_key().public_bytes_raw(), raw(test["ek"]))
    mine = KEMS.get(group["parameterSet"].lower())
    if mine is not None:
        expect(mine.decapsulate(seed, ciphertext), shared)
        return "ours"
    expect(private.from_seed_bytes(seed).decapsulate(ciphertext), shared)
    return "library"


def _mlkem_encaps(name: str, group: Group, test: Test) -> str:
    """Encapsulation is random here and cannot repeat the vector's: what is checked is which keys are taken."""
    _, public = _ml_kem(group)
    mine, key = KEMS.get(group["parameterSet"].lower()), raw(test["ek"])
    if mine is not None:
        shared, ciphertext = mine.encapsulate(key)
    else:
        shared, ciphertext = public.from_public_bytes(key).encapsulate()
    if test["result"] == "valid":
        expect((len(shared), len(ciphertext)), (len(raw(test["K"])), len(raw(test["c"]))))
    return "ours" if mine is not None else "library"


def _mlkem_keygen(name: str, group: Group, test: Test) -> str:
    """The seed gives the stated encapsulation key; the library does not show the expanded decapsulation key."""
    private, _ = _ml_kem(group)
    mine = KEMS.get(group["parameterSet"].lower())
    if mine is not None:
        expect(mine.public(raw(test["seed"])), raw(test["ek"]))
        return "ours"
    expect(private.from_seed_bytes(raw(test["seed"])).public_key().public_bytes_raw(), raw(test["ek"]))
    return "library"


def _mlkem_expanded(name: str, group: Group, test: Test) -> str:
    """Decapsulation keys without their seed: the library takes none."""
    raise Unsupported(f"{group['parameterSet']}: expanded decapsulation keys without the seed")


CHECKS: dict[str, Check] = {
    "EcdhTest": _ecdh_asn,
    "EcdhEcpointTest": _ecdh_point,
    "EcdhPemTest": _ecdh_pem,
    "EcdhWebcryptoTest": _ecdh_jwk,
    "XdhComp": _xdh,
    "XdhAsnComp": _xdh_asn,
    "XdhPemComp": _xdh_pem,
    "XdhJwkComp": _xdh_jwk,
    "MLKEMTest": _mlkem,
    "MLKEMEncapsTest": _mlkem_encaps,
    "MLKEMKeyGen": _mlkem_keygen,
    "MLKEMDecapsValidationTest": _mlkem_expanded,
}
