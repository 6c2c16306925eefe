"""A primary in a process of its own, for tests that kill it: says its workers' ids, then waits."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from .kit import office


async def main() -> None:
    """Run until killed."""
    async with office(Path(sys.argv[1]), log_level="silent") as desk:
        print(*desk.pids(), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
