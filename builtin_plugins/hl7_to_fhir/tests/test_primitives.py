"""Dates, times, numbers: what is valid in FHIR comes out, what is not is left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_hl7_to_fhir.environment import Environment
from rustcare_plugin_hl7_to_fhir.message import parse
from rustcare_plugin_hl7_to_fhir.primitives import PRIMITIVES

ENV = Environment(parse(r"MSH|^~\&|A|F|||20260101||ADT^A01|1|P|2.5"), "+02:00")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("date", "1970", "1970"),
        ("date", "197001", "1970-01"),
        ("date", "19700131", "1970-01-31"),
        ("date", "19700131235959.1234-0500", "1970-01-31"),
        ("date", "1970-01-31", "1970-01-31"),
        ("date", "20240229", "2024-02-29"),
        ("date", "20230229", None),
        ("date", "19700001", None),
        ("date", "0000", None),
        ("date", "yesterday", None),
        ("dateTime", "2026031409", "2026-03-14T09:00:00+02:00"),
        ("dateTime", "20260314091501.25Z", "2026-03-14T09:15:01.25Z"),
        ("dateTime", "202603140915-0330", "2026-03-14T09:15:00-03:30"),
        ("dateTime", "202603140915+0000", "2026-03-14T09:15:00Z"),
        ("dateTime", "202603142515", "2026-03-14"),
        ("dateTime", "20260314", "2026-03-14"),
        ("instant", "20260314", None),
        ("instant", "20260314091501+0100", "2026-03-14T09:15:01+01:00"),
        ("time", "2231", "22:31:00"),
        ("time", "223100.5", "22:31:00.5"),
        ("time", "2531", None),
        ("number", "13.40", 13.4),
        ("number", "-7", -7),
        ("number", "+.5", 0.5),
        ("number", "<5", None),
        ("number", "1,5", None),
        ("number", "nan", None),
        ("number", "1e999", None),
        ("integer", "2", 2),
        ("integer", "2.5", None),
        ("positiveInt", "0", None),
        ("boolean", "Y", True),
        ("boolean", "N", False),
        ("boolean", "U", None),
        ("code", "  a   b ", "a b"),
        ("string", " ", None),
        ("text", "one~two", "one\ntwo"),
    ],
)
def test_conversions(kind: str, text: str, value: object) -> None:
    """Each form of a value, and each that FHIR does not allow. Times without an offset take the message's."""
    assert PRIMITIVES[kind](text, ENV) == value


@given(st.sampled_from(sorted(PRIMITIVES)), st.text())
def test_no_primitive_raises(kind: str, text: str) -> None:
    """Any text is converted or left out."""
    PRIMITIVES[kind](text, ENV)


@given(st.datetimes())
def test_every_datetime_comes_through(moment: object) -> None:
    """A full timestamp keeps all of its digits."""
    text = f"{moment:%m%d%H%M%S}"  # a year before 1000 is not padded by every platform's strftime
    year = f"{moment.year:04d}"  # type: ignore[attr-defined]
    value = PRIMITIVES["dateTime"](f"{year}{text}+0000", ENV)
    assert value == f"{moment.isoformat()[:19]}Z"  # type: ignore[attr-defined]
