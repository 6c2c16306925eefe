"""Known attacks on verifiers of tokens: each is refused, by the whole authenticator, and the honest token is not."""

from __future__ import annotations

import hmac
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rustcare_plugin_gateway.errors import Unauthenticated

from tests.support.authenticators import Identity, opened
from tests.support.tokens import NOW, Signer, b64u, claims_of, compact

ES, ED, RS = Signer("ES256", "es"), Signer("EdDSA", "ed"), Signer("RS256", "rs")
SIGNERS = {signer.kid: signer for signer in (ES, ED, RS)}
ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ORDER_25519 = 2**252 + 27742317777372353535851937790883648493


def confused(signer: Signer, algorithm: str, secret: bytes, **header: Any) -> str:
    """A token with the MAC of a public key as if that were a secret (key confusion)."""
    digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}.get(algorithm, "sha256")
    signed = compact({"alg": algorithm, "kid": signer.kid, "typ": "at+jwt", **header}, claims_of()).rpartition(".")[0]
    return f"{signed}.{b64u(hmac.digest(secret, signed.encode(), digest))}"


def with_signature(signature: bytes, signer: Signer = ES) -> str:
    """An honest token with another signature."""
    return signer.sign(claims_of()).rpartition(".")[0] + "." + b64u(signature)


def both(r: int, s: int) -> bytes:
    """An ECDSA signature."""
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def attacks() -> Iterator[tuple[str, str]]:
    """Every attack: what it is, and its token."""
    honest = ES.sign(claims_of())
    head, body, tail = honest.split(".")

    for name in ("none", "None", "NONE", "nOnE", "none ", " none", "", "null", "\u0000none", "ｎｏｎｅ"):
        for signature in (b"", b"x", bytes(64)):
            yield f"alg {name!r}", compact({"alg": name, "kid": "es", "typ": "at+jwt"}, claims_of(), signature)
    for value in (None, 0, False, True, [], ["ES256"], {"alg": "ES256"}, 256):
        yield f"alg {value!r}", ES.sign_raw({"alg": value, "kid": "es", "typ": "at+jwt"}, claims_of())
    yield "no alg", ES.sign(claims_of(), alg=None)
    for name in (
        "es256",
        "ES256 ",
        "ES256K",
        "ES512",
        "Es256",
        "RS1",
        "RS384",
        "HS256",
        "dir",
        "A128KW",
        "PBES2-HS256+A128KW",
    ):
        yield f"alg {name}", ES.sign(claims_of(), alg=name)

    public = RS.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for algorithm in ("HS256", "HS384", "HS512"):
        yield f"{algorithm} with the PEM", confused(RS, algorithm, pem)
        yield f"{algorithm} with the PEM without its last line break", confused(RS, algorithm, pem.rstrip())
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        yield f"{algorithm} with the DER", confused(RS, algorithm, der)
        yield f"{algorithm} with the JWK", confused(RS, algorithm, json.dumps(RS.jwk).encode())
        yield f"{algorithm} with nothing", confused(RS, algorithm, b"")
        yield f"{algorithm} with the point", confused(ED, algorithm, ED.private.public_key().public_bytes_raw())
    yield "the name RS256 over a MAC", confused(RS, "RS256", pem)
    for signer, algorithm in (
        (RS, "PS256"),
        (ES, "EdDSA"),
        (ED, "ES256"),
        (ED, "Ed25519"),
        (ES, "RS256"),
        (RS, "ES256"),
    ):
        yield f"{algorithm} for a key of {signer.algorithm}", signer.sign(claims_of(), alg=algorithm)
    for kid in SIGNERS:
        if kid != "es":
            yield f"signed by es, named {kid}", ES.sign(claims_of(), kid=kid)

    for kid in (
        "../../../../dev/null", "/dev/null", "es/../es", "file:///dev/null", "' OR '1'='1", "es' UNION SELECT 'a",
        "es;id", "$(id)", "`id`", "es\u0000", "es ", " es", "ES", "https://evil.example/jwks", "es\n", "%65s", "k" * 300,
    ):  # fmt: skip
        yield f"kid {kid[:24]!r}", ES.sign(claims_of(), kid=kid)
        yield f"kid {kid[:24]!r}, MAC of nothing", confused(ES, "HS256", b"", kid=kid)
    for value in (None, 0, [], ["es"], {"es": 1}, True):
        yield f"kid {value!r}", ES.sign_raw({"alg": "ES256", "kid": value, "typ": "at+jwt"}, claims_of())
    yield "no kid", ES.sign(claims_of(), kid=None)

    stranger = Signer("ES256", "es")
    for name, value in (
        ("jwk", stranger.jwk),
        ("jku", "https://evil.example/jwks"),
        ("x5u", "https://evil.example/cert"),
        ("x5c", ["AAAA"]),
        ("x5t", "AAAA"),
        ("keys", [stranger.jwk]),
    ):
        yield f"own key in {name}", stranger.sign(claims_of(), **{name: value})
        yield f"own key in {name}, no kid", stranger.sign(claims_of(), kid=None, **{name: value})
    for name in ("crit", "b64", "enc", "zip", "cty"):
        for extra in ([], ["exp"], ["b64"], ["alg"], "b64", None, False, True, "JWT", "DEF"):
            yield (
                f"{name} {extra!r}",
                ES.sign_raw({"alg": "ES256", "kid": "es", "typ": "at+jwt", name: extra}, claims_of()),
            )
    raw = compact({"alg": "ES256", "kid": "es", "typ": "at+jwt", "b64": False, "crit": ["b64"]}, "")
    yield "b64 false", raw.replace("..", "." + json.dumps(claims_of()).replace(".", "") + ".")

    for typ in (
        "JWE",
        "id+jwt",
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "application/jwt+at",
        "at+jwt ",
        "",
        1,
        ["at+jwt"],
    ):
        yield f"typ {typ!r}", ES.sign_raw({"alg": "ES256", "kid": "es", "typ": typ}, claims_of())
    yield "typ JWT: an ID token, or another", ES.sign(claims_of(), typ="JWT")
    yield "no typ", ES.sign(claims_of(), typ=None)

    header = '{"alg":"ES256","kid":"es","typ":"at+jwt"'
    claims = json.dumps(claims_of(), separators=(",", ":"))[:-1]
    yield "alg twice", ES.sign_raw(header + ',"alg":"none"}', claims_of())
    yield "alg twice, first none", ES.sign_raw('{"alg":"none",' + header[1:] + "}", claims_of())
    yield "alg twice, escaped", ES.sign_raw(header + ',"\\u0061lg":"none"}', claims_of())
    yield "kid twice", ES.sign_raw(header + ',"kid":"ed"}', claims_of())
    for more in (
        '"sub":"user/eve"', '"exp":99999999999', '"tenant":"other"', '"\\u0073ub":"user/eve"', '"x":{"a":1,"a":2}',
        '"scope":"admin"', '"aud":"else"', '"iss":"else"',
    ):  # fmt: skip
        yield f"claim twice: {more}", ES.sign_raw(header + "}", claims + "," + more + "}")
    for text in (
        "[]", '"x"', "1", "null", "true", "", " ", "{", claims, claims + "}}", claims + "},", '{"iss":"rustcare"}{}',
        "[" + claims + "}]", claims.replace('"iss"', "'iss'") + "}", claims + ',"n":NaN}', claims + ',"n":1e999}',
        claims + ',"n":' + "9" * 400 + "}", claims + ',"n":' + "[" * 500 + "]" * 500 + "}", "\ufeff" + claims + "}",
        claims + ',"n":"\\ud800"}',
    ):  # fmt: skip
        yield f"claims {text[:12]!r}…{text[-12:]!r}", ES.sign_raw(header + "}", text)
        yield f"header {text[:12]!r}…{text[-12:]!r}", ES.sign_raw(text, claims_of())
    for bad in (b'"\xff"', b'"\xc0\xae"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"', b'"\x00"', b'"\n"'):
        yield f"text {bad!r} in claims", ES.sign_raw(header + "}", claims.encode() + b',"n":' + bad + b"}")
        yield f"text {bad!r} in the header", ES.sign_raw(header.encode() + b',"n":' + bad + b"}", claims_of())
    for encoding in ("utf-16", "utf-32", "utf-16-le"):
        yield f"claims in {encoding}", ES.sign_raw(header + "}", (claims + "}").encode(encoding))

    yield "psychic signature", with_signature(both(0, 0))
    yield "no signature", f"{head}.{body}."
    for r, s in (
        (0, 1),
        (1, 0),
        (1, 1),
        (ORDER_P256, 1),
        (1, ORDER_P256),
        (ORDER_P256, ORDER_P256),
        (ORDER_P256 + 1, 1),
    ):
        yield f"signature {r:x}, {s:x}", with_signature(both(r % 2**256, s % 2**256))
    good = ES.signature(f"{head}.{body}".encode())
    for name, signature in (
        ("shorter", good[:-1]),
        ("longer", good + b"\0"),
        ("longer in front", b"\0" + good),
        ("twice", good + good),
        ("half", good[:32]),
        ("halves changed", good[32:] + good[:32]),
        ("of the order, added to r", (int.from_bytes(good[:32], "big") + ORDER_P256).to_bytes(33, "big") + good[32:]),
        ("with wider halves", b"\0" + good[:32] + b"\0" + good[32:]),
    ):
        yield f"signature {name}", f"{head}.{body}.{b64u(signature)}"
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    der = encode_dss_signature(int.from_bytes(good[:32], "big"), int.from_bytes(good[32:], "big"))
    yield "signature as DER", f"{head}.{body}.{b64u(der)}"
    signed = ED.sign(claims_of()).rpartition(".")[0]
    edwards = ED.signature(signed.encode())
    added = edwards[:32] + (int.from_bytes(edwards[32:], "little") + ORDER_25519).to_bytes(32, "little")
    for name, signature in (
        ("with the order added to s", added),
        ("shorter", edwards[:-1]),
        ("longer", edwards + b"\0"),
        ("of the neutral element", (1).to_bytes(32, "little") + bytes(32)),
        ("of zeros", bytes(64)),
    ):
        yield f"Ed25519 signature {name}", f"{signed}.{b64u(signature)}"
    signed = RS.sign(claims_of()).rpartition(".")[0]
    modulus = RS.private.public_key().public_numbers().n
    wrapped = (int.from_bytes(RS.signature(signed.encode()), "big") + modulus).to_bytes(257, "big")
    for name, signature in (
        ("with the modulus added", wrapped), ("with a zero in front", b"\0" + RS.signature(signed.encode())),
        ("of zeros", bytes(256)), ("of one", (1).to_bytes(256, "big")), ("shorter", RS.signature(signed.encode())[1:]),
    ):  # fmt: skip
        yield f"RSA signature {name}", f"{signed}.{b64u(signature)}"

    yield "signature of other claims", f"{head}.{b64u(json.dumps(claims_of(sub='user/eve')))}.{tail}"
    yield (
        "header of another token",
        f"{b64u(json.dumps({'alg': 'ES256', 'kid': 'es', 'typ': 'at+jwt', 'x': 1}))}.{body}.{tail}",
    )
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    yield "spare bits in the signature", honest[:-1] + last[last.index(honest[-1]) ^ 1]
    for name, token in (
        ("padded", honest + "=="), ("padded header", f"{head}=.{body}.{tail}"), ("a space", honest + " "),
        ("a space in front", " " + honest), ("a line break", honest + "\n"), ("a tab", f"{head}.\t{body}.{tail}"),
        ("a line break inside", f"{head}.{body[:9]}\r\n{body[9:]}.{tail}"), ("a zero byte", honest + "\0"),
        ("a plus sign", f"{head}.{body}.{tail[:-2]}+A"), ("not ASCII", honest + "é"), ("wide dots", f"{head}․{body}․{tail}"),
        ("four parts", honest + "."), ("four parts, empty first", "." + honest), ("five parts", honest + ".."),
        ("twice", f"{honest}.{honest}"), ("two parts", f"{head}.{body}"), ("one part", head), ("nothing", ""),
        ("dots", ".."), ("many dots", "." * 5000), ("empty header", f".{body}.{tail}"), ("empty claims", f"{head}..{tail}"),
        ("large", "A" * 20_000 + f".{body}.{tail}"), ("large claims", f"{head}.{'A' * 200_000}.{tail}"),
        ("with its scheme", f"Bearer {honest}"), ("a comma", f"{honest},{honest}"), ("quoted", f'"{honest}"'),
        ("escaped", honest.replace(".", "%2e")),
    ):  # fmt: skip
        yield name, token
    nested = ES.sign(honest)
    yield "nested", nested
    yield "nested, said so", ES.sign(honest, cty="JWT")
    yield "encrypted", compact({"alg": "dir", "enc": "A128GCM"}, b"") + "AAAA.AAAA.AAAA"

    for name, wrong in (
        ("exp as text", {"exp": str(NOW + 300)}), ("exp true", {"exp": True}), ("no exp", {"exp": None}),
        ("exp in a list", {"exp": [NOW + 300]}), ("exp negative", {"exp": -1}), ("exp zero", {"exp": 0}),
        ("exp now", {"exp": NOW}), ("exp past", {"exp": NOW - 1}), ("exp 1e300", {"exp": 1e300}),
        ("exp 2**63", {"exp": 2**63}), ("exp 2**64 + now", {"exp": 2**64 + NOW + 300}), ("exp in milliseconds", {"exp": 1e15}),
        ("nbf later", {"nbf": NOW + 60}), ("nbf as text", {"nbf": str(NOW)}), ("nbf negative", {"nbf": -5}),
        ("iat later", {"iat": NOW + 60}), ("iat as text", {"iat": str(NOW)}), ("no iat", {"iat": None}),
        ("no jti", {"jti": None}), ("jti as a number", {"jti": 5}), ("jti empty", {"jti": ""}),
        ("other issuer", {"iss": "evil"}), ("no issuer", {"iss": None}), ("issuer in a list", {"iss": ["rustcare"]}),
        ("issuer with a slash", {"iss": "rustcare/"}), ("issuer in capitals", {"iss": "RustCare"}),
        ("issuer true", {"iss": True}),
        ("other audience", {"aud": "else"}), ("no audience", {"aud": None}), ("empty audience", {"aud": ""}),
        ("audience of many, not ours", {"aud": ["a", "b"]}), ("audience that begins so", {"aud": "rustcare-other"}),
        ("audience as an object", {"aud": {"rustcare": 1}}), ("audiences, one no text", {"aud": ["rustcare", 1]}),
        ("no audiences", {"aud": []}), ("no subject", {"sub": None}), ("empty subject", {"sub": ""}),
        ("subject that is no principal", {"sub": "ada"}), ("subject of another kind", {"sub": "kernel/ada"}),
        ("subject with a line break", {"sub": "user/ada\n"}), ("subject as a list", {"sub": ["user/ada"]}),
        ("subject without an id", {"sub": "user/"}), ("long subject", {"sub": "user/" + "a" * 500}),
        ("no tenant", {"tenant": None}), ("tenant as a list", {"tenant": ["default"]}),
        ("tenant null in text", {"tenant": "\0"}),
        ("scope as an object", {"scope": {"admin": 1}}), ("scopes that are no text", {"scope": ["a", 1]}),
        ("roles as a number", {"roles": 1}), ("acr aal9", {"acr": "aal9"}), ("acr as a number", {"acr": 3}),
        ("no acr", {"acr": None}),
        ("sid as a list", {"sid": ["a"]}), ("auth_time as text", {"auth_time": "now"}),
        ("auth_time negative", {"auth_time": -1}),
        ("on_behalf as an object", {"on_behalf": {}}), ("purpose as a list", {"purpose": []}),
    ):  # fmt: skip
        yield name, ES.sign(claims_of(**wrong))
    yield "exp null, said", ES.sign({**claims_of(), "exp": None})
    yield "a refresh token's form", "rcr_" + "a" * 43


ATTACKS = {f"{number} {name}": token for number, (name, token) in enumerate(attacks())}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def door() -> AsyncIterator[Any]:
    """An authenticator that knows three keys."""
    known = Identity()
    known.jwks = [signer.jwk for signer in SIGNERS.values()]
    async with opened(known) as found:
        yield found


@pytest.mark.parametrize("kid", SIGNERS)
@pytest.mark.asyncio(loop_scope="module")
async def test_honest_tokens_are_accepted(door: Any, kid: str) -> None:
    """A token as identity makes them is accepted, by every key: what is refused below is refused for what it is."""
    caller = await door.token(SIGNERS[kid].sign(claims_of()))
    assert (caller.principal, caller.tenant, caller.aal, caller.scopes) == (
        "user/ada",
        "default",
        2,
        ("lab.read", "lab.write"),
    )


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.asyncio(loop_scope="module")
async def test_attacks_are_refused(door: Any, name: str) -> None:
    """The attack is refused, without a failure of ours, twice (the second time from memory), and never found in the cache."""
    token = ATTACKS[name]
    for _ in range(2):
        with pytest.raises(Unauthenticated) as caught:
            await door.token(token)
        assert caught.value.error == "invalid_token"
        assert caught.value.__context__ is None or caught.value.__suppress_context__
        assert door.authenticator.cached("token", token) is None


def test_there_are_many_attacks() -> None:
    """The corpus is not cut short by an error in making it."""
    assert len(ATTACKS) > 300
