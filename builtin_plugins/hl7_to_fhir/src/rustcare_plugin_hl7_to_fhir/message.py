"""Reads HL7 v2 text: segments and fields by plain splits, deeper levels only where a table asks for them.

Tolerant where feeds in the field are (BOM, MLLP framing, LF and CRLF, line breaks inside a field), strict where a guess
could put one patient's data into another's record (several messages in one text, delimiters that are not distinct).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rustcare_sdk.errors import ServiceError

__all__ = ["CODE", "Delimiters", "Document", "Segment", "escape", "parse", "unescape"]

#: The stable code of every refusal of this plugin.
CODE = "hl7-to-fhir.unmappable"

_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}(?![A-Za-z0-9])")
_FRAME = "\ufeff\x0b\r\n\t "


class Delimiters:
    """What MSH-1 and MSH-2 say: `field`, `component`, `repetition`, `escape`, `subcomponent`."""

    __slots__ = ("component", "escape", "field", "repetition", "subcomponent")

    def __init__(
        self, field: str = "|", component: str = "^", repetition: str = "~", escape: str = "\\", subcomponent: str = "&"
    ) -> None:
        self.field = field
        self.component = component
        self.repetition = repetition
        self.escape = escape
        self.subcomponent = subcomponent


class Segment:
    """One segment. `fields[n]` is field n as it was sent (`fields[0]` the name), `index` its place in the message."""

    __slots__ = ("fields", "index", "name")

    def __init__(self, name: str, fields: list[str], index: int) -> None:
        self.name = name
        self.fields = fields
        self.index = index

    def field(self, number: int) -> str:
        """Field `number` as it was sent, or an empty string."""
        return self.fields[number] if number < len(self.fields) else ""


class Document:
    """One parsed message: its delimiters and its segments, MSH first."""

    __slots__ = ("delimiters", "segments")

    def __init__(self, delimiters: Delimiters, segments: list[Segment]) -> None:
        self.delimiters = delimiters
        self.segments = segments

    @property
    def header(self) -> Segment:
        """MSH."""
        return self.segments[0]

    def component(self, text: str, number: int = 1) -> str:
        """Component `number` of the first repetition of a field, decoded."""
        marks = self.delimiters
        parts = text.split(marks.repetition, 1)[0].split(marks.component)
        if number > len(parts):
            return ""
        return unescape(parts[number - 1].split(marks.subcomponent, 1)[0], marks).strip()


def _refuse(message: str, hint: str) -> ServiceError:
    return ServiceError(CODE, message, hint=hint, address="MSH")


def parse(text: str) -> Document:
    """The message in `text`.

    Raises:
        ServiceError: `hl7-to-fhir.unmappable` when this is not exactly one HL7 v2 message. Never with its content.
    """
    text = text.lstrip(_FRAME).rstrip("\x1c\r\n")
    if text[:3] in ("FHS", "BHS"):  # a batch of one is a message in an envelope
        start = re.search(r"[\r\n]MSH", text)
        text = text[start.end() - 3 :] if start else ""
    if text[:3] != "MSH" or len(text) < 8:
        raise _refuse("expected a message that begins with MSH", "send one HL7 v2 message in ER7 (pipe) encoding")
    marks = _delimiters(text)
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    segments: list[Segment] = []
    for line in text.split("\r"):
        if not line or line.isspace():
            continue
        name = line[:3]
        if _SEGMENT.match(line) is None:
            # A sender broke a line inside a field: the rest belongs to the field that was being sent.
            segments[-1].fields[-1] += "\n" + line
            continue
        if name == "MSH" and segments:
            raise _refuse("expected one message, found several MSH segments", "send each message on its own")
        if name in ("BTS", "FTS"):
            continue
        fields = line.split(marks.field)
        if name == "MSH":
            fields.insert(1, marks.field)  # MSH-1 is the separator itself
        segments.append(Segment(name, fields, len(segments)))
    return Document(marks, segments)


def _delimiters(text: str) -> Delimiters:
    field = text[3]
    line = re.split(r"[\r\n]", text, maxsplit=1)[0]
    encoding = line[4:].split(field, 1)[0]
    component, repetition, escape_mark, subcomponent = tuple(encoding[:4] + "^~\\&"[len(encoding[:4]) :])
    marks = (field, component, repetition, escape_mark, subcomponent)
    if len(set(marks)) != 5 or any(mark.isalnum() or mark.isspace() for mark in marks):
        raise _refuse(
            "the delimiters in MSH-1 and MSH-2 are not five distinct punctuation marks", "the usual ones are |^~\\&"
        )
    return Delimiters(field, component, repetition, escape_mark, subcomponent)


def _hex(body: str) -> str | None:
    try:
        return bytes.fromhex(body[1:]).decode("utf-8", "replace")
    except ValueError:
        return None


def _decoders(marks: Delimiters) -> dict[str, str]:
    return {
        "F": marks.field,
        "S": marks.component,
        "R": marks.repetition,
        "E": marks.escape,
        "T": marks.subcomponent,
        "P": "#",
        "H": "",
        "N": "",
        ".br": "\n",
        ".ce": "\n",
        ".sp": "\n",
        ".fi": "",
        ".nf": "",
    }


def unescape(text: str, marks: Delimiters) -> str:
    """Decode escape sequences. What is no known sequence stays as it was sent, so nothing is lost."""
    mark = marks.escape
    if mark not in text:
        return text
    known = _decoders(marks)
    pieces = text.split(mark)
    out = [pieces[0]]
    position = 1
    while position < len(pieces):
        body = pieces[position]
        if position == len(pieces) - 1:  # no closing mark: not a sequence
            out.append(mark + body)
            break
        value = known.get(body)
        if value is None and body[:1] == "X" and len(body) > 1:
            value = _hex(body)
        if value is None and body[:3] in (".sp", ".in", ".ti", ".sk"):
            value = _spacing(body)
        if value is None:
            out.append(mark + body)  # its closing mark may open the next sequence
            position += 1
            continue
        out.append(value)
        out.append(pieces[position + 1])
        position += 2
    return "".join(out)


def _spacing(body: str) -> str | None:
    count = body[3:].strip().lstrip("+")
    if not count.isdecimal() or len(count) > 2:
        return None
    return ("\n" if body[:3] == ".sp" else " ") * int(count)


def escape(text: str, marks: Delimiters) -> str:
    """Encode text for a field: `unescape(escape(text, marks), marks) == text`."""
    encode: dict[str, str] = {
        mark: f"{marks.escape}{letter}{marks.escape}"
        for letter, mark in (
            ("E", marks.escape),
            ("F", marks.field),
            ("S", marks.component),
            ("R", marks.repetition),
            ("T", marks.subcomponent),
            ("X0D", "\r"),
            ("X0A", "\n"),
        )
    }
    translate: Callable[[str], str] = lambda char: encode.get(char, char)  # noqa: E731
    return "".join(map(translate, text))
