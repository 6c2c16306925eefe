"""What administrators take away is gone on the very next request, whatever it was opened with: cookie, token or key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from rustcare_sdk.contracts import identity

from tests.support.front_door import PASSWORD, FrontDoor, front_door

ME = "/identity/v1/me"
OTHER = "nine brass kettles whistle"


async def opened(door: FrontDoor, name: str) -> tuple[identity.AccountInfo, dict[str, httpx.AsyncClient]]:
    """Somebody, signed in with a cookie, with a token of that session, and with a key."""
    account = await door.account(name, roles=["clinician"])
    cookie = door.client()
    assert (await door.log_in(cookie, name)).status_code == 303
    token = (await cookie.post("/identity/v1/token", json={})).json()["access_token"]
    asked = identity.CreateKeyRequest(account.id, "ci")
    key: identity.CreateKeyReply = await door.kernel.request(identity.KEY_CREATE, asked, type=identity.CreateKeyReply)
    return account, {
        "cookie": cookie,
        "token": door.client(headers={"authorization": f"Bearer {token}"}),
        "key": door.client(headers={"x-api-key": key.secret}),
    }


async def statuses(clients: dict[str, httpx.AsyncClient]) -> dict[str, int]:
    """What each gets for its own account."""
    return {kind: (await client.get(ME)).status_code for kind, client in clients.items()}


CHANGES: dict[str, tuple[str, Any, dict[str, int]]] = {
    "disabled": (
        identity.ACCOUNT_DISABLE,
        lambda id: identity.DisableRequest(id, reason="left"),
        {"cookie": 401, "token": 401, "key": 401},
    ),
    "deleted": (
        identity.ACCOUNT_DELETE,
        identity.AccountRequest,
        {"cookie": 401, "token": 401, "key": 401},
    ),
    "password": (
        identity.ACCOUNT_UPDATE,
        lambda id: identity.UpdateAccountRequest(id, password=OTHER),
        {"cookie": 401, "token": 401, "key": 200},
    ),
    "roles": (
        identity.ACCOUNT_UPDATE,
        lambda id: identity.UpdateAccountRequest(id, roles=[]),
        {"cookie": 401, "token": 401, "key": 200},
    ),
    "factors": (
        identity.ACCOUNT_RESET_MFA,
        identity.AccountRequest,
        {"cookie": 401, "token": 401, "key": 200},
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_taken_away_is_gone_on_the_next_request(tmp_path: Path, change: str) -> None:
    """Everything had just been let in, so that every cache had it. Keys are of machines: they end with their account."""
    service, asked, expected = CHANGES[change]
    async with front_door(tmp_path) as door:
        account, clients = await opened(door, "anna")
        other, others = await opened(door, "bob")
        assert await statuses(clients) == {"cookie": 200, "token": 200, "key": 200}
        await door.kernel.request(service, asked(account.id), principal="operator")
        assert await statuses(clients) == expected
        assert await statuses(others) == {"cookie": 200, "token": 200, "key": 200}
        if change == "roles":
            assert (await clients["key"].get(ME)).json()["scopes"] == []
        if change == "disabled":
            await door.kernel.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(account.id, False))
            assert await statuses(clients) == {"cookie": 401, "token": 401, "key": 200}
        if change != "deleted":
            password = OTHER if change == "password" else PASSWORD
            async with door.client() as again:
                assert (await door.log_in(again, "anna", password)).status_code == 303
                assert (await again.get(ME)).status_code == 200
        for client in (*clients.values(), *others.values()):
            await client.aclose()
        assert other.id != account.id
