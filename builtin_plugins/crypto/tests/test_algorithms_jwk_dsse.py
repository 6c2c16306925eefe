"""Public keys as JSON Web Keys, and signed envelopes."""

from __future__ import annotations

import json
import os
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_crypto.algorithms import ALGORITHMS, Signature, Signer, Verifier, algorithm
from rustcare_plugin_crypto.algorithms.dsse import Envelope, pae, seal, verify
from rustcare_plugin_crypto.algorithms.jwk import b64u, from_b64u, jwks, thumbprint
from rustcare_plugin_crypto.errors import CryptoFailed, InvalidParameter, Unsuitable

KIND = "application/vnd.rustcare.test+json"


@pytest.mark.parametrize("name", [name for name in ALGORITHMS if not name.startswith("rsa-")])
def test_public_keys_become_json(name: str) -> None:
    """A JWK has its type's members and nothing secret; a symmetric key has none."""
    suite = ALGORITHMS[name]
    secret = suite.generate()
    public = suite.public(secret)
    if public is None:
        with pytest.raises(Unsuitable):
            suite.jwk(b"")
        return
    key = suite.jwk(public)
    assert not {"d", "p", "q", "dp", "dq", "qi", "priv", "k"} & set(key)
    assert json.loads(json.dumps(key)) == key
    assert thumbprint(key) == thumbprint({**key, "kid": "other", "use": "none"})
    assert public[-32:] in b"".join(from_b64u(key[part]) for part in ("x", "y", "pub") if part in key)


def test_rsa_keys_become_json() -> None:
    """Modulus and exponent, the latter as 65537."""
    suite = algorithm("rsa-pss-3072", Signature)
    key = suite.jwk(suite.public(suite.generate()))
    assert (key["kty"], key["alg"], key["e"], len(from_b64u(key["n"]))) == ("RSA", "PS256", "AQAB", 384)


def test_the_thumbprint_is_the_standard_one() -> None:
    """The key of RFC 8037, appendix A.3."""
    key = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(key) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_set_names_its_keys() -> None:
    """A key without `kid` gets its thumbprint, one with keeps its own."""
    suite = algorithm("ed25519", Signature)
    key = suite.jwk(suite.public(suite.generate()))
    one, two = jwks([key, {**key, "kid": "mine"}])["keys"]
    assert (one["kid"], two["kid"]) == (thumbprint(key), "mine")


def test_what_is_no_public_key_has_no_thumbprint() -> None:
    """Unknown types and missing members are refused."""
    for key in (
        {},
        {"kty": "oct", "k": "x"},
        {"kty": "EC", "crv": "P-256", "x": "x"},
        {"kty": "OKP", "crv": 1, "x": ""},
    ):
        with pytest.raises(InvalidParameter):
            thumbprint(key)


@given(st.binary(max_size=80))
def test_base64url_goes_both_ways(data: bytes) -> None:
    """Every string of bytes comes back; padding or a stray character is refused."""
    text = b64u(data)
    assert from_b64u(text) == data
    for bad in (text + "=", text + "!", text + "\n"):
        with pytest.raises(InvalidParameter):
            from_b64u(bad)


# envelopes


@cache
def keys() -> tuple[dict[str, Signer], dict[str, Verifier]]:
    """Three pairs of different algorithms."""
    signers, verifiers = {}, {}
    for name in ("ed25519", "ecdsa-p256", "ed25519+ml-dsa-65"):
        suite = algorithm(name, Signature)
        secret = suite.generate()
        signers[name], verifiers[name] = suite.prepare(secret), suite.verifier(suite.public(secret))
    return signers, verifiers


def test_the_encoding_is_the_standard_one() -> None:
    """The example of the protocol; lengths count bytes."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


def test_envelopes_go_through_json() -> None:
    """What is signed by several keys verifies by all of them after JSON, and says which signed."""
    signers, verifiers = keys()
    envelope = Envelope.from_json(seal(KIND, b"payload", signers).to_json())
    assert (envelope.kind, envelope.payload) == (KIND, b"payload")
    assert verify(envelope, verifiers, threshold=3, kind=KIND) == list(verifiers)


def test_the_threshold_counts_keys() -> None:
    """Too few signatures fail; the same key twice, or under two names in the envelope, counts once."""
    signers, verifiers = keys()
    envelope = seal(KIND, b"payload", {"ed25519": signers["ed25519"]})
    assert verify(envelope, verifiers) == ["ed25519"]
    twice = Envelope(KIND, b"payload", (*envelope.signatures, ("ecdsa-p256", envelope.signatures[0][1])))
    for attempt in (envelope, twice):
        with pytest.raises(CryptoFailed):
            verify(attempt, verifiers, threshold=2)
    for threshold in (0, 4):
        with pytest.raises(InvalidParameter):
            verify(envelope, verifiers, threshold)


def test_key_ids_are_only_hints() -> None:
    """A signature under a wrong or empty key id still counts for the key that made it."""
    signers, verifiers = keys()
    signature = seal(KIND, b"payload", {"ed25519": signers["ed25519"]}).signatures[0][1]
    for name in ("", "ecdsa-p256", "unknown"):
        assert verify(Envelope(KIND, b"payload", ((name, signature),)), verifiers) == ["ed25519"]


def test_type_and_payload_are_signed() -> None:
    """Another payload, another type, and a type that is not the expected one fail."""
    signers, verifiers = keys()
    envelope = seal(KIND, b"payload", signers)
    for changed in (
        Envelope(KIND, b"other", envelope.signatures),
        Envelope("text/plain", b"payload", envelope.signatures),
        Envelope(KIND, b"payload", (("ed25519", os.urandom(64)),)),
    ):
        with pytest.raises(CryptoFailed):
            verify(changed, verifiers)
    with pytest.raises(CryptoFailed):
        verify(envelope, verifiers, kind="text/plain")


def test_url_safe_base64_is_taken() -> None:
    """The protocol asks readers to take both alphabets."""
    signers, verifiers = keys()
    content = json.loads(seal(KIND, b"\xfb\xff\xfe?", {"ed25519": signers["ed25519"]}).to_json())
    content["payload"] = content["payload"].replace("+", "-").replace("/", "_").rstrip("=")
    assert verify(Envelope.from_json(json.dumps(content)), verifiers) == ["ed25519"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"payload": "", "payloadType": "x", "signatures": []}',
        '{"payload": "", "payloadType": 1, "signatures": [{"sig": ""}]}',
        '{"payload": "!", "payloadType": "x", "signatures": [{"sig": ""}]}',
        '{"payload": "", "payloadType": "x", "signatures": [{"keyid": "a"}]}',
        '{"payload": "", "payloadType": "x", "signatures": ["a"]}',
    ],
)
def test_what_is_no_envelope_is_refused(text: str) -> None:
    """Anything else is an error about the envelope, not a crash."""
    with pytest.raises(InvalidParameter):
        Envelope.from_json(text)


def test_an_envelope_needs_a_signer() -> None:
    """Nothing can be sealed without a key."""
    with pytest.raises(InvalidParameter):
        seal(KIND, b"", {})
