"""The routes, over a kernel that answers what the control API's reference says: what is asked of it, in whose name."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import tarfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rustcare_plugin_admin.errors import PROBLEMS
from rustcare_plugin_admin.plugin import Admin
from rustcare_sdk import Message
from rustcare_sdk.contracts.http import Caller, HttpResponse, RoutesChanged
from rustcare_sdk.contracts.plugin import (
    ControlReply,
    ControlRequest,
    PluginRow,
    PluginsReply,
    PluginState,
)
from rustcare_sdk.errors import CapabilityDenied, InvalidPayload, RustCareError, ServiceError
from rustcare_sdk.plugin import handlers_of
from rustcare_sdk.testing import PluginHarness, harness

ADA = Caller("user/ada", "default", "session", ("admin",), ("administrator",), aal=2, name="Ada")
BOB = Caller("user/bob", "default", "session", ("admin",), ("administrator",), aal=2)
DIGEST = "sha256:" + "a" * 64
STATUS = {
    "id": "acme.bell", "version": "1.0.0", "digest": DIGEST, "runtime": "python", "state": "active", "enabled": True,
    "summary": "Rings", "granted": ["clock:read"], "denied": [], "traps": 0, "reason": "", "since": 1.0, "previous": [],
    "pause_ms": 0.0, "of_a_newer_kernel": 1,
}  # fmt: skip
INSPECTION = {
    "id": "acme.bell", "version": "1.0.0", "digest": DIGEST, "summary": "Rings", "runtimes": ["python"], "unbuilt": [],
    "capabilities": [{"use": "clock:read", "reason": "dates", "availability": "required"}],
    "limits": {"timeout": 5.0}, "installed_version": None, "change": None,
}  # fmt: skip


class Kernel:
    """What the kernel was asked, and by whom; `answers` by method: a value, or an error to raise."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any], bytes]] = []
        self.answers: dict[str, Any] = {
            "plugin.list": [STATUS],
            "plugin.info": {**STATUS, "manifest": {}, "size": 10, "capabilities": [], "accounting": []},
            "plugin.caps": {**STATUS, "capabilities": [{"use": "clock:read", "right": "granted", "used": 3}]},
            "plugin.inspect": INSPECTION,
            "plugin.logs": [{"event": "state"}],
            "plugin.remove": {"id": "acme.bell", "removed": True, "purged": False},
            "accounting.read": [],
            "system.status": {
                "version": "0.1.0", "store": "sqlite", "started": 1.0, "uptime_s": 2.0, "rss_bytes": 3,
                "capability_uses": 4, "plugins": {"active": 1}, "services": ["kernel.control"], "data_dir": "/srv/data",
                "pid": 7, "workers": [{"number": 1, "pid": 8, "state": "serving", "restarts": 2, "since": 1.0, "missing": []}],
            },
        }  # fmt: skip

    def control(self, message: Message[ControlRequest]) -> ControlReply:
        """Answer `kernel.control`."""
        asked = message.data
        self.asked.append((asked.method, message.principal, asked.params, asked.package))
        found = self.answers.get(asked.method, STATUS)
        if isinstance(found, RustCareError):
            raise found
        return ControlReply(found)


@pytest.fixture
def kernel() -> Kernel:
    """The kernel's double."""
    return Kernel()


@pytest.fixture
async def admin(kernel: Kernel) -> AsyncIterator[PluginHarness]:
    """The plugin, started."""
    async with started(kernel) as h:
        yield h


def started(kernel: Kernel, **config: Any) -> PluginHarness:
    """The plugin over a kernel's double."""
    h = harness(Admin, config=config)
    h.answer("kernel.control", kernel.control)
    row = PluginRow("acme.bell", "1.0.0", DIGEST, "python", "active")
    h.answer("kernel.plugins", PluginsReply([row]))
    return h


def package() -> bytes:
    """Something that looks like a package: what is in it is for the kernel to say."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("oci-layout"))
    return file.getvalue()


async def rpc(h: PluginHarness, method: str, caller: Caller = ADA, **params: Any) -> Any:
    """One call over JSON-RPC: the whole answer."""
    call = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    answer = await raw(h, json.dumps(call).encode(), caller)
    assert answer.status == 200
    return json.loads(answer.body)


async def raw(h: PluginHarness, body: bytes, caller: Caller = ADA) -> HttpResponse:
    """Any bytes to the JSON-RPC route."""
    headers = {"content-type": "application/json"}
    return await h.http("POST", "/admin/v1/rpc", body=body, headers=headers, caller=caller)


def test_every_route_asks_for_the_right_and_a_second_factor() -> None:
    """All routes are for those who look after the whole, with a scope of `admin` and AAL 2; but for `whoami`."""
    routes = [handler.route for handler in handlers_of(Admin) if handler.route is not None]
    assert len(routes) >= 18
    for route in routes:
        if route.path == "/admin/v1/whoami":
            assert (route.aal, route.scope, route.public) == (0, "", False)
            continue
        assert route.aal == 2, route.use
        assert route.tenant == "system", route.use
        wanted = "admin" if route.path.endswith("/rpc") else "admin.read" if route.method == "GET" else "admin.plugins"
        assert route.scope == wanted, route.use
        assert route.problems == PROBLEMS
        assert route.summary


async def test_reading(admin: PluginHarness, kernel: Kernel) -> None:
    """Each reading route asks the control method of its name in the caller's name, and answers its declared shape."""
    for target, method, params in (
        ("/admin/v1/plugins", "plugin.list", {}),
        ("/admin/v1/plugins/acme.bell", "plugin.info", {"id": "acme.bell"}),
        ("/admin/v1/plugins/acme.bell/capabilities", "plugin.caps", {"id": "acme.bell"}),
        ("/admin/v1/plugins/acme.bell/logs?tail=5", "plugin.logs", {"id": "acme.bell", "tail": 5}),
        ("/admin/v1/accounting?plugin=acme.bell", "accounting.read", {"plugin": "acme.bell"}),
        ("/admin/v1/accounting", "accounting.read", {}),
        ("/admin/v1/status", "system.status", {}),
    ):
        answer = await admin.http("GET", target, caller=ADA)
        assert answer.status == 200
        assert kernel.asked[-1] == (method, "user/ada", params, b""), target
    listed = await admin.http("GET", "/admin/v1/plugins", caller=ADA)
    assert listed.content["plugins"][0]["id"] == "acme.bell"
    assert "of_a_newer_kernel" not in listed.content["plugins"][0]
    status = await admin.http("GET", "/admin/v1/status", caller=ADA)
    assert [(row["number"], row["state"], row["restarts"]) for row in status.content["workers"]] == [(1, "serving", 2)]
    assert "/srv/data" not in json.dumps(status.content), "a remote caller need not know the server's folders"
    for query in ("tail=x", "tail=-1", "tail=1e9", "tail=" + "9" * 10):
        with pytest.raises(InvalidPayload):
            await admin.http("GET", f"/admin/v1/plugins/acme.bell/logs?{query}", caller=ADA)
    admin.assert_capabilities_within_manifest()


async def test_changing(admin: PluginHarness, kernel: Kernel) -> None:
    """Each changing route asks the control method of its name; a revocation names its capability in the query."""
    one = {"id": "acme.bell"}
    for verb, path, body, method, params in (
        ("POST", "/enable", None, "plugin.enable", one),
        ("POST", "/disable", None, "plugin.disable", one),
        ("POST", "/restart", None, "plugin.restart", one),
        ("POST", "/rollback", None, "plugin.rollback", one),
        ("PUT", "/config", {"config": {"a": 1}}, "plugin.configure", {**one, "config": {"a": 1}}),
        ("DELETE", "?purge=true", None, "plugin.remove", {**one, "purge": True}),
        (
            "POST", "/grants", {"capability": "clock:read", "tenant": "clinic", "deny": True},
            "plugin.grant", {**one, "capability": "clock:read", "tenant": "clinic", "deny": True},
        ),
        (
            "DELETE", "/grants?capability=bus:publish%40a.*", None,
            "plugin.revoke", {**one, "capability": "bus:publish@a.*", "deny": False},
        ),
    ):  # fmt: skip
        await admin.http(verb, f"/admin/v1/plugins/acme.bell{path}", json=body, caller=ADA)
        assert kernel.asked[-1] == (method, "user/ada", params, b""), path
    for target in ("?purge=yes", "/grants", "/grants?capability=x&deny=1"):
        with pytest.raises(InvalidPayload):
            await admin.http("DELETE", f"/admin/v1/plugins/acme.bell{target}", caller=ADA)


async def test_a_package_is_uploaded_inspected_and_installed(admin: PluginHarness, kernel: Kernel) -> None:
    """The upload's answer says what the package asks for and how to name it; installing sends the same bytes, with the
    digest and the consent that the caller saw, and forgets the upload."""
    data = package()
    headers = {"content-type": "application/octet-stream"}
    up = await admin.http("POST", "/admin/v1/packages", body=data, headers=headers, caller=ADA)
    assert kernel.asked[-1] == ("plugin.inspect", "user/ada", {}, data)
    seen = up.content
    assert seen["capabilities"] == INSPECTION["capabilities"]
    body = {"source": seen["source"], "digest": seen["digest"], "consent": ["clock:read"]}
    again = await admin.http("POST", "/admin/v1/packages/inspect", json={"source": seen["source"]}, caller=ADA)
    assert again.content["digest"] == DIGEST
    with pytest.raises(RustCareError) as refused:
        await admin.http("POST", "/admin/v1/plugins", json=body, caller=BOB)
    assert refused.value.code == "admin.upload-unknown", "an upload is its owner's"
    done = await admin.http("POST", "/admin/v1/plugins", json=body, caller=ADA)
    assert done.status == 201
    assert done.headers["etag"] == f'"{DIGEST}.python.enabled"'
    wanted = {"digest": DIGEST, "consent": ["clock:read"], "enable": True}
    assert kernel.asked[-1] == ("plugin.install", "user/ada", wanted, data)
    with pytest.raises(RustCareError) as gone:
        await admin.http("POST", "/admin/v1/plugins", json=body, caller=ADA)
    assert gone.value.code == "admin.upload-unknown"


async def test_a_failed_installation_keeps_the_upload(admin: PluginHarness, kernel: Kernel) -> None:
    """What the kernel refuses comes to the caller as it is, and the upload can be tried once more."""
    headers = {"content-type": "application/octet-stream"}
    up = await admin.http("POST", "/admin/v1/packages", body=package(), headers=headers, caller=ADA)
    body = {"source": up.content["source"], "digest": DIGEST, "consent": []}
    kernel.answers["plugin.install"] = ServiceError("lifecycle.consent-required", "asks for more")
    for _ in range(2):
        with pytest.raises(RustCareError) as refused:
            await admin.http("POST", "/admin/v1/plugins", json=body, caller=ADA)
        assert refused.value.code == "lifecycle.consent-required"


async def test_consent_is_always_bound_to_what_was_seen(admin: PluginHarness, kernel: Kernel) -> None:
    """Over HTTP a digest and a list of capabilities must be given; an empty digest is sent as one that fits nothing."""
    for body in ({"source": "installed:x", "consent": []}, {"source": "installed:x", "digest": DIGEST}):
        with pytest.raises(InvalidPayload):
            await admin.http("POST", "/admin/v1/plugins", json=body, caller=ADA)
    everything = {"source": "installed:x", "digest": DIGEST, "consent": True}
    with pytest.raises(InvalidPayload):
        await admin.http("POST", "/admin/v1/plugins", json=everything, caller=ADA)
    empty = {"source": "installed:x", "digest": "", "consent": []}
    await admin.http("POST", "/admin/v1/plugins", json=empty, caller=ADA)
    assert kernel.asked[-1][2]["digest"] == "none"


async def test_paths_of_the_server_are_refused(kernel: Kernel) -> None:
    """A caller names no file of the server, by either way in, unless the configuration allows it."""
    async with started(kernel) as h:
        for source in ("/etc/passwd", "../x", "", "relative", "INSTALLED:x", "upload:none"):
            with pytest.raises(RustCareError) as refused:
                await h.http("POST", "/admin/v1/packages/inspect", json={"source": source}, caller=ADA)
            assert refused.value.code in ("admin.source-refused", "admin.upload-unknown")
            found = await rpc(h, "plugin.install", source=source, consent=True)
            assert found["error"]["data"]["code"] in ("admin.source-refused", "admin.upload-unknown")
        assert kernel.asked == []
    async with started(kernel, any_source=True) as h:
        await h.http("POST", "/admin/v1/packages/inspect", json={"source": "/srv/plugins/bell"}, caller=ADA)
        assert kernel.asked[-1][2] == {"source": "/srv/plugins/bell"}


async def test_what_carries_the_request_is_not_ended_by_it(admin: PluginHarness, kernel: Kernel) -> None:
    """The gateway and this plugin are not stopped, replaced or configured from here: the request would wait for itself."""
    for plugin in ("rustcare.admin", "rustcare.gateway"):
        for word in ("enable", "disable", "restart", "rollback"):
            with pytest.raises(RustCareError) as refused:
                await admin.http("POST", f"/admin/v1/plugins/{plugin}/{word}", caller=ADA)
            assert refused.value.code == "admin.not-from-here"
            found = await rpc(admin, f"plugin.{word}", id=plugin)
            assert found["error"]["data"]["code"] == "admin.not-from-here"
    assert kernel.asked == []
    kernel.answers["plugin.inspect"] = {**INSPECTION, "id": "rustcare.admin"}
    found = await rpc(admin, "plugin.upgrade", source="installed:admin", consent=True)
    assert found["error"]["data"]["code"] == "admin.not-from-here"
    assert {asked[0] for asked in kernel.asked} == {"plugin.inspect"}


async def test_an_upgrade_is_of_the_plugin_that_it_names(admin: PluginHarness, kernel: Kernel) -> None:
    """A package of another id is refused, so that a path never upgrades something else."""
    body = {"source": "installed:bell", "digest": DIGEST, "consent": []}
    done = await admin.http("POST", "/admin/v1/plugins/acme.bell/upgrade", json=body, caller=ADA)
    assert done.status == 200
    assert kernel.asked[-1][0] == "plugin.upgrade"
    with pytest.raises(InvalidPayload, match=r"acme\.other"):
        await admin.http("POST", "/admin/v1/plugins/acme.other/upgrade", json=body, caller=ADA)


async def test_if_match_holds_a_decision_to_what_was_seen(admin: PluginHarness, kernel: Kernel) -> None:
    """With the `ETag` of what is installed a change is made, with another it is refused before anything is asked."""
    tag = (await admin.http("GET", "/admin/v1/plugins/acme.bell", caller=ADA)).headers["etag"]
    for good in (tag, "*", f'"other", {tag}'):
        await admin.http("POST", "/admin/v1/plugins/acme.bell/disable", headers={"If-Match": good}, caller=ADA)
    before = len(kernel.asked)
    for bad in ('"other"', tag.replace("enabled", "disabled"), f"W/{tag}"):
        with pytest.raises(RustCareError) as refused:
            await admin.http("POST", "/admin/v1/plugins/acme.bell/disable", headers={"If-Match": bad}, caller=ADA)
        assert refused.value.code == "admin.changed"
    assert len(kernel.asked) == before


async def test_of_two_decisions_on_the_same_sight_one_is_made(kernel: Kernel) -> None:
    """Two callers who saw the same and change it at once: the second is told that it is not as it was any more."""
    row = PluginRow("acme.bell", "1.0.0", DIGEST, "python", "active")
    began, going = asyncio.Event(), asyncio.Event()

    async def control(message: Message[ControlRequest]) -> ControlReply:
        nonlocal row
        if message.data.method == "plugin.disable":
            began.set()
            await going.wait()
            row = dataclasses.replace(row, enabled=False)
        return kernel.control(message)

    h = harness(Admin)
    h.answer("kernel.control", control)
    h.answer("kernel.plugins", lambda message: PluginsReply([row]))
    async with h:
        tag = {"If-Match": (await h.http("GET", "/admin/v1/plugins/acme.bell", caller=ADA)).headers["etag"]}
        one = asyncio.ensure_future(h.http("POST", "/admin/v1/plugins/acme.bell/disable", headers=tag, caller=ADA))
        await began.wait()
        other = asyncio.ensure_future(h.http("POST", "/admin/v1/plugins/acme.bell/restart", headers=tag, caller=BOB))
        grants = {"capability": "clock:read", "deny": True}
        await h.http("POST", "/admin/v1/plugins/acme.bell/grants", json=grants, headers=tag, caller=BOB)
        going.set()
        assert (await one).status == 200
        with pytest.raises(RustCareError) as refused:
            await other
        assert refused.value.code == "admin.changed"
        assert "plugin.restart" not in [method for method, *_ in kernel.asked]


async def test_uploads_are_looked_into_one_at_a_time_and_only_where_there_is_room(kernel: Kernel) -> None:
    """However many come at once, one is unpacked; what there is no room for is refused before it is."""
    at_once = most = 0

    async def control(message: Message[ControlRequest]) -> ControlReply:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return kernel.control(message)

    h = harness(Admin, config={"uploads": {"total": 1048576}})
    h.answer("kernel.control", control)
    data = package().ljust(400_000, b"\0")
    async with h:

        async def upload() -> str:
            try:
                await h.http(
                    "POST",
                    "/admin/v1/packages",
                    body=data,
                    headers={"content-type": "application/octet-stream"},
                    caller=ADA,
                )
            except RustCareError as error:
                return error.code
            return ""

        found = await asyncio.gather(*(upload() for _ in range(5)))
    assert sorted(found) == ["", "", *["admin.uploads-full"] * 3]
    assert most == 1
    assert len(kernel.asked) == 2


async def test_rpc_speaks_json_rpc(admin: PluginHarness, kernel: Kernel) -> None:
    """Results and errors come with the request's id; what is no request is refused with the numbers of the standard."""
    assert await rpc(admin, "plugin.list") == {"jsonrpc": "2.0", "id": 7, "result": [STATUS]}
    kernel.answers["plugin.info"] = ServiceError("plugin.unknown", "no such plugin", hint="list them")
    error = (await rpc(admin, "plugin.info", id="x"))["error"]
    assert (error["code"], error["message"]) == (-32000, "no such plugin")
    assert error["data"] == {"code": "plugin.unknown", "hint": "list them", "address": ""}
    kernel.answers["nonsense"] = ServiceError("control.invalid-request", "no such method", address="method")
    assert (await rpc(admin, "nonsense"))["error"]["code"] == -32601
    kernel.answers["plugin.caps"] = ServiceError("control.invalid-request", "plugin.caps: what is x?")
    assert (await rpc(admin, "plugin.caps", x=1))["error"]["code"] == -32602
    for body, number in (
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[]", -32600),
        (b"{}", -32600),
        (b'{"method": "plugin.list", "id": 1}', -32600),
        (b'{"jsonrpc": "2.0", "method": 1, "id": 1}', -32600),
    ):
        answer = await raw(admin, body)
        assert answer.status == 200
        found = json.loads(answer.body)
        assert (found["error"]["code"], found["id"]) == (number, None), body
    quiet = await raw(admin, b'{"jsonrpc": "2.0", "method": "plugin.list"}')
    assert (quiet.status, quiet.body) == (204, b"")


async def test_rpc_acts_in_the_callers_own_name(admin: PluginHarness, kernel: Kernel) -> None:
    """Requests on the bus are the caller's, whatever they say; doors that would undo that are closed."""
    kernel.answers["bus.request"] = {"ok": True}
    await rpc(admin, "bus.request", service="identity.account.list", data={}, tenant="clinic")
    assert kernel.asked[-1][2] == {
        "service": "identity.account.list", "data": {}, "tenant": "clinic", "principal": "user/ada", "on_behalf": "",
    }  # fmt: skip
    before = len(kernel.asked)
    for params in (
        {"service": "x.y", "principal": "user/bob"},
        {"service": "x.y", "on_behalf": "user/bob"},
        {"service": "kernel.control", "data": {"method": "plugin.list"}},
        {"service": "http.route.rustcare.identity.me", "data": {}},
    ):
        found = await rpc(admin, "bus.request", **params)
        assert found["error"]["data"]["code"] == "admin.not-from-here", params
    assert len(kernel.asked) == before


async def test_whoami(admin: PluginHarness) -> None:
    """The caller is told whom the gateway takes them for."""
    found = await admin.http("GET", "/admin/v1/whoami", caller=ADA)
    assert found.content["principal"] == "user/ada"
    assert found.content["scopes"] == ["admin"]
    assert found.headers["cache-control"] == "no-store"


async def test_the_stream_tells_states_and_routes(admin: PluginHarness) -> None:
    """Events of the bus come to who listens, as server-sent events, and end with the plugin."""
    answer = await admin.http("GET", "/admin/v1/events?kinds=state,routes", caller=ADA)
    assert answer.media_type == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    stream = answer.stream
    assert b"id: " in await anext(stream)
    await admin.send("plugin.state", PluginState("acme.bell", "1.0.0", DIGEST, "starting", "active", ""))
    assert b'"to":"active"' in await anext(stream)
    await admin.send("http.routes", RoutesChanged(3, "acme.bell"))
    routes = await anext(stream)
    assert b'"revision":3' in routes
    last = routes.decode().splitlines()[0].removeprefix("id: ")
    again = await admin.http("GET", "/admin/v1/events", headers={"Last-Event-ID": last}, caller=ADA)
    assert (await anext(again.stream)).decode().splitlines()[1] == f"id: {last}"
    await admin.plugin.stop()
    assert [chunk async for chunk in stream] == []
    assert [chunk async for chunk in again.stream] == []
    with pytest.raises(InvalidPayload):
        await admin.http("GET", "/admin/v1/events?kinds=everything", caller=ADA)


async def test_readers_go_on_with_the_next_version(kernel: Kernel) -> None:
    """An upgrade of this plugin keeps the events, so that who reconnects misses nothing."""
    async with started(kernel) as h:
        await h.send("plugin.state", PluginState("acme.bell", "1.0.0", DIGEST, "starting", "active", ""))
        first = f"{h.plugin.events.name}-0"  # type: ignore[attr-defined]
        await h.upgrade(Admin)
        answer = await h.http("GET", "/admin/v1/events", headers={"Last-Event-ID": first}, caller=ADA)
        assert b'"to":"active"' in await anext(answer.stream)
        await answer.stream.aclose()


async def test_nobody_else_asks_the_services(admin: PluginHarness, kernel: Kernel) -> None:
    """Commands, uploads and events are for the routes: a plugin, or the operator's own connection, is refused."""
    for source in ("acme.other", "kernel", "", "rustcare.gateway"):
        for service, data in (
            ("admin.command", {"method": "plugin.list"}),
            ("admin.upload", {"data": b""}),
            ("admin.events", {}),
        ):
            with pytest.raises(CapabilityDenied):
                await admin.request(service, data, source=source, principal="user/ada")
    assert kernel.asked == []
    found = await admin.request("admin.command", {"method": "plugin.list"}, source="rustcare.admin")
    assert found.result == [STATUS]
