"""Access tokens through a real gateway and a real identity: what ends them ends them on the next request; foreign issuers."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_sdk.contracts import identity

from tests.support.front_door import FrontDoor, front_door
from tests.support.https_server import Answer, HttpsServer, https_server
from tests.support.plugins import write_plugin
from tests.support.tokens import Signer

WHO = """
    from rustcare_sdk import Message, Plugin, route
    from rustcare_sdk.contracts.http import HttpRequest

    class Subject(Plugin):
        @route("GET", "/who", scope="admin.read")
        async def who(self, message: Message[HttpRequest[None]]):
            caller = message.data.caller
            return {"principal": message.principal, "tenant": message.tenant, "kind": caller.kind, "scopes": caller.scopes}
"""
HIGH = {name: [{"by": "all", "rate": 10_000_000, "per": 1}] for name in ("default", "failures")}
SIGNER = Signer("RS256", "foreign")


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[HttpsServer]:
    """A foreign issuer."""
    with https_server(tmp_path) as server:
        server.answers["/keys"] = Answer(body=json.dumps({"keys": [SIGNER.jwk]}).encode())
        yield server


@pytest.fixture
async def door(tmp_path: Path, issuer: HttpsServer) -> AsyncIterator[FrontDoor]:
    """A server with a route that says who asks, and that accepts the foreign issuer's tokens."""
    foreign = {
        "issuer": issuer.url,
        "jwks": issuer.url + "/keys",
        "authorities": issuer.authorities,
        "prefix": "main",
        "scopes": ["admin.read"],
    }
    config = {"limits": HIGH, "drain": 2, "tokens": {"issuers": [foreign]}}
    async with front_door(tmp_path / "data", gateway=config, plugins=("crypto", "identity", "gateway")) as door:
        plugin = write_plugin(tmp_path, WHO, capabilities=("http:route@GET /who",))
        await door.kernel.install(plugin, consent=True)
        yield door


async def token_of(door: FrontDoor, account: str) -> dict[str, str]:
    """An access token, as a header field."""
    asked = identity.IssueRequest(account=account)
    reply = await door.kernel.request(identity.TOKEN_ISSUE, asked, type=identity.TokenReply)
    return {"authorization": f"Bearer {reply.access_token}"}


async def statuses(door: FrontDoor, *headers: dict[str, str]) -> list[int]:
    """What `/who` answers to each."""
    async with door.client() as client:
        return [(await client.get("/who", headers=header)).status_code for header in headers]


async def test_a_token_says_who_asks(door: FrontDoor) -> None:
    """A token of identity's carries principal, tenant and scopes to the plugin; changed, it is refused with its reason."""
    ann = await door.account("ann", roles=["operator"])
    header = await token_of(door, ann.id)
    async with door.client() as client:
        answer = await client.get("/who", headers=header)
        assert answer.json() == {
            "principal": ann.principal,
            "tenant": "default",
            "kind": "token",
            "scopes": ["admin.plugins", "admin.read"],
        }
        answer = await client.get("/who", headers={"authorization": header["authorization"][:-4] + "AAAA"})
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_an_account_that_is_disabled_has_no_tokens(door: FrontDoor) -> None:
    """Disabling an account ends its tokens on the next request, seen before or not, and nobody else's."""
    ann, bob = [await door.account(name, roles=["operator"]) for name in ("ann", "bob")]
    seen, unseen, other = await token_of(door, ann.id), await token_of(door, ann.id), await token_of(door, bob.id)
    assert await statuses(door, seen, other) == [200, 200]
    await door.kernel.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(ann.id))
    assert await statuses(door, seen, unseen, other) == [401, 401, 200]


async def test_a_key_that_is_turned_over_at_once_takes_its_tokens_with_it(door: FrontDoor) -> None:
    """When the key came into wrong hands, tokens it signed end on the next request; new ones are good at once."""
    ann = await door.account("ann", roles=["operator"])
    before = await token_of(door, ann.id)
    assert await statuses(door, before) == [200]
    await door.kernel.request(identity.TOKEN_ROTATE, identity.TokenRotateRequest(at_once=True))
    assert await statuses(door, before, await token_of(door, ann.id)) == [401, 200]


async def test_a_single_token_is_ended(door: FrontDoor) -> None:
    """Revoking one token ends that one (RFC 7009)."""
    ann = await door.account("ann", roles=["operator"])
    first, second = await token_of(door, ann.id), await token_of(door, ann.id)
    assert await statuses(door, first, second) == [200, 200]
    asked = identity.RevokeTokenRequest(first["authorization"].removeprefix("Bearer "))
    await door.kernel.request(identity.TOKEN_REVOKE, asked)
    assert await statuses(door, first, second) == [401, 200]


async def test_what_was_ended_stays_ended_when_the_gateway_starts_anew(door: FrontDoor) -> None:
    """A gateway that starts asks what was revoked before it lets anybody in."""
    ann = await door.account("ann", roles=["operator"])
    first, second = await token_of(door, ann.id), await token_of(door, ann.id)
    asked = identity.RevokeTokenRequest(first["authorization"].removeprefix("Bearer "))
    await door.kernel.request(identity.TOKEN_REVOKE, asked)
    await door.kernel.disable("rustcare.gateway")
    await door.kernel.enable("rustcare.gateway")
    status: Any = await door.kernel.request("gateway.status", {})
    door.url = f"http://localhost:{status.port}"
    assert await statuses(door, first, second) == [401, 200]


async def test_a_foreign_issuer_is_believed_within_its_bounds(door: FrontDoor, issuer: HttpsServer) -> None:
    """A token of an issuer in the configuration is accepted, with the scopes that it may give; one of another is not."""
    now = int(time.time())
    claims = {"iss": issuer.url, "sub": "42", "aud": "rustcare", "exp": now + 300, "iat": now, "scope": "admin"}
    async with door.client() as client:
        answer = await client.get("/who", headers={"authorization": f"Bearer {SIGNER.sign(claims, typ='JWT')}"})
        assert answer.json() == {
            "principal": "user/main:42",
            "tenant": "default",
            "kind": "token",
            "scopes": ["admin.read"],
        }
        claims["iss"] = "https://else.example"
        answer = await client.get("/who", headers={"authorization": f"Bearer {SIGNER.sign(claims, typ='JWT')}"})
        assert answer.status_code == 401
