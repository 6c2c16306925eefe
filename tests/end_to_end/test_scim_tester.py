"""SCIM over the network: the conformance checks of scim2-tester against the running server, on both stores."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rustcare_kernel import Kernel
from rustcare_plugin_identity.scim.filters import parse_filter
from rustcare_plugin_identity.scim.filters.evaluate import bind
from rustcare_plugin_identity.scim.schemas import USERS
from rustcare_sdk.contracts import identity
from scim2_tester import CheckResult, Status, check_server

from tests.support.front_door import front_door
from tests.support.scim_client import HttpxScimClient

#: So many may be asked for at once in a test; the defaults are those of a server that is open to the world.
LIMITS = {name: [{"by": "principal", "rate": 1_000_000, "per": 1}] for name in ("default", "read", "write", "bulk")}
FILTERS = (
    'userName eq "USER3"',
    'userName sw "us" and active eq false',
    'not (userName ew "1") and externalId co "E_1"',
    'externalId eq "e_1" or externalId eq "E_10"',
    'emails.value co "EXAMPLE" and title eq "nurse"',
    'emails.value eq "Straße@b.org" or emails co "STRASSE@"',
    'emails[type eq "work" and value sw "user1"]',
    'userName co "ß" or userName co "STRASSE"',
    'meta.created gt "2020-01-01T00:00:00Z" and meta.lastModified le "2099-01-01T00:00:00Z"',
    'meta.created eq "2020-01-01T00:00:00Z" or meta.created ne "2020-01-01T00:00:00Z"',
    'not (groups.value eq "nothing") and externalId pr',
)


async def emptied(data: Path, store: str) -> None:
    """Take away what tests have left in a database that they share."""
    async with Kernel(data, store=store, log_level="silent", only=()) as kernel:
        for status in kernel.plugins():
            await kernel.remove(status.id, purge=True)


@pytest.fixture(params=["sqlite", "postgres"])
async def server(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, str]]:
    """A server with its front door: its URL, and the key of a service account that may provision and no more."""
    store = request.getfixturevalue("postgres_dsn") if request.param == "postgres" else ""
    roles = {"settings": {"roles": {"directory": ["scim"]}}}
    if store:
        await emptied(tmp_path / "before", store)
    try:
        where = {"store": store} if store else {}
        async with front_door(tmp_path / "data", gateway={"limits": LIMITS}, identity_config=roles, **where) as door:
            asked = identity.CreateServiceRequest("directory", roles=["directory"])
            made = await door.kernel.request(identity.SERVICE_CREATE, asked, type=identity.AccountReply)
            wanted = identity.CreateKeyRequest(made.account.id, "tests")
            key = await door.kernel.request(identity.KEY_CREATE, wanted, type=identity.CreateKeyReply)
            yield door.url, key.secret
    finally:
        if store:
            await emptied(tmp_path / "data", store)


async def test_every_check_of_scim2_tester_passes(server: tuple[str, str]) -> None:
    """Discovery, create, read, replace, delete, patch of every attribute, selection: none fails, none is skipped."""
    url, key = server

    def run() -> list[CheckResult]:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"{url}/scim/v2", headers=headers, timeout=60) as client:
            return check_server(HttpxScimClient(client))

    results = await asyncio.to_thread(run)
    wrong = [
        f"{item.title} {item.resource_type}: {item.reason}" for item in results if item.status is not Status.SUCCESS
    ]
    assert not wrong, "\n".join(wrong)
    kinds = Counter(str(item.title) for item in results)
    assert {
        "check_add_attribute",
        "check_remove_attribute",
        "check_replace_attribute",
        "search_with_attributes",
    } <= set(kinds)
    assert len(results) > 100


async def test_errors_versions_and_filters_over_the_network(server: tuple[str, str]) -> None:
    """Nobody known is 401; HEAD, ETag and 304 go through the whole stack; every filter finds what Python says it should."""
    url, key = server

    def run() -> dict[str, Any]:
        found: dict[str, Any] = {}
        with httpx.Client(base_url=f"{url}/scim/v2", timeout=60) as client:
            found["nobody"] = client.get("/Users").status_code
            client.headers["Authorization"] = f"Bearer {key}"
            made = client.post("/Users", json={"userName": "Straße", "emails": [{"value": "straße@b.org"}]})
            user = f"/Users/{made.json()['id']}"
            found["made"] = (made.status_code, made.headers["Location"], made.headers["content-type"])
            found["head"] = (client.head(user).status_code, client.head(user).headers["etag"])
            found["known"] = client.get(user, headers={"If-None-Match": made.headers["etag"]}).status_code
            found["method"] = client.delete("/Schemas").status_code
            for number in range(12):
                sent = {
                    "userName": f"user{number}",
                    "externalId": f"E_{number}",
                    "title": "Nurse" if number % 2 else "Doctor",
                    "active": number % 3 > 0,
                    "emails": [{"type": "work", "value": f"user{number}@example.org"}, {"value": f"u{number}@b.org"}],
                }
                assert client.post("/Users", json=sent).status_code == 201
            found["users"] = client.get("/Users").json()["Resources"]
            for text in FILTERS:
                answer = client.get("/Users", params={"filter": text, "count": 3, "startIndex": 2}).json()
                found[text] = (answer["totalResults"], [item["userName"] for item in answer["Resources"]])
            found["gone"] = (client.delete(user).status_code, client.get(user).status_code)
        return found

    found = await asyncio.to_thread(run)
    assert found["nobody"] == 401
    assert found["made"][0] == 201
    assert found["made"][1].startswith(f"{url}/scim/v2/Users/")
    assert found["made"][2] == "application/scim+json"
    assert found["head"] == (200, 'W/"1"')
    assert (found["known"], found["method"], found["gone"]) == (304, 405, (204, 404))
    for text in FILTERS:
        fits = bind(parse_filter(text), USERS)
        wanted = [item["userName"] for item in found["users"] if fits(item)]
        assert found[text] == (len(wanted), wanted[1:4]), text


async def test_clients_at_the_same_time(server: tuple[str, str]) -> None:
    """Of twenty who take a name one gets it; of twenty who change one version one does; without a version all twenty do."""
    url, key = server
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"{url}/scim/v2", headers=headers, timeout=60) as client:

        async def patch(user: str, number: int, tag: str = "") -> int:
            operation = {"op": "add", "path": "phoneNumbers", "value": [{"value": str(number)}]}
            match = {"If-Match": tag} if tag else {}
            return (await client.patch(user, json={"Operations": [operation]}, headers=match)).status_code

        made = await asyncio.gather(*(client.post("/Users", json={"userName": "ada"}) for _ in range(20)))
        assert Counter(answer.status_code for answer in made) == {201: 1, 409: 19}
        first = next(answer for answer in made if answer.status_code == 201)
        user = f"/Users/{first.json()['id']}"
        changed = await asyncio.gather(*(patch(user, number, first.headers["ETag"]) for number in range(20)))
        assert Counter(changed) == {200: 1, 412: 19}
        assert await asyncio.gather(*(patch(user, number) for number in range(100, 120))) == [200] * 20
        phones = {item["value"] for item in (await client.get(user)).json()["phoneNumbers"]}
        assert len(phones) == 21
        assert phones >= {str(number) for number in range(100, 120)}
        tag = (await client.get(user)).headers["ETag"]
        gone = await asyncio.gather(*(client.delete(user, headers={"If-Match": tag}) for _ in range(20)))
        assert Counter(answer.status_code for answer in gone) == {204: 1, 404: 19}
