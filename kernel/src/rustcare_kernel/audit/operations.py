"""What the kernel does for its operator, and the facts that it states.

An operation is journaled in the catalog before it begins, and in the log too if there is one; its effect, a write of the
catalog, marks the journal's row in the same commit. So there is no effect without an entry, and after a crash the entry of
an operation that had no effect says so.

Without the log only this goes on, by the journal alone: what takes rights away, commands (what they do is held by itself),
and whatever concerns the recorder and the plugins that it needs; else nobody could mend it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from rustcare_sdk.contracts.audit import Attempt
from rustcare_sdk.errors import AuditUnavailable

from rustcare_kernel.catalog import current_operations

from .gate import Gate, Ticket

__all__ = ["Operations", "operator"]

#: Who asks for the operations of this task: an account of the machine, or the embedding program.
operator: ContextVar[str] = ContextVar("rustcare_operator", default="operator")

#: What takes rights away must not wait for a log.
_UNHELD = frozenset({"plugin.disable", "grant.revoke", "grant.deny"})


def _unheld(action: str) -> bool:
    # A command is on record by the journal, and what it then does is held by itself. Watching shows content at once.
    return action in _UNHELD or (action.startswith("control.") and action != "control.events.watch")


class Operations:
    """The operations and facts of one kernel."""

    WAITING = 10_000  # facts that wait to be written; more than these are counted only

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._facts: list[Attempt] = []
        self._lost = 0
        self._writing = False

    @asynccontextmanager
    async def operation(
        self,
        action: str,
        plugin: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        changes: bool = True,
        tenant: str = "default",
    ) -> AsyncIterator[None]:
        """Around an operation. `changes`: its effect is a write of the catalog. Raises AuditUnavailable before it begins."""
        gate = self.gate
        if not gate.in_force and not changes:
            yield
            return
        above = current_operations.get()
        attempt = Attempt(
            uuid.uuid4().hex,
            time.time_ns() // 1000,
            "operation",
            action,
            capability=f"plugin:manage@{plugin}" if plugin else "",
            subject=plugin,
            tenant=tenant,
            principal=operator.get(),
            details={**(details or {}), **({"within": above[-1]} if above else {})},
        )
        ticket = await self._enter(attempt, changes, _unheld(action) or plugin in gate.base())
        token = current_operations.set((*above, attempt.id))
        error: BaseException | None = None
        try:
            yield
        except BaseException as caught:
            error = caught
            raise
        finally:
            current_operations.reset(token)
            await self._leave(ticket, error)

    async def _enter(self, attempt: Attempt, changes: bool, unheld: bool) -> Ticket:
        gate = self.gate
        gate.begin(attempt.id)
        if not gate.in_force:
            await gate.write(gate.journal.add, [attempt], marked=changes)
            await gate.write(gate.journal.trim)
            return Ticket(attempt.id, -1, journaled=True)
        if gate.attaching is not None and not unheld:
            await asyncio.gather(asyncio.shield(gate.attaching), return_exceptions=True)
        if not gate.ready and not unheld:
            gate.forget(attempt.id)
            raise gate.unavailable(attempt)
        await gate.write(gate.journal.add, [attempt], marked=changes)
        ticket = Ticket(attempt.id, -1, journaled=True)
        if gate.ready:
            try:
                await gate.forward()  # the one way from the journal to the log, so that nothing goes twice
            except AuditUnavailable as error:
                if not unheld:
                    await self._leave(ticket, error)
                    raise
        return ticket

    async def _leave(self, ticket: Ticket, error: BaseException | None) -> None:
        try:
            await self.gate.end(ticket.outcome(error))
        except AuditUnavailable:
            self.gate.log.error("the outcome of an operation waits in the journal", operation=ticket.id)

    # facts

    def fact(
        self, action: str, plugin: str = "", details: Mapping[str, Any] | None = None, *, keep: bool = False
    ) -> None:
        """State what nothing could prevent; it is on record soon.

        While no recorder is installed, only what is to be kept for one that comes later is written down at all.
        """
        if not self.gate.in_force and not keep:
            return
        if len(self._facts) >= self.WAITING:
            self._lost += 1
            return
        self._facts.append(
            Attempt(
                uuid.uuid4().hex, time.time_ns() // 1000, "fact", action, subject=plugin, details=dict(details or {})
            )
        )
        if not self._writing:
            self._writing = True
            self.gate.spawn(self._write(), "facts")

    async def _write(self) -> None:
        try:
            while self._facts:
                batch, self._facts = self._facts, []
                if self._lost:
                    details = {"facts": self._lost}
                    batch.append(
                        Attempt(uuid.uuid4().hex, time.time_ns() // 1000, "fact", "audit.facts-lost", details=details)
                    )
                    self._lost = 0
                await self.gate.write(self.gate.journal.add, batch)
                if self.gate.ready:
                    await self.gate.forward()
        finally:
            self._writing = False
