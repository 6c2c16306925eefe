"""Routes: served as services, listed for whoever speaks HTTP, handed over in an upgrade without a request lost."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rustcare_kernel import Kernel
from rustcare_kernel.errors import RouteTaken
from rustcare_kernel.package import Package
from rustcare_kernel.package._model import make_package
from rustcare_sdk.contracts.http import CHANGED, ROUTES, HttpRequest, RoutesChanged, RoutesReply
from rustcare_sdk.errors import CapabilityDenied, InvalidPayload, NoProvider
from rustcare_sdk.manifest import read_manifest
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler
from rustcare_sdk.routes import UnsupportedMedia

from .plugins import Board, quiet
from .runtimes.conftest import component_wat

MANIFEST = """schema = 1
[plugin]
id = "{plugin}"
version = "{version}"
summary = "Beds"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "beds.plugin:Beds" }}
[lifecycle]
drain = "5s"
[[capability]]
use = "http:route@* /beds/*"
reason = "answers"
[[capability]]
use = "http:route@POST /beds"
reason = "answers"
"""
CODE = """
from dataclasses import dataclass

from rustcare_sdk import Message, Plugin, route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
import rustcare_tests_board as board

ME, VERSION = "{plugin}", "{version}"


@dataclass(frozen=True)
class Bed:
    id: str
    ward: int = 3


class Beds(Plugin):
    async def start(self):
        await board.step(self, "start")

    @route("GET", "{path}", scope="beds.read", problems={{"acme.no-such-bed": 404}})
    async def bed(self, message: Message[HttpRequest[None]]) -> Bed:
        await board.step(self, "bed")
        return HttpResponse(text=VERSION + " " + message.data.params["id"] + " " + message.tenant + " " + message.principal)

    @route("POST", "/beds", status=201)
    async def make(self, message: Message[HttpRequest[Bed]]) -> Bed:
        return message.data.content

    @route("DELETE", "/beds/{{id}}")
    async def forget(self, message: Message[HttpRequest[None]]) -> None:
        pass
"""
BED, MAKE, FORGET = (f"http.route.acme.beds.{name}" for name in ("bed", "make", "forget"))


def beds(version: str = "1.0.0", plugin: str = "acme.beds", path: str = "/beds/{id}") -> Package:
    """A plugin with three routes."""
    manifest = MANIFEST.format(plugin=plugin, version=version).encode()
    code = CODE.format(plugin=plugin, version=version, path=path).encode()
    return make_package(
        read_manifest(manifest), manifest, {"__init__.py": b"", "plugin.py": code}, {}, source=f"{plugin}-{version}"
    )


def asked(**fields: Any) -> HttpRequest[Any]:
    """A request as a gateway makes it."""
    return HttpRequest("GET", "/beds/7", {"id": "7"}, **fields)


class Told:
    """The changes of routes that the kernel published."""

    def __init__(self, kernel: Kernel) -> None:
        self.events: asyncio.Queue[RoutesChanged] = asyncio.Queue()
        kernel.bus.subscribe(Handler("subscribe", CHANGED), self._on)

    async def _on(self, message: Message[Any]) -> None:
        self.events.put_nowait(message.data)

    async def next(self) -> RoutesChanged:
        """The next one."""
        async with asyncio.timeout(10):
            return await self.events.get()


async def listed(kernel: Kernel) -> list[tuple[str, str, str]]:
    """Method, path and version of all routes."""
    reply: RoutesReply = await kernel.request(ROUTES, type=RoutesReply)
    return [(row.method, row.path, row.version) for row in reply.routes]


async def test_the_list_says_whose_pages_are_not_to_be_trusted(tmp_path: Path, desk: Board) -> None:
    """Routes of a sandboxed plugin are marked, so that a gateway keeps its pages apart from those where people sign in."""
    manifest = b"""schema = 1
[plugin]
id = "acme.guest"
version = "1.0.0"
summary = "A guest"
engine = ">=0.1,<0.2"
[runtime]
component = { path = "guest.wasm" }
[[capability]]
use = "http:route@GET /guests/*"
reason = "answers"
"""
    described = (
        '{"handlers":[{"kind":"route","name":"guest","route":{"method":"GET","path":"/guests/{id}"}}],"lifecycle":[]}'
    )
    code = component_wat(describe=described)
    guest = make_package(read_manifest(manifest), manifest, {}, {"component": code}, source="guest")
    async with quiet(tmp_path) as kernel:
        await kernel.install(beds(), consent=True)
        await kernel.install(guest, consent=True)
        reply: RoutesReply = await kernel.request(ROUTES, type=RoutesReply)
        assert {row.path: row.sandboxed for row in reply.routes} == {
            "/beds": False,
            "/beds/{id}": False,
            "/guests/{id}": True,
        }


async def test_routes_come_and_go_with_their_plugin(tmp_path: Path, desk: Board) -> None:
    """They are listed with what they say while the plugin is active, and each change is told."""
    async with quiet(tmp_path) as kernel:
        told = Told(kernel)
        assert await listed(kernel) == []
        await kernel.install(beds(), consent=True)
        assert (await told.next()).plugin == "acme.beds"
        assert await listed(kernel) == [
            ("POST", "/beds", "1.0.0"),
            ("DELETE", "/beds/{id}", "1.0.0"),
            ("GET", "/beds/{id}", "1.0.0"),
        ]
        reply: RoutesReply = await kernel.request(ROUTES, type=RoutesReply)
        row = next(row for row in reply.routes if row.service == BED)
        assert (row.scope, row.problems, row.answer["$defs"]["Bed"]["required"]) == (
            "beds.read",
            {"acme.no-such-bed": 404},
            ["id"],
        )
        await kernel.disable("acme.beds")
        assert (await told.next()).revision > reply.revision
        assert await listed(kernel) == []
        with pytest.raises(NoProvider):
            await kernel.request(BED, asked())


async def test_a_route_gets_its_body_typed_and_answers_typed(tmp_path: Path, desk: Board) -> None:
    """Content is the declared type, the status the route's own; what does not fit is a typed error without the value."""
    json = {"content-type": "application/json"}
    async with quiet(tmp_path) as kernel:
        await kernel.install(beds(), consent=True)
        made = await kernel.request(MAKE, asked(headers=json, body=b'{"id": "9"}'))
        assert (made.status, made.content.id, made.content.ward) == (201, "9", 3)
        # What was left out comes out: the answer as it goes to the client, and to another process.
        assert msgspec.json.decode(msgspec.json.encode(made.content)) == {"id": "9", "ward": 3}
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await kernel.request(MAKE, asked(headers=form, body=b"id=9&ward=4"))).content.ward == 4
        assert (await kernel.request(FORGET, asked())).status == 204
        for body in (b'{"id": 77123}', b"{", b""):
            with pytest.raises(InvalidPayload) as caught:
                await kernel.request(MAKE, asked(headers=json, body=body))
            assert "77123" not in str(caught.value)
        with pytest.raises(InvalidPayload):
            await kernel.request(MAKE, asked(headers=form, body=b"id=9&ward=x"))
        with pytest.raises(UnsupportedMedia):
            await kernel.request(MAKE, asked(body=b"x"))


async def test_the_call_reaches_a_route(tmp_path: Path, desk: Board) -> None:
    """Tenant and principal are the call's."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(beds(), consent=True)
        found = await kernel.request(BED, asked(), tenant="north", principal="user/1")
        assert found.text == "1.0.0 7 north user/1"


async def test_a_revoked_route_fails_at_the_next_request(tmp_path: Path, desk: Board) -> None:
    """The right to answer a route is asked at each request, and can be taken from one tenant alone."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(beds(), consent=True)
        await kernel.request(BED, asked())
        await kernel.grant("acme.beds", "http:route@GET /beds/*", tenant="north", deny=True)
        with pytest.raises(CapabilityDenied):
            await kernel.request(BED, asked(), tenant="north")
        await kernel.request(BED, asked())
        await kernel.revoke("acme.beds", "http:route@* /beds/*")
        with pytest.raises(CapabilityDenied):
            await kernel.request(BED, asked())
        await kernel.request(MAKE, asked(headers={"content-type": "application/json"}, body=b'{"id": "9"}'))


async def test_a_route_is_answered_by_one(tmp_path: Path, desk: Board) -> None:
    """Another plugin with the same method and path, whatever its parameters are called, does not start, and says why."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(beds(), consent=True)
        status = await kernel.install(beds(plugin="acme.other", path="/beds/{name}"), consent=True)
        assert status.state == "failed"
        assert "acme.beds answers already" in status.reason
        assert (await kernel.request(BED, asked())).text.startswith("1.0.0")
        table = kernel.routes
        with pytest.raises(RouteTaken):
            table.check("acme.third", {BED: kernel._fleet["acme.beds"].running._routes[BED]})  # type: ignore[union-attr]


async def test_requests_go_on_during_an_upgrade(tmp_path: Path, desk: Board) -> None:
    """What began on the old version ends on it; what comes meanwhile waits and is answered by the new one; none fails."""
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await let_go.wait()

    async with quiet(tmp_path) as kernel:
        await kernel.install(beds(), consent=True)
        desk.on["acme.beds", "1.0.0", "bed"] = slow
        first = asyncio.create_task(kernel.request(BED, asked()))
        await begun.wait()
        started = asyncio.Event()
        desk.on["acme.beds", "2.0.0", "start"] = started.set
        upgrade = asyncio.create_task(kernel.upgrade(beds("2.0.0")))
        await started.wait()
        while kernel.bus._services[BED].invoke is not None:  # noqa: ASYNC110  # until the gate is closed
            await asyncio.sleep(0)
        meanwhile = [asyncio.create_task(kernel.request(BED, asked())) for _ in range(10)]
        await asyncio.sleep(0)
        let_go.set()
        await upgrade
        assert (await first).text.startswith("1.0.0")
        assert {(await task).text.split()[0] for task in meanwhile} == {"2.0.0"}
        assert {version for _, _, version in await listed(kernel)} == {"2.0.0"}


async def test_an_upgrade_that_fails_leaves_the_routes(tmp_path: Path, desk: Board) -> None:
    """A new version whose route another plugin has is refused; the old routes go on."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(beds(path="/beds/{id}/old"), consent=True)
        await kernel.install(beds(plugin="acme.other", path="/beds/{id}/new"), consent=True, enable=False)
        before = await listed(kernel)
        desk.on["acme.beds", "2.0.0", "start"] = ValueError("no")
        with pytest.raises(Exception, match=r"stays at 1\.0\.0"):
            await kernel.upgrade(beds("2.0.0", path="/beds/{id}/else"))
        assert await listed(kernel) == before
