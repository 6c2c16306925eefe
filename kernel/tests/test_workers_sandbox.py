"""A sandboxed plugin can be in each process, as a trusted one can."""

from __future__ import annotations

from pathlib import Path

from rustcare_kernel.package import Package
from rustcare_kernel.package._model import make_package
from rustcare_sdk.manifest import read_manifest
from rustcare_sdk.message import Message

from .runtimes.conftest import component_wat
from .workers.kit import office


def guest(code: bytes) -> Package:
    """A component that serves `test.call` in each process."""
    manifest = b"""schema = 1
[plugin]
id = "acme.guest"
version = "1.0.0"
summary = "A guest"
engine = ">=0.1,<0.2"
[runtime]
component = { path = "guest.wasm" }
[lifecycle]
scale = "each"
[[capability]]
use = "bus:serve@test.call"
reason = "answers"
"""
    return make_package(read_manifest(manifest), manifest, {}, {"component": code}, source="guest")


async def test_a_sandboxed_plugin_is_in_each_process(tmp_path: Path) -> None:
    """A plugin in a worker asks it, and the primary sees nothing of that; its uses and bytes are in the accounts."""
    async with office(tmp_path, before=(guest(component_wat()),)) as desk:
        assert [worker.missing for worker in desk.kernel.workers()] == [(), ()]
        seen: list[str] = []

        def observe(message: Message[object]) -> None:
            seen.append(message.subject)

        desk.kernel.bus.observer = observe
        for number in (1, 2):
            line = await desk.line(number)
            assert await line.ask("test.call", {"bed": [7, "ä"]}) == {"bed": [7, "ä"]}
        assert "test.call" not in seen
        await desk.kernel.have_on_record()
        (row,) = [row for row in desk.kernel.accounting.rows("acme.guest") if not row.capability]
        assert (row.calls, row.errors) == (2, 0)
        assert row.fuel > 0
        assert row.bytes_in > 0


async def test_a_trap_in_a_worker_is_a_trap(tmp_path: Path) -> None:
    """The caller gets the typed error, and it counts against the plugin's budget."""
    async with office(tmp_path, before=(guest(component_wat("unreachable")),), log_level="silent") as desk:
        told = await (await desk.line()).raw("request", name="test.call", data=1)
        assert told["failure"]["code"] == "runtime.trapped"
        await desk.kernel.have_on_record()
        assert desk.kernel.plugin("acme.guest").traps == 1
