"""Builds acknowledgements: MSH, MSA, and an ERR segment that says why not.

The answer uses the sender's own delimiters, so that what it repeats of the header needs no escaping. Nothing of the
message beyond its header is ever repeated.
"""

from __future__ import annotations

import re
from datetime import datetime

from .header import Header, Rejection

__all__ = ["build", "codes_for"]

#: Everything that could break a segment or an MLLP frame.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")

_TEXTS = {
    100: "Segment sequence error",
    101: "Required field missing",
    102: "Data type error",
    103: "Table value not found",
    200: "Unsupported message type",
    201: "Unsupported event code",
    202: "Unsupported processing id",
    203: "Unsupported version id",
    205: "Duplicate key identifier",
    207: "Application internal error",
}


def codes_for(header: Header, rejection: Rejection | None, *, enhanced: bool) -> tuple[str, ...]:
    """The codes (MSA-1) to answer with, each in an acknowledgement of its own.

    Original mode, the default: AA, AE or AR, always one. Enhanced mode, when it is configured and the sender fills
    MSH-15 or MSH-16: CA, CE or CR if MSH-15 asks for it, then AA, AE or AR if MSH-16 does. Empty means "no".
    """
    result = "A" if rejection is None else "R" if rejection.fatal else "E"
    if not enhanced or not (header.accept_ack or header.application_ack):
        return ("A" + result,)
    good = rejection is None

    def wanted(condition: str) -> bool:
        return condition == "AL" or (condition == "SU" and good) or (condition == "ER" and not good)

    codes = ["C" + result] if wanted(header.accept_ack) else []
    # A message that was not taken is not processed either: one refusal is enough.
    if wanted(header.application_ack) and (good or not codes):
        codes.append("A" + result)
    return tuple(codes)


def build(header: Header, code: str, rejection: Rejection | None, *, control_id: str, now: datetime) -> bytes:
    """One acknowledgement message, without its frame, in the sender's character set."""
    mark = header.delimiters
    sep = mark.field

    def safe(text: str) -> str:
        return _UNSAFE.sub("", text)

    kind = mark.component.join(("ACK", header.event, "ACK") if header.event else ("ACK",))
    version = safe(header.version) or "2.5.1"
    fields = (
        "MSH" + sep + mark.encoding,
        safe(header.receiving_application),
        safe(header.receiving_facility),
        safe(header.sending_application),
        safe(header.sending_facility),
        now.strftime("%Y%m%d%H%M%S+0000"),
        "",
        safe(kind),
        control_id,
        safe(header.processing_id) or "P",
        version,
    )
    segments = [sep.join(fields), sep.join(("MSA", code, safe(header.control_id)))]
    if rejection is not None:
        reason = _escape(rejection.reason, header)
        segments[1] += sep + reason
        segments.append(_err(rejection, reason, header, version))
    text = "\r".join(segments) + "\r"
    return text.encode(header.codec, "replace")


def _err(rejection: Rejection, reason: str, header: Header, version: str) -> str:
    mark = header.delimiters
    place: tuple[str, ...] = ()
    if rejection.segment:
        place = (rejection.segment, str(rejection.sequence), *((str(rejection.field),) if rejection.field else ()))
    coded = (str(rejection.code), _TEXTS.get(rejection.code, ""), "HL70357")
    if version < "2.5":  # ERR-1: segment, sequence, field, code as subcomponents
        where = (*place, "", "", "")[:3]
        return mark.field.join(("ERR", mark.component.join((*where, mark.subcomponent.join(coded)))))
    location, error = mark.component.join(place), mark.component.join(coded)
    return mark.field.join(("ERR", "", location, error, "E", "", "", "", reason))


def _escape(text: str, header: Header) -> str:
    """Text of our own in the sender's delimiters."""
    mark = header.delimiters
    out: list[str] = []
    names = {mark.field: "F", mark.component: "S", mark.repetition: "R", mark.escape: "E", mark.subcomponent: "T"}
    for char in text:
        name = names.get(char)
        out.append(f"{mark.escape}{name}{mark.escape}" if name else char)
    return "".join(out)
