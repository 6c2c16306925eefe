"""Signatures, the hybrid among them, and what a verifier refuses."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from rustcare_plugin_crypto.algorithms import ALGORITHMS, Signature, algorithm
from rustcare_plugin_crypto.algorithms.signature import ecdsa_fixed, ecdsa_unfixed
from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey

NAMES = [name for name, item in ALGORITHMS.items() if isinstance(item, Signature)]
HYBRID = "ed25519+ml-dsa-65"
every = pytest.mark.parametrize("name", NAMES)


@cache
def key(name: str) -> tuple[Signature, bytes, bytes]:
    """An algorithm, a secret and its public key; RSA keys take long to make, so one for all tests."""
    suite = algorithm(name, Signature)
    secret = suite.generate()
    return suite, secret, suite.public(secret)


def test_the_promised_algorithms_are_there() -> None:
    """The names of the contract."""
    assert set(NAMES) == {
        "ed25519", "ecdsa-p256", "ecdsa-p384", "ml-dsa-44", "ml-dsa-65", "rsa-pss-3072", "rsa-pss-4096", HYBRID,
    }  # fmt: skip


@every
def test_what_is_signed_verifies(name: str) -> None:
    """A signature verifies with the public key, by a prepared verifier and by the short form."""
    suite, secret, public = key(name)
    signature = suite.prepare(secret).sign(b"message")
    suite.verifier(public).verify(signature, b"message")
    suite.verify(public, suite.sign(secret, bytearray(b"message")), b"message")


@every
def test_what_is_not_signed_is_refused(name: str) -> None:
    """Another message, a changed, cut, prolonged or empty signature and a bad key: one error, without its cause."""
    suite, secret, public = key(name)
    signature = suite.sign(secret, b"message")
    middle = len(signature) // 2
    changed = signature[:middle] + bytes([signature[middle] ^ 1]) + signature[middle + 1 :]
    attempts = [
        (public, signature, b"massage"),
        (public, changed, b"message"),
        (public, signature[:-1], b"message"),
        (public, signature + b"\0", b"message"),
        (public, b"", b"message"),
        (public[:-1], signature, b"message"),
        (b"", signature, b"message"),
    ]
    for given, text, message in attempts:
        with pytest.raises(CryptoFailed) as failure:
            suite.verify(given, text, message)
        assert failure.value.__cause__ is None
        assert str(failure.value) == str(CryptoFailed())


@every
def test_secrets_are_checked(name: str) -> None:
    """Bytes that are no key of the algorithm are refused, and the error does not quote them."""
    suite, secret, _ = key(name)
    suite.check(secret)
    for bad in (b"", b"\7" * 31, secret[:-1]):
        with pytest.raises(InvalidKey) as failure:
            suite.prepare(bad)
        assert bad.hex()[:8] not in str(failure.value) or not bad


@every
def test_prepared_keys_show_nothing(name: str) -> None:
    """`repr` of a signer is its type's name."""
    suite, secret, _ = key(name)
    assert repr(suite.prepare(secret)).count("<") == 1
    assert secret.hex()[:16] not in repr(suite.prepare(secret))


@pytest.mark.parametrize("name", [name for name in NAMES if name != HYBRID])
def test_keys_can_be_brought_as_pkcs8(name: str) -> None:
    """PKCS #8 in DER and in PEM gives the same canonical secret; a key of another algorithm is refused."""
    suite, secret, public = key(name)
    if secret[:1] == b"0" and len(secret) > 64:
        loaded: Any = serialization.load_der_private_key(secret, None)
    else:
        kinds = {
            "ed25519": ed25519.Ed25519PrivateKey.from_private_bytes,
            "ml-dsa-44": mldsa.MLDSA44PrivateKey.from_seed_bytes,
            "ml-dsa-65": mldsa.MLDSA65PrivateKey.from_seed_bytes,
        }
        loaded = kinds[name](secret)
    for encoding in (serialization.Encoding.DER, serialization.Encoding.PEM):
        text = loaded.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        assert suite.public(suite.adopt(text)) == public
    other = ec.generate_private_key(ec.SECP521R1()).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(InvalidKey, match=r"another (algorithm|key)"):
        suite.adopt(other)


def test_rsa_keys_with_a_small_exponent_are_refused() -> None:
    """A key that somebody brings with the exponent 3 is none that FIPS 186-5 allows."""
    weak = rsa.generate_private_key(3, 3072).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(InvalidKey, match="exponent"):
        algorithm("rsa-pss-3072", Signature).adopt(weak)


def test_a_wrong_public_point_beside_a_private_key_is_not_believed() -> None:
    """A brought key whose stated point is another key's is refused, or taken with its own point."""
    suite, secret, public = key("ecdsa-p256")
    other = suite.public(suite.generate())
    assert public in secret
    forged = secret.replace(public, other)
    try:
        adopted = suite.adopt(forged)
    except InvalidKey:
        return
    assert suite.public(adopted) == public


def test_ed25519_follows_the_standard() -> None:
    """Test 2 of RFC 8032, section 7.1."""
    suite = ALGORITHMS["ed25519"]
    assert isinstance(suite, Signature)
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    signature = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert suite.public(secret).hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert suite.sign(secret, b"\x72").hex() == signature


def test_ecdsa_signatures_change_form() -> None:
    """DER to r || s and back; what is no signature is refused."""
    suite, secret, public = key("ecdsa-p256")
    signature = suite.sign(secret, b"x")
    fixed = ecdsa_fixed(signature, 32)
    assert len(fixed) == 64
    suite.verify(public, ecdsa_unfixed(fixed, 32), b"x")
    for bad in (b"", signature[:-1]):
        with pytest.raises(CryptoFailed):
            ecdsa_fixed(bad, 32)
    with pytest.raises(CryptoFailed):
        ecdsa_unfixed(fixed[:-1], 32)


def parts(signature: bytes) -> tuple[bytes, bytes]:
    """The two signatures in a hybrid one."""
    assert signature[:2] == (64).to_bytes(2, "big")
    assert signature[66:68] == (3309).to_bytes(2, "big")
    return signature[2:66], signature[68:]


def joined(first: bytes, second: bytes) -> bytes:
    """The other way round."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in (first, second))


def test_both_parts_of_a_hybrid_must_verify() -> None:
    """Either part broken, left empty or taken from another message of the same key is refused."""
    suite, secret, public = key(HYBRID)
    first, second = parts(suite.sign(secret, b"one"))
    other_first, other_second = parts(suite.sign(secret, b"two"))
    suite.verify(public, joined(first, second), b"one")
    for pair in (
        (first, other_second),
        (other_first, second),
        (bytes(64), second),
        (first, bytes(3309)),
        (first, b""),
        (b"", second),
    ):
        for message in (b"one", b"two"):
            with pytest.raises(CryptoFailed):
                suite.verify(public, joined(*pair), message)


def test_parts_of_a_hybrid_are_no_signatures_of_their_own() -> None:
    """Cut out, neither part is a signature of the message by the key it was made with."""
    suite, secret, public = key(HYBRID)
    first, second = parts(suite.sign(secret, b"message"))
    for name, signature, own in (("ed25519", first, public[:32]), ("ml-dsa-65", second, public[32:])):
        with pytest.raises(CryptoFailed):
            algorithm(name, Signature).verify(own, signature, b"message")


def test_parts_of_a_hybrid_are_bound_to_the_partner_key() -> None:
    """Two hybrid keys that share one half: a signature of one is none of the other."""
    suite, secret, _ = key(HYBRID)
    signature = suite.sign(secret, b"message")
    for other in (secret[:32] + os.urandom(32), os.urandom(32) + secret[32:]):
        with pytest.raises(CryptoFailed):
            suite.verify(suite.public(other), signature, b"message")
