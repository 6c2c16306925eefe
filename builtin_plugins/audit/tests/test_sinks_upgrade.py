"""The plugin is replaced while its sinks send: nothing is lost, nothing stays behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import threading
from pathlib import Path

from rustcare_kernel import Kernel
from rustcare_sdk.contracts import audit, fhir

from tests.support.syslog_server import SyslogServer, parse

AUDIT = "rustcare.audit"
ROOT = Path(__file__).parents[1]


def version(folder: Path, number: str) -> Path:
    """Another version of the plugin, as a folder to install."""
    target = folder / f"audit-{number}"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    manifest = target / "src" / "rustcare_plugin_audit" / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('version = "0.1.0"', f'version = "{number}"', 1))
    return target


def stored(server: SyslogServer) -> list[int]:
    """The places of the stores that were received."""
    rows = [json.loads(parse(one).text) for one in server.messages]
    return [row["index"] for row in rows if row["entry"].get("what", {}).get("capability") == "bus:request@fhir.store"]


async def test_replaced_while_it_sends(tmp_path: Path) -> None:
    """Under load, with a receiver that is away for a while, two new versions take over: every store arrives, each once but
    for what was under way at a hand-over, in order; afterwards no thread of a sink is left."""
    with SyslogServer() as server:
        sink = {"name": "s", "format": "entry", "to": "syslog", "host": "127.0.0.1", "port": server.port}
        config = {AUDIT: {"sinks": [{**sink, "plain": True, "batch": 20}]}}
        async with Kernel(tmp_path / "data", config=config, log_level="silent") as kernel:
            for name in ("crypto", "audit", "fhir"):
                await kernel.install(f"installed:{name}", consent=True)
            going = True
            done = 0

            async def load() -> None:
                nonlocal done
                while going:
                    patient = {"resourceType": "Patient", "id": f"p{done}"}
                    await kernel.request(fhir.STORE, fhir.StoreRequest(f"p{done}", [patient], "test"))
                    done += 1

            task = asyncio.create_task(load())
            for number in ("0.1.1", "0.1.2"):
                server.down()
                await kernel.upgrade(version(tmp_path, number), consent=True)
                assert kernel.plugin(AUDIT).version == number
                server.up()
                await asyncio.to_thread(server.wait, len(server.messages) + 1)
            going = False
            await task
            status: audit.LogStatus = await kernel.request(audit.STATUS, audit.StatusRequest(), type=audit.LogStatus)
            assert status.problem == ""

            def all_here() -> bool:
                return len(set(stored(server))) >= done

            def wait() -> bool:
                with server.changed:
                    return server.changed.wait_for(all_here, 30)

            assert await asyncio.to_thread(wait), (done, len(set(stored(server))))
        found = stored(server)
        assert len(set(found)) == done
        assert sum(later < earlier for earlier, later in itertools.pairwise(found)) <= 2
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("audit-")]
