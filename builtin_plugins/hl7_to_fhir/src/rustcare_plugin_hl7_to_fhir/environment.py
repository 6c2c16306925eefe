"""What is known while one message is mapped: its delimiters, its scope for ids, and the resources made so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

from .message import Document, unescape

__all__ = ["Environment", "Resource"]

Resource = dict[str, Any]


class Environment:
    """One message's scope. `separators[level]` splits a value of that level: 0 field, 1 component, 2 subcomponent."""

    __slots__ = ("_marks", "facility", "referred", "repetition", "resources", "scope", "separators", "unescape", "zone")

    def __init__(self, document: Document, zone: str) -> None:
        marks = document.delimiters
        self._marks = marks
        self.separators = (marks.component, marks.subcomponent, "")
        self.repetition = marks.repetition
        escape = marks.escape
        self.unescape: Callable[[str], str] = lambda text: unescape(text, marks) if escape in text else text
        self.zone = zone
        header = document.header
        #: Who numbers what carries no assigning authority: the sending facility, else the sending application.
        self.facility = header.field(4) or header.field(3)
        # MSH-7 is part of it because many senders restart their control ids; a message that is sent again keeps it.
        self.scope = "\x1e".join((header.field(3), header.field(4), header.field(7), header.field(10)))
        self.resources: dict[tuple[str, str], Resource] = {}
        #: (datatype, its parts) → the reference that was made of them.
        self.referred: dict[tuple[str, ...], str] = {}

    def identify(self, kind: str, *parts: str) -> str:
        """The id of a resource: the same parts give the same id, in every message and on every machine."""
        return sha256("\x1f".join((kind, *parts)).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def fresh(self, kind: str, *parts: str) -> str:
        """An id like `identify`, but not one that this message already gave to a resource: the second gets another."""
        found = self.identify(kind, *parts)
        count = 1
        while (kind, found) in self.resources:
            count += 1
            found = self.identify(kind, *parts, str(count))
        return found

    def local(self, kind: str, *parts: str) -> str:
        """The id of something that only this message knows."""
        return self.identify(kind, "message", self.scope, *parts)

    def authority(self, system: Any) -> str:
        """The name of who assigned an identifier: its system, or the sender."""
        return str(system) if system else f"facility:{self.facility}"

    def key_of(self, identifiers: Iterable[Resource]) -> tuple[str, str] | None:
        """(authority, value) of the first identifier that has a value."""
        for identifier in identifiers:
            value = identifier.get("value")
            if value:
                return self.authority(identifier.get("system")), value
        return None

    def add(self, kind: str, id: str, resource: Resource) -> Resource:
        """Take a resource up. One that is there already keeps what it has and gains what it lacks."""
        known = self.resources.get((kind, id))
        if known is None:
            known = self.resources[kind, id] = {"resourceType": kind, "id": id}
        for name, value in resource.items():
            known.setdefault(name, value)
        return known
