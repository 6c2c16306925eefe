"""The services of retention. All of them are the operator's: a principal or a tenant may hold what is its own, and no more."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.contracts import crypto
from rustcare_sdk.contracts.audit import SearchRequest
from rustcare_sdk.contracts.compliance import (
    HOLD_PLACE,
    HOLD_RELEASE,
    HOLDS,
    RETENTION_APPLY,
    RETENTION_PLAN,
    RETENTION_STATEMENTS,
    ApplyReply,
    ApplyRequest,
    Hold,
    HoldRequest,
    HoldsReply,
    HoldsRequest,
    PlanRequest,
    ReleaseRequest,
    RetentionPlan,
    StatementsReply,
    StatementsRequest,
)
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_audit.bundle import Trust
from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.reports.compose import instant
from rustcare_plugin_audit.sealing import resource_subject
from rustcare_plugin_audit.search import Reader, moment
from rustcare_plugin_audit.services_search import tenant_of
from rustcare_plugin_audit.sinks import Sinks

from .disposal import BEGUN, PRUNED, Asker, Disposal
from .errors import DisposalRefused, HoldNotFound
from .holds import FOREVER, PLACED, RELEASED, LegalHold
from .policies import policies_of

__all__ = ["Retaining"]

MAX_TEXT = 2_000


class Retaining(Plugin):
    """Holds, plans and disposals."""

    trust: Trust
    reader: Reader
    sinks: Sinks
    _disposal: Disposal | None = None

    @property
    def disposal(self) -> Disposal:
        """What plans and disposes."""
        if self._disposal is None:
            self._disposal = Disposal(self.trust, policies_of(self.ctx.config.get("retention", {})))
        return self._disposal

    async def finish_disposals(self) -> None:
        """In the background after the start: finish a disposal that a crash has interrupted."""
        try:
            async with self.trust.background():
                begun, pruned = [await self._newest(action) for action in (BEGUN, PRUNED)]
                if begun > pruned:
                    await self.disposal.resume()
        except RustCareError as error:  # tried again with the next disposal
            self.ctx.log.error("an interrupted disposal could not be finished", code=error.code)

    async def _newest(self, action: str) -> int:
        page = await self.reader.search(SearchRequest(action=action, kind="fact", limit=1), "")
        return page.rows[0].index if page.rows else -1

    @serve(HOLD_PLACE)
    async def place_hold(self, message: Message[HoldRequest]) -> Hold:
        """Keep entries from disposal, from now until the hold is released."""
        asked = message.data
        for name, least in (("reason", 1), ("reference", 0), ("patient", 0)):
            if not least <= len(getattr(asked, name)) <= MAX_TEXT:
                raise InvalidRequest(f"expected {least} to {MAX_TEXT} characters", address=f"{HOLD_PLACE}:{name}")
        tenant = tenant_of(message, asked.tenant)
        since = moment(asked.since, f"{HOLD_PLACE}:since") if asked.since else 0
        until = moment(asked.until, f"{HOLD_PLACE}:until") if asked.until else FOREVER
        if since >= until:
            raise InvalidRequest("expected since before until", address=f"{HOLD_PLACE}:since")
        async with self.disposal.lock:
            pseudonym = await self._pseudonym(asked.patient, tenant or "default") if asked.patient else ""
            if asked.patient:
                tenant = tenant or "default"
            now = _now(self)
            hold = LegalHold(
                self.ctx.random(8).hex(),
                -1,
                now,
                message.principal,
                asked.reason,
                asked.reference,
                tenant,
                pseudonym,
                since,
                until,
            )
            place = await self.disposal.record(PLACED, _asker(message), hold.details(), tenant or "default")
        return _hold(hold, place)

    async def _pseudonym(self, patient: str, tenant: str) -> str:
        """The patient's pseudonym. Who has no key yet gets one, so that what comes later is held as well."""
        item = crypto.SealItem(resource_subject(patient), b"hold", b"rustcare/audit/hold", tenant)
        found = (await self.trust.crypto.seal([item])).pseudonyms[0]
        if not found:
            raise InvalidRequest(
                "expected a patient whose records can be held, got one whose key is destroyed",
                address=f"{HOLD_PLACE}:patient",
            )
        return found

    @serve(HOLD_RELEASE)
    async def release_hold(self, message: Message[ReleaseRequest]) -> Hold:
        """End a hold."""
        asked = message.data
        if not 0 < len(asked.reason) <= MAX_TEXT:
            raise InvalidRequest(f"expected 1 to {MAX_TEXT} characters", address=f"{HOLD_RELEASE}:reason")
        tenant = tenant_of(message)
        async with self.disposal.lock:
            book = await self.disposal.holds()
            found = next((hold for hold in book.in_force() if hold.id == asked.id), None)
            if found is None or tenant not in ("", found.tenant):
                raise HoldNotFound(
                    f"expected the id of a hold in force, got {asked.id[:40]!r}", address=f"{HOLD_RELEASE}:id"
                )
            details = {"hold": found.id, "reason": asked.reason}
            await self.disposal.record(RELEASED, _asker(message), details, found.tenant or "default")
            book = await self.disposal.holds()
        return next(_hold(hold, hold.place) for hold in book.all() if hold.id == asked.id)

    @serve(HOLDS)
    async def holds(self, message: Message[HoldsRequest]) -> HoldsReply:
        """The holds, as the log states them."""
        tenant = tenant_of(message)
        book = await self.disposal.holds()
        found = book.all() if message.data.released else book.in_force()
        return HoldsReply([_hold(hold, hold.place) for hold in found if tenant in ("", hold.tenant)])

    @serve(RETENTION_PLAN)
    async def plan(self, message: Message[PlanRequest]) -> RetentionPlan:
        """What may be disposed of, and why the rest may not."""
        self._only_operator(message)
        at = moment(message.data.at, f"{RETENTION_PLAN}:at") if message.data.at else _now(self)
        return await self.disposal.plan(at)

    @serve(RETENTION_APPLY)
    async def apply(self, message: Message[ApplyRequest]) -> ApplyReply:
        """Dispose of a prefix, or of a subject."""
        asked = message.data
        self._only_operator(message)
        if not 0 < len(asked.reason) <= MAX_TEXT:
            raise InvalidRequest(f"expected 1 to {MAX_TEXT} characters", address=f"{RETENTION_APPLY}:reason")
        if bool(asked.before) == bool(asked.subject):
            raise InvalidRequest(
                "expected either a line or a subject, got " + ("both" if asked.subject else "neither"),
                address=f"{RETENTION_APPLY}:before",
            )
        now = _now(self)
        if asked.subject:
            tenant = asked.tenant or "default"
            return await self.disposal.shred(asked.subject, tenant, asked.reason, _asker(message), now)
        await self._check_sinks(asked.before)
        return await self.disposal.prune(asked.before, asked.reason, _asker(message), now)

    async def _check_sinks(self, before: int) -> None:
        """What a sink has still to get is not disposed of. Raises DisposalRefused."""
        for feed in self.sinks.feeds:
            name = feed.settings.name
            place = (await feed.cursors.get(name)).cursor[0]
            if place < min(before, self.trust.log.size) // 256 * 256:
                raise DisposalRefused(
                    f"expected a line up to {place}, got {before}: the sink {name} has not got the entries after that",
                    hint="see why it does not accept them, or take it out of the configuration",
                    address=f"{RETENTION_APPLY}:before",
                )

    @serve(RETENTION_STATEMENTS)
    async def statements(self, message: Message[StatementsRequest]) -> StatementsReply:
        """The signed statements of disposals."""
        self._only_operator(message)
        import json

        return StatementsReply([json.dumps(one) for one in await self.disposal.statements()])

    def _only_operator(self, message: Message[Any]) -> None:
        """Entries of all tenants are concerned."""
        if tenant_of(message):
            raise InvalidRequest(
                "expected a request of the system itself, got one of a principal or of one tenant",
                hint="disposal concerns the entries of every tenant",
                address=message.subject,
            )


def _asker(message: Message[Any]) -> Asker:
    return Asker(message.source, message.principal, message.call.trace)


def _now(plugin: Plugin) -> int:
    return int(plugin.ctx.now().timestamp() * 1_000_000)


def _hold(hold: LegalHold, place: int) -> Hold:
    return Hold(
        hold.id,
        hold.scope,
        hold.reason,
        instant(hold.placed),
        hold.by,
        hold.reference,
        hold.pseudonym,
        instant(hold.since) if hold.since > 0 else "",
        instant(hold.until) if hold.until < FOREVER else "",
        hold.tenant,
        place,
        instant(hold.released) if hold.released else "",
        hold.released_by,
    )
