"""Foreign issuers, with a real server behind them: found, verified, mapped, followed when their keys change."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_plugin_gateway.errors import IdentityUnavailable, InvalidSettings, Unauthenticated
from rustcare_sdk.errors import NoProvider

from tests.support.authenticators import Identity, Opened, opened
from tests.support.https_server import Answer, HttpsServer, https_server
from tests.support.tokens import NOW, Signer, claims_of

FIRST, SECOND = Signer("RS256", "first"), Signer("PS256", "second")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[HttpsServer]:
    """A foreign issuer's server with one key."""
    with https_server(tmp_path) as found:
        publish(found, FIRST)
        yield found


def publish(server: HttpsServer, *signers: Signer, **headers: str) -> None:
    """These are its keys."""
    body = json.dumps({"keys": [signer.jwk for signer in signers]}).encode()
    server.answers["/keys"] = Answer(body=body, headers=headers)


def settings(server: HttpsServer, **more: Any) -> dict[str, Any]:
    """The issuer as it is configured."""
    return {
        "issuer": server.url,
        "jwks": server.url + "/keys",
        "authorities": server.authorities,
        "prefix": "main",
        "scopes": ["lab"],
        **more,
    }


def foreign(server: HttpsServer, signer: Signer = FIRST, /, typ: str | None = "JWT", **more: Any) -> str:
    """A token of the issuer."""
    claims = {
        "iss": server.url,
        "sub": "42",
        "aud": "rustcare",
        "exp": NOW + 7200,
        "iat": NOW,
        "scope": "lab.read admin",
        **more,
    }
    return signer.sign(claims, typ=typ)


@pytest.fixture
async def door(server: HttpsServer) -> AsyncIterator[Opened]:
    """An authenticator that accepts the issuer's tokens."""
    async with opened(issuers=[settings(server)]) as found:
        yield found


async def refused(door: Opened, token: str) -> str:
    """Why a token is refused."""
    with pytest.raises(Unauthenticated) as caught:
        await door.token(token)
    return caught.value.message


async def test_a_foreign_token_is_accepted(server: HttpsServer, door: Opened) -> None:
    """Its keys are fetched once; the caller is what the configuration makes of the claims."""
    token = foreign(server)
    caller = await door.token(token)
    assert (caller.principal, caller.tenant, caller.scopes, caller.aal) == ("user/main:42", "default", ("lab.read",), 1)
    assert door.authenticator.cached("token", token) is caller
    await door.token(foreign(server, sub="43"))
    assert len(server.seen) == 1


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", None, "application/at+jwt"])
async def test_types_of_foreign_tokens(server: HttpsServer, door: Opened, typ: str | None) -> None:
    """Foreign issuers leave `typ` out, or say JWT."""
    assert (await door.token(foreign(server, typ=typ))).principal == "user/main:42"


@pytest.mark.parametrize("typ", ["id_token", "logout+jwt", "dpop+jwt"])
async def test_other_types_are_refused(server: HttpsServer, door: Opened, typ: str) -> None:
    """What says that it is no access token is none."""
    assert "access token" in await refused(door, foreign(server, typ=typ))


async def test_an_issuer_speaks_for_itself_alone(server: HttpsServer, door: Opened) -> None:
    """A foreign key signs no token of identity's, and identity's key none of the foreign issuer."""
    await refused(door, FIRST.sign(claims_of()))
    own = door.identity.signers["ES256"]
    await refused(door, own.sign({"iss": server.url, "sub": "42", "aud": "rustcare", "exp": NOW + 60}))
    await refused(door, foreign(server, iss=server.url + "/"))
    assert (await door.token(own.sign(claims_of()))).principal == "user/ada"


async def test_a_foreign_token_has_a_grace(server: HttpsServer, door: Opened) -> None:
    """Clocks may differ by the leeway, at both ends."""
    token = foreign(server, exp=NOW + 10, iat=NOW + 5)
    door.advance(14.5)
    assert (await door.token(token)).principal == "user/main:42"
    door.advance(0.5)
    assert await refused(door, token) == "the token has expired"
    assert "yet" in await refused(door, foreign(server, iat=NOW + 15 + 6))


async def test_a_new_key_is_found(server: HttpsServer, door: Opened) -> None:
    """A token by a key that is not known makes the gateway look, once in half a minute."""
    await door.token(foreign(server))
    token = foreign(server, SECOND)
    assert "key" in await refused(door, token)
    publish(server, FIRST, SECOND)
    await refused(door, token)
    assert len(server.seen) == 1
    door.advance(31)
    assert (await door.token(token)).principal == "user/main:42"
    assert len(server.seen) == 2


async def test_a_key_that_is_withdrawn_ends_its_tokens(server: HttpsServer, door: Opened) -> None:
    """When the key set has had its time it is read again, and what a key vouched for that is gone is refused."""
    publish(server, FIRST, SECOND, **{"Cache-Control": "max-age=120"})
    tokens = foreign(server), foreign(server, SECOND)
    for token in tokens:
        await door.token(token)
    publish(server, SECOND)
    door.advance(119)
    assert door.authenticator.cached("token", tokens[0]) is not None
    door.advance(1)
    # Every token of the issuer is looked at anew then.
    assert [door.authenticator.cached("token", token) for token in tokens] == [None, None]
    await refused(door, tokens[0])
    assert (await door.token(tokens[1])).principal == "user/main:42"


@pytest.mark.parametrize(
    ("control", "lasts"), [("max-age=1", 60), ("no-store", 60), ("", 600), ("max-age=9999999", 86_400)]
)
async def test_how_long_keys_last_has_bounds(server: HttpsServer, door: Opened, control: str, lasts: int) -> None:
    """An issuer's `max-age` counts between a minute and a day; without one it is ten minutes."""
    publish(server, FIRST, **({"Cache-Control": control} if control else {}))
    await door.token(foreign(server, exp=NOW + 200_000))
    door.advance(lasts - 1)
    await door.token(foreign(server, exp=NOW + 200_000, jti="2"))
    assert len(server.seen) == 1
    door.advance(1)
    await door.token(foreign(server, exp=NOW + 200_000, jti="3"))
    assert len(server.seen) == 2


async def test_keys_that_have_not_changed(server: HttpsServer, door: Opened) -> None:
    """The ETag is sent back, and 304 lets the keys last on."""
    publish(server, FIRST, ETag='"v1"')
    await door.token(foreign(server))
    server.answers["/keys"] = Answer(304)
    door.advance(600)
    await door.token(foreign(server, jti="2"))
    assert server.seen[1][1]["if-none-match"] == '"v1"'


@pytest.mark.parametrize(
    "broken",
    [
        Answer(500),
        Answer(301, headers={"Location": "/other"}),
        Answer(body=b"<html>"),
        Answer(body=b'{"keys":5}'),
        Answer(body=b'{"keys":[],"keys":[]}'),
        Answer(body=b'{"keys":["' + b"x" * 300_000 + b'"]}'),
    ],
    ids=["error", "redirect", "html", "no list", "twice", "large"],
)
async def test_keys_that_cannot_be_read_are_used_on(server: HttpsServer, door: Opened, broken: Answer) -> None:
    """With a key set that cannot be had the known keys are good for a day more, and then nobody comes in."""
    await door.token(foreign(server))
    good, server.answers["/keys"] = server.answers["/keys"], broken
    door.advance(700)
    assert (await door.token(foreign(server, jti="2"))).principal == "user/main:42"
    assert any(entry.level == "warning" for entry in door.harness.logs)
    door.advance(86_400)
    late = foreign(server, exp=NOW + 200_000, jti="3")
    with pytest.raises(IdentityUnavailable):
        await door.token(late)
    server.answers["/keys"] = good
    door.advance(16)
    assert (await door.token(late)).principal == "user/main:42"


async def test_keys_are_discovered(server: HttpsServer) -> None:
    """Without an address the issuer's metadata says where its keys are; they are read once a day."""
    metadata = {"issuer": server.url, "jwks_uri": server.url + "/keys", "token_endpoint": "https://x.example"}
    server.answers["/.well-known/openid-configuration"] = Answer(body=json.dumps(metadata).encode())
    async with opened(issuers=[settings(server, jwks="")]) as door:
        await door.token(foreign(server))
        door.advance(601)
        await door.token(foreign(server, jti="2"))
        assert [path for path, _ in server.seen] == ["/.well-known/openid-configuration", "/keys", "/keys"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://else.example"},
        {"jwks_uri": None},
        {"jwks_uri": "http://127.0.0.1/keys"},
        {"jwks_uri": "file:///keys"},
        {"issuer": None},
    ],
)
async def test_metadata_that_is_not_the_issuers_is_refused(server: HttpsServer, metadata: dict[str, Any]) -> None:
    """OpenID Connect Discovery, section 4.3: the issuer in its metadata must be the very one; keys come over https alone."""
    body = {"issuer": server.url, "jwks_uri": server.url + "/keys", **metadata}
    server.answers["/.well-known/openid-configuration"] = Answer(body=json.dumps(body).encode())
    async with opened(issuers=[settings(server, jwks="")]) as door:
        with pytest.raises(IdentityUnavailable):
            await door.token(foreign(server))
        assert [path for path, _ in server.seen] == ["/.well-known/openid-configuration"]


async def test_algorithms_are_those_allowed(server: HttpsServer) -> None:
    """A key for an algorithm that the issuer may not use does not count."""
    publish(server, FIRST, SECOND)
    async with opened(issuers=[settings(server, algorithms=["PS256"])]) as door:
        await refused(door, foreign(server))
        assert (await door.token(foreign(server, SECOND))).principal == "user/main:42"


async def test_foreign_tokens_do_not_need_identity(server: HttpsServer) -> None:
    """What identity does not vouch for is verified without it; its revocations do not concern it."""
    known = Identity()
    async with opened(known, issuers=[settings(server)]) as door:
        known.away = NoProvider("nobody serves it")
        known.revoke("token", "unheard")
        door.authenticator.forget(known.revoke("token", "jti-9"))
        assert (await door.token(foreign(server, jti="jti-9"))).principal == "user/main:42"


async def test_another_audience(server: HttpsServer) -> None:
    """An issuer may have an audience of its own; the gateway's does not count for it then."""
    async with opened(issuers=[settings(server, audience="api://clinic")]) as door:
        await refused(door, foreign(server))
        assert (await door.token(foreign(server, aud=["api://clinic", "x"]))).principal == "user/main:42"


async def test_identitys_name_is_its_own(server: HttpsServer) -> None:
    """A foreign issuer that is configured with the name of identity's own does not speak for identity."""
    known = Identity()
    known.issuer = server.url
    async with opened(known, issuers=[settings(server)]) as door:
        await refused(door, foreign(server, tenant="default"))
        assert any("name of identity" in entry.event for entry in door.harness.logs)


@pytest.mark.parametrize(
    "wrong",
    [
        [{"issuer": "http://x.example"}],
        [{"issuer": "https://x.example", "jwks": "http://x.example/keys"}],
        [{"issuer": "https://x.example"}, {"issuer": "https://x.example"}],
        [{"issuer": "x"}],
    ],
)
async def test_settings_that_are_refused(wrong: list[dict[str, Any]]) -> None:
    """An issuer without an https address, or twice, is refused at the start."""
    with pytest.raises(InvalidSettings):
        async with opened(issuers=wrong):
            pass
