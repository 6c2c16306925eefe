"""The audit log on the bus.

The first services are how the kernel writes: a plugin that serves `audit.record` is the kernel's recorder.

| service | request | answer |
|---|---|---|
| `audit.record` | `RecordRequest` | `RecordReply` |
| `audit.settle` | `SettleRequest` | `SettleReply` |
| `audit.unsettled` | `UnsettledRequest` | `UnsettledReply` |
| `audit.policy` | `PolicyRequest` | `PolicyReply` |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "POLICY",
    "RECORD",
    "SETTLE",
    "UNSETTLED",
    "Attempt",
    "Outcome",
    "PolicyReply",
    "PolicyRequest",
    "RecordReply",
    "RecordRequest",
    "SettleReply",
    "SettleRequest",
    "Unsettled",
    "UnsettledReply",
    "UnsettledRequest",
]

#: Service: write entries; answered when they are durable (`RecordRequest` → `RecordReply`).
RECORD = "audit.record"
#: Service: say how it went with what was recorded before it was done (`SettleRequest` → `SettleReply`).
SETTLE = "audit.settle"
#: Service: what was recorded and never settled (`UnsettledRequest` → `UnsettledReply`).
UNSETTLED = "audit.unsettled"
#: Service: what must be audited before it may happen (`PolicyRequest` → `PolicyReply`).
POLICY = "audit.policy"


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


@dataclass(frozen=True)
class UnsettledReply:
    """In the order of the log. Facts need no outcome."""

    attempts: list[Unsettled] = field(default_factory=list)


@dataclass(frozen=True)
class PolicyRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class PolicyReply:
    """Capabilities whose use must be on record before it has an effect, such as `bus:request@fhir.>` or `secret:reveal@*`.

    `clock:read` and `random:read` cannot be among them. Operations of the kernel always are.
    """

    must: list[str]
