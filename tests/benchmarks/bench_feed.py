"""The main job, end to end: messages over MLLP, durable before AA, transformed, stored. Trusted and sandboxed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rustcare_cli.demo.feed import generated
from rustcare_cli.demo.scenario import run

from tests.benchmarks.harness import Row

_MESSAGES = 3000


def rows() -> Iterator[Row]:
    """Messages a second, from the first byte sent until the last resource is stored, a hot swap in between."""
    items = list(generated(_MESSAGES))
    for runtime, aim in (("component", 300), ("python", None)):
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(
                run(
                    Path(folder),
                    items,
                    runtime=runtime,
                    hostile=False,
                    say=lambda text: None,
                    progress=lambda done, total: None,
                )
            )
        assert result.ok, result["swap"]
        yield Row(
            f"feed end to end, {runtime}",
            float(result["throughput_per_s"]),
            None,
            "messages/s",
            kind="rate",
            aim=aim,
            note=f"{_MESSAGES} messages, swap pause {result['swap']['pause_ms']:.1f} ms",
        )
