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
from contextvars import Context, ContextVar
from typing import Any, Literal

from rustcare_sdk.capability import Capability, covers, parse
from rustcare_sdk.contracts.audit import (
    POLICY,
    RECORD,
    SETTLE,
    UNSETTLED,
    Attempt,
    EffectsReply,
    EffectsRequest,
    Outcome,
    PolicyReply,
    PolicyRequest,
    RecordReply,
    RecordRequest,
    SettleRequest,
    Unsettled,
    UnsettledReply,
    UnsettledRequest,
)
from rustcare_sdk.errors import AuditUnavailable, CapabilityDenied, RustCareError
from rustcare_sdk.message import Call

from rustcare_kernel.bus import Bus, Sender
from rustcare_kernel.context import decode_as
from rustcare_kernel.errors import ConfigInvalid
from rustcare_kernel.logs import Logs, describe

from .journal import Journal, Row

__all__ = ["Gate", "Ticket"]

#: What can be held at the gate. The clock and random bytes are read in one step, with nothing to wait in.
GATED = frozenset(
    {"bus:publish", "bus:request", "db:read", "db:write", "kv:read", "kv:write", "net:listen"}
    | {"secret:use", "secret:reveal", "secret:create"}
)

_WRITING = frozenset({RECORD, SETTLE})

#: Set while the recorder works, or somebody works for it.
_inside: ContextVar[bool] = ContextVar("rustcare_inside_the_recorder", default=False)


class Ticket:
    """An attempt that is on record. `index` is its place in the log, -1 while it is in the journal only."""

    __slots__ = ("id", "index", "journaled")

    def __init__(self, id: str, index: int, journaled: bool = False) -> None:
        self.id = id
        self.index = index
        self.journaled = journaled


class Gate:
    """The gate of one kernel.

    Args:
        version_of: the version of a running plugin.
        base: the recorder and every plugin that it needs, by id.
        effects_of: for a service, the one that can tell which attempts on it took effect (empty: there is none).
    """

    PAUSE = 0.01  # seconds in which outcomes are collected
    PATIENCE = 30.0  # seconds that an entry may take
    CACHED = 20_000

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
        self.recorder = ""
        self.ready = False
        self.journal = journal
        self._bus = bus
        self.log = logs.of("kernel")
        self._sender = Sender(name, None)
        self._version_of = version_of
        self.base = base
        self._effects_of = effects_of
        self._doubtful: dict[str, list[Unsettled]] = {}
        self._must: dict[str, list[Capability]] = {}
        self._answers: dict[tuple[str, str], bool] = {}
        self._attaching: asyncio.Task[None] | None = None
        self._outcomes: list[Outcome] = []
        self._flusher: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._live: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._forwarding = asyncio.Lock()
        self._first = True

    # what must be on record

    def load(self) -> None:
        """What was in force when the kernel stopped is in force again (blocking)."""
        found = self.journal.policy()
        if found is not None:
            self._enforce(*found)

    def _enforce(self, recorder: str, must: Iterable[str]) -> None:
        rules: dict[str, list[Capability]] = {}
        for text in must:
            capability = parse(text, "audit policy")
            key = f"{capability.kind}:{capability.action}"
            if key not in GATED:
                raise ConfigInvalid(
                    f"expected one of {', '.join(sorted(GATED))} in the audit policy, got {text}",
                    hint="other uses are counted, and the counts are entries",
                    address=recorder,
                )
            rules.setdefault(key, []).append(Capability(capability.kind, capability.action, capability.scope))
        self.recorder, self._must = recorder, rules
        self._answers.clear()
        self._bus.gate = self

    def lift(self) -> None:
        """Nothing must be on record any more (blocking)."""
        self.journal.lift_policy()
        self.recorder, self._must, self.ready = "", {}, False
        self._answers.clear()
        self._bus.gate = None

    @property
    def in_force(self) -> bool:
        """Whether there is a policy."""
        return self.recorder != ""

    def audits(self, sender: str, key: str, scope: str) -> bool:
        """Whether a use must be on record. `key` is `kind:action`.

        Raises CapabilityDenied for what writes the log itself: nobody states in it what others did, but the kernel.
        """
        if sender == self.recorder or _inside.get():
            return False
        if scope in _WRITING and key == "bus:request":
            raise CapabilityDenied(
                f"{sender} may not request {scope}: only the kernel writes the log, with what it saw itself",
                hint="a disclosure outside of the system is stated with audit.disclose",
                address=scope,
            )
        rules = self._must.get(key)
        if rules is None:
            return False
        answer = self._answers.get((key, scope))
        if answer is None:
            kind, _, action = key.partition(":")
            answer = any(covers(rule, Capability(kind, action, scope)) for rule in rules)
            if len(self._answers) > self.CACHED:  # names come from outside: a cache must not grow without bound
                self._answers.clear()
            self._answers[key, scope] = answer
        return answer

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
                except AuditUnavailable:
                    if not by_journal:
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
        if error is None:
            outcome = Outcome(ticket.id, ticket.index, "success", "", "yes")
        else:
            code = error.code if isinstance(error, RustCareError) else type(error).__name__
            if isinstance(error, asyncio.CancelledError):
                code = "cancelled"
            outcome = Outcome(ticket.id, ticket.index, "failure", code, "unknown")
        if ticket.journaled:
            self.spawn(self.end(outcome), "the outcome of a journaled attempt")
        else:
            self._note(outcome)

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

    def begin(self, attempt_id: str) -> None:
        """An attempt of this process is under way: nobody else settles it."""
        self._live.add(attempt_id)

    def forget(self, attempt_id: str) -> None:
        """It was refused before anything was written."""
        self._live.discard(attempt_id)

    def unavailable(self, attempt: Attempt) -> AuditUnavailable:
        """What to say when there is no log."""
        return AuditUnavailable(
            f"{attempt.action or attempt.capability} must be on record before it happens, "
            f"and the recorder {self.recorder} does not serve",
            hint=f"see why: rustcare plugin info {self.recorder}",
            address=RECORD,
        )

    async def record(self, attempts: list[Attempt], *, again: bool = False, call: Call | None = None) -> list[int]:
        """Write entries now; their places in the log. Raises AuditUnavailable."""
        return (await self._ask(RECORD, RecordRequest(attempts, again), RecordReply, call)).indices  # type: ignore[no-any-return]

    async def _ask(self, service: str, data: Any, type_: Any, call: Call | None = None) -> Any:
        sender = self._sender if call is None else Sender(self._sender.name, None, call)
        token = _inside.set(True)
        try:
            answer = await self._bus.request(sender, service, data, self.PATIENCE)
        except RustCareError as error:
            raise AuditUnavailable(
                f"the audit log could not be written: {error.message}", hint=error.hint, address=service
            ) from error
        finally:
            _inside.reset(token)
        return decode_as(answer, type_, f"answer of {service}")

    async def inside(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Do something for the recorder: nothing of it is held at the gate."""
        token = _inside.set(True)
        try:
            return await work()
        finally:
            _inside.reset(token)

    async def write(self, work: Callable[..., None], *arguments: Any, **options: Any) -> None:
        """A write to the journal, in a thread."""
        import sqlite3

        try:
            await asyncio.to_thread(work, *arguments, **options)
        except (sqlite3.Error, OSError) as error:
            raise AuditUnavailable(
                f"the kernel's journal could not be written: {type(error).__name__}",
                hint="is the data folder's disk full?",
                address="kernel.sqlite3",
            ) from error

    # outcomes

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

    async def close(self) -> None:
        """Send on what there is, then let nothing through any more."""
        if self._attaching is not None:
            await asyncio.gather(self._attaching, return_exceptions=True)
        await self.flush()
        self.ready = False


def _without_data(attempt: Attempt) -> Attempt:
    from dataclasses import replace

    return replace(attempt, data=None)
