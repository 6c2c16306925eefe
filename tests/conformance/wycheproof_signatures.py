"""Checks of signatures and of RSA encryption."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from rustcare_plugin_crypto.algorithms.rsa import PssVerifier, oaep_decrypt
from rustcare_plugin_crypto.algorithms.signature import SIGNATURES, EcdsaVerifier, ecdsa_unfixed
from rustcare_plugin_crypto.errors import CryptoFailed

from tests.conformance.wycheproof import Bound, Check, Group, Test, Unsupported, expect, raw
from tests.conformance.wycheproof_symmetric import hash_of

__all__ = ["CHECKS"]

#: Curve and hash of the ECDSA that we offer.
_OURS = {("secp256r1", "sha256"): "ecdsa-p256", ("secp384r1", "sha384"): "ecdsa-p384"}


@lru_cache(maxsize=256)
def _public(der: str) -> Any:
    """A SubjectPublicKeyInfo; None for a key that the library refuses (then every signature by it is refused)."""
    try:
        return serialization.load_der_public_key(raw(der))
    except ValueError:
        return None


def _der(group: Group) -> str:
    """The public key of a group; older files call it `keyDer`."""
    return str(group.get("publicKeyDer") or group["keyDer"])


@lru_cache(maxsize=256)
def _private(der: str) -> Any:
    return serialization.load_der_private_key(raw(der), None)


def _curve_key(group: Group) -> ec.EllipticCurvePublicKey:
    curve = (group.get("publicKey") or group["key"]).get("curve", "")
    try:
        key = _public(_der(group))
    except UnsupportedAlgorithm:
        raise Unsupported(f"the curve {curve}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("not a key on a curve")
    return key


def _ecdsa_verify(key: ec.EllipticCurvePublicKey, group: Group, signature: bytes, msg: bytes) -> str:
    digest = hash_of(group["sha"])
    mine = _OURS.get((key.curve.name, digest.name))
    if mine is None:
        EcdsaVerifier(key, digest).verify(signature, msg)
        return "library"
    encoding, form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    SIGNATURES[mine].verify(key.public_bytes(encoding, form), signature, msg)
    return "ours"


def _ecdsa(name: str, group: Group, test: Test) -> str:
    """ECDSA, signatures in DER."""
    return _ecdsa_verify(_curve_key(group), group, raw(test["sig"]), raw(test["msg"]))


def _ecdsa_p1363(name: str, group: Group, test: Test) -> str:
    """ECDSA, signatures r || s."""
    key = _curve_key(group)
    size = (key.curve.group_order.bit_length() + 7) // 8
    return _ecdsa_verify(key, group, ecdsa_unfixed(raw(test["sig"]), size), raw(test["msg"]))


def _ecdsa_bitcoin(name: str, group: Group, test: Test) -> str:
    """ECDSA under Bitcoin's rule that s is in the lower half: a rule that neither we nor the library have."""
    raise Unsupported("ECDSA with Bitcoin's rule for s")


def _eddsa(name: str, group: Group, test: Test) -> str:
    """Ed25519 and Ed448."""
    key, signature, msg = _public(_der(group)), raw(test["sig"]), raw(test["msg"])
    if isinstance(key, ed25519.Ed25519PublicKey):
        SIGNATURES["ed25519"].verify(key.public_bytes_raw(), signature, msg)
        return "ours"
    if isinstance(key, ed448.Ed448PublicKey):
        key.verify(signature, msg)
        return "library"
    raise Unsupported(f"EdDSA on {(group.get('publicKey') or group['key']).get('curve')}")


def _dsa(name: str, group: Group, test: Test) -> str:
    """DSA, signatures in DER."""
    return _dsa_verify(group, raw(test["sig"]), test)


def _dsa_p1363(name: str, group: Group, test: Test) -> str:
    """DSA, signatures r || s."""
    key, signature = _public(_der(group)), raw(test["sig"])
    size = (key.parameters().parameter_numbers().q.bit_length() + 7) // 8
    if len(signature) != 2 * size:
        raise CryptoFailed
    r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
    return _dsa_verify(group, encode_dss_signature(r, s), test)


def _dsa_verify(group: Group, signature: bytes, test: Test) -> str:
    key = _public(_der(group))
    if not isinstance(key, dsa.DSAPublicKey):
        raise ValueError("not a DSA key")
    key.verify(signature, raw(test["msg"]), hash_of(group["sha"]))
    return "library"


def _rsa_key(group: Group) -> rsa.RSAPublicKey:
    key = _public(_der(group))
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA key")
    return key


def _pkcs1_verify(name: str, group: Group, test: Test) -> str:
    """RSASSA-PKCS1-v1_5: we do not offer it."""
    _rsa_key(group).verify(raw(test["sig"]), raw(test["msg"]), padding.PKCS1v15(), hash_of(group["sha"]))
    return "library"


def _pkcs1_generate(name: str, group: Group, test: Test) -> str:
    """RSASSA-PKCS1-v1_5 is deterministic: the signature must be the expected one."""
    key = _rsa_private(group)
    expect(key.sign(raw(test["msg"]), padding.PKCS1v15(), hash_of(group["sha"])), raw(test["sig"]))
    return "library"


def _pss(name: str, group: Group, test: Test) -> str:
    """RSASSA-PSS, through our verifier with the group's parameters."""
    if group.get("mgf", "MGF1") != "MGF1" or group["sha"].startswith("SHAKE"):
        raise Unsupported(f"RSASSA-PSS with {group['sha']} and {group.get('mgf')}")
    verifier = PssVerifier(_rsa_key(group), hash_of(group["sha"]), hash_of(group["mgfSha"]), int(group["sLen"]))
    verifier.verify(raw(test["sig"]), raw(test["msg"]))
    return "ours"


def _rsa_private(group: Group) -> rsa.RSAPrivateKey:
    if "otherPrimeInfos" in group.get("privateKey", {}):
        raise Bound("RSA keys of more than two primes are refused (the library's bound)")
    key = _private(group["privateKeyPkcs8"])
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")
    return key


def _oaep(name: str, group: Group, test: Test) -> str:
    """RSAES-OAEP, through our decryption with the group's parameters."""
    if "SHA-512/" in group["sha"]:
        raise Unsupported(f"RSAES-OAEP with {group['sha']}")
    key, digest, mgf = _rsa_private(group), hash_of(group["sha"]), hash_of(group["mgfSha"])
    expect(oaep_decrypt(key, raw(test["ct"]), digest, mgf, raw(test["label"])), raw(test["msg"]))
    return "ours"


def _pkcs1_decrypt(name: str, group: Group, test: Test) -> str:
    """RSAES-PKCS1-v1_5: we do not offer it. The library answers bad padding with a random message (implicit rejection)."""
    expect(_rsa_private(group).decrypt(raw(test["ct"]), padding.PKCS1v15()), raw(test["msg"]))
    return "library"


_ML_DSA: dict[str, tuple[Any, Any]] = {
    "ML-DSA-44": (mldsa.MLDSA44PrivateKey, mldsa.MLDSA44PublicKey),
    "ML-DSA-65": (mldsa.MLDSA65PrivateKey, mldsa.MLDSA65PublicKey),
    "ML-DSA-87": (mldsa.MLDSA87PrivateKey, mldsa.MLDSA87PublicKey),
}


def _ml_dsa(name: str) -> tuple[Any, Any]:
    if name not in _ML_DSA:
        raise Unsupported(name)
    return _ML_DSA[name]


def _mldsa_verify(name: str, group: Group, test: Test) -> str:
    """ML-DSA; ours have an empty context, others go to the library."""
    _, public = _ml_dsa(name)
    key, signature, context = raw(group["publicKey"]), raw(test["sig"]), raw(test.get("ctx", ""))
    if "msg" not in test:
        public.from_public_bytes(key).verify_mu(signature, raw(test["mu"]))
        return "library"
    if not context and name.lower() in SIGNATURES:
        SIGNATURES[name.lower()].verify(key, signature, raw(test["msg"]))
        return "ours"
    public.from_public_bytes(key).verify(signature, raw(test["msg"]), context)
    return "library"


def _mldsa_sign(name: str, group: Group, test: Test) -> str:
    """Signing is hedged, so it cannot repeat the vector's signature. Checked instead: the seed gives the stated public key,

    the vector's signature is one by it, and what we sign with the seed verifies.
    """
    private, public = _ml_dsa(name)
    if "privateSeed" not in group:
        raise Unsupported(f"{name}: expanded private keys without the seed")
    seed, context = raw(group["privateSeed"]), raw(test.get("ctx", ""))
    key = private.from_seed_bytes(seed)
    stated = raw(group["publicKey"]) if group.get("publicKey") else key.public_key().public_bytes_raw()
    expect(key.public_key().public_bytes_raw(), stated)
    verifier = public.from_public_bytes(stated)
    if "msg" not in test:
        verifier.verify_mu(key.sign_mu(raw(test["mu"])), raw(test["mu"]))
        verifier.verify_mu(raw(test["sig"]), raw(test["mu"]))
        return "library"
    msg = raw(test["msg"])
    if not context and name.lower() in SIGNATURES:
        mine = SIGNATURES[name.lower()]
        expect(mine.public(seed), stated)
        mine.verify(stated, mine.sign(seed, msg), msg)
        mine.verify(stated, raw(test["sig"]), msg)
        return "ours"
    verifier.verify(key.sign(msg, context), msg, context)
    verifier.verify(raw(test["sig"]), msg, context)
    return "library"


CHECKS: dict[str, Check] = {
    "EcdsaVerify": _ecdsa,
    "EcdsaP1363Verify": _ecdsa_p1363,
    "EcdsaBitcoinVerify": _ecdsa_bitcoin,
    "EddsaVerify": _eddsa,
    "DsaVerify": _dsa,
    "DsaP1363Verify": _dsa_p1363,
    "RsassaPkcs1Verify": _pkcs1_verify,
    "RsassaPkcs1Generate": _pkcs1_generate,
    "RsassaPssVerify": _pss,
    "RsassaPssWithParametersVerify": _pss,
    "RsaesOaepDecrypt": _oaep,
    "RsaesPkcs1Decrypt": _pkcs1_decrypt,
    "MlDsaVerify": _mldsa_verify,
    "MlDsaSign": _mldsa_sign,
}
