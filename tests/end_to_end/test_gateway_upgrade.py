"""The gateway itself is replaced while it serves, and stops without breaking what is under way."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import httpx
from rustcare_kernel import Kernel
from rustcare_sdk.contracts.http import GATEWAY_STATUS, GatewayRequest, GatewayStatus
from rustcare_sdk.plugin import Handler

from tests.architecture.project import ROOT
from tests.support.plugins import write_plugin

ROUTES = """
    import asyncio

    from rustcare_sdk import Message, Plugin, route, serve
    from rustcare_sdk.contracts.http import HttpRequest, HttpResponse

    class Subject(Plugin):
        async def start(self):
            self.go = asyncio.Event()

        @route("GET", "/quick", public=True)
        async def quick(self, message: Message[HttpRequest[None]]):
            return {}

        @route("GET", "/slow", public=True)
        async def slow(self, message: Message[HttpRequest[None]]):
            await self.ctx.publish("test.begun")
            await self.go.wait()
            return {"slow": True}

        @serve("test.go")
        async def release(self, message: Message):
            self.go.set()
"""
USES = ("http:route@GET /quick", "http:route@GET /slow", "bus:serve@test.go", "bus:publish@test.begun")
CONFIG = {
    "rustcare.gateway": {
        "port": 0,
        "ready_without_identity": True,
        "limits": {"default": [{"by": "all", "rate": 10_000_000, "per": 1}]},
    }
}


def version_of_gateway(folder: Path, version: str) -> Path:
    """The gateway's source with another version."""
    target = folder / f"gateway-{version}"
    ignore = shutil.ignore_patterns("tests", "__pycache__")
    shutil.copytree(ROOT / "builtin_plugins" / "gateway", target, ignore=ignore)
    manifest = target / "src" / "rustcare_plugin_gateway" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('version = "0.1.0"', f'version = "{version}"', 1))
    return target


async def started(kernel: Kernel, tmp_path: Path) -> str:
    """Install the gateway and the plugin; the gateway's origin."""
    await kernel.install(version_of_gateway(tmp_path, "0.1.0"), consent=True)
    await kernel.install(write_plugin(tmp_path, ROUTES, capabilities=USES), consent=True)
    status = await kernel.request(GATEWAY_STATUS, GatewayRequest(), type=GatewayStatus)
    return f"http://127.0.0.1:{status.port}"


async def test_the_gateway_is_replaced_under_load(tmp_path: Path) -> None:
    """Clients that open a connection for each request see no refusal and no reset while three versions follow each other."""
    async with Kernel(tmp_path / "data", config=CONFIG, log_level="silent") as kernel:
        url = await started(kernel, tmp_path)
        stop = asyncio.Event()
        counts = [0, 0]

        async def ask(index: int) -> None:
            while not stop.is_set():
                async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
                    answer = await client.get(url + "/quick")
                    assert answer.status_code == 200, answer.text
                    counts[index] += 1

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for index in range(2):
                group.create_task(ask(index))
            for number in range(2, 5):
                before = sum(counts)
                await kernel.upgrade(version_of_gateway(tmp_path, f"0.{number}.0"))
                assert kernel.plugin("rustcare.gateway").version == f"0.{number}.0"
                assert sum(counts) > before
            stop.set()


async def test_a_request_under_way_ends_on_the_version_that_began_it(tmp_path: Path) -> None:
    """While the old gateway waits for it, the new one serves already."""
    async with Kernel(tmp_path / "data", config=CONFIG, log_level="silent") as kernel:
        url = await started(kernel, tmp_path)
        begun = asyncio.Event()

        async def note(message: Any) -> None:
            begun.set()

        kernel.bus.subscribe(Handler("subscribe", "test.begun"), note)
        async with httpx.AsyncClient(trust_env=False, timeout=20) as old, httpx.AsyncClient(trust_env=False) as new:
            slow = asyncio.create_task(old.get(url + "/slow"))
            await begun.wait()
            upgrade = asyncio.create_task(kernel.upgrade(version_of_gateway(tmp_path, "0.2.0")))
            async with asyncio.timeout(20):
                while not await _serves(new, url) or kernel.plugin("rustcare.gateway").version != "0.2.0":
                    pass
            assert not slow.done()
            await kernel.request("test.go")
            answer = await slow
            assert answer.json() == {"slow": True}
            await upgrade


async def _serves(client: httpx.AsyncClient, url: str) -> bool:
    return (await client.get(url + "/quick")).status_code == 200


async def test_a_stop_drains(tmp_path: Path) -> None:
    """A request under way is answered before the kernel has stopped; afterwards nobody listens."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        async with Kernel(tmp_path / "data", config=CONFIG, log_level="silent") as kernel:
            url = await started(kernel, tmp_path)
            begun = asyncio.Event()

            async def note(message: Any) -> None:
                begun.set()

            kernel.bus.subscribe(Handler("subscribe", "test.begun"), note)
            slow = asyncio.create_task(client.get(url + "/slow"))
            await begun.wait()
            stopping = asyncio.create_task(kernel.disable("rustcare.gateway"))
            await kernel.request("test.go")
            assert (await slow).status_code == 200
            await stopping
        try:
            await client.get(url + "/quick")
        except httpx.ConnectError:
            return
        raise AssertionError("somebody listens still")
