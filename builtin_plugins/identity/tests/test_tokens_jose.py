"""Thumbprints, the two forms of an ECDSA signature, and the reading of tokens."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey
from rustcare_plugin_identity.tokens.jose import (
    b64u,
    from_b64u,
    keyring_signature,
    read,
    signature_bytes,
    signing_input,
    thumbprint,
)


def test_the_thumbprint_of_the_example_of_rfc_8037_is_the_one_given_there() -> None:
    """RFC 8037, appendix A.3."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@given(st.binary(min_size=32, max_size=32))
def test_thumbprints_are_those_of_another_library_and_see_only_the_required_members(x: bytes) -> None:
    """RFC 7638, section 3.2: `kid`, `alg` and `use` make no difference."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64u(x)}
    assert thumbprint({**jwk, "kid": "1", "alg": "EdDSA", "use": "sig"}) == OKPKey.import_key(jwk).thumbprint()


@given(st.binary())
def test_base64url_comes_back(data: bytes) -> None:
    """Whatever is written is read, and there is no padding in it."""
    assert from_b64u(b64u(data)) == data
    assert "=" not in b64u(data)


@pytest.mark.parametrize("text", ["a", "AA==", "A+/A", "AB", "Ä", "AAA\n", " AAA"])
def test_what_is_not_strict_base64url_is_refused(text: str) -> None:
    """Padding, other alphabets, spare bits and blanks: one value has one text."""
    with pytest.raises(ValueError, match="base64url"):
        from_b64u(text)


@given(st.integers(1, 2**256 - 1), st.integers(1, 2**256 - 1))
def test_an_ecdsa_signature_has_fixed_length_in_a_token_and_comes_back_as_der(r: int, s: int) -> None:
    """RFC 7518, section 3.4: r and s, 32 bytes each, leading zeros kept."""
    der = encode_dss_signature(r, s)
    raw = signature_bytes("ES256", der)
    assert raw == r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert keyring_signature("ES256", raw) == der
    assert signature_bytes("EdDSA", raw) == keyring_signature("EdDSA", raw) == raw


def test_the_example_of_rfc_7515_is_read_and_its_signature_turned_into_what_a_library_verifies() -> None:
    """RFC 7515, appendix A.3: ES256."""
    token = (
        "eyJhbGciOiJFUzI1NiJ9"
        ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
        ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    )
    x, y = (
        int.from_bytes(from_b64u(part), "big")
        for part in ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
    )
    parts = read(token)
    assert parts.claims == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    public.verify(keyring_signature("ES256", parts.signature), parts.signed, ec.ECDSA(hashes.SHA256()))


@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8)))
def test_a_token_is_read_as_it_was_written(claims: dict[str, object]) -> None:
    """Header, claims and what was signed, exactly."""
    signed = signing_input({"alg": "ES256"}, claims)
    parts = read(f"{signed.decode()}.{b64u(b's' * 64)}")
    assert (parts.header, parts.claims, parts.signed, parts.signature) == ({"alg": "ES256"}, claims, signed, b"s" * 64)


_HEAD = base64.urlsafe_b64encode(b'{"alg":"ES256"}').rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        f"{_HEAD}.{_HEAD}",
        f"{_HEAD}.{_HEAD}.AA.AA",
        f"{_HEAD}.{b64u(b'[]')}.AA",
        f"{_HEAD}.{b64u(b'nul')}.AA",
        f"{_HEAD}.{b64u(bytes([0xFF]))}.AA",
        f"{_HEAD}.{_HEAD}=.AA",
        f"{_HEAD}.{b64u(json.dumps({'x': 'y' * 20_000}).encode())}.AA",
        f"{_HEAD}.{b64u(b'[' * 9_000)}.AA",
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    """Parts, alphabet, JSON, UTF-8, depth and size."""
    with pytest.raises(ValueError, match="expected"):
        read(token)
