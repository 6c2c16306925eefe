"""What may be disposed of at a moment, entry by entry, and why the rest may not. Pure: entries in, a plan out."""

from __future__ import annotations

from collections.abc import Sequence

from rustcare_sdk.contracts.compliance import PlanRange, RetentionPlan

from rustcare_plugin_audit.entry import Entry
from rustcare_plugin_audit.reports.compose import instant
from rustcare_plugin_audit.reports.matching import key_of

from .holds import LegalHold, covering, subjects_of
from .policies import Period, RetentionPolicy, applying

__all__ = ["MAX_RANGES", "MAX_SUBJECTS", "Planner", "Verdict"]

MAX_RANGES = 1_000
MAX_SUBJECTS = 100_000
DAY = 86_400_000_000


class Verdict:
    """What is true of one entry. `policy`: that which keeps it longest; `keep_until`, `overdue`: µs, 0 for none."""

    __slots__ = ("disposable", "holds", "keep_until", "overdue", "policy", "why")

    def __init__(self, policy: str, keep_until: int, overdue: int, holds: Sequence[str], at: int) -> None:
        self.policy = policy
        self.keep_until = keep_until
        self.overdue = overdue
        self.holds = tuple(holds)
        self.disposable = False
        if holds:
            self.why = "held"
        elif not policy:
            self.why = "no policy applies"
        elif keep_until > at:
            self.why = "kept by policy"
        else:
            self.why = "retention has ended"
            self.disposable = True

    @property
    def same(self) -> tuple[object, ...]:
        """What neighbours must have in common to be told as one range."""
        return self.disposable, self.why, self.policy, self.holds, self.overdue > 0


class Planner:
    """Makes a plan from entries in the order of the log.

    Args:
        policies: those in force.
        holds: those in force, all of them: also those that later entries place.
        at: the moment, µs since 1970.
        first, size: of the log.
    """

    def __init__(
        self, policies: Sequence[RetentionPolicy], holds: Sequence[LegalHold], at: int, first: int, size: int
    ) -> None:
        self._policies = policies
        self._holds = holds
        self._at = at
        self._first, self._size = first, size
        self._periods = {policy.id: Period(policy.keep) for policy in policies}
        self._limits = {policy.id: Period(policy.limit) for policy in policies if policy.limit}
        self._ends: dict[tuple[str, int], int] = {}
        self._constant: dict[tuple[object, ...], tuple[RetentionPolicy, ...]] = {}
        self._ranges: list[tuple[int, int, Verdict, int, int]] = []
        self._truncated = False
        self._prefix = first
        self._blocked = ""
        self._subjects: dict[str, bool] = {}

    def verdict(self, place: int, entry: Entry) -> Verdict:
        """Whether this entry may be disposed of."""
        policy, keep_until, overdue = "", 0, 0
        for one in self._applying(entry):
            end = self._end(one.id, entry.time)
            if not policy or end > keep_until:
                policy, keep_until = one.id, end
            limit = self._limits.get(one.id)
            if limit is not None:
                gone = limit.after(entry.time)
                if gone <= self._at:
                    overdue = max(overdue, gone)
        return Verdict(policy, keep_until, overdue, covering(self._holds, place, entry), self._at)

    def _applying(self, entry: Entry) -> tuple[RetentionPolicy, ...]:
        """Remembered for each key where no policy looks at more than that."""
        if any(match.details or match.purpose or match.principal for one in self._policies for match in one.match):
            return applying(self._policies, entry)
        digest = entry.who is not None and bool(entry.who.digest)
        key = (*key_of(entry), bool(entry.sealed), bool(entry.changes), entry.disclosure is not None, digest)
        found = self._constant.get(key)
        if found is None:
            if len(self._constant) > 10_000:
                self._constant.clear()
            found = self._constant[key] = applying(self._policies, entry)
        return found

    def _end(self, policy: str, time: int) -> int:
        """The end of a policy's period: computed once for each day, as the day's remainder is added."""
        day = time // DAY
        found = self._ends.get((policy, day))
        if found is None:
            if len(self._ends) > 100_000:
                self._ends.clear()
            found = self._ends[policy, day] = self._periods[policy].after(day * DAY)
        return found + time % DAY

    def feed(self, place: int, entry: Entry | None) -> None:
        """The next entry; None for one that is not there or cannot be read, which nobody can judge: it is kept."""
        verdict = Verdict("", 0, 0, (), self._at) if entry is None else self.verdict(place, entry)
        if place == self._prefix and verdict.disposable:
            self._prefix += 1
        elif not self._blocked:
            self._blocked = f"entry {place}: {_reason(verdict)}"
        for subject in subjects_of(entry) if entry is not None else ():
            if subject in self._subjects or len(self._subjects) < MAX_SUBJECTS:
                self._subjects[subject] = self._subjects.get(subject, True) and verdict.disposable
            else:
                self._truncated = True
        self._extend(place, verdict)

    def _extend(self, place: int, verdict: Verdict) -> None:
        if self._ranges:
            first, last, before, keep_until, overdue = self._ranges[-1]
            if last == place - 1 and before.same == verdict.same:
                widest = max(keep_until, verdict.keep_until), max(overdue, verdict.overdue)
                self._ranges[-1] = first, place, before, *widest
                return
        if len(self._ranges) >= MAX_RANGES:
            self._truncated = True
            return
        self._ranges.append((place, place, verdict, verdict.keep_until, verdict.overdue))

    def close(self) -> RetentionPlan:
        """The plan."""
        ranges = [
            PlanRange(
                first,
                last,
                verdict.disposable,
                verdict.why,
                verdict.policy,
                instant(keep_until) if keep_until else "",
                list(verdict.holds),
                instant(overdue) if overdue else "",
            )
            for first, last, verdict, keep_until, overdue in self._ranges
        ]
        free = sorted(subject for subject, disposable in self._subjects.items() if disposable)
        return RetentionPlan(
            instant(self._at),
            self._first,
            self._size,
            self._prefix,
            ranges,
            self._blocked,
            free[:MAX_RANGES],
            [policy.id for policy in self._policies],
            self._truncated or len(free) > MAX_RANGES,
        )

    def disposable(self, subject: str) -> bool:
        """Whether every entry of a subject may be disposed of."""
        return self._subjects.get(subject, False)


def _reason(verdict: Verdict) -> str:
    if verdict.holds:
        return f"held by {', '.join(verdict.holds)}"
    if verdict.policy:
        return f"kept by {verdict.policy} until {instant(verdict.keep_until)}"
    return verdict.why
