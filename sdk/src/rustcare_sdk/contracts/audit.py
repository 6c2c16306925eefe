"""The audit log on the bus.

The first services are how the kernel writes: a plugin that serves `audit.record` is the kernel's recorder.

| service | request | answer |
|---|---|---|
| `audit.record` | `RecordRequest` | `RecordReply` |
| `audit.settle` | `SettleRequest` | `SettleReply` |
| `audit.unsettled` | `UnsettledRequest` | `UnsettledReply` |
| `audit.policy` | `PolicyRequest` | `PolicyReply` |
| `audit.disclose` | `DisclosureRequest` | `RecordReply` |
| `audit.search` | `SearchRequest` | `SearchReply` |
| `audit.show` | `ShowRequest` | `ShowReply` |
| `audit.tail` | `TailRequest` | `SearchReply` |
| `audit.disclosures` | `DisclosuresRequest` | `DisclosuresReply` |
| `audit.prove` | `ProveRequest` | `ProveReply` |
| `audit.checkpoint` | `CheckpointRequest` | `CheckpointReply` |
| `audit.checkpoints` | `CheckpointsRequest` | `CheckpointsReply` |
| `audit.tile` | `TileRequest` | `TileReply` |
| `audit.entries` | `EntriesRequest` | `TileReply` |
| `audit.status` | `StatusRequest` | `LogStatus` |
| `audit.verify` | `VerifyRequest` | `VerifyReply` |
| `audit.reindex` | `ReindexRequest` | `ReindexReply` |
| `audit.sinks` | `SinksRequest` | `SinksReply` |
| `audit.witnesses` | `WitnessesRequest` | `WitnessesReply` |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "CHECKPOINT",
    "CHECKPOINTS",
    "DISCLOSE",
    "DISCLOSURES",
    "ENTRIES",
    "POLICY",
    "PROVE",
    "RECORD",
    "REINDEX",
    "SEARCH",
    "SETTLE",
    "SHOW",
    "SINKS",
    "STATUS",
    "TAIL",
    "TILE",
    "UNSETTLED",
    "VERIFY",
    "WITNESSES",
    "Attempt",
    "CheckpointReply",
    "CheckpointRequest",
    "CheckpointsReply",
    "CheckpointsRequest",
    "DisclosureRequest",
    "DisclosuresReply",
    "DisclosuresRequest",
    "EffectsReply",
    "EffectsRequest",
    "EntriesRequest",
    "EntryRow",
    "LogStatus",
    "Outcome",
    "PolicyReply",
    "PolicyRequest",
    "ProveReply",
    "ProveRequest",
    "RecordReply",
    "RecordRequest",
    "ReindexReply",
    "ReindexRequest",
    "SearchReply",
    "SearchRequest",
    "SettleReply",
    "SettleRequest",
    "ShowReply",
    "ShowRequest",
    "SinkStatus",
    "SinksReply",
    "SinksRequest",
    "StatusRequest",
    "TailRequest",
    "TileReply",
    "TileRequest",
    "Unsettled",
    "UnsettledReply",
    "UnsettledRequest",
    "VerifyReply",
    "VerifyRequest",
    "WitnessStatus",
    "WitnessesReply",
    "WitnessesRequest",
]

#: Service: write entries; answered when they are durable (`RecordRequest` → `RecordReply`).
RECORD = "audit.record"
#: Service: say how it went with what was recorded before it was done (`SettleRequest` → `SettleReply`).
SETTLE = "audit.settle"
#: Service: what was recorded and never settled (`UnsettledRequest` → `UnsettledReply`).
UNSETTLED = "audit.unsettled"
#: Service: what must be audited before it may happen (`PolicyRequest` → `PolicyReply`).
POLICY = "audit.policy"
#: Service: state a disclosure that happened outside of the system (`DisclosureRequest` → `RecordReply`).
DISCLOSE = "audit.disclose"
#: Service: find entries (`SearchRequest` → `SearchReply`).
SEARCH = "audit.search"
#: Service: one entry with its proof (`ShowRequest` → `ShowReply`).
SHOW = "audit.show"
#: Service: entries from a place on, waiting for new ones (`TailRequest` → `SearchReply`).
TAIL = "audit.tail"
#: Service: the accounting of one patient's disclosures, with its proofs (`DisclosuresRequest` → `DisclosuresReply`).
DISCLOSURES = "audit.disclosures"
#: Service: proof that an entry is in the log, or that one checkpoint extends another (`ProveRequest` → `ProveReply`).
PROVE = "audit.prove"
#: Service: a signed checkpoint (`CheckpointRequest` → `CheckpointReply`).
CHECKPOINT = "audit.checkpoint"
#: Service: stored checkpoints in order (`CheckpointsRequest` → `CheckpointsReply`).
CHECKPOINTS = "audit.checkpoints"
#: Service: a tile of hashes, C2SP tlog-tiles (`TileRequest` → `TileReply`).
TILE = "audit.tile"
#: Service: a bundle of entries, C2SP tlog-tiles (`EntriesRequest` → `TileReply`).
ENTRIES = "audit.entries"
#: Service: how large the log is and how it does (`StatusRequest` → `LogStatus`).
STATUS = "audit.status"
#: Service: read the whole log again and check every hash and signature (`VerifyRequest` → `VerifyReply`).
VERIFY = "audit.verify"
#: Service: drop the search index and make it again from the log (`ReindexRequest` → `ReindexReply`).
REINDEX = "audit.reindex"
#: Service: where each sink is (`SinksRequest` → `SinksReply`).
SINKS = "audit.sinks"
#: Service: what each witness has cosigned (`WitnessesRequest` → `WitnessesReply`).
WITNESSES = "audit.witnesses"


@dataclass(frozen=True)
class Attempt:
    """What someone is about to do, or a fact that the kernel states.

    `kind`: `use` (of a capability, by a plugin or the operator), `operation` (of the kernel: `plugin.install`,
    `grant.revoke`, `control.plugin.list`, …), `fact` (nothing could prevent it: a quarantine, a capability that was
    denied, counted uses). `time`: microseconds since 1970, UTC. `action`: the operation's or fact's name, empty for a
    use. `capability`: the use, without options, such as `bus:request@fhir.read`. `plugin`, `version`, `digest`: who acts
    (empty for the operator). `data`: the message's data as the provider will get it; never kept as it is. `details`: of
    operations and facts, plain JSON without secrets.
    """

    id: str
    time: int
    kind: Literal["use", "operation", "fact"]
    action: str = ""
    capability: str = ""
    subject: str = ""
    plugin: str = ""
    version: str = ""
    digest: str = ""
    tenant: str = "default"
    principal: str = ""
    on_behalf: str = ""
    purpose: str = ""
    trace: str = ""
    data: Any = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordRequest:
    """Entries to write, in this order. `again`: some may have been written before a crash; those are not written twice."""

    attempts: list[Attempt]
    again: bool = False


@dataclass(frozen=True)
class RecordReply:
    """The entries' places in the log."""

    indices: list[int]


@dataclass(frozen=True)
class Outcome:
    """How it went with the attempt `id`, recorded at `index` (-1: find it).

    `failure` has the error's `code`. `interrupted`: the process ended first; `effect` says whether what was attempted
    happened (`yes`, `no`, or `unknown`).
    """

    id: str
    index: int
    outcome: Literal["success", "failure", "interrupted"] = "success"
    code: str = ""
    effect: Literal["yes", "no", "unknown"] = "unknown"


@dataclass(frozen=True)
class SettleRequest:
    """Outcomes of attempts."""

    outcomes: list[Outcome]


@dataclass(frozen=True)
class SettleReply:
    """The place of the entry that holds the outcomes (-1 when there were none)."""

    index: int = -1


@dataclass(frozen=True)
class UnsettledRequest:
    """At most `limit` attempts without an outcome, from index `after` + 1 on."""

    after: int = -1
    limit: int = 1000


@dataclass(frozen=True)
class Unsettled:
    """An attempt without an outcome."""

    id: str
    index: int
    kind: str
    capability: str = ""


@dataclass(frozen=True)
class UnsettledReply:
    """In the order of the log. Facts need no outcome."""

    attempts: list[Unsettled] = field(default_factory=list)


@dataclass(frozen=True)
class EffectsRequest:
    """Which of these attempts took effect? Asked of a plugin's own service `NAME.effects` after the process had died.

    A plugin that serves it writes the `id` of the message that it handles (which is the attempt's, when the message had to
    be on record) down in the transaction that is the effect. With `forget`, what it wrote down before it started is of no
    use any more.
    """

    attempts: list[str] = field(default_factory=list)
    forget: bool = False


@dataclass(frozen=True)
class EffectsReply:
    """`services`: those whose effects it writes down; of others it cannot tell. `happened`: of the attempts asked about."""

    services: list[str] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PolicyRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class PolicyReply:
    """Capabilities whose use must be on record before it has an effect, such as `bus:request@fhir.>` or `secret:reveal@*`.

    `clock:read` and `random:read` cannot be among them. Operations of the kernel always are.
    """

    must: list[str]


@dataclass(frozen=True)
class DisclosureRequest:
    """A disclosure to state on record: by post, by telephone, by another system (45 CFR 164.528).

    `patient`: a reference such as `Patient/123`. `recipient`: name and, if known, address of who received it; `what`: a
    brief description, without names; `purpose`: a code of HL7 v3 PurposeOfUse, or words. `date`: RFC 3339 date or time,
    empty for now.
    """

    patient: str
    recipient: str
    what: str
    purpose: str
    date: str = ""


@dataclass(frozen=True)
class SearchRequest:
    """Conditions that all hold; what is empty is no condition.

    `since` and `until` (RFC 3339): the entry's time is in `[since, until)`. `patient` and `resource`: references such as
    `Patient/123`; `type`: a resource type. `action`: `read`, `plugin.install`, …; `kind`: `use`, `operation`, `fact`,
    `disclosure`. `outcome`: `success`, `failure`, `interrupted` or `open` (none yet). `disclosures`: only those.
    `tenant`: the message's own, but for the system itself: empty is every tenant. `after`: the `next` of a page before.
    `size`: as the log was when it had so many entries, 0 for now.
    """

    since: str = ""
    until: str = ""
    principal: str = ""
    patient: str = ""
    action: str = ""
    resource: str = ""
    type: str = ""
    outcome: str = ""
    plugin: str = ""
    capability: str = ""
    trace: str = ""
    kind: str = ""
    disclosures: bool = False
    tenant: str = ""
    oldest_first: bool = False
    limit: int = 100
    after: str = ""
    size: int = 0


@dataclass(frozen=True)
class EntryRow:
    """An entry of the log, read. `entry` is its JSON; `opened` what was sealed in it, part by part, `{}` for a part that
    cannot be read; `shredded` says that a key it needs is destroyed. `outcome` is empty while there is none.

    `outcome_index`: the place of the entry that says so, -1 for none. `pruned`: it was disposed of, the rest is empty.
    """

    index: int
    entry: dict[str, Any] = field(default_factory=dict)
    outcome: str = ""
    code: str = ""
    effect: str = ""
    outcome_index: int = -1
    opened: list[dict[str, Any]] = field(default_factory=list)
    shredded: bool = False
    pruned: bool = False


@dataclass(frozen=True)
class SearchReply:
    """One page; `next` is the cursor for the next one, empty at the end. `size`: how many entries the log has."""

    rows: list[EntryRow] = field(default_factory=list)
    next: str = ""
    size: int = 0


@dataclass(frozen=True)
class ShowRequest:
    """The entry at a place, proved against the checkpoint of `size` entries (0: the latest)."""

    index: int
    size: int = 0


@dataclass(frozen=True)
class ShowReply:
    """`data`: the entry's own bytes. `proof`: C2SP tlog-proof text, which holds the checkpoint."""

    row: EntryRow
    data: bytes
    proof: str


@dataclass(frozen=True)
class TailRequest:
    """Entries from index `after` + 1 on, at most `limit`; when there are none yet, wait so many seconds (at most 60).

    `after` -1: from the beginning; -2: only what comes from now on.
    """

    after: int = -2
    limit: int = 100
    wait: float = 0.0
    tenant: str = ""


@dataclass(frozen=True)
class DisclosuresRequest:
    """Of one patient (`Patient/123`), under the checkpoint of `size` entries (0: the latest)."""

    patient: str
    tenant: str = ""
    size: int = 0


@dataclass(frozen=True)
class DisclosuresReply:
    """`count` disclosures in the order in which they were counted; `rows` has them all.

    `evidence`: what the evidence folder holds for one patient (`disclosures/NAME.json`): the checkpoint, the proof that
    the count is in it, every entry with its proof. An outsider can check that none was left out.
    """

    pseudonym: str = ""
    count: int = 0
    rows: list[EntryRow] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ProveRequest:
    """With `index`: that the entry is in the log of `size` entries (0: now). With `old` (1 or more): that the log of `size`
    entries extends that of `old` entries. `old` must be the size of a stored checkpoint to be of use to a verifier."""

    index: int = -1
    size: int = 0
    old: int = 0


@dataclass(frozen=True)
class ProveReply:
    """`hashes`: the proof, 32 bytes each (RFC 6962). `text`: of an inclusion proof, C2SP tlog-proof, with the checkpoint."""

    size: int
    root: bytes
    hashes: list[bytes] = field(default_factory=list)
    text: str = ""


@dataclass(frozen=True)
class CheckpointRequest:
    """The checkpoint of this size, 0 for the latest."""

    size: int = 0


@dataclass(frozen=True)
class CheckpointReply:
    """A signed note (C2SP tlog-checkpoint); `root`: 32 bytes. `key`: the verifier key (vkey), as the log says it."""

    size: int
    root: bytes
    text: str
    key: str = ""


@dataclass(frozen=True)
class CheckpointsRequest:
    """Stored checkpoints of more than `after` entries, smallest first, at most `limit`."""

    after: int = 0
    limit: int = 100


@dataclass(frozen=True)
class CheckpointsReply:
    """In order; the last one's `size` is where to go on."""

    checkpoints: list[CheckpointReply] = field(default_factory=list)


@dataclass(frozen=True)
class TileRequest:
    """The tile `index` of `level`, with `width` hashes of 1 to 256."""

    level: int
    index: int
    width: int = 256


@dataclass(frozen=True)
class TileReply:
    """The bytes, as a tile server would answer."""

    data: bytes


@dataclass(frozen=True)
class EntriesRequest:
    """The bundle `index` of entries, with `width` of them, 1 to 256."""

    index: int
    width: int = 256


@dataclass(frozen=True)
class StatusRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class LogStatus:
    """`size` entries, of which those below `first` are disposed of; `root` of the tree; `checkpoint`: the latest.

    `origin` and `key` (vkey): the log's name and key. `indexed`: how many entries the search index knows. `waiting`:
    entries that are being written. `sinks` and `witnesses`: each with its name, where it is and its last error.
    `problem`: why the log cannot be written, if so (an error's code). `instance`: random, of the running plugin.
    """

    size: int = 0
    first: int = 0
    root: bytes = b""
    checkpoint: str = ""
    origin: str = ""
    key: str = ""
    indexed: int = 0
    waiting: int = 0
    sinks: list[dict[str, Any]] = field(default_factory=list)
    witnesses: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""
    instance: str = ""


@dataclass(frozen=True)
class VerifyRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class VerifyReply:
    """`ok`, or what is wrong and where: `index` of the entry or `size` of the checkpoint (-1: not known)."""

    ok: bool
    entries: int = 0
    checkpoints: int = 0
    problem: str = ""
    index: int = -1
    size: int = -1


@dataclass(frozen=True)
class ReindexRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class ReindexReply:
    """How many entries the index knows now."""

    indexed: int


@dataclass(frozen=True)
class SinksRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class SinkStatus:
    """Where a sink is. `cursor`: the index of the entry that it reads next; `lag`: entries behind the log; `sent`: events
    that have arrived; `missed`: events whose entries were disposed of before it came to them; `attempts`: failures in a
    row, with the `last_error`, empty when all is well."""

    name: str
    format: str = ""
    to: str = ""
    personal: str = "none"
    cursor: int = 0
    lag: int = 0
    sent: int = 0
    missed: int = 0
    attempts: int = 0
    last_error: str = ""


@dataclass(frozen=True)
class SinksReply:
    """In the order of the configuration."""

    sinks: list[SinkStatus] = field(default_factory=list)


@dataclass(frozen=True)
class WitnessesRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class WitnessStatus:
    """What a witness is known to have cosigned: a checkpoint of `size` entries at `time` (POSIX seconds); `lag`: entries
    behind the log; `attempts`: failures in a row, with the `last_error`, empty when all is well. `keys`: its vkeys."""

    name: str
    url: str = ""
    size: int = 0
    time: int = 0
    lag: int = 0
    attempts: int = 0
    last_error: str = ""
    keys: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class WitnessesReply:
    """`checkpoint`: the largest that `quorum` witnesses have cosigned (of `size` entries), as a signed note with their
    cosignatures, empty for none. `refused`: why the log is not written: a witness knows another one."""

    witnesses: list[WitnessStatus] = field(default_factory=list)
    quorum: int = 0
    size: int = 0
    checkpoint: str = ""
    refused: str = ""
