"""HL7 v2 messages as they travel on the bus, and the services of whoever receives them.

| subject | request or event | answer |
|---|---|---|
| `hl7.<type>.<event>` (lower case, such as `hl7.adt.a01`) | event `Hl7Message` | |
| `hl7.status` | `StatusRequest` | `Status` |
| `hl7.replay` | `ReplayRequest` | `ReplayReply` |
| `hl7.messages` | `MessagesRequest` | `MessagesReply` |
| `hl7.receive` | `ReceiveRequest` | `ReceiveReply` |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "MESSAGES",
    "RECEIVE",
    "REPLAY",
    "STATUS",
    "Hl7Message",
    "MessageRow",
    "MessageStatus",
    "MessagesReply",
    "MessagesRequest",
    "ReceiveReply",
    "ReceiveRequest",
    "ReplayReply",
    "ReplayRequest",
    "Status",
    "StatusRequest",
    "subject_of",
]

#: What became of a stored message: still to be published, handled by every subscriber, nobody subscribes, given up.
MessageStatus = Literal["received", "done", "unhandled", "failed"]

#: Service: how many messages were received, published, refused (`StatusRequest` → `Status`).
STATUS = "hl7.status"
#: Service: publish stored messages again (`ReplayRequest` → `ReplayReply`).
REPLAY = "hl7.replay"
#: Service: metadata of stored messages, page by page, never their content (`MessagesRequest` → `MessagesReply`).
MESSAGES = "hl7.messages"
#: Service: hand in a message without TCP, by the same path (`ReceiveRequest` → `ReceiveReply`).
RECEIVE = "hl7.receive"


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
    `unhandled` has no subscriber; `failed` was given up after its last attempt; `conflicts` reused a control id for
    other content; `rate_per_s` is what was stored over the last minute; `last_error` a code, never patient data.
    """

    received: int = 0
    published: int = 0
    pending: int = 0
    rejected: int = 0
    duplicates: int = 0
    connections: int = 0
    unhandled: int = 0
    failed: int = 0
    conflicts: int = 0
    rate_per_s: float = 0.0
    last_error: str = ""


@dataclass(frozen=True)
class ReplayRequest:
    """Publish stored messages again: those that fit every condition given; at least one must be given.

    `keys`; received in `[since, until)` (RFC 3339); `status` (of `failed`, `unhandled`, `done`; empty: the first two,
    or with `keys` all three); `type` and `event` (MSH-9). With `renew`, the messages get a new key, so that handlers
    which are idempotent by key handle them once more (after a corrected mapping, say).
    """

    keys: list[str] = field(default_factory=list)
    since: str = ""
    until: str = ""
    status: list[str] = field(default_factory=list)
    type: str = ""
    event: str = ""
    renew: bool = False


@dataclass(frozen=True)
class ReplayReply:
    """How many messages were queued to be published again."""

    replayed: int


@dataclass(frozen=True)
class MessagesRequest:
    """Metadata of stored messages in the order of their arrival, after cursor `after`, at most `limit`."""

    status: str = ""
    type: str = ""
    event: str = ""
    since: str = ""
    until: str = ""
    limit: int = 100
    after: str = ""


@dataclass(frozen=True)
class MessageRow:
    """One stored message without its content. `error` is the code of the last failure."""

    key: str
    type: str
    event: str
    control_id: str
    sending_facility: str
    version: str
    received: str
    status: str
    attempts: int
    error: str
    size: int


@dataclass(frozen=True)
class MessagesReply:
    """One page. `next` is the cursor for the next page, empty at the end."""

    messages: list[MessageRow] = field(default_factory=list)
    next: str = ""


@dataclass(frozen=True)
class ReceiveRequest:
    """One HL7 v2 message, as it would stand in an MLLP frame."""

    text: str


@dataclass(frozen=True)
class ReceiveReply:
    """The acknowledgement: `code` (MSA-1), `error` (a code of HL7 table 0357, or empty) with `reason`, the `key` under
    which the message is stored, whether it was a `duplicate`, and `text`, the whole ACK message."""

    code: str
    control_id: str
    key: str = ""
    duplicate: bool = False
    error: str = ""
    reason: str = ""
    text: str = ""


def subject_of(type: str, event: str) -> str:
    """The subject of a message: `subject_of("ADT", "A01") == "hl7.adt.a01"`; an empty event becomes `none`.

    What MSH-9 may hold but a subject may not becomes `_`.
    """

    def token(text: str) -> str:
        return "".join(char if char.isascii() and char.isalnum() else "_" for char in text.lower()) or "none"

    return f"hl7.{token(type)}.{token(event)}"
