"""The accounting of one patient's disclosures (45 CFR 164.528): date, recipient, what, purpose, with its exclusions as data.

The log counts the disclosures of each subject, and a checkpoint commits to the counts: the accounting takes all of them, one
after the other, and puts each in a table or says why not. So nothing can be left out without it showing. For the
organization what was left out is listed too; for the individual only how many, and by which paragraph, and nothing of what
is suspended at an agency's request (164.528(a)(2)).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec
from rustcare_sdk.contracts.audit import EntryRow
from rustcare_sdk.contracts.compliance import ReportEvidence, ReportFinding, ReportRow, ReportTable

from .evaluate import status_of
from .shipped import shipped

__all__ = ["KIND", "Accounting", "Suspension", "account", "purpose_in_words"]

KIND = "hipaa-disclosures"
TITLE = "Accounting of disclosures (45 CFR 164.528)"
COLUMNS = ["Date", "Recipient", "What was disclosed", "Purpose", "Remark"]
LIMITS = (
    "Source: 45 CFR 164.528.",
    "Only what this system disclosed, and what was stated to it, is on record.",
    "Disclosures that the paragraphs named here leave out are not listed for the individual.",
)
#: Failures that say that nothing was given out; after others it is not known, and the disclosure counts.
NOTHING_DONE = ("capability.denied", "authz.denied", "audit.unavailable", "fhir.not-found", "fhir.gone")


class _Exclusion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    citation: str
    says: str
    purposes: tuple[str, ...]


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exclusion: tuple[_Exclusion, ...]
    words: dict[str, str]


@dataclass(frozen=True)
class Suspension:
    """Until `until` (µs) nothing of what went to `recipient` is in the individual's accounting; `place`: of its entry."""

    recipient: str
    until: int
    place: int


@dataclass(frozen=True)
class Accounting:
    """What an accounting has: tables, findings, how many disclosures of the time there are."""

    tables: list[ReportTable]
    findings: list[ReportFinding]
    entries: int


@dataclass
class _Sorted:
    listed: list[tuple[int, ReportRow]] = field(default_factory=list)
    left_out: list[tuple[int, ReportRow]] = field(default_factory=list)
    reasons: dict[str, int] = field(default_factory=dict)
    outside: int = 0
    closed: int = 0


@cache
def _rules() -> _Rules:
    text = shipped(__package__ or "", "accounting.toml")
    return msgspec.convert(tomllib.loads(text), _Rules)


def purpose_in_words(purpose: str) -> str:
    """A purpose as a patient can read it."""
    rules = _rules()
    found = next((rule.says for rule in rules.exclusion if purpose in rule.purposes), rules.words.get(purpose, ""))
    return f"{found} ({purpose})" if found else purpose


def account(
    rows: Sequence[EntryRow],
    *,
    patient: str,
    count: int,
    proved: Mapping[int, bool],
    pruned: int,
    since: int,
    until: int,
    now: int,
    suspensions: Sequence[Suspension] = (),
    individual: bool = True,
) -> Accounting:
    """The accounting.

    Args:
        rows: every disclosure that is still in the log, opened, in order.
        patient: a reference such as `Patient/123`; it is not in what this returns.
        count: how many the checkpoint counts. pruned: how many of them were disposed of.
        proved: of each place whether the proofs hold.
        since, until: µs since 1970; disclosures of `[since, until)`.
        now: µs; a suspension that has ended by then counts no more.
    """
    found = _Sorted()
    for row in rows:
        _sort(found, row, patient, since, until, [one for one in suspensions if one.until > now], individual)
    listed = [row for _, row in sorted(found.listed, key=lambda one: one[0])]
    told = [f"{number} left out: {reason}" for reason, number in sorted(found.reasons.items())]
    if pruned:
        told.append(f"{pruned} older ones were disposed of when their retention had ended")
    tables = [ReportTable("Disclosures", _columns(individual), listed, "; ".join(told))]
    if not individual:
        rest = [row for _, row in sorted(found.left_out, key=lambda one: one[0])]
        tables.append(ReportTable("Left out of the individual's accounting", COLUMNS, rest))
    findings = _findings(found, rows, count, pruned, individual, proved)
    return Accounting(tables, findings, len(found.listed) + len(found.left_out))


def _sort(
    found: _Sorted,
    row: EntryRow,
    patient: str,
    since: int,
    until: int,
    suspensions: Sequence[Suspension],
    individual: bool,
) -> None:
    time, recipient, what, purpose = _told(row, patient)
    if not since <= time < until:
        found.outside += 1
        return
    remark = ""
    if not recipient:
        found.closed += row.shredded
        recipient = "not readable any more" if row.shredded else "not on record"
    cells = [_date(time), recipient, what, purpose_in_words(purpose) or "not on record", remark]
    if any(_same(one.recipient, recipient) for one in suspensions):
        if individual:
            return  # not even that there is one may show
        cells[4] = "suspended, 164.528(a)(2)"
        found.left_out.append((time, ReportRow(cells, [row.index])))
        return
    reason = _reason(row, purpose)
    if reason:
        cells[4] = reason
        found.reasons[reason] = found.reasons.get(reason, 0) + 1
        found.left_out.append((time, ReportRow(cells, [row.index])))
    else:
        found.listed.append((time, ReportRow(cells[: len(_columns(individual))], [row.index])))


def _told(row: EntryRow, patient: str) -> tuple[int, str, str, str]:
    """When, to whom, what, why."""
    told: dict[str, Any] = row.entry.get("disclosure", {})
    opened = next((part for part in row.opened if part.get("patient") == patient), {})
    if not opened:
        opened = next((part for part in row.opened if "recipient" in part), {})
    time = int(told.get("time", 0)) or int(row.entry.get("time", 0))
    what = str(opened.get("what", "") or told.get("what", "") or row.entry.get("what", {}).get("action", ""))
    names = [name for name in opened.get("resources", ()) if isinstance(name, str)]
    if names:
        what += f": {', '.join(names[:10])}" + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    purpose = str(opened.get("purpose", "") or told.get("purpose", "") or row.entry.get("why", ""))
    return time, str(opened.get("recipient", "")), what, purpose


def _reason(row: EntryRow, purpose: str) -> str:
    rule = next((rule for rule in _rules().exclusion if purpose in rule.purposes), None)
    if rule is not None:
        return f"{rule.says}, {rule.citation}"
    if row.outcome == "failure" and (row.code in NOTHING_DONE or row.effect == "no"):
        return "it failed, nothing was disclosed"
    if row.outcome == "interrupted" and row.effect == "no":
        return "it was interrupted before anything was disclosed"
    return ""


def _same(wanted: str, recipient: str) -> bool:
    return wanted.casefold().strip() == recipient.casefold().strip()


def _columns(individual: bool) -> list[str]:
    """Remarks are for the organization."""
    return COLUMNS[:4] if individual else COLUMNS


def _date(time: int) -> str:
    """The date, and the time of day where it is more than a date."""
    moment = datetime.fromtimestamp(time // 1_000_000, UTC)
    return f"{moment:%Y-%m-%d}" if not time % 86_400_000_000 else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _findings(
    found: _Sorted, rows: Sequence[EntryRow], count: int, pruned: int, individual: bool, proved: Mapping[int, bool]
) -> list[ReportFinding]:
    """Whether all are there, and say what they must. For the individual without what would show that one is suspended."""
    places = [row.index for row in rows if not row.pruned]
    present = len(places)
    shown = len(found.listed) if individual else count
    complete = present + pruned == count
    note = f"{count} counted by the checkpoint, {present} in the log, {pruned} disposed of"
    whole = ReportEvidence(
        "Every disclosure that the checkpoint counts for this patient is accounted for",
        ("evidenced" if shown else "not evidenced") if complete else "contradicted",
        (len(found.listed) if individual else present) if complete else 0,
        [row.cites[0] for _, row in found.listed][:20] if individual else places[:10] + places[10:][-10:],
        [] if complete else places[-1:],
        "" if individual else note,
    )
    of_report = [row.cites[0] for _, row in found.listed] if individual else places
    good_proofs = [place for place in of_report if proved.get(place)]
    bad_proofs = [place for place, holds in proved.items() if not holds]
    shown_proofs = ReportEvidence(
        "Each entry was proved under the checkpoint, and its number under the count that the checkpoint commits to",
        "contradicted" if bad_proofs else "evidenced" if good_proofs else "not evidenced",
        len(good_proofs),
        good_proofs[:10] + good_proofs[10:][-10:],
        bad_proofs[:20],
    )
    lacking = [row.cites[0] for _, row in found.listed if any(cell.startswith("not ") for cell in row.cells)]
    good = len(found.listed) - len(lacking)
    said = ReportEvidence(
        "Disclosures with date, recipient, what and purpose",
        "contradicted" if lacking else "evidenced" if good else "not evidenced",
        good,
        [row.cites[0] for _, row in found.listed if row.cites[0] not in lacking][:20],
        lacking[:20],
        f"{found.closed} cannot be read: the patient's key is destroyed" if found.closed else "",
    )
    return [
        ReportFinding(
            "164.528(a)(1)",
            "Completeness",
            "All disclosures of the six years before the request are in the accounting, but for those it leaves out.",
            status_of([whole, shown_proofs]),
            [whole, shown_proofs],
            "Disclosures by business associates that were not stated to this system.",
        ),
        ReportFinding(
            "164.528(b)(2)",
            "Content",
            "Each disclosure has its date, who received it, a brief description, and the purpose.",
            status_of([said]),
            [said],
        ),
    ]
