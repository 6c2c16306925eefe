"""What an auditor, a regulator or a court asks of the audit log: reports, electronic signatures, retention and legal holds.

| service | request | answer |
|---|---|---|
| `audit.report` | `ReportRequest` | `ReportReply` |
| `audit.report.suspend` | `SuspendRequest` | `SuspendReply` |
| `audit.sign` | `SignRecordRequest` | `RecordSignature` |
| `audit.signatures` | `SignaturesRequest` | `SignaturesReply` |
| `audit.verify-signature` | `VerifySignatureRequest` | `VerifySignatureReply` |
| `audit.hold.place` | `HoldRequest` | `Hold` |
| `audit.hold.release` | `ReleaseRequest` | `Hold` |
| `audit.hold.list` | `HoldsRequest` | `HoldsReply` |
| `audit.retention.plan` | `PlanRequest` | `RetentionPlan` |
| `audit.retention.apply` | `ApplyRequest` | `ApplyReply` |
| `audit.retention.statements` | `StatementsRequest` | `StatementsReply` |
| `identity.verify-components` | `ComponentsRequest` | `ComponentsReply` |

The last one is asked, not served, by whoever keeps the signatures: it is for the plugin that knows people.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "HOLDS",
    "HOLD_PLACE",
    "HOLD_RELEASE",
    "REPORT",
    "REPORT_SUSPEND",
    "RETENTION_APPLY",
    "RETENTION_PLAN",
    "RETENTION_STATEMENTS",
    "SIGNATURES",
    "SIGN_RECORD",
    "VERIFY_COMPONENTS",
    "VERIFY_SIGNATURE",
    "ApplyReply",
    "ApplyRequest",
    "Component",
    "ComponentsReply",
    "ComponentsRequest",
    "Hold",
    "HoldRequest",
    "HoldsReply",
    "HoldsRequest",
    "PlanRange",
    "PlanRequest",
    "RecordSignature",
    "ReleaseRequest",
    "ReportEvidence",
    "ReportFinding",
    "ReportReply",
    "ReportRequest",
    "ReportRow",
    "ReportTable",
    "RetentionPlan",
    "SignRecordRequest",
    "SignaturesReply",
    "SignaturesRequest",
    "StatementsReply",
    "StatementsRequest",
    "SuspendReply",
    "SuspendRequest",
    "VerifySignatureReply",
    "VerifySignatureRequest",
]

#: Service: a report on the log, for a regulation or for one patient (`ReportRequest` → `ReportReply`).
REPORT = "audit.report"
#: Service: leave an agency's disclosures out of a patient's accounting for a time (`SuspendRequest` → `SuspendReply`).
REPORT_SUSPEND = "audit.report.suspend"
#: Service: sign a record electronically (`SignRecordRequest` → `RecordSignature`).
SIGN_RECORD = "audit.sign"
#: Service: the signatures of a record (`SignaturesRequest` → `SignaturesReply`).
SIGNATURES = "audit.signatures"
#: Service: whether a signature is of this record, as it is now (`VerifySignatureRequest` → `VerifySignatureReply`).
VERIFY_SIGNATURE = "audit.verify-signature"
#: Service: keep entries from disposal (`HoldRequest` → `Hold`).
HOLD_PLACE = "audit.hold.place"
#: Service: end a hold (`ReleaseRequest` → `Hold`).
HOLD_RELEASE = "audit.hold.release"
#: Service: the holds (`HoldsRequest` → `HoldsReply`).
HOLDS = "audit.hold.list"
#: Service: what may be disposed of now, and why the rest may not (`PlanRequest` → `RetentionPlan`).
RETENTION_PLAN = "audit.retention.plan"
#: Service: dispose of it, with a signed statement (`ApplyRequest` → `ApplyReply`).
RETENTION_APPLY = "audit.retention.apply"
#: Service: the signed statements of disposals (`StatementsRequest` → `StatementsReply`).
RETENTION_STATEMENTS = "audit.retention.statements"
#: Service: whether what somebody presents proves who they are (`ComponentsRequest` → `ComponentsReply`).
VERIFY_COMPONENTS = "identity.verify-components"

Status = Literal["evidenced", "partly evidenced", "not evidenced", "contradicted"]


@dataclass(frozen=True)
class ReportRequest:
    """`kind`: `hipaa-security`, `hipaa-disclosures` (of `patient`, such as `Patient/123`), `sox-itgc`, `gdpr`, `part11`.

    Over the time `[since, until)` (RFC 3339; empty: six years back, and now). `format`: what `ReportReply.text` is to be,
    nothing for `data`. `tenant`: the message's own, but for the system itself: empty is every tenant. `size`: on the log as
    it was at the checkpoint of so many entries, 0 for the latest. `audience`: an accounting for the `individual` leaves out
    what 45 CFR 164.528 leaves out; one for the `organization` lists that too, with the reason.
    """

    kind: str
    since: str = ""
    until: str = ""
    patient: str = ""
    format: Literal["data", "csv", "html"] = "data"
    tenant: str = ""
    size: int = 0
    audience: Literal["individual", "organization"] = "individual"


@dataclass(frozen=True)
class ReportEvidence:
    """One kind of evidence for a control. `found`: how much of it; `cites`: leaf indices, at most 20 of them, the first and
    the last ones; `against`: those that contradict the control, likewise. `needed` is False for what only informs."""

    says: str
    status: Status
    found: int = 0
    cites: list[int] = field(default_factory=list)
    against: list[int] = field(default_factory=list)
    note: str = ""
    needed: bool = True


@dataclass(frozen=True)
class ReportFinding:
    """A control and what the log has for it. `beyond`: what no log can show and must be evidenced in other ways."""

    control: str
    title: str
    asks: str
    status: Status
    evidence: list[ReportEvidence] = field(default_factory=list)
    beyond: str = ""


@dataclass(frozen=True)
class ReportRow:
    """A row of a table; `cites`: the leaf indices that it is taken from."""

    cells: list[str]
    cites: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class ReportTable:
    """A table of a report; `note` says what it leaves out, and why."""

    title: str
    columns: list[str]
    rows: list[ReportRow] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class ReportReply:
    """A report. Everything it cites is below `size`, and covered by the one `checkpoint` (a signed note) with that root.

    `entries`: how many entries of the time and tenant were read; `summary`: how many controls have which status; `limits`:
    what this report does not say. `text`: the report as `media_type`, empty for the format `data`.
    """

    kind: str
    title: str
    since: str
    until: str
    generated: str
    size: int
    root: bytes
    checkpoint: str
    origin: str = ""
    tenant: str = ""
    entries: int = 0
    summary: dict[str, int] = field(default_factory=dict)
    findings: list[ReportFinding] = field(default_factory=list)
    tables: list[ReportTable] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    media_type: str = ""
    text: str = ""


@dataclass(frozen=True)
class SuspendRequest:
    """45 CFR 164.528(a)(2): what was disclosed to `recipient`, an agency or official, is left out of the patient's accounting
    until `until` (RFC 3339). `statement`: the reference of the written statement; empty for an oral one, which holds for
    30 days at most. `official`: who made it."""

    patient: str
    recipient: str
    until: str
    statement: str = ""
    official: str = ""
    tenant: str = ""


@dataclass(frozen=True)
class SuspendReply:
    """The suspension's id, its end, and the place of its entry in the log."""

    id: str
    until: str
    index: int


@dataclass(frozen=True)
class Component:
    """One component of a signature: `password`, `totp`, `passkey`, … and what the signer presents."""

    kind: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class ComponentsRequest:
    """Whether `components` prove that it is `principal` who acts, in the session `session` (empty: none)."""

    principal: str
    components: list[Component]
    session: str = ""


@dataclass(frozen=True)
class ComponentsReply:
    """`verified`: the kinds that were proved, each of another factor or only known to the genuine owner. `name`: the
    person's printed name. `session_valid`: the session is this person's, and has not been interrupted since it began."""

    verified: list[str] = field(default_factory=list)
    name: str = ""
    session_valid: bool = False


@dataclass(frozen=True)
class SignRecordRequest:
    """Sign `record` (`Observation/7`, `document:SOP-12`), whose bytes are `data` or have the SHA-256 `digest`.

    The signer is the message's principal. `meaning`: `review`, `approval`, `responsibility` or `authorship`. `personal`: the
    record is about a person (`patient`, when that is a patient): only a salted commitment to it is on record in clear.
    """

    record: str
    meaning: str
    components: list[Component] = field(repr=False)
    data: bytes = field(default=b"", repr=False)
    digest: bytes = field(default=b"", repr=False)
    version: str = ""
    session: str = ""
    personal: bool = True
    patient: str = ""
    reason: str = ""


@dataclass(frozen=True)
class RecordSignature:
    """A signature that is on record at `index`. `text`: its manifestation, to show and print with the record.

    `commitment`: what binds it to the record (32 bytes). `components`: the kinds that were verified; `first`: it was the
    first signing of a session. `name` is empty where it cannot be read any more.
    """

    id: str
    index: int
    record: str
    signer: str
    name: str
    time: str
    meaning: str
    text: str
    commitment: bytes = b""
    version: str = ""
    components: list[str] = field(default_factory=list)
    first: bool = True
    reason: str = ""


@dataclass(frozen=True)
class SignaturesRequest:
    """The signatures of a record, oldest first."""

    record: str


@dataclass(frozen=True)
class SignaturesReply:
    """Signatures, oldest first."""

    signatures: list[RecordSignature] = field(default_factory=list)


@dataclass(frozen=True)
class VerifySignatureRequest:
    """The signature `id`, and the record that it is said to sign (`data`, or its SHA-256)."""

    id: str
    record: str
    data: bytes = field(default=b"", repr=False)
    digest: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class VerifySignatureReply:
    """The signature is of this record, unchanged: anything else is an error. `proof`: tlog-proof text of its entry."""

    signature: RecordSignature
    proof: str = ""


@dataclass(frozen=True)
class HoldRequest:
    """Keep from disposal: everything, or what is about `patient`, or of `[since, until)` (RFC 3339), or both.

    `reason`: without names; `reference`: of the matter. `tenant` empty: the message's own, for the system itself every tenant.
    """

    reason: str
    reference: str = ""
    patient: str = ""
    since: str = ""
    until: str = ""
    tenant: str = ""


@dataclass(frozen=True)
class Hold:
    """A hold. `scope`: `everything`, or what of `patient`, `time` narrows it, joined by ` and `. `pseudonym`: of the patient;
    `index`: the place of the entry that placed it; `released`: when, empty while it is in force."""

    id: str
    scope: str
    reason: str
    placed: str
    by: str = ""
    reference: str = ""
    pseudonym: str = ""
    since: str = ""
    until: str = ""
    tenant: str = ""
    index: int = -1
    released: str = ""
    released_by: str = ""


@dataclass(frozen=True)
class ReleaseRequest:
    """End the hold `id`; `reason`: without names."""

    id: str
    reason: str


@dataclass(frozen=True)
class HoldsRequest:
    """Those in force, or all of them."""

    released: bool = False


@dataclass(frozen=True)
class HoldsReply:
    """Holds in the order in which they were placed."""

    holds: list[Hold] = field(default_factory=list)


@dataclass(frozen=True)
class PlanRequest:
    """What may be disposed of at `at` (RFC 3339, empty: now)."""

    at: str = ""


@dataclass(frozen=True)
class PlanRange:
    """The entries `[first, last]`, one after the other, for which the same is true: they may be disposed of, or not, because
    of `policy` until `keep_until` (the latest of them) or because of the holds `holds`. `overdue`: a policy asks for
    their disposal since then (RFC 3339)."""

    first: int
    last: int
    disposable: bool
    why: str
    policy: str = ""
    keep_until: str = ""
    holds: list[str] = field(default_factory=list)
    overdue: str = ""


@dataclass(frozen=True)
class RetentionPlan:
    """Entries below `prune_before` may be pruned (they are a prefix of the log); `first` is the first that is still there.

    `ranges`: in order, at most 1,000; `blocked_by`: why the prefix ends where it does. `subjects`: pseudonyms all of whose
    entries may be disposed of, though they are not in the prefix: shredding disposes of those.
    """

    at: str
    first: int
    size: int
    prune_before: int
    ranges: list[PlanRange] = field(default_factory=list)
    blocked_by: str = ""
    subjects: list[str] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    truncated: bool = False


@dataclass(frozen=True)
class ApplyRequest:
    """Dispose: prune what is below `before` (it must be within the plan), or destroy the key of `subject` (`patient/123`).

    `reason`: without names; it goes into the statement.
    """

    reason: str
    before: int = 0
    subject: str = ""
    tenant: str = ""


@dataclass(frozen=True)
class ApplyReply:
    """`statement`: a DSSE envelope (JSON) that names what was disposed of, by whom, under which policies, and the log's heads
    before and after. `index`: the place of the entry that holds it; `disposed`: how many entries."""

    statement: str
    index: int
    disposed: int = 0
    before: int = 0


@dataclass(frozen=True)
class StatementsRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class StatementsReply:
    """DSSE envelopes (JSON), of disposals that are done and on record, in order."""

    statements: list[str] = field(default_factory=list)
