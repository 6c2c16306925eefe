"""The main job, end to end: messages over MLLP, durable before AA, transformed, stored. Trusted and sandboxed.

The rate depends on who else uses the machine; the processor time for a message hardly does, so the two tiers are compared
by that. It holds everything in this process: sender, receiver, transformer, store, and the check at the end.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rustcare_cli.demo.feed import Item, generated
from rustcare_cli.demo.scenario import Result, run

from tests.benchmarks.harness import Row

_MESSAGES = 3000


def _run(runtime: str, items: Sequence[Item]) -> tuple[Result, float]:
    """What came of a feed, and the seconds of processor time from its first message on."""
    began = 0.0

    def say(text: str) -> None:
        nonlocal began
        if text.startswith("feeding"):
            began = time.process_time()

    with tempfile.TemporaryDirectory() as folder:
        result = asyncio.run(
            run(Path(folder), items, runtime=runtime, hostile=False, say=say, progress=lambda done, total: None)
        )
    assert result.ok, (result["swap"], result["audit"])
    return result, time.process_time() - began


def rows() -> Iterator[Row]:
    """Messages a second, from the first byte sent until the last resource is stored, a hot swap in between."""
    items = list(generated(_MESSAGES))
    seconds: dict[str, float] = {}
    for runtime, aim in (("component", 300), ("python", None)):
        result, seconds[runtime] = _run(runtime, items)
        yield Row(
            f"feed end to end, {runtime}",
            float(result["throughput_per_s"]),
            None,
            "messages/s",
            kind="rate",
            aim=aim,
            note=f"{_MESSAGES} messages, swap pause {result['swap']['pause_ms']:.1f} ms",
        )
    yield Row(
        "feed, processor time",
        seconds["component"] / _MESSAGES * 1e3,
        seconds["python"] / _MESSAGES * 1e3,
        "ms/message",
        note="sandboxed against trusted",
    )
