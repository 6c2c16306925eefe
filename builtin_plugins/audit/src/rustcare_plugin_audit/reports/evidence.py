"""Collecting evidence in one pass: matches, chains of steps, clocks. Memory does not grow with the number of matches.

Of what is found its number is kept and at most `CITED` places, the first and the last ones. Chains and clocks remember
their keys (changes, requests, incidents), at most `KEYS` of them; what is beyond that is counted as without its step, and the
note says so.
"""

from __future__ import annotations

from collections import deque

from rustcare_sdk.contracts.compliance import ReportEvidence

from rustcare_plugin_audit.entry import Entry

from .controls import Chain, Clock, Evidence
from .matching import Key, Match, Matcher, holds, value_at

__all__ = ["CITED", "Cites", "Collector", "Role", "collector"]

CITED = 20
KEYS = 100_000
HOUR = 3_600_000_000  # µs


class Cites:
    """How many, and where the first and the last of them are."""

    __slots__ = ("_first", "_last", "count")

    def __init__(self) -> None:
        self.count = 0
        self._first: list[int] = []
        self._last: deque[int] = deque(maxlen=CITED // 2)

    def add(self, place: int, count: int = 1) -> None:
        """One more; with `count` 0, a place that belongs to one that was counted."""
        self.count += count
        if len(self._first) < CITED // 2:
            self._first.append(place)
        else:
            self._last.append(place)

    @property
    def places(self) -> list[int]:
        """In order, without repetition."""
        return sorted({*self._first, *self._last})


class Role:
    """A part that an entry can play for a collector, such as a step of its chain. `early`: also before the report's time."""

    __slots__ = ("_kept", "early", "matcher", "name")

    def __init__(self, name: str, matches: tuple[Match, ...], *, early: bool = False) -> None:
        self.name = name
        self.early = early
        self.matcher = Matcher(matches)
        self._kept: dict[Key, tuple[Match, ...]] = {}

    def candidates(self, key: Key) -> tuple[Match, ...]:
        """The patterns whose constant part fits."""
        found = self._kept.get(key)
        if found is None:
            if len(self._kept) > 10_000:
                self._kept.clear()
            found = self._kept[key] = self.matcher.candidates(key)
        return found

    @staticmethod
    def fits(candidates: tuple[Match, ...], entry: Entry, outcome: str) -> bool:
        """Whether one of them fits wholly."""
        return any(holds(match, entry, outcome) for match in candidates)


class Collector:
    """Collects one evidence. `roles`: the parts that entries can play; `take` is called for each that does."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.found = Cites()
        self.against = Cites()
        self.note = ""
        self.roles: list[Role] = []

    def take(self, role: str, place: int, entry: Entry, *, early: bool) -> None:
        """An entry plays a role; `early`: it is from before the report's time."""
        (self.against if role == "against" else self.found).add(place)

    def close(self, until: int) -> None:
        """There are no more entries; the report's time ends at `until` (µs)."""

    def result(self) -> ReportEvidence:
        """What was found. Something against it contradicts, whatever else there is."""
        status = "contradicted" if self.against.count else "evidenced" if self.found.count else "not evidenced"
        return ReportEvidence(
            self.evidence.says,
            status,  # type: ignore[arg-type]  # one of the four
            self.found.count,
            self.found.places,
            self.against.places,
            self.note,
            self.evidence.needed,
        )


class _Matches(Collector):
    def __init__(self, evidence: Evidence) -> None:
        super().__init__(evidence)
        self.roles = [Role("found", evidence.match), Role("against", evidence.against)]

    def close(self, until: int) -> None:
        if self.against.count:
            self.note = f"{self.against.count} against it"
        elif not self.evidence.match:
            self.note = "none, as it should be"


class _Chains(Collector):
    """Steps are remembered by key; each thing that needs them is judged when it comes."""

    def __init__(self, evidence: Evidence, chain: Chain) -> None:
        super().__init__(evidence)
        self._chain = chain
        self._steps: dict[str, dict[str, tuple[int, str]]] = {}
        self._bare = Cites()  # without any step on record
        self._partial = Cites()
        self._together = Cites()
        self._full = False
        self.roles = [Role("each", chain.each)]
        self.roles += [Role(f"step:{step.name}", step.match, early=True) for step in chain.steps]

    def take(self, role: str, place: int, entry: Entry, *, early: bool) -> None:
        key = value_at(entry, self._chain.by)
        principal = entry.who.principal if entry.who is not None else ""
        if role != "each":
            if not key:
                return
            if len(self._steps) >= KEYS and key not in self._steps:
                self._full = True
                return
            self._steps.setdefault(key, {}).setdefault(role.removeprefix("step:"), (place, principal))
            return
        steps = {name: step for name, step in self._steps.get(key, {}).items() if step[0] < place}
        if not steps:
            self._bare.add(place)
        elif len(steps) < len(self._chain.steps):
            self._partial.add(place)
        elif self._chain.apart and not _apart([principal, *(who for _, who in steps.values())]):
            self._together.add(place)
        else:
            self.found.add(place)
            for step_place, _ in steps.values():
                self.found.add(step_place, 0)

    def close(self, until: int) -> None:
        names = ", ".join(step.name for step in self._chain.steps)
        notes = []
        for cites, says in (
            (self._bare, f"without any of {names} on record"),
            (self._partial, f"with only some of {names} on record"),
            (self._together, "where one person did what takes two, or who did it is not on record"),
        ):
            if cites.count:
                notes.append(f"{cites.count} {says}")
        # Where no step is on record at all, they are kept elsewhere: nothing is evidenced, and nothing contradicted.
        if self.found.count or self._partial.count or self._together.count:
            for cites in (self._bare, self._partial, self._together):
                for place in cites.places:
                    self.against.add(place)
        if self._full:
            notes.append(f"only the first {KEYS} changes were followed")
        self.note = "; ".join(notes)


def _apart(people: list[str]) -> bool:
    return all(people) and len(set(people)) == len(people)


class _Clocks(Collector):
    """Starts wait by key for their end."""

    def __init__(self, evidence: Evidence, clock: Clock) -> None:
        super().__init__(evidence)
        self._clock = clock
        self._open: dict[str, tuple[int, int]] = {}
        self._late = self._due = self._running = 0
        self._full = False
        self.roles = [Role("start", clock.start, early=True), Role("end", clock.end, early=True)]

    def take(self, role: str, place: int, entry: Entry, *, early: bool) -> None:
        key = value_at(entry, self._clock.by)
        if not key:
            return
        if role == "start":
            if len(self._open) >= KEYS:
                self._full = True
            else:
                self._open.setdefault(key, (place, entry.time))
            return
        began = self._open.pop(key, None)
        if began is None or early:
            return
        in_time = entry.time - began[1] <= self._clock.hours * HOUR
        cites = self.found if in_time else self.against
        cites.add(began[0])
        cites.add(place, 0)
        self._late += not in_time

    def close(self, until: int) -> None:
        for place, time in self._open.values():
            if until - time > self._clock.hours * HOUR:
                self._due += 1
                self.against.add(place)
            else:
                self._running += 1
        notes = [
            f"{count} {says}"
            for count, says in (
                (self._late, "late"),
                (self._due, "without an end, and overdue"),
                (self._running, "still running, in time"),
            )
            if count
        ]
        if self._full:
            notes.append(f"only {KEYS} at a time were followed")
        self.note = "; ".join(notes)


def collector(evidence: Evidence) -> Collector:
    """The collector for an evidence that is of entries."""
    if evidence.chain is not None:
        return _Chains(evidence, evidence.chain)
    if evidence.clock is not None:
        return _Clocks(evidence, evidence.clock)
    return _Matches(evidence)
