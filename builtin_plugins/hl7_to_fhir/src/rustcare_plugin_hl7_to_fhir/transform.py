"""`transform`: HL7 v2 text in, FHIR R4 resources out. No clock, no randomness: the same text gives the same result."""

from __future__ import annotations

import re
from typing import Any

from rustcare_sdk.errors import ServiceError

from .assemble import Assembler
from .environment import Environment
from .message import CODE, Document, parse

__all__ = ["transform"]

_ZONE = re.compile(r"(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)$")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)$")


def _kind(document: Document) -> tuple[str, str]:
    """Message type and event: MSH-9, or what MSH-9.3 and EVN-1 say when the event is missing."""
    field = document.header.field(9)
    type, event = document.component(field).upper(), document.component(field, 2).upper()
    if not event:
        structure = document.component(field, 3).upper()
        event = structure[4:] if structure[:4] == f"{type}_" else ""
    if not event and type == "ADT":
        event = next((document.component(s.field(1)).upper() for s in document.segments if s.name == "EVN"), "")
    return type, event


def _zone(document: Document, zone: str) -> str:
    """The offset of times that name none: the message's own (MSH-7), else the configured one."""
    found = _OFFSET.search(document.component(document.header.field(7)))
    if found is None:
        return zone
    sign, hours, minutes = found.groups()
    return "Z" if hours == minutes == "00" else f"{sign}{hours}:{minutes}"


def transform(text: str, *, timezone: str = "Z") -> dict[str, Any]:
    """The resources of one ADT or ORU^R01 message.

    Args:
        text: the message in ER7 (pipe) encoding.
        timezone: the offset (`Z`, `+02:00`) of times without one, where the message's own time has none either.

    Returns:
        `{"key": "<sending facility>/<control id>", "type": "ADT", "event": "A01", "resources": [...]}`. The list is
        empty when a well-formed message says nothing that is mapped (such as a bed status without a visit).

    Raises:
        ServiceError: `hl7-to-fhir.unmappable`: not one HL7 v2 message, or neither ADT nor ORU^R01. Never with content.
    """
    if _ZONE.match(timezone) is None:
        raise ServiceError(
            CODE, "the timezone is neither Z nor an offset", hint="such as +02:00", address="config.timezone"
        )
    document = parse(text)
    type, event = _kind(document)
    if type != "ADT" and (type, event) != ("ORU", "R01"):
        raise ServiceError(
            CODE,
            "expected ADT or ORU^R01 in MSH-9, found another message type",
            hint="subscribe a plugin that maps this type; the raw message stays with the receiver",
            address="MSH-9",
        )
    env = Environment(document, _zone(document, timezone))
    resources = Assembler(document, env, type, event).run()
    header = document.header
    key = f"{document.component(header.field(4))}/{document.component(header.field(10))}"
    return {"key": key, "type": type, "event": event, "resources": resources}
