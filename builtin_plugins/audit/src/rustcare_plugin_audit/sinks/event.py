"""`Event`: what a sink is told, one attempt with its outcome, or one fact. The mappings make their records of it.

Nothing personal is in it but what was opened for a sink that is configured so (`personal = "opened"`); a subject whose key
is destroyed stays a pseudonym.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from rustcare_plugin_audit.entry import Entry

__all__ = ["Event", "Record", "Subject", "json_line", "millis", "one_line", "rfc3339"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Subject:
    """Whom or what an event is about.

    Attributes:
        pseudonym: 64 hex digits.
        state: `closed` (not asked), `open`, `shredded`, or `failed`.
        patient: a reference such as `Patient/123`, when open and a patient.
        resources: references, when open.
        recipient: of a disclosure, when open.
        disclosed: whether it is the subject of a counted disclosure, and so certainly a patient.
        n: the disclosure's number, 0 for none.
    """

    pseudonym: str
    state: Literal["closed", "open", "shredded", "failed"] = "closed"
    patient: str = ""
    resources: tuple[str, ...] = ()
    recipient: str = ""
    disclosed: bool = False
    n: int = 0


@dataclass(frozen=True)
class Event:
    """One entry of the log, with what its continuations and its outcome say.

    Attributes:
        index: its place in the log. settled: the place of the entry with its outcome, -1 for a fact.
        entry: the entry itself.
        leaf: its leaf hash (RFC 6962), 32 bytes.
        outcome: `success`, `failure`, `interrupted`; of a fact `success`, or `failure` when it states a denial.
        code: of a failure, the error's. effect: of an interruption, `yes`, `no` or `unknown`.
        subjects: whom it is about.
        origin, size, root: the log, and a checkpoint of it that covers the entry and its outcome.
    """

    index: int
    entry: Entry
    leaf: bytes
    outcome: str = "success"
    code: str = ""
    effect: str = ""
    settled: int = -1
    subjects: tuple[Subject, ...] = ()
    origin: str = ""
    size: int = 0
    root: bytes = b""

    @property
    def action(self) -> str:
        """The entry's action: `read`, `plugin.install`, `capability.denied`, …"""
        return self.entry.what.action if self.entry.what is not None else ""

    @property
    def service(self) -> str:
        """The service that was asked, such as `fhir.read`; empty for anything but a request."""
        what = self.entry.what
        capability = what.capability if what is not None else ""
        return capability.removeprefix("bus:request@") if capability.startswith("bus:request@") else ""

    @property
    def id(self) -> str:
        """The same for an entry whenever and however often it is sent."""
        return f"{self.entry.id}-{self.index}"


@dataclass(frozen=True)
class Record:
    """What a mapping makes of an event: a line of text, and for JSON the object that it is."""

    event: Event
    text: str
    value: dict[str, Any] = field(default_factory=dict)


def rfc3339(micros: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, with six digits (what a clock gives beyond year 9999 is year 9999)."""
    try:
        moment = _EPOCH + timedelta(microseconds=max(0, micros))
    except OverflowError:
        moment = datetime.max.replace(tzinfo=UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def millis(micros: int) -> int:
    """Milliseconds since 1970."""
    return micros // 1000


# No character may start a new line, move a cursor or turn text around where a record is shown: C0, DEL, C1, the
# separators of lines and paragraphs, bidirectional controls, the byte order mark inside of a text, lone surrogates.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def one_line(text: str) -> str:
    """Text without a character that could end a line or hide another: C0 controls as their pictures, others as U+FFFD."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_picture, text)


_encoder = msgspec.json.Encoder(order="deterministic")
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def json_line(value: Any) -> str:
    """JSON in one line of printable ASCII: whatever is not is written as `\\uXXXX`, which only strings can hold."""
    try:
        text = _encoder.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate
        text = _encoder.encode(_valid(value)).decode()
    if text.isascii() and "\x7f" not in text:
        return text
    return _NOT_ASCII.sub(_escaped, text)


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_valid(key): _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, (list, tuple)) else value
