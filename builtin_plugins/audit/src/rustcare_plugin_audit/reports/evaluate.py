"""One pass over the entries of the log, for all controls at once; and what a control's status is.

An attempt's outcome comes in a later entry. Where a pattern asks for it, the attempt waits until the outcome comes, or to the
end of the log, where it is `open`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rustcare_sdk.contracts.compliance import ReportEvidence, ReportFinding, Status

from rustcare_plugin_audit.entry import Entry

from .controls import Control, Regulation
from .evidence import Cites, Collector, Role, collector
from .matching import Key, Match, key_of, outcome_of

__all__ = ["Evaluation", "status_of", "summary_of"]

#: A waiting attempt: the entry, and for whom it waits.
Waiting = tuple[Entry, list[tuple[Collector, Role, tuple[Match, ...]]]]


class Evaluation:
    """A pass over entries in the order of the log.

    Args:
        regulation: whose controls are looked at.
        since, until: µs since 1970; only entries of the time `[since, until)` are evidence.
        tenant: only its entries are, or (empty) everybody's.
    """

    def __init__(self, regulation: Regulation, since: int, until: int, tenant: str = "") -> None:
        self._regulation = regulation
        self._since, self._until, self._tenant = since, until, tenant
        self._collectors: dict[tuple[int, int], Collector] = {}
        for number, control in enumerate(regulation.control):
            for position, evidence in enumerate(control.evidence):
                if evidence.figure is None:
                    self._collectors[number, position] = collector(evidence)
        self._by_key: dict[Key, list[tuple[Collector, Role, tuple[Match, ...]]]] = {}
        self._waiting: dict[int, Waiting] = {}
        self._unsettled: dict[int, None] = {}
        self.entries = 0  # of the time and the tenant
        self.attempted = Cites()
        self.settled = Cites()
        self.first = self.last = -1

    def feed(self, place: int, entry: Entry) -> None:
        """The next entry."""
        if entry.of:
            self._settle(entry)
        if entry.time >= self._until or entry.kind in ("outcome", "continuation"):
            return
        if self._tenant and (entry.which is None or entry.which.tenant != self._tenant):
            return
        early = entry.time < self._since
        if not early:
            self.entries += 1
            self.last = place
            if self.first < 0:
                self.first = place
            if entry.kind in ("use", "operation"):
                self.attempted.add(place)
                self._unsettled[place] = None
        key = key_of(entry)
        interested = self._by_key.get(key)
        if interested is None:
            if len(self._by_key) > 10_000:
                self._by_key.clear()
            interested = self._by_key[key] = self._interested(key)
        outcome = outcome_of(entry.kind)
        waiting = []
        for one, role, candidates in interested:
            if early and not role.early:
                continue
            if outcome == "open" and role.matcher.waits:
                waiting.append((one, role, candidates))
            elif role.fits(candidates, entry, outcome):
                one.take(role.name, place, entry, early=early)
        if waiting:
            self._waiting[place] = entry, waiting

    def _interested(self, key: Key) -> list[tuple[Collector, Role, tuple[Match, ...]]]:
        found = []
        for one in self._collectors.values():
            for role in one.roles:
                candidates = role.candidates(key)
                if candidates:
                    found.append((one, role, candidates))
        return found

    def _settle(self, entry: Entry) -> None:
        for row in entry.of:
            place, outcome, code = [*row, ""][:3]
            if place in self._unsettled:
                del self._unsettled[place]
                self.settled.add(place)
            found = self._waiting.pop(place, None)
            if found is not None:
                self._decide(place, found, outcome_of("use", outcome, code))

    def _decide(self, place: int, waiting: Waiting, outcome: str) -> None:
        entry, interested = waiting
        for one, role, candidates in interested:
            if role.fits(candidates, entry, outcome):
                one.take(role.name, place, entry, early=entry.time < self._since)

    def close(self) -> None:
        """There are no more entries."""
        for place, waiting in self._waiting.items():
            self._decide(place, waiting, "open")
        self._waiting.clear()
        for one in self._collectors.values():
            one.close(self._until)

    @property
    def open(self) -> Sequence[int]:
        """Attempts without an outcome, in order."""
        return list(self._unsettled)

    def cited(self) -> list[int]:
        """All places that are cited so far, in order."""
        found: set[int] = set()
        for one in self._collectors.values():
            found.update(one.found.places, one.against.places)
        return sorted(found)

    def findings(self, figure: Callable[[str, str, bool], ReportEvidence]) -> list[ReportFinding]:
        """What there is for each control. `figure(name, says, needed)` answers for the log's own figures."""
        found = []
        for number, control in enumerate(self._regulation.control):
            evidence = []
            for position, item in enumerate(control.evidence):
                if item.figure is not None:
                    evidence.append(figure(item.figure, item.says, item.needed))
                else:
                    evidence.append(self._collectors[number, position].result())
            found.append(_finding(control, evidence))
        return found


def _finding(control: Control, evidence: list[ReportEvidence]) -> ReportFinding:
    return ReportFinding(control.id, control.title, control.asks, status_of(evidence), evidence, control.beyond)


def status_of(evidence: Sequence[ReportEvidence]) -> Status:
    """A control's status. Only needed evidence speaks for it; anything may speak against it."""
    if any(item.status == "contradicted" for item in evidence):
        return "contradicted"
    needed = [item.status == "evidenced" and item.found > 0 for item in evidence if item.needed]
    if needed and all(needed):
        return "evidenced"
    return "partly evidenced" if any(needed) else "not evidenced"


def summary_of(findings: Sequence[ReportFinding]) -> Mapping[str, int]:
    """How many controls have which status."""
    counts = dict.fromkeys(("evidenced", "partly evidenced", "not evidenced", "contradicted"), 0)
    for finding in findings:
        counts[finding.status] += 1
    return counts
