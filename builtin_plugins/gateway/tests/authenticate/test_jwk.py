"""Public keys: examples of the RFCs, and keys that must not be used."""

from __future__ import annotations

from typing import Any

import pytest
from rustcare_plugin_gateway.authenticate.jwk import KeyRefused, read_key, thumbprint

from tests.support.tokens import Signer, b64u

#: RFC 7638, section 3.1.
RSA_7638 = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
    "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1"
    "n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
#: RFC 8037, appendix A.2.
OKP_8037 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
#: RFC 7517, appendix A.1.
EC_7517 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "kid": "1",
}
P25519 = 2**255 - 19


def test_thumbprint_of_rfc_7638() -> None:
    """The thumbprint of section 3.1, whatever other members the key has."""
    assert thumbprint(RSA_7638) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert read_key(RSA_7638).thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_thumbprint_of_rfc_8037() -> None:
    """The thumbprint of appendix A.3, which is the id of a key that has none."""
    assert thumbprint(OKP_8037) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert read_key(OKP_8037).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_signature_of_rfc_8037() -> None:
    """Appendix A.4 and A.5: the example signature is verified, and no other."""
    signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
    signature = bytes.fromhex(
        "860c98d2297f3060a33f42739672d61b53cf3adefed3d3c672f320dc021b411e"
        "9d59b8628dc351e248b88b29468e0e41855b0fb7d83bb15be902bfccb8cd0a02"
    )
    key = read_key(OKP_8037)
    key.verify(signature, signed)
    with pytest.raises(ValueError, match="signature"):
        key.verify(signature, signed + b"x")


@pytest.mark.parametrize("name", ["ES256", "ES384", "EdDSA", "Ed25519", "RS256", "PS256"])
def test_every_algorithm_verifies(name: str) -> None:
    """A key of each algorithm verifies what it signed, and refuses it when one bit is another."""
    signer = Signer(name)
    key = read_key(signer.jwk)
    signature = signer.signature(b"data")
    assert key.algorithms == {name}
    key.verify(signature, b"data")
    for place in (0, len(signature) // 2, len(signature) - 1):
        changed = bytearray(signature)
        changed[place] ^= 1
        with pytest.raises(ValueError, match="signature"):
            key.verify(bytes(changed), b"data")


@pytest.mark.parametrize(
    ("jwk", "allowed", "names"),
    [
        (EC_7517, None, {"ES256"}),
        (OKP_8037, None, {"EdDSA", "Ed25519"}),
        ({**RSA_7638, "alg": None}, None, {"RS256"}),
        ({**RSA_7638, "alg": None}, {"PS256", "ES256"}, {"PS256"}),
        ({**RSA_7638, "alg": "PS256"}, None, {"PS256"}),
        ({**OKP_8037, "alg": "Ed25519"}, None, {"Ed25519"}),
    ],
)
def test_a_key_is_for_one_algorithm(jwk: dict[str, Any], allowed: set[str] | None, names: set[str]) -> None:
    """The algorithm is the one the key names, or the one that goes with its type (under both its names)."""
    given = {name: value for name, value in jwk.items() if value is not None}
    assert (read_key(given) if allowed is None else read_key(given, allowed)).algorithms == names


def _ec(**more: Any) -> dict[str, Any]:
    return {**EC_7517, **more}


def _okp(y: int) -> dict[str, Any]:
    return {**OKP_8037, "x": b64u(y.to_bytes(32, "little"))}


def _modulus(bits: int) -> str:
    return b64u(((1 << (bits - 1)) | 1).to_bytes((bits + 7) // 8, "big"))


REFUSED: dict[str, dict[str, Any]] = {
    "no type": {"crv": "P-256"},
    "a type that is a list": _ec(kty=["EC"]),
    "a symmetric key": {"kty": "oct", "k": "AAAA"},
    "a symmetric key as an elliptic one": _ec(k="AAAA"),
    "a private key": _ec(d="AAAA"),
    "for encryption": _ec(use="enc"),
    "operations without verify": _ec(key_ops=["sign"]),
    "operations that are no list": _ec(key_ops="verify"),
    "algorithm none": _ec(alg="none"),
    "algorithm HS256": _ec(alg="HS256"),
    "algorithm of another type": _ec(alg="RS256"),
    "algorithm of another curve": _ec(alg="ES384"),
    "algorithm that is no text": _ec(alg=["ES256"]),
    "curve secp256k1": _ec(crv="secp256k1"),
    "curve P-521": _ec(crv="P-521"),
    "curve that is no text": _ec(crv=1),
    "point off the curve": _ec(x=EC_7517["y"], y=EC_7517["x"]),
    "point at infinity": _ec(x=b64u(bytes(32)), y=b64u(bytes(32))),
    "point of another curve": _ec(crv="P-384"),
    "short coordinate": _ec(x=EC_7517["x"][:-2]),
    "long coordinate": _ec(x=b64u(b"\0" * 33)),
    "padded coordinate": _ec(x=EC_7517["x"] + "="),
    "coordinate with spare bits": _ec(x=EC_7517["x"][:-1] + "5"),
    "coordinate that is a number": _ec(x=5),
    "coordinate that is not ASCII": _ec(x="ä" * 43),
    "no y": {name: value for name, value in EC_7517.items() if name != "y"},
    "kid that is a number": _ec(kid=1),
    "kid that is long": _ec(kid="k" * 300),
    "Ed448": {**OKP_8037, "crv": "Ed448"},
    "X25519": {**OKP_8037, "crv": "X25519"},
    "Ed25519 of another length": {**OKP_8037, "x": OKP_8037["x"][:-3]},
    "Ed25519 neutral element": _okp(1),
    "Ed25519 neutral element, other sign": _okp(1 | 1 << 255),
    "Ed25519 of order 2": _okp(P25519 - 1),
    "Ed25519 of order 4": _okp(0),
    "Ed25519 of order 8": _okp(2707385501144840649318225287225658788936804267575313519463743609750303021406),
    "Ed25519 not reduced": _okp(P25519 + 1),
    "Ed25519 off the curve": _okp(2),
    "RSA of 1024 bits": {"kty": "RSA", "n": _modulus(1024), "e": "AQAB"},
    "RSA of 16384 bits": {"kty": "RSA", "n": _modulus(16384), "e": "AQAB"},
    "RSA even": {"kty": "RSA", "n": b64u((1 << 2047).to_bytes(256, "big")), "e": "AQAB"},
    "RSA with exponent 1": {**RSA_7638, "e": "AQ"},
    "RSA with exponent 3": {**RSA_7638, "e": "Aw"},
    "RSA with an even exponent": {**RSA_7638, "e": b64u((65538).to_bytes(3, "big"))},
    "RSA with a huge exponent": {**RSA_7638, "e": b64u(b"\xff" * 20)},
    "RSA with an elliptic algorithm": {**RSA_7638, "alg": "ES256"},
}


@pytest.mark.parametrize("why", REFUSED)
def test_keys_that_are_refused(why: str) -> None:
    """A key that is secret, for something else, malformed, weak, or no point of large order on its curve is refused."""
    with pytest.raises(KeyRefused):
        read_key(REFUSED[why])


def test_an_algorithm_that_is_not_allowed() -> None:
    """A key for an algorithm that its issuer may not use is refused."""
    with pytest.raises(KeyRefused, match="allowed"):
        read_key(EC_7517, {"EdDSA"})


def test_the_points_of_small_order_are_those() -> None:
    """A key of small order would verify what nobody signed: the library's own check does not stop it, ours does."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    weak = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(weak).verify(weak + bytes(32), b"whatever")
    with pytest.raises(KeyRefused, match="large order"):
        read_key({"kty": "OKP", "crv": "Ed25519", "x": b64u(weak)})


def test_a_key_with_other_members_is_read() -> None:
    """Members that are not known here do not matter (RFC 7517, section 4)."""
    assert read_key({**EC_7517, "x5t": "AAAA", "ext": True, "key_ops": ["verify"], "use": "sig"}).kid == "1"
