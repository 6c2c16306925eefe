"""A worker's gate: whoever entered leaves, whatever happens in between."""

from __future__ import annotations

import asyncio

import pytest
from rustcare_kernel.bus import Sender
from rustcare_kernel.workers import _frames as frames
from rustcare_kernel.workers._gate import WorkerGate

from .test_link import CALL, linked


@pytest.mark.parametrize("answered", [False, True], ids=["while it is asked", "when the answer is on its way"])
async def test_whoever_gives_up_leaves(answered: bool) -> None:
    """The primary, which may have the entry by then, is told that it was cancelled: else it waits for the end for ever."""
    async with linked() as (primary, worker):
        done = asyncio.Event()

        async def work(attempt: str) -> None:
            done.set()

        gate = WorkerGate(worker.link)
        using = asyncio.ensure_future(gate.through(Sender("a", None), CALL, "secret:use", "door", None, work))
        (entered,) = await primary.has(1)
        if answered:
            # Its answer is here, but whoever waits for it has not run yet.
            worker.link._take(frames.Answer(entered.id, b'"attempt"'))
        using.cancel()
        with pytest.raises(asyncio.CancelledError):
            await using
        worker.link.send(frames.Handled(1, ""))
        *told, _ = (await primary.has(3 if answered else 4))[1:]
        assert told[-1] == frames.Leave(entered.id, "cancelled")
        assert not done.is_set()


async def test_how_a_use_went_is_told() -> None:
    """Nothing when it went well; the code of a typed error; of another error its type alone."""
    async with linked() as (primary, worker):
        gate = WorkerGate(worker.link)

        async def fine(attempt: str) -> str:
            return attempt

        async def fail(attempt: str) -> None:
            raise ValueError("a patient's name")

        for number, work in enumerate((fine, fail)):
            using = asyncio.ensure_future(gate.through(Sender("a", None), CALL, "kv:read", "k", None, work))
            entered = (await primary.has(2 * number + 1))[-1]
            primary.link.send(frames.Answer(entered.id, b'"attempt"'))
            if work is fine:
                assert await using == "attempt"
            else:
                with pytest.raises(ValueError, match="name"):
                    await using
            assert (await primary.has(2 * number + 2))[-1] == frames.Leave(entered.id, ("", "ValueError")[number])
