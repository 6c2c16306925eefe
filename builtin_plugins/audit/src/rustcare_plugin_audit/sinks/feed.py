"""`Feed`: one sink at work. It reads from its cursor, delivers, and moves the cursor, durably, behind what has arrived.

At least once: an event whose arrival was not confirmed is sent again, also by the next process. In order: an event is
sent when all before it have arrived. Memory is bounded by one batch. Appends to the log never wait for a sink.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from rustcare_sdk.context import Logger
from rustcare_sdk.errors import RustCareError

from .cursors import Cursors, State
from .errors import SinkRefused
from .event import Event, Record
from .settings import SinkSettings
from .source import TURN, Batch, Source
from .transport import Transport

__all__ = ["Feed", "backoff"]

FIRST, LONGEST = 0.5, 60.0  # seconds


def backoff(attempt: int, draw: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds before attempt 1, 2, …: a random part (full jitter) of a bound that doubles up to a minute."""
    return draw(0.0, min(LONGEST, FIRST * 2.0 ** min(attempt, 20)))


class Feed:
    """One sink.

    Args:
        settings: which.
        source: the log.
        mapping: records of an event.
        transport: where they go.
        cursors: where the cursor is kept.
        log: for failures and recoveries.
        pause: sleeps, replaced in tests.
    """

    def __init__(
        self,
        settings: SinkSettings,
        source: Source,
        mapping: Callable[[Event], list[Record]],
        transport: Transport,
        cursors: Cursors,
        log: Logger,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.transport = transport
        self.cursors = cursors
        self.attempt = 0
        self.last_error = ""
        self.changed = asyncio.Event()  # replaced by a new one after every step, and every failure
        self._source = source
        self._mapping = mapping
        self._log = log
        self._pause = pause

    async def step(self) -> bool:
        """Read and deliver one batch; whether there was anything to do. Raises what the transport raises."""
        name = self.settings.name
        state = await self.cursors.get(name)
        batch = await self._source.read(state.cursor, self.settings.batch, self.settings.wants)
        if batch.next == state.cursor:
            return False
        if batch.events:
            await self._deliver(batch, state)
        else:
            await self.cursors.put(name, State(batch.next, state.sent, state.missed + batch.missed))
        return True

    async def _deliver(self, batch: Batch, state: State) -> None:
        """Deliver until all of the batch has arrived; the cursor follows."""
        records: list[Record] = []
        ends: list[int] = []  # records up to and with each event
        for number, event in enumerate(batch.events, 1):
            records += self._mapping(event)
            ends.append(len(records))
            if not number % TURN:
                await asyncio.sleep(0)  # others have work to do as well
        done = sent = 0
        missed = state.missed + batch.missed
        while done < len(records):
            arrived = done + await self.transport.deliver(records[done:])
            if arrived == done:
                raise SinkRefused("expected the transport to deliver at least one record, got none")
            done = arrived
            whole = sum(end <= done for end in ends)
            if whole > sent:
                sent = whole
                at_end = whole == len(ends)
                cursor = batch.next if at_end else batch.cursors[whole - 1]
                kept = missed if at_end else state.missed
                await self.cursors.put(self.settings.name, State(cursor, state.sent + sent, kept))

    async def run(self, more: Callable[[], Awaitable[None]], guard: Callable[[], Awaitable[bool]]) -> None:
        """For ever: `guard` runs one guarded step and says whether there was work; `more` returns when there may be."""
        while True:
            try:
                busy = await guard()
            except Exception as error:
                self._failed(error)
                self._tell()
                await self._pause(backoff(self.attempt))
                continue
            if self.attempt:
                self._log.info("sink-recovered", sink=self.settings.name, attempts=self.attempt)
            self.attempt, self.last_error = 0, ""
            self._tell()
            if not busy:
                await more()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _failed(self, error: Exception) -> None:
        said = str(error) if isinstance(error, RustCareError) else type(error).__name__
        self.attempt += 1
        if said != self.last_error:
            self._log.warning("sink-failed", sink=self.settings.name, error=said)
        self.last_error = said
