"""Our verifier against PyJWT and joserfc: what ours accepts both accept with the same claims, and where both accept what ours
refuses, that is one of the reasons listed here.

`REASONS` is the list of where ours is stricter, each with a token that shows it and why it is so.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import joserfc.jws
import joserfc.jwt
import jwt
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import import_key
from rustcare_plugin_gateway.authenticate.claims import MAX_TIME, check, text_of
from rustcare_plugin_gateway.authenticate.json_object import MAX_DEPTH
from rustcare_plugin_gateway.authenticate.jwk import read_key
from rustcare_plugin_gateway.authenticate.jws import MAX_TOKEN, TokenRefused, read_token, verified

from tests.support.tokens import Signer, b64u

Claims = dict[str, Any] | None
SIGNERS = {name: Signer(name, name) for name in ("ES256", "ES384", "EdDSA", "RS256", "PS256")}
OURS = {name: read_key(signer.jwk) for name, signer in SIGNERS.items()}
PYJWT = {name: jwt.PyJWK(signer.jwk) for name, signer in SIGNERS.items()}
JOSERFC = {name: import_key(signer.jwk) for name, signer in SIGNERS.items()}
START = int(time.time())
LATER = START + 100_000


def ours(token: bytes) -> Claims:
    """What ours makes of a token, with the key that it names."""
    try:
        jws = read_token(token)
        key = OURS.get(jws.kid)
        if key is None:
            return None
        claims = verified(jws, key)
        check(claims, issuer="i", audience="a", now=time.time())
        text_of(claims, "sub"), text_of(claims, "jti")
    except TokenRefused:
        return None
    return claims


def pyjwt(token: bytes) -> Claims:
    """What PyJWT makes of it, with the same key and its one algorithm."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = PYJWT.get(kid) if isinstance(kid, str) else None
        if key is None:
            return None
        return jwt.decode(
            token, key, algorithms=[str(kid)], issuer="i", audience="a", options={"require": ["exp", "iss", "aud"]}
        )
    except (jwt.PyJWTError, UnicodeError, RecursionError, ValueError, TypeError, OverflowError):
        return None


REGISTRY = joserfc.jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": "i"}, aud={"essential": True, "value": "a"}, exp={"essential": True}
)


class Registry(joserfc.jws.JWSRegistry):
    """Headers as the RFC has them: members that are not known do not matter, and there is room for them."""

    max_header_length = 4096


def joserfc_(token: bytes) -> Claims:
    """What joserfc makes of it, likewise."""
    try:
        with warnings.catch_warnings():
            # It would rather have the name of RFC 9864 for what everybody calls EdDSA.
            warnings.simplefilter("ignore", SecurityWarning)
            kid = joserfc.jws.extract_compact(token).headers().get("kid")
            key = JOSERFC.get(kid) if isinstance(kid, str) else None
            if key is None:
                return None
            registry = Registry(algorithms=[str(kid)], strict_check_header=False)
            found = joserfc.jwt.decode(token, key, registry=registry)
        REGISTRY.validate(found.claims)
        return dict(found.claims)
    except (JoseError, UnicodeError, RecursionError, ValueError, TypeError, OverflowError, AttributeError):
        return None


# where ours is stricter


class _Twice(Exception):
    """A name stands twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise _Twice
    return dict(pairs)


def _walk(value: Any, depth: int = 0) -> tuple[int, list[Any]]:
    """How deep a value is, and all that is in it."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    deepest, found = depth, [value, *(value if isinstance(value, dict) else ())]
    for item in inner:
        below, more = _walk(item, depth + 1)
        deepest, found = max(deepest, below), found + more
    return deepest + isinstance(value, dict | list) if not inner else deepest, found


def why(token: bytes) -> set[str]:
    """The reasons for which ours must refuse a token that others accept, found without any code of ours."""
    import base64

    found = set()
    if len(token) > MAX_TOKEN or len(token.split(b".")[0]) > 4096:
        found.add("size")
    parts = [base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)) for part in token.split(b".")]
    values: list[Any] = []
    for part in parts[:2]:
        try:
            part.decode("utf-8")
            if part.startswith(b"\xef\xbb\xbf") or b"\0" in part:
                found.add("encoding")
        except UnicodeDecodeError:
            found.add("encoding")
        try:
            json.loads(part, object_pairs_hook=_unique)
        except _Twice:
            found.add("twice")
        value = json.loads(part)
        values.append(value)
        depth, inside = _walk(value)
        if depth > MAX_DEPTH:
            found.add("depth")
        for one in inside:
            if isinstance(one, float) and not abs(one) < float("inf"):
                found.add("numbers")
            if isinstance(one, int) and not -(2**63) <= one < 2**64:
                found.add("numbers")
            if isinstance(one, str) and any(0xD800 <= ord(mark) <= 0xDFFF for mark in one):
                found.add("surrogates")
    header, claims = values
    if {"crit", "b64", "enc", "zip", "cty"} & set(header):
        found.add("extensions")
    for name in ("exp", "nbf", "iat"):
        time_ = claims.get(name, 0)
        if not isinstance(time_, bool) and isinstance(time_, int | float) and not 0 <= time_ <= MAX_TIME:
            found.add("times")
        if isinstance(time_, float) and int(time_) <= time.time() < time_ + 1:
            found.add("times")
    for name in ("sub", "jti"):
        text = claims.get(name, "")
        if isinstance(text, str) and (len(text) > 255 or not text.isprintable()):
            found.add("text")
    return found


def claims_text(**more: Any) -> str:
    """Good claims as JSON."""
    return json.dumps({"iss": "i", "aud": "a", "exp": LATER, "sub": "s", **more})


def token(header: Any = None, claims: Any = None, name: str = "ES256", **more: Any) -> bytes:
    """A token that is signed; `more` are members of its header."""
    head = json.dumps({"alg": name, "kid": name, **more}) if header is None else header
    return SIGNERS[name].sign_raw(head, claims_text() if claims is None else claims).encode()


#: Where ours refuses what both others accept: why, and a token that shows it.
REASONS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "twice": (
        "a name that stands twice means different things to different readers (RFC 7519, section 4, lets it be refused)",
        lambda: token(claims='{"sub":"t",' + claims_text()[1:]),
    ),
    "encoding": (
        "Python's reader guesses at UTF-16, UTF-32 and byte order marks; JWTs are UTF-8 (RFC 7519, section 7)",
        lambda: token(claims=claims_text().encode("utf-16-le")),
    ),
    "numbers": (
        "NaN and Infinity are no JSON, and integers beyond 64 bits are rounded by others (RFC 8259, section 6)",
        lambda: token(claims='{"n":NaN,' + claims_text()[1:]),
    ),
    "surrogates": (
        "half a character cannot be stored or compared as UTF-8 (RFC 8259, section 8.2)",
        lambda: token(claims='{"n":"\\ud800",' + claims_text()[1:]),
    ),
    "depth": (
        "what is nested deeply costs every later reader",
        lambda: token(claims=claims_text(n=[[[[[[[[[1]]]]]]]]])),
    ),
    "size": ("a token is at most 16 KiB", lambda: token(claims=claims_text(n="x" * 20_000))),
    "extensions": (
        "what says that a token is encrypted, compressed or nested contradicts that it is signed and read as it stands",
        lambda: token(cty="JWT"),
    ),
    "times": (
        "times before 1970 and after 9999 are mistakes, such as milliseconds; fractions of a second count",
        lambda: token(claims=claims_text(exp=10**15)),
    ),
    "text": (
        "a subject or an id with control characters cannot be told from another in a log",
        lambda: token(claims=claims_text(sub="a\nb")),
    ),
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_one(reason: str) -> None:
    """For each reason there is a token that both others accept, and that ours refuses for it."""
    made = REASONS[reason][1]()
    assert pyjwt(made) is not None
    assert joserfc_(made) is not None
    assert ours(made) is None
    assert reason in why(made)


@pytest.mark.parametrize("name", SIGNERS)
def test_plain_tokens_are_accepted_by_all(name: str) -> None:
    """A token without anything special is accepted by all three, with the same claims."""
    made = token(name=name)
    assert ours(made) == pyjwt(made) == joserfc_(made) == json.loads(claims_text())


# what is tried

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
TIMES = st.sampled_from(
    [
        LATER,
        START - 1000,
        START + 5000,
        0,
        -5,
        1e300,
        10**15,
        2**64 + LATER,
        True,
        None,
        str(LATER),
        LATER + 0.5,
        [LATER],
    ]
)
CLAIM = st.one_of(
    st.tuples(st.sampled_from(["exp", "nbf", "iat"]), TIMES),
    st.tuples(
        st.just("aud"), st.sampled_from(["a", ["a"], ["a", "b"], ["b"], [], "b", "", None, ["a", 1], {"a": 1}, "ab"])
    ),
    st.tuples(st.just("iss"), st.sampled_from(["i", "j", "", None, ["i"], {"i": 1}, "I"])),
    st.tuples(st.sampled_from(["sub", "jti"]), st.text(max_size=5) | st.integers() | st.none()),
    st.tuples(st.text(max_size=4), JSON_VALUES),
)
MEMBER = st.one_of(
    st.tuples(
        st.just("alg"),
        st.sampled_from([*SIGNERS, "none", "None", "", "HS256", "ES512", "es256", "Ed25519", None, ["ES256"], 5]),
    ),
    st.tuples(st.just("kid"), st.sampled_from([*SIGNERS, "", "x", "../x", "' OR 1=1", None, 5, ["ES256"], "ES256 "])),
    st.tuples(st.just("typ"), st.sampled_from(["JWT", "at+jwt", "JOSE", "", None, 5])),
    st.tuples(
        st.sampled_from(["crit", "b64", "cty", "zip", "enc"]),
        st.sampled_from([[], ["b64"], ["exp"], True, False, "JWT", None]),
    ),
    st.tuples(st.sampled_from(["jwk", "jku", "x5u", "x5c", "x"]), JSON_VALUES),
)


@st.composite
def json_texts(draw: st.DrawFn, base: dict[str, Any], member: st.SearchStrategy[tuple[str, Any]]) -> bytes:
    """An object with some members changed, written in one of many ways, and now and then damaged."""
    value = {
        **base,
        **dict(draw(st.sampled_from([0, 0, 1, 2]).flatmap(lambda n: st.lists(member, min_size=n, max_size=n)))),
    }
    separators = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:\r\n")]))
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), separators=separators)
    if draw(st.sampled_from([False] * 15 + [True])):
        name, again = draw(member)
        extra = f"{json.dumps(name)}:{json.dumps(again)}"
        text = "{" + extra + "," + text[1:] if draw(st.booleans()) else text[:-1] + "," + extra + "}"
    raw = text.encode(draw(st.sampled_from(["utf-8"] * 40 + ["utf-8-sig", "utf-16", "utf-32-be"])), "surrogatepass")
    if draw(st.sampled_from([False] * 15 + [True])):
        at = draw(st.integers(0, len(raw)))
        junk = draw(
            st.sampled_from([b" ", b"\n", b"\0", b"\xff", b"x", b'"', b"}", b"{", b",", b"0", b"\\u0000", b"NaN"])
        )
        raw = raw[:at] + junk + raw[at + draw(st.integers(0, 1)) :]
    return raw


HEADERS = st.sampled_from(list(SIGNERS)).flatmap(
    lambda name: json_texts({"alg": name, "kid": name}, MEMBER).map(lambda raw: (name, raw))
)
CLAIMS = json_texts({"iss": "i", "aud": "a", "exp": LATER, "sub": "s"}, CLAIM)


@st.composite
def tokens(draw: st.DrawFn) -> bytes:
    """A token that is signed well, or whose signature or text was changed after."""
    name, header = draw(HEADERS)
    signer = SIGNERS[draw(st.sampled_from([name] * 9 + list(SIGNERS)))]
    text = signer.sign_raw(header, draw(CLAIMS))
    what = draw(st.sampled_from([6] * 12 + [0, 1, 2, 3, 4, 5]))
    if what == 0:
        signature = bytearray(signer.signature(text.rpartition(".")[0].encode()))
        signature[draw(st.integers(0, len(signature) - 1))] ^= 1 << draw(st.integers(0, 7))
        text = f"{text.rpartition('.')[0]}.{b64u(bytes(signature))}"
    elif what == 1:
        text = f"{text.rpartition('.')[0]}.{b64u(draw(st.sampled_from([b'', bytes(64), bytes(96), bytes(256), b'x'])))}"
    elif what in (2, 3):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(list(".=-_+/ \nAz09\x00"))) + text[at + draw(st.integers(0, 1)) :]
    elif what == 4:
        text = draw(
            st.sampled_from(
                [text + "=", text + "==", text + ".", "." + text, text + " ", text[:-1], text[1:], text * 2]
            )
        )
    elif what == 5:
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        text = text[:-1] + last[last.index(text[-1]) ^ draw(st.integers(1, 3))]
    return text.encode()


@given(tokens())
@example(token(claims=claims_text(exp=LATER + 0.5)))
@settings(max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_ours_accepts_no_more(made: bytes) -> None:
    """What ours accepts both accept with the same claims; what ours refuses one of them refuses too, or there is a reason."""
    mine, theirs, others = ours(made), pyjwt(made), joserfc_(made)
    event(f"ours {mine is not None}, PyJWT {theirs is not None}, joserfc {others is not None}")
    if mine is not None:
        assert theirs == mine
        assert others == mine
    elif theirs is not None and others is not None:
        reasons = why(made) & set(REASONS)
        event(f"stricter: {', '.join(sorted(reasons))}")
        assert reasons, "ours refuses what both others accept, and no reason is known"


def test_ed25519_by_its_new_name() -> None:
    """PyJWT does not know the name of RFC 9864 yet: tokens under it are compared with joserfc alone."""
    signer = Signer("Ed25519", "x")
    made = signer.sign_raw({"alg": "Ed25519", "kid": "x"}, claims_text())
    found = joserfc.jwt.decode(made, import_key(signer.jwk), algorithms=["Ed25519"])
    assert verified(read_token(made.encode()), read_key(signer.jwk)) == found.claims
    with pytest.raises(TokenRefused):
        verified(
            read_token(signer.sign_raw({"alg": "EdDSA", "kid": "x"}, claims_text()).encode()), read_key(signer.jwk)
        )
