"""A kernel with a keyring, the audit log and the FHIR store, in a process of its own, to be killed or starved of disk.

`python -m tests.support.audit_node DATA FIRST [LIMIT]` stores patients `p<FIRST>`, `p<FIRST+1>`, … sixteen at a time, and
prints the id of each that was acknowledged (`ok p7`) or refused (`no p8 audit.unavailable`). With `LIMIT`, no file may grow
beyond so many bytes more than the audit log's largest file has at the start: the operating system refuses the write. It
prints `full` after twenty refusals, lifts the limit, prints `lifted`, goes on for forty patients more and ends.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from itertools import count
from pathlib import Path

from rustcare_kernel import Kernel
from rustcare_sdk.contracts.fhir import STORE, StoreRequest
from rustcare_sdk.errors import RustCareError

AUDIT, FHIR = "rustcare.audit", "rustcare.fhir"


async def prepare(data: Path) -> None:
    """Install what is needed."""
    async with Kernel(data, log_level="error") as kernel:
        for name in ("crypto", "audit", "fhir"):
            await kernel.install(f"installed:{name}", consent=True)


class Work:
    """Stores patients until it is told to stop."""

    def __init__(self, kernel: Kernel, first: int) -> None:
        self.kernel = kernel
        self.numbers = count(first)
        self.refused = 0
        self.stored = 0

    async def one(self) -> None:
        """Store one patient and say how it went."""
        name = f"p{next(self.numbers)}"
        patient = {"resourceType": "Patient", "id": name, "name": [{"family": "Test"}]}
        try:
            await self.kernel.request(STORE, StoreRequest(name, [patient], "test"), principal="feeder")
        except RustCareError as error:
            self.refused += 1
            print("no", name, error.code, flush=True)
        else:
            self.stored += 1
            print("ok", name, flush=True)


async def main(data: Path, first: int, limit: int) -> None:
    """Work until killed, or, with a limit, through the full disk and out of it."""
    async with Kernel(data, log_level="silent") as kernel:
        states = {plugin.id: (plugin.state, plugin.reason) for plugin in kernel.plugins()}
        print("ready" if all(state == "active" for state, _ in states.values()) else states, flush=True)
        work = Work(kernel, first)
        if limit:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            largest = max(path.stat().st_size for path in (data / "plugins" / AUDIT).iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest + limit, resource.RLIM_INFINITY))
        while not limit or work.refused < 20:
            await asyncio.gather(*(work.one() for _ in range(16)))
        print("full", flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("lifted", flush=True)
        before = work.stored
        while work.stored < before + 40:
            await asyncio.gather(*(work.one() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0))
