"""Reads the header of a message, and decides whether it is well formed. Nothing below the header is interpreted.

Well formed means: MSH comes first and declares its delimiters; MSH-9.1 (type), MSH-10 (control id) and MSH-12 (version)
are there; the bytes are text in the declared character set; every line is a segment (a name of three characters). Which
segments, fields and tables a message uses is the business of those who handle it: unknown segments pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .charset import codec_of

__all__ = ["Delimiters", "Header", "Parsed", "Policy", "Rejection", "parse", "peek", "segments_of"]

BOM = b"\xef\xbb\xbf"
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VERSION = re.compile(r"2\.\d(\.\d)?\Z")
#: HL7 allows 199 characters since 2.7 and 20 before; senders do not keep to it.
MAX_CONTROL_ID = 199


@dataclass(frozen=True, slots=True)
class Delimiters:
    """MSH-1 and MSH-2."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @property
    def encoding(self) -> str:
        """MSH-2 as text."""
        return self.component + self.repetition + self.escape + self.subcomponent


@dataclass(frozen=True, slots=True)
class Header:
    """What the header says; empty where it says nothing. Texts are as sent, not unescaped."""

    delimiters: Delimiters = field(default_factory=Delimiters)
    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    type: str = ""
    event: str = ""
    control_id: str = ""
    processing_id: str = ""
    version: str = ""
    accept_ack: str = ""
    application_ack: str = ""
    codec: str = "utf-8"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a message is refused. `code` is of HL7 table 0357; `fatal` means AR (never as it is), else AE.

    `segment`, `sequence` and `field` point at the place (ERR-2). `reason` never quotes the message.
    """

    code: int
    reason: str
    fatal: bool = False
    segment: str = "MSH"
    sequence: int = 1
    field: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the receiver takes. Empty sets take everything. `types` holds `ADT`, `ADT^A01` or `ADT^*`."""

    default_charset: str = "utf-8"
    fallback_charset: str = ""
    processing_ids: frozenset[str] = frozenset({"P", "T", "D", ""})
    versions: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A message's header (what could be read of it, for the answer), and the rejection when it is refused."""

    header: Header
    rejection: Rejection | None = None


def strip(data: bytes) -> bytes:
    """Without a byte order mark and blank lines around the message."""
    if data.startswith(BOM):
        data = data[3:]
    return data.strip(b"\r\n")


def segments_of(text: str) -> list[str]:
    """The segments. They end with CR; a message whose first line ends with LF or CRLF is read by that ending."""
    first_cr, first_lf = text.find("\r"), text.find("\n")
    if first_lf >= 0 and (first_cr < 0 or first_lf <= first_cr + 1):
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    elif first_lf >= 0:
        text = text.replace("\r\n", "\r")  # a lone LF is data in a message whose segments end with CR
    return [segment for segment in text.split("\r") if segment]


def peek(data: bytes) -> Header:
    """What can be read of the header of a message that is refused without being parsed (too large, not text)."""
    start = strip(data)
    if not start.startswith(b"MSH") or len(start) < 8:
        return Header()
    line = re.split(rb"[\r\n]", start, maxsplit=1)[0].decode("ascii", "replace").replace("\ufffd", "?")
    delimiters = _delimiters(line)
    return _read(line, delimiters) if isinstance(delimiters, Delimiters) else Header()


def parse(data: bytes, policy: Policy) -> Parsed:
    """Read the header of one message and judge the message."""
    data = strip(data)
    if not data.startswith(b"MSH"):
        return Parsed(Header(), Rejection(100, _first_segment(data), fatal=True, segment=""))
    line = data[: _line_end(data)].decode("latin-1")
    delimiters = _delimiters(line)
    if isinstance(delimiters, Rejection):
        return Parsed(Header(), delimiters)
    declared = _field(line.split(delimiters.field), 18).split(delimiters.repetition)[0]
    codec = codec_of(declared) if declared.strip() else policy.default_charset
    if codec is None:
        return Parsed(peek(data), Rejection(103, "MSH-18 names a character set that is not known", field=18))
    text, codec = _decode(data, codec, "" if declared.strip() else policy.fallback_charset)
    if text is None:
        return Parsed(peek(data), Rejection(102, f"the message is not text in the character set {codec}", field=18))
    segments = segments_of(text)
    header = _read(segments[0], delimiters, codec)
    return Parsed(header, _judge(header, policy) or _judge_segments(segments, delimiters.field))


def _line_end(data: bytes) -> int:
    ends = [at for at in (data.find(b"\r"), data.find(b"\n")) if at >= 0]
    return min(ends, default=len(data))


def _first_segment(data: bytes) -> str:
    if not data:
        return "the message is empty"
    name = data[:3].decode("latin-1")
    found = f", got {name}" if _NAME.match(name) else ""  # only what looks like a segment's name is repeated
    return f"the first segment must be MSH{found}"


def _delimiters(line: str) -> Delimiters | Rejection:
    separator = line[3:4]
    if not _is_delimiter(separator):
        return Rejection(102, "MSH-1 must be a field separator such as |", fatal=True, field=1)
    encoding = line[4:].split(separator, 1)[0]
    if not 2 <= len(encoding) <= 5:
        return Rejection(102, "MSH-2 must name the delimiters, such as ^~\\&", fatal=True, field=2)
    found = encoding[:4] + Delimiters().encoding[len(encoding) :]
    distinct = {separator, *encoding}
    if len(distinct) != 1 + len(encoding) or not all(map(_is_delimiter, encoding)):
        return Rejection(102, "MSH-2 must name different delimiters that are neither letters nor digits", True, field=2)
    return Delimiters(separator, *found)


def _is_delimiter(char: str) -> bool:
    return char.isascii() and char.isprintable() and not char.isalnum() and char not in ("", " ")


def _field(fields: list[str], number: int) -> str:
    return fields[number - 1] if len(fields) >= number else ""


def _decode(data: bytes, codec: str, fallback: str) -> tuple[str | None, str]:
    for name in (codec, fallback):
        if name:
            try:
                return data.decode(name), name
            except UnicodeDecodeError:
                continue
    return None, codec


def _read(line: str, delimiters: Delimiters, codec: str = "utf-8") -> Header:
    fields = line.split(delimiters.field)
    message_type = _field(fields, 9).split(delimiters.repetition)[0].split(delimiters.component)
    structure = message_type[2] if len(message_type) > 2 else ""
    event = message_type[1].strip() if len(message_type) > 1 else ""
    name = message_type[0].strip()
    if not event and structure.startswith(name + "_"):
        event = structure.removeprefix(name + "_")  # ORU^^ORU_R01
    return Header(
        delimiters=delimiters,
        sending_application=_field(fields, 3),
        sending_facility=_field(fields, 4),
        receiving_application=_field(fields, 5),
        receiving_facility=_field(fields, 6),
        type=name,
        event=event,
        control_id=_field(fields, 10).strip(" "),
        processing_id=_field(fields, 11).split(delimiters.component)[0].strip(),
        version=_field(fields, 12).split(delimiters.component)[0].strip(),
        accept_ack=_field(fields, 15).strip(),
        application_ack=_field(fields, 16).strip(),
        codec=codec,
    )


def _judge(header: Header, policy: Policy) -> Rejection | None:
    """The first thing that is wrong with a header, if anything is."""
    checks: tuple[Callable[[Header, Policy], Rejection | None], ...] = (_missing, _unusable, _unsupported)
    for check in checks:
        found = check(header, policy)
        if found is not None:
            return found
    return None


def _missing(header: Header, _policy: Policy) -> Rejection | None:
    for number, value, name in (
        (9, header.type, "the message type"),
        (10, header.control_id, "the control id"),
        (12, header.version, "the version"),
    ):
        if not value:
            return Rejection(101, f"MSH-{number} ({name}) is required and is empty", field=number)
    return None


def _unusable(header: Header, _policy: Policy) -> Rejection | None:
    if len(header.control_id) > MAX_CONTROL_ID:
        return Rejection(102, f"MSH-10 (the control id) is longer than {MAX_CONTROL_ID} characters", field=10)
    if _CONTROL.search(header.control_id):
        return Rejection(102, "MSH-10 (the control id) holds control characters", field=10)
    if not _NAME.match(header.type):
        return Rejection(102, "MSH-9.1 (the message type) must be three capital letters or digits", field=9)
    if header.event and not (header.event.isascii() and header.event.isalnum() and len(header.event) <= 16):
        return Rejection(102, "MSH-9.2 (the event) must be letters and digits", field=9)
    for number, value in ((3, header.sending_application), (4, header.sending_facility)):
        if len(value) > 1000 or _CONTROL.search(value):
            return Rejection(102, f"MSH-{number} is too long or holds control characters", field=number)
    return None


def _unsupported(header: Header, policy: Policy) -> Rejection | None:
    if policy.types and not {header.type, f"{header.type}^*", f"{header.type}^{header.event}"} & policy.types:
        if any(name.split("^")[0] == header.type for name in policy.types):
            return Rejection(201, "this event of the message type is not taken here", fatal=True, field=9)
        return Rejection(200, "this message type is not taken here", fatal=True, field=9)
    if policy.processing_ids and header.processing_id not in policy.processing_ids:
        return Rejection(202, "this processing id is not taken here", fatal=True, field=11)
    if policy.versions:
        if header.version not in policy.versions:
            return Rejection(203, "this version is not taken here", fatal=True, field=12)
    elif not _VERSION.match(header.version):
        return Rejection(203, "MSH-12 must be a version of HL7 v2, such as 2.5.1", fatal=True, field=12)
    return None


def _judge_segments(segments: list[str], separator: str) -> Rejection | None:
    for number, segment in enumerate(segments, 1):
        if segment[3:4] not in (separator, "") or not _NAME.match(segment[:3]):
            return Rejection(
                100,
                f"line {number} is not a segment: a name of three characters was expected",
                segment="",
                sequence=number,
            )
    return None
