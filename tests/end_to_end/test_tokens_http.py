"""Tokens, cookies and keys over HTTP, with one process and with workers: one winner, and refused at once when ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from rustcare_sdk.contracts import identity

from tests.support.front_door import PASSWORD, FrontDoor, front_door
from tests.support.http_node import HIGH

#: Credentials that are refused are counted as well, and here there are many.
LIMITS = {**HIGH, "failures": HIGH["default"]}
CLIENTS = 20
ME = "/identity/v1/me"
REFRESH = "/identity/v1/token/refresh"


async def refreshed(client: httpx.AsyncClient, token: str) -> str:
    """The next token, or the word of the error."""
    answer = await client.post(REFRESH, data={"grant_type": "refresh_token", "refresh_token": token})
    content: dict[str, Any] = answer.json()
    return str(content["refresh_token"] if answer.status_code == 200 else content["error"])


async def statuses(clients: list[httpx.AsyncClient], **options: Any) -> Counter[int]:
    """What each client gets, each on a connection of its own."""
    answers = await asyncio.gather(*(client.get(ME, **options) for client in clients))
    return Counter(answer.status_code for answer in answers)


async def exchanged(client: httpx.AsyncClient, key: str) -> dict[str, str]:
    """An access token made with an API key, as a header field."""
    answer = await client.post("/identity/v1/token", json={}, headers={"x-api-key": key})
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


async def signed_in(door: FrontDoor, client: httpx.AsyncClient) -> str:
    """A session; its cookie, as a header for other clients."""
    answer = await door.log_in(client, "ann", PASSWORD)
    assert answer.status_code == 303, answer.text
    return "; ".join(f"{name}={value}" for name, value in client.cookies.items())


@pytest.mark.parametrize("workers", [0, 2])
async def test_what_is_ended_is_refused_on_the_next_request_whoever_answers_it(tmp_path: Path, workers: int) -> None:
    """A hundred refreshes at once, real reuse, and the end of a session and of a key, over twenty connections."""
    async with AsyncExitStack() as stack:
        door = await stack.enter_async_context(front_door(tmp_path, gateway={"limits": LIMITS}, workers=workers))
        clients = [await stack.enter_async_context(door.client()) for _ in range(CLIENTS)]
        ann = await door.account("ann", roles=["clinician"])
        cookie = await signed_in(door, clients[0])
        clients[0].cookies.clear()

        # a session becomes tokens; every process gets to know them
        answer = await clients[0].post(
            "/identity/v1/token", json={"refresh": True, "device": "tablet"}, headers={"cookie": cookie}
        )
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
        assert await statuses(clients, headers=bearer) == {200: CLIENTS}
        assert await statuses(clients, headers={"cookie": cookie}) == {200: CLIENTS}

        # a hundred at once, three times: one successor each
        tokens = [answer.json()["refresh_token"]]
        for _ in range(3):
            found = Counter(
                await asyncio.gather(*(refreshed(clients[number % CLIENTS], tokens[-1]) for number in range(100)))
            )
            assert len(found) == 1, found
            tokens.append(next(iter(found)))
        assert [int(token.split(".")[1]) for token in tokens] == [0, 1, 2, 3]

        # an old one again: the family, and the access tokens made of it, are worth nothing anywhere
        assert await refreshed(clients[3], tokens[0]) == "invalid_grant"
        assert await statuses(clients, headers=bearer) == {401: CLIENTS}
        assert await refreshed(clients[4], tokens[-1]) == "invalid_grant"
        assert await statuses(clients, headers={"cookie": cookie}) == {200: CLIENTS}, "the session itself lives"

        # the session
        me = (await clients[5].get(ME, headers={"cookie": cookie})).json()
        ended = await clients[5].delete(f"{ME}/sessions/{me['session']}", headers={"cookie": cookie})
        assert ended.status_code == 200, ended.text
        assert await statuses(clients, headers={"cookie": cookie}) == {401: CLIENTS}

        # a key
        asked = identity.CreateKeyRequest("ann", "ci", ["fhir.read"])
        key = await door.kernel.request(identity.KEY_CREATE, asked, type=identity.CreateKeyReply)
        by_key = {"x-api-key": key.secret}
        assert await statuses(clients, headers=by_key) == {200: CLIENTS}
        assert (await clients[6].get(ME, headers=by_key)).json()["scopes"] == ["fhir.read"]
        # tokens that were made with it, known to every process or to none; another key's lives on
        seen, unseen = [await exchanged(clients[6], key.secret) for _ in range(2)]
        asked = identity.CreateKeyRequest("ann", "other", ["fhir.read"])
        other = await door.kernel.request(identity.KEY_CREATE, asked, type=identity.CreateKeyReply)
        others = await exchanged(clients[6], other.secret)
        assert await statuses(clients, headers=seen) == {200: CLIENTS}
        again = await clients[6].post("/identity/v1/token", json={}, headers=seen)
        assert (again.status_code, again.json()["code"]) == (403, "identity.token-forbidden")
        await door.kernel.request(identity.KEY_REVOKE, identity.KeysRequest(key=key.key.id))
        for headers in (by_key, seen, unseen):
            assert await statuses(clients, headers=headers) == {401: CLIENTS}
        for headers in ({"x-api-key": other.secret}, others):
            assert await statuses(clients, headers=headers) == {200: CLIENTS}

        # the account
        cookie = await signed_in(door, clients[7])
        clients[7].cookies.clear()
        answer = await clients[7].post("/identity/v1/token", json={}, headers={"cookie": cookie})
        assert answer.status_code == 200, answer.text
        bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
        assert await statuses(clients, headers=bearer) == {200: CLIENTS}
        await door.kernel.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(ann.id, reason="left"))
        for headers in (bearer, {"cookie": cookie}):
            assert await statuses(clients, headers=headers) == {401: CLIENTS}


async def test_who_acts_for_somebody_stops_on_the_next_request_when_that_one_is_disabled(tmp_path: Path) -> None:
    """With a cookie and with a token, both of which every cache has."""
    async with front_door(tmp_path, gateway={"limits": LIMITS}) as door, door.client() as client:
        boss, ann = await door.account("boss", roles=["clinician"]), await door.account("ann")
        cookie = {"cookie": await signed_in(door, client)}
        client.cookies.clear()
        asked = identity.DelegateRequest(ann.id, ["fhir.read"])
        made = await door.kernel.request(
            identity.DELEGATE, asked, type=identity.ElevationInfo, principal=boss.principal
        )
        session = (await client.get(ME, headers=cookie)).json()["session"]
        assume = identity.ElevationAssumeRequest(made.id, session)
        await door.kernel.request(identity.ELEVATION_ASSUME, assume, principal=ann.principal)
        answer = await client.post("/identity/v1/token", json={}, headers=cookie)
        bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
        for headers in (cookie, bearer):
            me = (await client.get(ME, headers=headers)).json()
            assert (me["scopes"], me["on_behalf"]) == (["fhir.read"], boss.principal)
        await door.kernel.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(boss.id, reason="left"))
        me = (await client.get(ME, headers=cookie)).json()
        assert (me["scopes"], me["on_behalf"]) == ([], "")
        assert (await client.get(ME, headers=bearer)).status_code == 401


async def test_a_device_is_signed_in_over_http(tmp_path: Path) -> None:
    """As the command line does it: codes, the page's service, tokens, the API with them, and an end."""
    async with (
        front_door(tmp_path, gateway={"limits": LIMITS}) as door,
        door.client() as device,
        door.client() as browser,
    ):
        ann = await door.account("ann", roles=["administrator"])
        cookie = await signed_in(door, browser)
        begun = (await device.post("/identity/v1/device", data={"client_id": "cli", "scope": "admin.read"})).json()
        assert begun["verification_uri"] == f"{door.url}/device"
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
            "device_code": begun["device_code"],
        }
        waiting = await device.post("/identity/v1/device/token", data=form)
        assert (waiting.status_code, waiting.json()["error"]) == (400, "authorization_pending")
        assert waiting.headers["content-type"].startswith("application/json")
        session = (await browser.get(ME, headers={"cookie": cookie})).json()["session"]
        approve = identity.DeviceApproveRequest(begun["user_code"], session)
        await door.kernel.request(identity.DEVICE_APPROVE, approve, principal=ann.principal)
        done = (await device.post("/identity/v1/device/token", data=form)).json()
        bearer = {"authorization": f"Bearer {done['access_token']}"}
        me = (await device.get(ME, headers=bearer)).json()
        assert (me["account"]["id"], me["scopes"]) == (ann.id, ["admin.read"])
        form = {"grant_type": "refresh_token", "refresh_token": done["refresh_token"]}
        done = (await device.post("/identity/v1/device/token", data=form)).json()
        ended = await device.post("/identity/v1/device/revoke", data={"token": done["refresh_token"]})
        assert ended.status_code == 200
        assert (await device.get(ME, headers=bearer)).status_code == 401


async def test_the_keys_of_tokens_may_be_kept_and_are_named_by_their_tag(tmp_path: Path) -> None:
    """`/.well-known/jwks.json` through the gateway: its own caching headers, and 304."""
    async with front_door(tmp_path) as door, door.client() as client:
        answer = await client.get("/.well-known/jwks.json")
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert {key["alg"] for key in answer.json()["keys"]} == {"ES256", "EdDSA"}
        again = await client.get("/.well-known/jwks.json", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        await door.kernel.request(identity.TOKEN_ROTATE, identity.TokenRotateRequest(at_once=True))
        other = await client.get("/.well-known/jwks.json", headers={"if-none-match": answer.headers["etag"]})
        assert other.status_code == 200
