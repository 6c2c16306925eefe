"""The line to the recorder: what goes into the log by it, what waits, and what an earlier process left open.

Entries and outcomes go to whoever serves `audit.record`, in the kernel's own name. What is in the journal goes one way only,
oldest first, so that nothing goes twice.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import Context, ContextVar
from typing import Any, Literal

from rustcare_sdk.contracts.audit import (
    RECORD,
    SETTLE,
    UNSETTLED,
    Attempt,
    EffectsReply,
    EffectsRequest,
    Outcome,
    RecordReply,
    RecordRequest,
    SettleRequest,
    Unsettled,
    UnsettledReply,
    UnsettledRequest,
)
from rustcare_sdk.errors import AuditUnavailable, RustCareError
from rustcare_sdk.message import Call

from rustcare_kernel.bus import Bus, Sender
from rustcare_kernel.context import decode_as
from rustcare_kernel.logs import Logs, describe

from .journal import Journal, Row

__all__ = ["Line", "inside_the_recorder"]

#: Set while the recorder works, or somebody works for it.
inside_the_recorder: ContextVar[bool] = ContextVar("rustcare_inside_the_recorder", default=False)


class Line:
    """One kernel's line to its recorder.

    Args:
        name: the kernel's name on the bus.
        effects_of: for a service, the one that can tell which attempts on it took effect (empty: there is none).

    Attributes:
        recorder: the plugin that writes the log, by id; empty when none was ever installed, or it was removed.
        ready: whether the log can be written, and knows all that the journal had when the recorder came.
    """

    PAUSE = 0.01  # seconds in which outcomes are collected
    PATIENCE = 30.0  # seconds that an entry may take

    def __init__(self, bus: Bus, journal: Journal, logs: Logs, name: str, effects_of: Callable[[str], str]) -> None:
        self.recorder = ""
        self.ready = False
        self.journal = journal
        self.log = logs.of("kernel")
        self._bus = bus
        self._sender = Sender(name, None)
        self._effects_of = effects_of
        self._doubtful: dict[str, list[Unsettled]] = {}
        self._outcomes: list[Outcome] = []
        self._flusher: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._live: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwarding = asyncio.Lock()

    @property
    def in_force(self) -> bool:
        """Whether there is a policy: whether a recorder was installed, be it there or not."""
        return self.recorder != ""

    # asking the recorder

    async def record(self, attempts: list[Attempt], *, again: bool = False, call: Call | None = None) -> list[int]:
        """Write entries now; their places in the log. Raises AuditUnavailable."""
        reply: RecordReply = await self._ask(RECORD, RecordRequest(attempts, again), RecordReply, call)
        return reply.indices

    async def _ask(self, service: str, data: Any, type_: Any, call: Call | None = None) -> Any:
        sender = self._sender if call is None else Sender(self._sender.name, None, call)
        token = inside_the_recorder.set(True)
        try:
            answer = await self._bus.request(sender, service, data, self.PATIENCE)
        except RustCareError as error:
            raise AuditUnavailable(
                f"the audit log could not be written: {error.message}", hint=error.hint, address=service
            ) from error
        finally:
            inside_the_recorder.reset(token)
        return decode_as(answer, type_, f"answer of {service}")

    async def inside(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something for the recorder: nothing of it is held at the gate."""
        token = inside_the_recorder.set(True)
        try:
            return await work()
        finally:
            inside_the_recorder.reset(token)

    def unavailable(self, attempt: Attempt) -> AuditUnavailable:
        """What to say when there is no log."""
        return AuditUnavailable(
            f"{attempt.action or attempt.capability} must be on record before it happens, "
            f"and the recorder {self.recorder} does not serve",
            hint=f"see why: rustcare plugin info {self.recorder}",
            address=RECORD,
        )

    async def write(self, work: Callable[..., None], *arguments: Any, **options: Any) -> None:
        """A write to the journal, in a thread."""
        try:
            await asyncio.to_thread(work, *arguments, **options)
        except (sqlite3.Error, OSError) as error:
            raise AuditUnavailable(
                f"the kernel's journal could not be written: {type(error).__name__}",
                hint="is the data folder's disk full?",
                address="kernel.sqlite3",
            ) from error

    # attempts of this process, and their outcomes

    def begin(self, attempt_id: str) -> None:
        """An attempt of this process is under way: nobody else settles it."""
        self._live.add(attempt_id)

    def forget(self, attempt_id: str) -> None:
        """It was refused before anything was written."""
        self._live.discard(attempt_id)

    def _note(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(
                self._flush(), name="audit outcomes", context=Context()
            )

    async def _flush(self) -> None:
        """Send outcomes on until there are none; what cannot be sent is kept and tried again."""
        pause = self.PAUSE
        while self._outcomes:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._hurry.wait()
            batch, self._outcomes = self._outcomes, []
            try:
                await self._settle(batch)
                pause = self.PAUSE
            except AuditUnavailable as error:
                self._outcomes = batch + self._outcomes
                if self._hurry.is_set() or not self.in_force:
                    return  # the kernel stops; they are settled as interrupted at the next start
                self.log.error("outcomes could not be recorded", waiting=len(self._outcomes), **describe(error))
                pause = min(5.0, pause * 2)

    async def _settle(self, batch: list[Outcome]) -> None:
        if not self.ready:
            raise AuditUnavailable("the recorder does not serve", address=SETTLE)
        await self._ask(SETTLE, SettleRequest(batch), None)
        self._live.difference_update(item.id for item in batch)

    async def flush(self) -> None:
        """Return when all outcomes and facts so far are in the log, or could not be written."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._hurry.set()
        try:
            if self._flusher is not None:
                await asyncio.gather(self._flusher, return_exceptions=True)
        finally:
            self._hurry.clear()

    async def end(self, outcome: Outcome) -> None:
        """Write the outcome of a journaled attempt down, and send both on if there is a log."""
        self._live.discard(outcome.id)
        await self.write(self.journal.ended, outcome)
        if self.ready:
            await self.forward()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something beside whoever asked; `close` waits for it."""
        # A context of its own: it does not work for whichever message has just ended.
        task = asyncio.get_running_loop().create_task(work, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error(f"{task.get_name()} could not be recorded now", **describe(error))

    # the journal, and what an earlier process left

    async def forward(self, *, after_start: bool = False) -> None:
        """Bring what is in the journal into the log. Rows of operations that still run stay until they end.

        `after_start`: the rows are of an earlier process, so none of their operations still runs.
        """
        async with self._forwarding:
            await self._forward(after_start)

    async def _forward(self, after_start: bool) -> None:
        while rows := await asyncio.to_thread(self.journal.rows):
            fresh = [row for row in rows if row.place is None]
            if fresh:
                indices = await self.record([row.attempt for row in fresh], again=True)
                places = {row.id: place for row, place in zip(fresh, indices, strict=True)}
                await self.write(self.journal.placed, list(places.items()))
            else:
                places = {}
            done = [row.id for row in rows if row.attempt.kind == "fact"]
            outcomes = []
            for row in rows:
                place = row.place if row.place is not None else places[row.id]
                outcome = self._outcome_of(row, after_start)
                if outcome is not None:
                    outcomes.append(Outcome(row.id, place, outcome.outcome, outcome.code, outcome.effect))
                    done.append(row.id)
            if outcomes:
                await self._ask(SETTLE, SettleRequest(outcomes), None)
            await self.write(self.journal.drop, done)
            if not done:
                return

    def _outcome_of(self, row: Row, after_start: bool) -> Outcome | None:
        if row.attempt.kind == "fact":
            return None
        if row.outcome is not None:
            return row.outcome
        return row.after_crash() if after_start and row.id not in self._live else None

    async def _settle_what_was_left(self) -> None:
        """Entries of an earlier process whose outcome nobody will tell any more."""
        after = -1
        while True:
            reply: UnsettledReply = await self._ask(UNSETTLED, UnsettledRequest(after), UnsettledReply)
            if not reply.attempts:
                return
            after = reply.attempts[-1].index
            left = []
            for item in reply.attempts:
                kind, _, service = item.capability.partition("@")
                effects = self._effects_of(service) if kind == "bus:request" else ""
                if item.id in self._live:
                    continue
                if effects:  # its provider starts later, and can tell
                    self._doubtful.setdefault(effects, []).append(item)
                else:
                    left.append(Outcome(item.id, item.index, "interrupted", "", "unknown"))
            if left:
                await self._ask(SETTLE, SettleRequest(left), None)

    def provider_up(self, services: Iterable[str]) -> None:
        """A plugin has started: ask it about attempts of an earlier process, if it can tell."""
        for service in services:
            if service in self._doubtful:
                self.spawn(self._settle_with(service), f"asking {service} what took effect")

    async def _settle_with(self, service: str) -> None:
        doubtful = self._doubtful.pop(service)
        try:
            asked = EffectsRequest([item.id for item in doubtful])
            reply: EffectsReply = await self._ask(service, asked, EffectsReply)
            happened, known = set(reply.happened), {f"bus:request@{name}" for name in reply.services}
            outcomes = []
            for item in doubtful:
                effect: Literal["yes", "no", "unknown"] = "unknown"
                if item.capability in known:
                    effect = "yes" if item.id in happened else "no"
                outcomes.append(Outcome(item.id, item.index, "interrupted", "", effect))
            await self._ask(SETTLE, SettleRequest(outcomes), None)
        except BaseException:
            self._doubtful[service] = doubtful
            raise
        await self._ask(service, EffectsRequest(forget=True), EffectsReply)
