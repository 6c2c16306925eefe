"""The gate: what must be on record passes here on its way to its effect.

`enter` returns when the entry is durable, or raises AuditUnavailable and nothing happens. `leave` notes the outcome; outcomes
are sent on in batches, and those that a crash leaves open are settled as interrupted at the next start. The same for trusted
and sandboxed plugins: the bus and the context ask the gate, not the plugin.

Who writes the log cannot wait for the log: what the recorder does, and what others do for it, passes. What the recorder
itself needs to start (its keyring) is journaled in the catalog, just as durably, and sent on when the log is there.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import Context
from typing import Any

from rustcare_sdk.contracts.audit import (
    POLICY,
    RECORD,
    SETTLE,
    Attempt,
    Outcome,
    PolicyReply,
    PolicyRequest,
)
from rustcare_sdk.errors import AuditUnavailable, CapabilityDenied
from rustcare_sdk.message import Call

from rustcare_kernel.bus import Bus, Sender
from rustcare_kernel.logs import Logs, describe

from .journal import Journal
from .line import Line, inside_the_recorder
from .policy import Policy, ending

__all__ = ["Gate", "Ticket"]

_WRITING = frozenset({RECORD, SETTLE})


class Ticket:
    """An attempt that is on record. `index` is its place in the log, -1 while it is in the journal only."""

    __slots__ = ("id", "index", "journaled")

    def __init__(self, id: str, index: int, journaled: bool = False) -> None:
        self.id = id
        self.index = index
        self.journaled = journaled

    def outcome(self, error: BaseException | None) -> Outcome:
        """How it went: well, or with this error."""
        if error is None:
            return Outcome(self.id, self.index, "success", "", "yes")
        return Outcome(self.id, self.index, "failure", ending(error), "unknown")


class Gate(Line):
    """The gate of one kernel, on its line to the recorder.

    Args:
        version_of: the version of a running plugin.
        base: the recorder and every plugin that it needs, by id.
    """

    KEPT = (
        10_000  # outcomes of refused attempts that wait for a log; of more the next start says that they are not known
    )

    def __init__(
        self,
        bus: Bus,
        journal: Journal,
        logs: Logs,
        name: str,
        version_of: Callable[[str], str],
        base: Callable[[], frozenset[str]],
        effects_of: Callable[[str], str],
    ) -> None:
        super().__init__(bus, journal, logs, name, effects_of)
        self.base = base
        self._version_of = version_of
        self._policy = Policy()
        #: Told when another policy is in force.
        self.changed: Callable[[], None] = lambda: None
        self._attaching: asyncio.Task[None] | None = None
        self._first = True

    # what must be on record

    def load(self) -> None:
        """What was in force when the kernel stopped is in force again (blocking)."""
        found = self.journal.policy()
        if found is not None:
            self._enforce(*found)

    def _enforce(self, recorder: str, must: Iterable[str]) -> None:
        self._policy.replace(must, recorder)
        self.recorder = recorder
        self._bus.gate = self
        self.changed()

    def lift(self) -> None:
        """Nothing must be on record any more (blocking)."""
        self.journal.lift_policy()
        self._policy.replace((), "")
        self.recorder, self.ready = "", False
        self._bus.gate = None
        self.changed()

    def must(self) -> list[str]:
        """What must be on record now, as texts of capabilities."""
        return self._policy.texts()

    def audits(self, sender: str, key: str, scope: str) -> bool:
        """Whether a use must be on record. `key` is `kind:action`.

        Raises CapabilityDenied for what writes the log itself: nobody states in it what others did, but the kernel.
        """
        if sender == self.recorder or inside_the_recorder.get():
            return False
        if scope in _WRITING and key == "bus:request":
            raise CapabilityDenied(
                f"{sender} may not request {scope}: only the kernel writes the log, with what it saw itself",
                hint="a disclosure outside of the system is stated with audit.disclose",
                address=scope,
            )
        return self._policy.covers(key, scope)

    # the way through

    async def through(
        self,
        sender: Sender,
        call: Call,
        key: str,
        scope: str,
        data: Any,
        work: Callable[[str], Coroutine[Any, Any, Any]],
    ) -> Any:
        """Have a use recorded, then do it (`work` takes the attempt's id); its outcome is recorded as well.

        Raises AuditUnavailable (nothing was done), or what `work` raises.
        """
        rights = sender.rights
        plugin, digest = (rights.plugin, rights.digest) if rights is not None else ("", "")
        ticket = await self.enter(
            Attempt(
                uuid.uuid4().hex,
                time.time_ns() // 1000,
                "use",
                capability=f"{key}@{scope}",
                subject=scope if key.startswith("bus:") else "",
                plugin=plugin,
                version=self._version_of(plugin) if plugin else "",
                digest=digest,
                tenant=call.tenant,
                principal=call.principal,
                on_behalf=call.on_behalf,
                purpose=call.purpose,
                trace=call.trace,
                data=data,
            ),
            call,
            by_journal=not self.ready and plugin in self.base(),
        )
        try:
            result = await work(ticket.id)
        except BaseException as error:
            self.leave(ticket, error)
            raise
        self.leave(ticket, None)
        return result

    async def enter(self, attempt: Attempt, call: Call, *, by_journal: bool = False) -> Ticket:
        """Have an attempt on record, durably. With `by_journal`, the catalog's journal does while there is no log.

        The recorder is asked for the tenant and principal of the attempt, so that it may look up what the attempt is about.
        """
        if self._attaching is not None and not by_journal:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.PATIENCE):
                    await asyncio.shield(self._attaching)
        self._live.add(attempt.id)
        try:
            if self.ready:
                try:
                    return Ticket(attempt.id, (await self.record([attempt], call=call))[0])
                except AuditUnavailable as error:
                    if not by_journal:
                        # It may be in the log after all (the answer was lost, or came too late): nothing followed it.
                        if len(self._outcomes) < self.KEPT:
                            self._note(Outcome(attempt.id, -1, "failure", error.code, "no"))
                        raise
            if by_journal:
                # What a message says may be a patient's; it goes into the log, where that is sealed, or nowhere.
                kept = attempt if attempt.data is None else _without_data(attempt)
                await self.write(self.journal.add, [kept])
                return Ticket(attempt.id, -1, journaled=True)
            raise self.unavailable(attempt)
        except asyncio.CancelledError:
            # Whether the entry was written is not known; that nothing followed it is.
            self._note(Outcome(attempt.id, -1, "failure", "cancelled", "no"))
            raise
        except BaseException:
            self._live.discard(attempt.id)
            raise

    def leave(self, ticket: Ticket, error: BaseException | None) -> None:
        """Note how it went; sent on soon."""
        outcome = ticket.outcome(error)
        if ticket.journaled:
            self.spawn(self.end(outcome), "the outcome of a journaled attempt")
        else:
            self._note(outcome)

    # the recorder comes and goes

    def recorder_up(self, plugin_id: str) -> None:
        """A plugin that serves `audit.record` has started: catch up, then let everything pass through it."""
        if self._attaching is None:
            self._attaching = asyncio.get_running_loop().create_task(
                self._attach(plugin_id), name="attach the audit log", context=Context()
            )
            self._attaching.add_done_callback(self._attached)

    def _attached(self, task: asyncio.Task[None]) -> None:
        self._attaching = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.error("the audit log could not be attached", **describe(error))

    def recorder_down(self, plugin_id: str) -> None:
        """The recorder has stopped: until it is back, what must be on record fails."""
        if plugin_id == self.recorder:
            self.ready = False

    @property
    def attaching(self) -> asyncio.Task[None] | None:
        """The catching up that is under way."""
        return self._attaching

    async def refresh(self, plugin_id: str) -> None:
        """The recorder may have another policy now. Raises AuditUnavailable, ConfigInvalid."""
        reply: PolicyReply = await self._ask(POLICY, PolicyRequest(), PolicyReply)
        self._enforce(plugin_id, reply.must)
        await self.write(self.journal.set_policy, plugin_id, reply.must)

    async def _attach(self, plugin_id: str) -> None:
        await self.refresh(plugin_id)
        await self.forward(after_start=self._first)
        if self._first:
            await self._settle_what_was_left()
        self._first = False
        self.ready = True
        if self._outcomes:
            self._note(self._outcomes.pop())

    async def close(self) -> None:
        """Send on what there is, then let nothing through any more."""
        if self._attaching is not None:
            await asyncio.gather(self._attaching, return_exceptions=True)
        await self.flush()
        self.ready = False


def _without_data(attempt: Attempt) -> Attempt:
    from dataclasses import replace

    return replace(attempt, data=None)
