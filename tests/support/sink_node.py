"""A kernel whose audit log has a sink and a witness, in a process of its own, to be killed.

`python -m tests.support.sink_node DATA CONFIG FIRST COUNT`: CONFIG is the audit plugin's configuration as JSON. Installs
what is missing, prints `ready` and `key VKEY`, stores patients `p<FIRST>`, … one after the other, `COUNT` of them, and
prints `ok p7` for each that was acknowledged; then `stored`, and goes on living until it is killed. When the audit plugin
does not start it prints `down` and why.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from rustcare_kernel import Kernel
from rustcare_sdk.contracts.audit import STATUS, LogStatus, StatusRequest
from rustcare_sdk.contracts.fhir import STORE, StoreRequest

AUDIT = "rustcare.audit"


async def main(data: Path, config: dict[str, Any], first: int, count: int) -> None:
    """Store, then wait to be killed."""
    async with Kernel(data, config={AUDIT: config}, log_level="error") as kernel:
        known = {plugin.id for plugin in kernel.plugins()}
        for name in ("crypto", "audit", "fhir"):
            if f"rustcare.{name}" not in known:
                await kernel.install(f"installed:{name}", consent=True)
        log = kernel.plugin(AUDIT)
        print("ready" if log.state == "active" else f"down {log.reason}", flush=True)
        if log.state == "active":
            status = await kernel.request(STATUS, StatusRequest(), type=LogStatus)
            print("key", status.key, flush=True)
            for number in range(first, first + count):
                name = f"p{number}"
                patient = {"resourceType": "Patient", "id": name}
                await kernel.request(STORE, StoreRequest(name, [patient], "test"), principal="feeder")
                print("ok", name, flush=True)
        print("stored", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
