"""What a token costs: verified for the first time by ours, PyJWT and joserfc, and found again, against bare `cryptography`.

The floor has its key object and the signature's numbers ready and verifies; ours reads header and claims, checks key,
algorithm and claims and makes the caller of it. The figures of PyJWT and joserfc are for the same token, with key objects that
are ready, and their own checks of issuer, audience and times. A token that is found again is compared with the two things that
this cannot do without: SHA-256 of the token, and one look into a dict.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import joserfc.jwt
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.errors import SecurityWarning
from joserfc.jwk import import_key
from rustcare_plugin_gateway.authenticate.cache import Cache, Entry, digest_of
from rustcare_plugin_gateway.authenticate.callers import own_caller
from rustcare_plugin_gateway.authenticate.claims import check
from rustcare_plugin_gateway.authenticate.jwk import read_key
from rustcare_plugin_gateway.authenticate.jws import read_token, verified
from rustcare_sdk.contracts.http import Caller

from tests.benchmarks.harness import Row, paired
from tests.support.tokens import Signer, claims_of

_CALLS = 400
_CACHED = 20_000
_AIM, _AIM_CACHED = 1.3, 3.0


def rows() -> Iterator[Row]:
    """Verified for the first time by each, then found again."""
    for name in ("ES256", "EdDSA"):
        yield from _cold(name)
    yield from _cached()


def _row(name: str, times: tuple[float, float], calls: int, aim: float | None = None, note: str = "") -> Row:
    mine, theirs = (seconds / calls * 1e6 for seconds in times)
    return Row(name, mine, theirs, "µs", aim=aim, note=note)


def _repeat(work: Callable[[], Any], calls: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(calls):
            work()

    return run


def _cold(name: str) -> Iterator[Row]:
    now = int(time.time())
    signer = Signer(name)
    text = signer.sign(claims_of(iat=now, nbf=now, exp=now + 3600, auth_time=now))
    raw = text.encode()
    jws, key = read_token(raw), read_key(signer.jwk)
    public = signer.private.public_key()
    if name == "ES256":
        r, s = int.from_bytes(jws.signature[:32], "big"), int.from_bytes(jws.signature[32:], "big")
        scheme = ec.ECDSA(SHA256())

        def bare() -> None:
            public.verify(encode_dss_signature(r, s), jws.signed, scheme)
    else:

        def bare() -> None:
            public.verify(jws.signature, jws.signed)

    def ours() -> Caller:
        found = read_token(raw)
        check(found.claims, issuer="rustcare", audience="rustcare", now=time.time(), leeway=5.0)
        return own_caller(verified(found, key))

    theirs = jwt.PyJWK(signer.jwk)

    def pyjwt() -> dict[str, Any]:
        return jwt.decode(text, theirs, algorithms=[name], audience="rustcare", issuer="rustcare")

    imported = import_key(signer.jwk)
    registry = joserfc.jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": "rustcare"},
        aud={"essential": True, "value": "rustcare"},
        exp={"essential": True},
    )

    def joserfc_() -> dict[str, Any]:
        found = joserfc.jwt.decode(text, imported, algorithms=[name])
        registry.validate(found.claims)
        return dict(found.claims)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)
        assert ours() == own_caller(pyjwt()) == own_caller(joserfc_())
        for who, work, aim in (("ours", ours, _AIM), ("PyJWT", pyjwt, None), ("joserfc", joserfc_, None)):
            times = paired(_repeat(work, _CALLS), _repeat(bare, _CALLS))
            yield _row(f"token: {name} verified, {who}", times, _CALLS, aim, "against bare cryptography")
        times = paired(_repeat(ours, _CALLS), _repeat(pyjwt, _CALLS))
        yield _row(f"token: {name} verified, ours to PyJWT", times, _CALLS, 0.9)


def _cached() -> Iterator[Row]:
    signer = Signer("ES256")
    token = signer.sign(claims_of())
    digests = {sha256(str(number).encode()).digest(): Caller(str(number)) for number in range(50_000)}
    digests[digest_of(token)] = Caller("ada")
    cache = Cache(60_000, time.time)
    for digest, caller in digests.items():
        cache.put(digest, Entry("token", caller, time.time() + 3600, (("account", "t", caller.principal),)))
    get = cache.get

    def ours() -> Caller | None:
        return get("token", digest_of(token))

    def bare() -> Caller | None:
        return digests.get(sha256(token.encode()).digest())

    assert ours() == bare() == Caller("ada")
    times = paired(_repeat(ours, _CACHED), _repeat(bare, _CACHED))
    yield _row(
        f"token: found again among 50,000 ({len(token)} bytes)", times, _CACHED, _AIM_CACHED, "SHA-256 and a dict"
    )
