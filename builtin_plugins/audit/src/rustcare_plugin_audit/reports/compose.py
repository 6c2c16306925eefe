"""The report on a regulation: read the log up to one checkpoint, evaluate, check the figures, say what is not said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rustcare_sdk.contracts.compliance import ReportReply

from rustcare_plugin_audit.entry import decode
from rustcare_plugin_audit.errors import LogCorrupt
from rustcare_plugin_audit.notes import Checkpoint, VerifierKey

from .controls import Regulation
from .evaluate import Evaluation, summary_of
from .figures import Figures, Reading

if TYPE_CHECKING:
    from rustcare_plugin_audit.log import AuditLog

__all__ = ["BATCH", "Scope", "compose", "instant"]

BATCH = 256  # entries read at once: others have their turn after each


@dataclass(frozen=True)
class Scope:
    """What a report is on: `[since, until)` in µs since 1970, and a tenant (empty: all). `generated`: now, RFC 3339."""

    since: int
    until: int
    tenant: str
    generated: str


def instant(time: int) -> str:
    """RFC 3339, to the second, of µs since 1970."""
    return datetime.fromtimestamp(time // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


async def compose(
    log: AuditLog,
    regulation: Regulation,
    scope: Scope,
    checkpoint: Checkpoint,
    keys: Sequence[VerifierKey],
    must: Sequence[str],
) -> ReportReply:
    """The report, under `checkpoint`. Time and reads grow with the log; memory does not."""
    evaluation = Evaluation(regulation, scope.since, scope.until, scope.tenant)
    reading = await read(log, checkpoint.size, evaluation)
    evaluation.close()
    figures = Figures(log, checkpoint, keys, must, reading)
    await figures.compute(evaluation, evaluation.cited())
    findings = evaluation.findings(figures.result)
    return ReportReply(
        regulation.kind,
        regulation.title,
        instant(scope.since),
        instant(scope.until),
        scope.generated,
        checkpoint.size,
        checkpoint.root,
        checkpoint.text,
        checkpoint.origin,
        scope.tenant,
        evaluation.entries,
        dict(summary_of(findings)),
        findings,
        limits=[f"Source: {regulation.source}.", *regulation.limits],
    )


async def _entries(log: AuditLog, place: int, count: int) -> list[bytes | None]:
    """The entries there, up to the first that is missing: that is None, and a gap."""
    try:
        return await log.entries(place, count)
    except LogCorrupt as error:
        if error.leaf is None or not place <= error.leaf < place + count:
            raise
        found = await log.entries(place, error.leaf - place) if error.leaf > place else []
        return [*found, None]


async def read(log: AuditLog, size: int, evaluation: Evaluation) -> Reading:
    """Feed every entry below `size`; what reading them found of the log itself."""
    reading = Reading(size)
    place = min(log.first, size)
    while place < size:
        for data in await _entries(log, place, min(BATCH, size - place)):
            if data is None:
                reading.missing.add(place)
            else:
                try:
                    evaluation.feed(place, decode(data))
                    reading.present.add(place)
                except msgspec.DecodeError:
                    reading.missing.add(place)
            place += 1
    reading.gone = min(log.first, size)
    # A prefix that was disposed of while the log was read is no gap.
    if reading.gone and reading.missing.count and reading.missing.places[-1] < reading.gone:
        reading.missing = type(reading.missing)()
    return reading
