"""The operator's API through the real front door: who is let in, what is on record, events as they happen."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from rustcare_cli.author.scaffold import write_plugin
from rustcare_kernel.control import ControlServer
from rustcare_kernel.package import read_package, write_layout_tar
from rustcare_plugin_admin.errors import PROBLEMS
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError

from tests.support.administrator import Administrator, code_at
from tests.support.front_door import PASSWORD, FrontDoor, front_door

ORIGIN_HEADERS = {"sec-fetch-site": "same-origin"}


@dataclass
class Place:
    """A server with the operator's API, and an administrator with a second factor."""

    door: FrontDoor
    administrator: Administrator

    def client(self, credential: str | None = None) -> httpx.AsyncClient:
        """A client with a session's cookie: the administrator's, unless another is given."""
        cookie = self.administrator.credential if credential is None else credential
        return self.door.client(cookies={"rustcare": cookie}, headers={**ORIGIN_HEADERS, "origin": self.door.url})


async def ask(door: FrontDoor, service: str, data: dict[str, Any], principal: str = "operator", **call: Any) -> Any:
    """A service's answer as plain data, as the operator or for a principal."""
    return msgspec.to_builtins(await door.kernel.request(service, data, principal=principal, **call))


async def raised(door: FrontDoor, session: dict[str, Any], principal: str, tenant: str = "default") -> Administrator:
    """A session with AAL 2, by an authenticator app that is added in it."""
    app = await ask(door, "identity.mfa.totp.begin", {"name": "phone"}, principal, tenant=tenant)
    now = time.time()
    code = {"enrolment": app["enrolment"], "code": code_at(app["secret"], now)}
    await ask(door, "identity.mfa.totp.confirm", code, principal, tenant=tenant)
    proof = {
        "session": session["id"],
        "kind": "totp",
        "answer": code_at(app["secret"], now + 30),
        "client": {"origin": door.url},
    }
    found = await ask(door, "identity.login.step-up", proof, principal, tenant=tenant)
    assert found["session"]["aal"] == 2
    return Administrator(principal, found["session"]["id"], found["credential"], app["secret"])


async def person(door: FrontDoor, name: str, roles: list[str], tenant: str = "default") -> tuple[Administrator, str]:
    """Somebody with a second factor; and the credential of another session of theirs, without."""
    account = await door.account(name, roles=roles, tenant=tenant)
    asked = {"name": name, "password": PASSWORD, "client": {"origin": door.url}}
    plain = await ask(door, "identity.login.password", asked, "", tenant=tenant)
    second = await ask(door, "identity.login.password", asked, "", tenant=tenant)
    return await raised(door, second["session"], account.principal, tenant), plain["credential"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """The server."""
    data = tmp_path_factory.mktemp("server") / "data"
    plugins = ("crypto", "audit", "identity", "admin", "gateway")
    async with front_door(data, plugins=plugins) as door, ControlServer(door.kernel):
        # A server learns that a reader has left when it writes: often, here.
        await door.kernel.configure("rustcare.admin", {"events": {"heartbeat": 0.1}})
        administrator, _ = await person(door, "ada", ["administrator"])
        yield Place(door, administrator)


pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def listening(client: httpx.AsyncClient, query: str = "", last: str = "") -> AsyncIterator[AsyncIterator[Any]]:
    """The events of a stream, as (id, data), once it is open."""
    headers = {"last-event-id": last} if last else {}
    async with client.stream("GET", f"/admin/v1/events{query}", headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        assert (await anext(lines)).startswith("id: ")

        async def events() -> AsyncIterator[Any]:
            id_ = ""
            async for line in lines:
                if line.startswith("id: "):
                    id_ = line[4:]
                elif line.startswith("data: "):
                    yield id_, json.loads(line[6:])

        yield events()


async def test_every_error_of_the_kernel_has_a_status() -> None:
    """What the control API may refuse with is answered with a status of its own, and no other code is spoken of."""
    from rustcare_kernel import errors
    from rustcare_kernel.control import ControlUnavailable, _errors
    from rustcare_kernel.package import PackageError

    known = [value for room in (errors, _errors) for value in vars(room).values() if isinstance(value, type)]
    raised = {cls.code for cls in known if issubclass(cls, RustCareError) and cls is not RustCareError}
    raised |= {cls.code for cls in PackageError.__subclasses__()}
    raised -= {ControlUnavailable.code, errors.DataFolderInUse.code}  # told by the command line itself
    raised -= {errors.ListenerUnknown.code, errors.LinkBroken.code}  # between the kernel's own processes
    assert raised - set(PROBLEMS) == set()


async def test_who_is_let_in(place: Place) -> None:
    """Nobody unknown; nobody without a second factor, without the right, or of another tenant than the one in charge."""
    door = place.door
    await door.tenant("clinic")
    foreign, _ = await person(door, "carl", ["administrator"], "clinic")
    clinician, _ = await person(door, "dora", ["clinician"])
    operator, _ = await person(door, "olga", ["operator"])
    _, plain = await person(door, "anna", ["administrator"])
    refused = [("", 401), (plain, 401), (clinician.credential, 403), (foreign.credential, 403)]
    for credential, status in refused:
        async with place.client(credential) as client:
            for path in ("/admin/v1/plugins", "/admin/v1/status", "/admin/v1/events"):
                answer = await client.get(path)
                assert answer.status_code == status, (path, answer.text)
                assert "plugins" not in answer.json()
            answer = await client.post("/admin/v1/rpc", json={"jsonrpc": "2.0", "id": 1, "method": "plugin.list"})
            assert answer.status_code == status
    async with place.client(operator.credential) as client:
        assert (await client.get("/admin/v1/plugins")).status_code == 200
        answer = await client.post("/admin/v1/rpc", json={"jsonrpc": "2.0", "id": 1, "method": "plugin.list"})
        assert answer.status_code == 403, "an operator's rights are over plugins, not over the whole"


async def test_a_plugins_life_over_http(place: Place, tmp_path: Path) -> None:
    """Upload, look, consent, install, configure nothing away, grant, upgrade, roll back, remove; refusals change nothing."""
    write_plugin("acme.bell", "component", tmp_path / "bell")
    old = write_layout_tar(read_package(tmp_path / "bell"), tmp_path / "old.tar").read_bytes()
    manifest = tmp_path / "bell/src/acme_bell/plugin.toml"
    more = '\n[[capability]]\nuse = "clock:read"\nreason = "stamps greetings"\n'
    manifest.write_text(manifest.read_text().replace('"0.1.0"', '"0.2.0"', 1) + more)
    new = write_layout_tar(read_package(tmp_path / "bell"), tmp_path / "new.tar").read_bytes()
    octets = {"content-type": "application/octet-stream"}
    async with place.client() as client:
        seen = (await client.post("/admin/v1/packages", content=old, headers=octets)).json()
        assert seen["id"] == "acme.bell"
        body = {"source": seen["source"], "digest": seen["digest"], "consent": [], "runtime": "python"}
        answer = await client.post("/admin/v1/plugins", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "lifecycle.consent-required")
        body["consent"] = [item["use"] for item in seen["capabilities"]]
        answer = await client.post("/admin/v1/plugins", json={**body, "digest": "sha256:" + "0" * 64})
        assert (answer.status_code, answer.json()["code"]) == (412, "control.digest-not-consented")
        assert (await client.get("/admin/v1/plugins/acme.bell")).status_code == 404
        answer = await client.post("/admin/v1/plugins", json=body)
        assert answer.status_code == 201, answer.text
        assert (answer.json()["state"], answer.json()["runtime"]) == ("active", "python")
        tag = answer.headers["etag"]

        answer = await client.put("/admin/v1/plugins/acme.bell/config", json={"config": {"x": 1}})
        assert (answer.status_code, answer.json()["code"]) == (409, "lifecycle.upgrade-failed")
        info = await client.get("/admin/v1/plugins/acme.bell")
        assert info.headers["etag"] == tag
        assert info.json()["manifest"]["plugin"]["id"] == "acme.bell"
        logs = await client.get("/admin/v1/plugins/acme.bell/logs?tail=3")
        assert len(logs.json()["lines"]) == 3
        answer = await client.delete("/admin/v1/plugins/acme.bell/grants", params={"capability": "kv:write@greetings"})
        assert "kv:write@greetings" not in answer.json()["granted"]
        answer = await client.post("/admin/v1/plugins/acme.bell/grants", json={"capability": "kv:write@greetings"})
        assert "kv:write@greetings" in answer.json()["granted"]

        seen = (await client.post("/admin/v1/packages", content=new, headers=octets)).json()
        assert seen["change"]["added"] == ["clock:read"]
        body = {"source": seen["source"], "digest": seen["digest"], "consent": ["clock:read"], "runtime": "python"}
        path = "/admin/v1/plugins/acme.bell/upgrade"
        assert (await client.post(path, json=body, headers={"if-match": '"other"'})).status_code == 412
        answer = await client.post(path, json=body, headers={"if-match": tag})
        assert (answer.status_code, answer.json()["version"]) == (200, "0.2.0")
        assert (await client.post(path, json=body, headers={"if-match": tag})).status_code == 412
        answer = await client.post("/admin/v1/plugins/acme.bell/rollback")
        assert answer.json()["version"] == "0.1.0"
        answer = await client.post("/admin/v1/plugins/acme.bell/disable")
        assert (answer.json()["state"], answer.json()["enabled"]) == ("stopped", False)
        answer = await client.delete("/admin/v1/plugins/acme.bell?purge=true")
        assert answer.json() == {"id": "acme.bell", "removed": True, "purged": True}
        answer = await client.post("/admin/v1/plugins/rustcare.gateway/restart")
        assert (answer.status_code, answer.json()["code"]) == (409, "admin.not-from-here")
        answer = await client.post("/admin/v1/packages", content=b"<html>", headers=octets)
        assert (answer.status_code, answer.json()["code"]) == (422, "admin.invalid-upload")
        answer = await client.post("/admin/v1/packages/inspect", json={"source": "/etc/passwd"})
        assert (answer.status_code, answer.json()["code"]) == (403, "admin.source-refused")


async def test_what_is_asked_is_on_record_under_the_callers_name(place: Place) -> None:
    """The audit log has the command, and what came of it, with the principal that the gateway found out."""
    async with place.client() as client:
        params = {"service": "identity.account.list", "data": {}}
        call = {"jsonrpc": "2.0", "id": 1, "method": "bus.request", "params": params}
        answer = (await client.post("/admin/v1/rpc", json=call)).json()
        assert any(account["name"] == "ada" for account in answer["result"]["accounts"])
        assert (await client.get("/admin/v1/plugins")).status_code == 200
    await place.door.kernel.have_on_record()
    search = {"principal": place.administrator.principal, "limit": 100}
    rows = (await ask(place.door, "audit.search", search))["rows"]
    actions = {row["entry"]["what"].get("action") for row in rows}
    assert {"control.bus.request", "control.plugin.list"} <= actions
    uses = {row["entry"]["what"].get("capability") for row in rows}
    assert any("identity.account.list" in str(use) for use in uses), uses


async def test_a_principal_speaks_for_itself(place: Place) -> None:
    """Nobody can be named in a request but the caller; the routes of plugins and the kernel's own door are closed."""
    async with place.client() as client:
        for params in (
            {"service": "identity.account.list", "data": {}, "principal": "operator"},
            {"service": "identity.account.list", "data": {}, "on_behalf": "user/1"},
            {"service": "kernel.control", "data": {"method": "plugin.list"}},
        ):
            call = {"jsonrpc": "2.0", "id": 1, "method": "bus.request", "params": params}
            answer = (await client.post("/admin/v1/rpc", json=call)).json()
            assert answer["error"]["data"]["code"] == "admin.not-from-here"
        call = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "bus.request",
            "params": {"service": "identity.setup.link", "data": {}},
        }
        answer = (await client.post("/admin/v1/rpc", json=call)).json()
        assert answer["error"]["data"]["code"] == "identity.operator-only", "what is the machine's alone stays so"


async def test_events_come_as_they_happen(place: Place) -> None:
    """States, routes and uses are told while they change; behind an id nothing is told twice or missed."""
    kernel = place.door.kernel
    async with place.client() as client:
        async with listening(client, "?kinds=state&plugin=rustcare.audit") as events:
            await kernel.restart("rustcare.audit")
            told = [await anext(events) for _ in range(4)]
            assert told[0][1]["to"] == "draining"
            assert told[-1][1]["kind"] == "state"
        async with listening(client, "?kinds=state&plugin=rustcare.audit", last=told[1][0]) as events:
            assert [await anext(events) for _ in range(2)] == told[2:]
        async with listening(client, "?kinds=routes") as events:
            await kernel.restart("rustcare.identity")
            _, changed = await anext(events)
            assert (changed["kind"], changed["plugin"]) == ("routes", "rustcare.identity")
        async with listening(client, "?kinds=accounting") as events:
            _, used = await anext(events)
            assert used["rows"]
            assert all(row["plugin"] != "rustcare.admin" for row in used["rows"])


async def test_a_stream_ends_with_its_reader_and_with_the_plugin(place: Place) -> None:
    """A reader who leaves is forgotten; when the plugin stops, every stream ends cleanly, and can be taken up again."""
    kernel = place.door.kernel

    async def watched() -> bool:
        supervisor = kernel._fleet["rustcare.admin"]
        assert supervisor.running is not None
        health = await supervisor.running.healthy(10)
        return bool(health.details["watched"])

    async with place.client() as client, place.client() as another:
        async with listening(client):
            assert await watched()
        async with asyncio.timeout(30):
            while await watched():
                await another.get("/livez")
        async with listening(another, "?kinds=state&plugin=rustcare.audit") as events:
            await kernel.restart("rustcare.audit")
            last, _ = await anext(events)
            second = await anext(events)
            await kernel.restart("rustcare.admin")
            rest = [second, *[event async for event in events]]
        assert all(data["plugin"] == "rustcare.audit" for _, data in rest)
        async with listening(another, last=last) as events:
            assert [await anext(events) for _ in rest] == rest, "a restart of the plugin loses no event"


async def test_a_session_that_ended_is_out_at_once(place: Place) -> None:
    """Revoked by the operator on the machine, the very next request is refused."""
    somebody, _ = await person(place.door, "eve", ["administrator"])
    async with place.client(somebody.credential) as client:
        assert (await client.get("/admin/v1/plugins")).status_code == 200
        await ask(place.door, identity.SESSION_REVOKE, {"account": "eve"})
        assert (await client.get("/admin/v1/plugins")).status_code == 401


async def test_it_is_the_same_in_every_worker(tmp_path: Path) -> None:
    """Whichever process a connection lands in: an upload is known, commands work, and events come and can be taken up."""
    write_plugin("acme.bell", "component", tmp_path / "bell")
    data = write_layout_tar(read_package(tmp_path / "bell"), tmp_path / "bell.tar").read_bytes()
    plugins = ("crypto", "audit", "identity", "admin", "gateway")
    async with (
        front_door(tmp_path / "data", plugins=plugins, workers=2) as door,
        ControlServer(door.kernel),
        asyncio.timeout(120),
    ):
        administrator, _ = await person(door, "ada", ["administrator"])
        await door.kernel.converged()
        place = Place(door, administrator)
        octets = {"content-type": "application/octet-stream"}
        seen: dict[str, Any] = {}
        for _ in range(6):  # a new connection each time: the system gives it to either of the two
            async with place.client() as client:
                answer = await client.post("/admin/v1/packages", content=data, headers=octets)
                assert answer.status_code == 201, answer.text
                seen = answer.json()
            async with place.client() as client:
                answer = await client.post("/admin/v1/packages/inspect", json={"source": seen["source"]})
                assert answer.json()["digest"] == seen["digest"]
        async with place.client() as client, listening(client, "?kinds=state&plugin=acme.bell") as events:
            consent = [item["use"] for item in seen["capabilities"]]
            body = {"source": seen["source"], "digest": seen["digest"], "consent": consent, "runtime": "python"}
            async with place.client() as another:
                assert (await another.post("/admin/v1/plugins", json=body)).status_code == 201
            told = [await anext(events)]
            while told[-1][1]["to"] != "active":
                told.append(await anext(events))
        for _ in range(4):
            query = "?kinds=state&plugin=acme.bell"
            async with place.client() as client, listening(client, query, last=told[0][0]) as events:
                assert [await anext(events) for _ in told[1:]] == told[1:]
