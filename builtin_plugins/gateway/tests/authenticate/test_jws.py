"""Signed tokens: the examples of RFC 7515, RFC 7519 and RFC 8037, each read, verified or refused as it must be here."""

from __future__ import annotations

import json

import pytest
from rustcare_plugin_gateway.authenticate.claims import check
from rustcare_plugin_gateway.authenticate.jwk import Key, read_key
from rustcare_plugin_gateway.authenticate.jws import MAX_TOKEN, TokenRefused, read_token, verified

from tests.support.tokens import Signer, b64u, claims_of, compact

#: The claims of RFC 7519, section 3.1, as RFC 7515 encodes them (with CRLF).
PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
CLAIMS = {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
#: RFC 7515, appendix A.2.
RS256_KEY = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMs"
    "D1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQ"
    "Y4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    "e": "AQAB",
}
RS256 = (
    f"eyJhbGciOiJSUzI1NiJ9.{PAYLOAD}."
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQ"
    "jbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqt"
    "FZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
#: RFC 7515, appendix A.3.
ES256_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
ES256 = (
    f"eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}."
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
)
#: RFC 7515, appendix A.1, which is RFC 7519, section 3.1.
HS256 = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#: RFC 7515, appendix A.5, which is RFC 7519, section 6.1.
UNSECURED = f"eyJhbGciOiJub25lIn0.{PAYLOAD}."


@pytest.mark.parametrize(("token", "jwk"), [(RS256, RS256_KEY), (ES256, ES256_KEY)], ids=["A.2", "A.3"])
def test_examples_are_verified(token: str, jwk: dict[str, str]) -> None:
    """RFC 7515, appendices A.2 and A.3: the signature holds, and the claims are those of RFC 7519, section 3.1."""
    assert verified(read_token(token.encode()), read_key(jwk)) == CLAIMS
    changed = token.replace(PAYLOAD, b64u(json.dumps({**CLAIMS, "iss": "jim"})))
    with pytest.raises(TokenRefused, match="signature"):
        verified(read_token(changed.encode()), read_key(jwk))


def test_the_claims_of_the_example_end() -> None:
    """RFC 7519, section 4.1.4: on and after its `exp` the token is not accepted any more."""
    claims = {**read_token(ES256.encode()).claims, "aud": "x"}
    assert check(claims, issuer="joe", audience="x", now=1300819379.9).ends == 1300819380
    with pytest.raises(TokenRefused, match="expired"):
        check(claims, issuer="joe", audience="x", now=1300819380)


@pytest.mark.parametrize(
    "token",
    [
        HS256,
        UNSECURED,
        # RFC 7515, appendix A.4: ES512 is not among the algorithms here.
        compact({"alg": "ES512"}, "Payload", bytes(132)),
        # RFC 8037, appendix A.4: the payload is no JSON object.
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        # RFC 7519, appendices A.1 and A.2, in form: encrypted, and nested, tokens have five parts.
        compact({"alg": "RSA1_5", "enc": "A128CBC-HS256"}, b"", b"") + ".AAAA.AAAA",
        # RFC 7515, appendix A.6, in form: JSON serialization.
        json.dumps({"payload": PAYLOAD, "signatures": []}),
        # RFC 7515, appendix F: detached content.
        ES256.replace(PAYLOAD, ""),
    ],
    ids=["A.1 HS256", "A.5 none", "A.4 ES512", "8037 A.4", "7519 A.1", "A.6", "F"],
)
def test_examples_that_are_refused(token: str) -> None:
    """Symmetric, unsecured, encrypted, nested, detached and JSON-serialized tokens are refused before any key is looked for."""
    with pytest.raises(TokenRefused):
        read_token(token.encode())


@pytest.fixture(scope="module")
def signer() -> Signer:
    """Who signs."""
    return Signer("ES256")


@pytest.fixture(scope="module")
def key(signer: Signer) -> Key:
    """With what that is verified."""
    return read_key(signer.jwk)


@pytest.mark.parametrize(
    ("typ", "short"),
    [("at+jwt", "at+jwt"), ("AT+JWT", "at+jwt"), ("application/at+jwt", "at+jwt"), ("JWT", "jwt"), (None, "")],
)
def test_types_are_media_types(signer: Signer, typ: str | None, short: str) -> None:
    """RFC 7515, section 4.1.9: `typ` is a media type, in any case of letters, with or without `application/`."""
    assert read_token(signer.sign(claims_of(), typ=typ).encode()).type == short


OTHER = Signer("ES256")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jwk", OTHER.jwk),
        ("jku", "https://evil.example/keys"),
        ("x5u", "https://evil.example/chain"),
        ("x5c", ["AAAA"]),
        ("x5t", "AAAA"),
        ("x5t#S256", "AAAA"),
        ("url", OTHER.jwk),
        ("nonce", 5),
    ],
)
def test_keys_in_headers_are_not_used(signer: Signer, key: Key, name: str, value: object) -> None:
    """RFC 7515, section 4.1: what a header brings along neither helps nor harms; the issuer's own key counts."""
    assert verified(read_token(signer.sign(claims_of(), **{name: value}).encode()), key) == claims_of()
    with pytest.raises(TokenRefused, match="signature"):
        verified(read_token(OTHER.sign(claims_of(), kid=signer.kid, **{name: value}).encode()), key)


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256"])
@pytest.mark.parametrize("value", [None, 5, True, "ftp://x", "", {"a": 1}, [5], ["a"]])
def test_malformed_keys_in_headers_are_refused(signer: Signer, name: str, value: object) -> None:
    """A member that has not the form that RFC 7515 gives it makes a token malformed."""
    forms = {"jwk": dict, "x5c": list, "x5t": str, "x5t#S256": str}
    good = name in forms and isinstance(value, forms[name]) and value != [5]
    token = signer.sign_raw({"alg": "ES256", "kid": signer.kid, name: value}, claims_of()).encode()
    if good:
        read_token(token)
    else:
        with pytest.raises(TokenRefused, match="header"):
            read_token(token)


@pytest.mark.parametrize("name", ["crit", "b64", "enc", "zip", "cty"])
@pytest.mark.parametrize("value", [None, True, False, "JWT", [], ["exp"], ["b64"]])
def test_extensions_are_refused(signer: Signer, name: str, value: object) -> None:
    """RFC 7515, section 4.1.11: what must be understood and is not makes a token invalid, whatever it says."""
    header = {"alg": "ES256", "kid": signer.kid, name: value}
    with pytest.raises(TokenRefused, match="extensions"):
        read_token(signer.sign_raw(header, claims_of()).encode())


def test_size_is_limited(signer: Signer, key: Key) -> None:
    """A token of the largest size is read, a larger one is refused before anything of it is."""
    room = MAX_TOKEN - len(signer.sign(claims_of(x="")))
    fits = signer.sign(claims_of(x="y" * (room * 3 // 4 - 2)))
    assert MAX_TOKEN - 8 < len(fits) <= MAX_TOKEN
    assert verified(read_token(fits.encode()), key)["x"]
    with pytest.raises(TokenRefused, match="at most"):
        read_token(signer.sign(claims_of(x="y" * room)).encode())
    with pytest.raises(TokenRefused, match="three parts"):
        read_token(signer.sign(claims_of(), pad="y" * 4000).encode())


def test_refusals_hold_nothing_of_the_token(signer: Signer) -> None:
    """What is said of a token that was refused holds no part of it."""
    token = compact({"alg": "secret-alg"}, {"iss": "secret-iss"})
    with pytest.raises(TokenRefused) as caught:
        read_token(token.encode())
    assert "secret" not in str(caught.value)
