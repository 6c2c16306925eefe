"""Legal holds. A hold is placed by an entry and released by an entry: the log says which are in force, and nothing else does.

So that it stays able to say so, the entry that places a hold is itself kept while the hold is in force.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rustcare_plugin_audit.entry import Entry

__all__ = ["MARK", "PLACED", "RELEASED", "HoldBook", "LegalHold", "covering", "covers", "subjects_of"]

PLACED = "audit.hold.placed"
RELEASED = "audit.hold.released"
#: In the bytes of every entry about a hold.
MARK = b'"audit.hold.'
FOREVER = 2**62


@dataclass(frozen=True)
class LegalHold:
    """A hold: of a tenant or all (empty), of a subject's pseudonym or all (empty), of `[since, until)` in µs."""

    id: str
    place: int
    placed: int
    by: str = ""
    reason: str = ""
    reference: str = ""
    tenant: str = ""
    pseudonym: str = ""
    since: int = 0
    until: int = FOREVER
    released: int = 0
    released_by: str = ""

    @property
    def scope(self) -> str:
        """In words."""
        parts = ["patient"] if self.pseudonym else []
        if self.since > 0 or self.until < FOREVER:
            parts.append("time")
        return " and ".join(parts) or "everything"

    def details(self) -> dict[str, Any]:
        """What its entry says, in clear: nothing personal."""
        said = {"hold": self.id, "reason": self.reason, "scope": self.scope}
        given = {"reference": self.reference, "tenant": self.tenant, "pseudonym": self.pseudonym}
        said.update({name: value for name, value in given.items() if value})
        times = {"since": self.since} if self.since > 0 else {}
        if self.until < FOREVER:
            times["until"] = self.until
        return {**said, **times}


def covers(hold: LegalHold, entry: Entry) -> bool:
    """Whether a hold keeps an entry. Outcomes, which do not say whose they are, come after the attempts that they belong to:
    only a prefix is ever disposed of, so a hold on an attempt keeps its outcome as well."""
    if hold.tenant and (entry.which is None or entry.which.tenant != hold.tenant):
        return False
    if hold.pseudonym and hold.pseudonym not in subjects_of(entry):
        return False
    times = {entry.time}
    if entry.disclosure is not None and entry.disclosure.time:
        times.add(entry.disclosure.time)
    return any(hold.since <= time < hold.until for time in times)


def subjects_of(entry: Entry) -> set[str]:
    """The pseudonyms that an entry names."""
    found = set(entry.subjects)
    if entry.disclosure is not None:
        found.add(entry.disclosure.subject)
    return found


class HoldBook:
    """The holds that entries of the log have placed and released."""

    def __init__(self) -> None:
        self._holds: dict[str, LegalHold] = {}

    def feed(self, place: int, entry: Entry) -> None:
        """An entry of the log, in order; of entries that are not about holds nothing is taken."""
        action = entry.what.action if entry.what is not None else ""
        # Only the audit plugin's own facts count: what others are on record with has their own kind or action.
        if entry.kind != "fact" or action not in (PLACED, RELEASED):
            return
        said = entry.details
        by = entry.who.principal if entry.who is not None else ""
        id_ = str(said.get("hold", ""))
        if action == RELEASED:
            if id_ in self._holds:
                self._holds[id_] = replace(self._holds[id_], released=entry.time, released_by=by)
            return
        self._holds[id_] = LegalHold(
            id_,
            place,
            entry.time,
            by,
            str(said.get("reason", "")),
            str(said.get("reference", "")),
            str(said.get("tenant", "")),
            str(said.get("pseudonym", "")),
            int(said.get("since", 0)),
            int(said.get("until", FOREVER)),
        )

    def all(self) -> list[LegalHold]:
        """In the order in which they were placed."""
        return list(self._holds.values())

    def in_force(self) -> list[LegalHold]:
        """Those that were not released."""
        return [hold for hold in self._holds.values() if not hold.released]


def covering(in_force: Iterable[LegalHold], place: int, entry: Entry) -> list[str]:
    """The ids of the holds that keep an entry: those that cover it, and the one that it places itself."""
    return [hold.id for hold in in_force if hold.place == place or covers(hold, entry)]
