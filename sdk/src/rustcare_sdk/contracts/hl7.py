"""HL7 v2 messages as they travel on the bus, and the services of whoever receives them.

| subject | request or event | answer |
|---|---|---|
| `hl7.<type>.<event>` (lower case, such as `hl7.adt.a01`) | event `Hl7Message` | |
| `hl7.status` | `StatusRequest` | `Status` |
| `hl7.replay` | `ReplayRequest` | `ReplayReply` |
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["REPLAY", "STATUS", "Hl7Message", "ReplayReply", "ReplayRequest", "Status", "StatusRequest", "subject_of"]

#: Service: how many messages were received, published, refused (`StatusRequest` → `Status`).
STATUS = "hl7.status"
#: Service: publish stored messages again (`ReplayRequest` → `ReplayReply`).
REPLAY = "hl7.replay"


@dataclass(frozen=True)
class Hl7Message:
    """One received message, already on disk and acknowledged.

    `key` identifies it for ever (a message that is delivered again has the same key): handlers use it to be idempotent.
    `type` and `event` are MSH-9.1 and MSH-9.2 (`ADT`, `A01`), `control_id` MSH-10, `sending_facility` MSH-4, `version`
    MSH-12, `received` the time of arrival (RFC 3339, UTC). `text` is the message itself, segments ended by CR.
    """

    key: str
    type: str
    event: str
    control_id: str
    sending_facility: str
    version: str
    received: str
    text: str


@dataclass(frozen=True)
class StatusRequest:
    """Asks for the receiver's counters."""


@dataclass(frozen=True)
class Status:
    """Counters since the store was made: messages by what became of them, and open connections now.

    `received` counts what was stored; `published` what every subscriber has handled; `pending` the difference;
    `rejected` what was refused with AE or AR; `duplicates` what came again and was acknowledged without storing.
    """

    received: int = 0
    published: int = 0
    pending: int = 0
    rejected: int = 0
    duplicates: int = 0
    connections: int = 0


@dataclass(frozen=True)
class ReplayRequest:
    """Publish stored messages again: those with these keys, or those received in `[since, until)` (RFC 3339)."""

    keys: list[str] = field(default_factory=list)
    since: str = ""
    until: str = ""


@dataclass(frozen=True)
class ReplayReply:
    """How many messages were queued to be published again."""

    replayed: int


def subject_of(type: str, event: str) -> str:
    """The subject of a message: `subject_of("ADT", "A01") == "hl7.adt.a01"`; an empty event becomes `none`.

    What MSH-9 may hold but a subject may not becomes `_`.
    """

    def token(text: str) -> str:
        return "".join(char if char.isascii() and char.isalnum() else "_" for char in text.lower()) or "none"

    return f"hl7.{token(type)}.{token(event)}"
