"""A kernel in a process of its own, to be killed: `python -m tests.support.node DATA PORT [RUNTIME]`. Prints `ready`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rustcare_kernel import Kernel


async def main(data: Path, port: int, runtime: str) -> None:
    """Install the built-ins if they are not there, then serve until killed."""
    async with Kernel(data, config={"rustcare.hl7": {"port": port}}, log_level="error") as kernel:
        known = {plugin.id for plugin in kernel.plugins()}
        for name, plugin_id in (
            ("fhir", "rustcare.fhir"),
            ("hl7_to_fhir", "rustcare.hl7-to-fhir"),
            ("hl7", "rustcare.hl7"),
        ):
            if plugin_id not in known:
                chosen = runtime if name == "hl7_to_fhir" else None
                await kernel.install(f"installed:{name}", consent=True, runtime=chosen)
        states = {plugin.id: (plugin.state, plugin.reason) for plugin in kernel.plugins()}
        print("ready" if all(state == "active" for state, _ in states.values()) else states, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "python"))
