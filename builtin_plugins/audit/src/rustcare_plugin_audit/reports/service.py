"""The services of reports. Asking for a report is on record itself: `audit.report` is among what must be audited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.contracts.audit import EntryRow, SearchRequest
from rustcare_sdk.contracts.compliance import (
    REPORT,
    REPORT_SUSPEND,
    ReportReply,
    ReportRequest,
    SuspendReply,
    SuspendRequest,
)

from rustcare_plugin_audit.bundle import Trust
from rustcare_plugin_audit.entry import Draft, Entry, Part, What, Which, Who
from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.notes import Checkpoint
from rustcare_plugin_audit.policy import Policy
from rustcare_plugin_audit.sealing import resource_subject
from rustcare_plugin_audit.search import Reader, moment
from rustcare_plugin_audit.services_search import tenant_of
from rustcare_plugin_audit.signing import LogKey

from . import csvs, page
from .accounting import KIND, LIMITS, TITLE, Suspension, account
from .compose import Scope, compose, instant
from .controls import regulation
from .evaluate import summary_of
from .figures import prove_disclosures

__all__ = ["SUSPENDED", "Reporting"]

#: The fact that an accounting is suspended for an agency.
SUSPENDED = "accounting.suspended"
ORAL = timedelta(days=30)  # 45 CFR 164.528(a)(2)(ii)(C)
MAX_TEXT = 2_000


class Reporting(Plugin):
    """Reports on the log."""

    trust: Trust
    reader: Reader
    key: LogKey
    policy: Policy

    @serve(REPORT)
    async def report(self, message: Message[ReportRequest]) -> ReportReply:
        """A report on a regulation, or one patient's accounting of disclosures."""
        asked = message.data
        if asked.format not in ("data", "csv", "html"):
            raise InvalidRequest("expected data, csv or html", address="audit.report:format")
        if asked.audience not in ("individual", "organization"):
            raise InvalidRequest("expected individual or organization", address="audit.report:audience")
        rules = regulation(asked.kind) if asked.kind != KIND else None
        tenant = tenant_of(message, asked.tenant)
        scope = self._scope(asked, tenant)
        checkpoint = await self.trust.log.checkpoint(asked.size or None)
        if rules is None:
            found = await self._accounting(asked, scope, checkpoint)
        else:
            keys = [*await self.key.versions(), *self.key.keys[1:]]
            found = await compose(self.trust.log, rules, scope, checkpoint, keys, self.policy.must)
        return _formatted(found, asked.format)

    def _scope(self, asked: ReportRequest, tenant: str) -> Scope:
        now = self.ctx.now()
        end = moment(asked.until, "audit.report:until") if asked.until else _micros(now) + 1
        begin = moment(asked.since, "audit.report:since") if asked.since else _micros(_six_years_before(end))
        if begin >= end:
            raise InvalidRequest("expected since before until", address="audit.report:since")
        return Scope(begin, end, tenant, instant(_micros(now)))

    async def _accounting(self, asked: ReportRequest, scope: Scope, checkpoint: Checkpoint) -> ReportReply:
        if not asked.patient.startswith("Patient/") or asked.patient == "Patient/":
            raise InvalidRequest(
                "expected a reference such as Patient/123",
                hint="an accounting of disclosures is of one patient",
                address="audit.report:patient",
            )
        trust = self.trust
        tenant = scope.tenant or "default"
        pseudonym = await trust.crypto.pseudonym(resource_subject(asked.patient), tenant)
        places: list[int] = []
        rows: list[EntryRow] = []
        suspensions: list[Suspension] = []
        count = 0
        proved: dict[int, bool] = {}
        if pseudonym:
            proof = await trust.log.disclosures(pseudonym, checkpoint.size)
            count, places = proof.count, list(proof.indices)
            rows = await self.reader.rows([place for place in places if place >= trust.log.first], tenant)
            proved = await prove_disclosures(trust.log, proof, checkpoint)
            suspensions = await self._suspensions(asked.patient, tenant, checkpoint.size)
        found = account(
            rows,
            patient=asked.patient,
            count=count,
            proved=proved,
            pruned=sum(place < trust.log.first for place in places),
            since=scope.since,
            until=scope.until,
            now=_micros(self.ctx.now()),
            suspensions=suspensions,
            individual=asked.audience == "individual",
        )
        limits = list(LIMITS)
        if not pseudonym:
            limits.append("There is no key of this patient: nothing is on record under it, or it was destroyed.")
        return ReportReply(
            KIND,
            TITLE,
            instant(scope.since),
            instant(scope.until),
            scope.generated,
            checkpoint.size,
            checkpoint.root,
            checkpoint.text,
            checkpoint.origin,
            tenant,
            found.entries,
            dict(summary_of(found.findings)),
            found.findings,
            found.tables,
            limits,
        )

    async def _suspensions(self, patient: str, tenant: str, size: int) -> list[Suspension]:
        asked = SearchRequest(patient=patient, action=SUSPENDED, kind="fact", limit=1000, size=size)
        found = []
        for row in (await self.reader.search(asked, tenant)).rows:
            sealed = next((part for part in row.opened if "suspended" in part), {})
            until = row.entry.get("details", {}).get("until", 0)
            if sealed and isinstance(until, int):
                found.append(Suspension(str(sealed["suspended"]), until, row.index))
        return found

    @serve(REPORT_SUSPEND)
    async def suspend(self, message: Message[SuspendRequest]) -> SuspendReply:
        """Leave an agency's disclosures out of a patient's accounting for a time (45 CFR 164.528(a)(2))."""
        asked = message.data
        for name in ("patient", "recipient"):
            if not 0 < len(getattr(asked, name)) <= MAX_TEXT:
                raise InvalidRequest(f"expected 1 to {MAX_TEXT} characters", address=f"audit.report.suspend:{name}")
        now = self.ctx.now()
        until = moment(asked.until, "audit.report.suspend:until")
        if until <= _micros(now):
            raise InvalidRequest("expected an end in the future", address="audit.report.suspend:until")
        if not asked.statement and until > _micros(now + ORAL):
            raise InvalidRequest(
                "expected an end within 30 days: there is no written statement",
                hint="give the reference of the agency's written statement",
                address="audit.report.suspend:until",
            )
        values: dict[str, Any] = {"patient": asked.patient, "suspended": asked.recipient}
        if asked.official:
            values["official"] = asked.official
        if asked.statement:
            values["statement"] = asked.statement
        id_ = self.ctx.random(16).hex()
        tenant = tenant_of(message, asked.tenant) or "default"
        entry = Entry(
            v=1,
            id=id_,
            time=_micros(now),
            kind="fact",
            who=Who(plugin=message.source, principal=message.principal, on_behalf=message.call.on_behalf),
            what=What(SUSPENDED),
            which=Which(tenant),
            trace=message.call.trace,
            details={"until": until, "written": bool(asked.statement)},
        )
        places = await self.trust.recorder.write([Draft(entry, [Part(resource_subject(asked.patient), values)])])
        return SuspendReply(id_, instant(until), places[0])


def _formatted(report: ReportReply, format_: str) -> ReportReply:
    from dataclasses import replace

    if format_ == "csv":
        return replace(report, media_type=csvs.MEDIA_TYPE, text=csvs.as_csv(report))
    if format_ == "html":
        return replace(report, media_type=page.MEDIA_TYPE, text=page.as_html(report))
    return report


def _micros(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)


def _six_years_before(end: int) -> datetime:
    time = datetime.fromtimestamp(end / 1_000_000, UTC)
    leap_day = (time.month, time.day) == (2, 29)
    return time.replace(year=time.year - 6, day=28 if leap_day else time.day)
