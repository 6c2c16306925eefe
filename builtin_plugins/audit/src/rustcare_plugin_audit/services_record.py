"""The services that write: what the kernel's gate calls, and disclosures that are stated by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.contracts import audit
from rustcare_sdk.errors import RustCareError

from .bundle import Trust
from .describe import Describer
from .entry import Disclosure, Draft, Entry, Part, What, Which, Who
from .errors import InvalidRequest
from .policy import Policy
from .sealing import resource_subject
from .search import moment

__all__ = ["Recording"]

MAX_TEXT = 2_000
BEFORE = 1.0  # seconds in which a store says what there is before an attempt


class Recording(Plugin):
    """Attempts, outcomes, the policy."""

    trust: Trust
    policy: Policy
    describer: Describer

    @serve(audit.RECORD)
    async def record(self, message: Message[audit.RecordRequest]) -> audit.RecordReply:
        """Write attempts and facts; answered when they are durable."""
        asked = message.data
        if asked.again:
            return audit.RecordReply(await self._record_again(asked.attempts))
        return audit.RecordReply(await self.trust.recorder.write(await self._drafts(asked.attempts)))

    async def _drafts(self, attempts: Sequence[audit.Attempt]) -> list[Draft]:
        asks = [self.describer.asks(attempt) for attempt in attempts]
        if not any(asks):
            return [self.describer.draft(attempt) for attempt in attempts]
        known = await asyncio.gather(*(self._before(*ask) if ask else _unknown() for ask in asks))
        return [self.describer.draft(attempt, before) for attempt, before in zip(attempts, known, strict=True)]

    async def _before(self, service: str, asked: dict[str, str]) -> dict[str, Any] | None:
        """A resource's fields as they are now: none when it is not there, None when nobody can say."""
        try:
            reply = await self.ctx.request(service, asked, timeout=BEFORE)
        except RustCareError as error:
            return {} if error.code.rpartition(".")[2] in ("not-found", "gone") else None
        found = reply.get("resource") if isinstance(reply, dict) else getattr(reply, "resource", None)
        return found if isinstance(found, dict) else None

    async def _record_again(self, attempts: list[audit.Attempt]) -> list[int]:
        """Write those that are not in the log yet."""
        await self.trust.recorder.flushed()
        known = await self.trust.index.places_of([attempt.id for attempt in attempts])
        fresh = {attempt.id: attempt for attempt in attempts if attempt.id not in known}
        places = await self.trust.recorder.write(await self._drafts(list(fresh.values())))
        known.update(zip(fresh, places, strict=True))
        return [known[attempt.id] for attempt in attempts]

    @serve(audit.SETTLE)
    async def settle(self, message: Message[audit.SettleRequest]) -> audit.SettleReply:
        """Write outcomes. One of an attempt that is not in the log says nothing, and is left out."""
        outcomes = message.data.outcomes
        lost = [outcome.id for outcome in outcomes if outcome.index < 0]
        if lost:
            await self.trust.recorder.flushed()
            known = await self.trust.index.places_of(lost)
            outcomes = [
                outcome if outcome.index >= 0 else _found(outcome, known[outcome.id])
                for outcome in outcomes
                if outcome.index >= 0 or outcome.id in known
            ]
        return audit.SettleReply(await self.trust.recorder.settle(outcomes))

    @serve(audit.UNSETTLED)
    async def unsettled(self, message: Message[audit.UnsettledRequest]) -> audit.UnsettledReply:
        """Attempts without an outcome."""
        found = await self.trust.index.unsettled(message.data.after, max(1, message.data.limit))
        return audit.UnsettledReply([audit.Unsettled(*row) for row in found])

    @serve(audit.POLICY)
    async def must(self, message: Message[audit.PolicyRequest]) -> audit.PolicyReply:
        """What must be on record before it happens."""
        return audit.PolicyReply(list(self.policy.must))

    @serve(audit.DISCLOSE)
    async def disclose(self, message: Message[audit.DisclosureRequest]) -> audit.RecordReply:
        """State a disclosure that happened outside of the system (45 CFR 164.528(b)(2))."""
        asked = message.data
        for name in ("patient", "recipient", "what", "purpose"):
            value: str = getattr(asked, name)
            if not 0 < len(value) <= MAX_TEXT:
                raise InvalidRequest(
                    f"expected 1 to {MAX_TEXT} characters, got {len(value)}",
                    hint="an accounting tells date, recipient, what and purpose (45 CFR 164.528(b)(2))",
                    address=f"audit.disclose:{name}",
                )
        now = int(self.ctx.now().timestamp() * 1_000_000)
        time = moment(asked.date, "audit.disclose:date") if asked.date else now
        if time > now:
            raise InvalidRequest("expected a date that is not in the future", address="audit.disclose:date")
        call = message.call
        coded = asked.purpose.isascii() and asked.purpose.isupper() and asked.purpose.isalpha()
        entry = Entry(
            v=1,
            id=self.ctx.random(16).hex(),
            time=now,
            kind="disclosure",
            who=Who(plugin=message.source, principal=call.principal, on_behalf=call.on_behalf),
            what=What("disclose", subject=audit.DISCLOSE),
            which=Which(call.tenant, "Patient"),
            why=asked.purpose if coded else "",
            trace=call.trace,
        )
        values: dict[str, Any] = {"patient": asked.patient, "recipient": asked.recipient, "what": asked.what}
        if not coded:
            values["purpose"] = asked.purpose  # in words, which may name somebody
        told = Disclosure("", 0, "", asked.purpose if coded else "", time)
        draft = Draft(entry, [Part(resource_subject(asked.patient), values)], [0], told)
        return audit.RecordReply(await self.trust.recorder.write([draft]))


async def _unknown() -> None:
    return None


def _found(outcome: audit.Outcome, place: int) -> audit.Outcome:
    return audit.Outcome(outcome.id, place, outcome.outcome, outcome.code, outcome.effect)
