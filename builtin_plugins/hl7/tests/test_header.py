"""Which messages are well formed, and what their header says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_hl7.charset import codec_of
from rustcare_plugin_hl7.header import Parsed, Policy, parse, peek, segments_of

GOOD = "MSH|^~\\&|APP|FAC|RAPP|RFAC|20260101||ADT^A01^ADT_A01|C1|P|2.5.1\rPID|1||7\r"


def message(number: int, value: str, text: str = GOOD) -> bytes:
    """The good message with MSH-`number` replaced."""
    head, _, rest = text.partition("\r")
    fields = head.split("|")
    fields += [""] * (number - len(fields))
    fields[number - 1] = value
    return ("|".join(fields) + "\r" + rest).encode()


def refusal(data: bytes, policy: Policy | None = None) -> tuple[int, bool, int] | None:
    found = parse(data, policy or Policy()).rejection
    return None if found is None else (found.code, found.fatal, found.field)


def test_the_header_is_read() -> None:
    """Everything that the answer and the store need comes from MSH."""
    header = parse(GOOD.encode(), Policy()).header
    assert (header.type, header.event, header.control_id, header.version) == ("ADT", "A01", "C1", "2.5.1")
    assert (header.sending_application, header.sending_facility) == ("APP", "FAC")
    assert (header.receiving_application, header.receiving_facility) == ("RAPP", "RFAC")


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\r\n", "\ufeff\n"])
def test_line_ends_and_a_byte_order_mark_are_tolerated(start: str, ending: str) -> None:
    """CR is the rule; files sent as they are, with LF or CRLF and a BOM, are taken as well."""
    assert refusal((start + GOOD.replace("\r", ending)).encode()) is None


def test_a_lone_lf_is_data_in_a_message_whose_segments_end_with_cr() -> None:
    """Such a message is not cut inside of a field."""
    assert segments_of("MSH|x\rOBX|a\nb\r\nNTE|1\r") == ["MSH|x", "OBX|a\nb", "NTE|1"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", (100, True, 0)),
        (b"PID|1||7\r", (100, True, 0)),
        (b"FHS|^~\\&|A\rBHS|^~\\&\r", (100, True, 0)),
        (b"MSH", (102, True, 1)),
        (b"MSHA^~\\&A", (102, True, 1)),
        (b"MSH|", (102, True, 2)),
        (b"MSH|^^~&|A", (102, True, 2)),
        (b"MSH|ABCD|A", (102, True, 2)),
        (message(9, ""), (101, False, 9)),
        (message(10, ""), (101, False, 10)),
        (message(10, "   "), (101, False, 10)),
        (message(12, ""), (101, False, 12)),
        (message(9, "adt^A01"), (102, False, 9)),
        (message(9, "ADT^A.01"), (102, False, 9)),
        (message(10, "x" * 200), (102, False, 10)),
        (message(10, "a\x1cb"), (102, False, 10)),
        (message(11, "X"), (202, True, 11)),
        (message(12, "3.0"), (203, True, 12)),
        (message(18, "KLINGON"), (103, False, 18)),
        (message(18, "UNICODE UTF-16"), (103, False, 18)),
        (GOOD.replace("7", "\u00e9").encode("latin-1"), (102, False, 18)),
        (GOOD.encode() + b"this is not a segment\r", (100, False, 0)),
    ],
)
def test_what_is_not_well_formed_is_refused(data: bytes, expected: tuple[int, bool, int]) -> None:
    """Each refusal has the code of HL7 table 0357, AE or AR, and the field."""
    assert refusal(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        message(11, ""),  # common in practice, so the default takes it
        message(11, "P^A"),
        message(12, "2.5.1^DEU"),
        message(9, "ADT"),
        message(3, ""),
        GOOD.encode() + b"ZXX|own segment\rOBX\r",
        GOOD.replace("|", "#").encode(),
        GOOD.replace("^~\\&", "^~").encode(),
        GOOD.replace("^~\\&", "^~\\&#").encode(),
        message(18, "8859/1", GOOD.replace("7", "\u00e9")).decode().encode("latin-1"),
        message(18, "UTF-8~UNICODE"),
    ],
)
def test_what_is_unusual_but_readable_is_taken(data: bytes) -> None:
    """Unknown segments, other delimiters and empty optional fields pass."""
    assert refusal(data) is None


@pytest.mark.parametrize(
    ("value", "event"), [("ORU^^ORU_R01", "R01"), ("ORU^R01", "R01"), ("ACK", ""), ("ADT^A01^ADT_A05", "A01")]
)
def test_an_empty_event_is_taken_from_the_structure(value: str, event: str) -> None:
    """MSH-9.3 names the event where MSH-9.2 does not."""
    assert parse(message(9, value), Policy()).header.event == event


def test_policies_for_types_versions_and_processing_ids() -> None:
    """What is not on the list of the configuration gets AR with a code of its own."""
    policy = Policy(types=frozenset({"ADT^A01", "ORU^*"}), versions=frozenset({"2.5.1"}))
    assert refusal(GOOD.encode(), policy) is None
    assert refusal(message(9, "ORU^R01"), policy) is None
    assert refusal(message(9, "ADT^A02"), policy) == (201, True, 9)
    assert refusal(message(9, "SIU^S12"), policy) == (200, True, 9)
    assert refusal(message(12, "2.3"), policy) == (203, True, 12)


def test_a_fallback_charset_is_tried_only_without_msh_18() -> None:
    """A sender that declares a character set is taken at its word."""
    latin = GOOD.replace("7", "\u00e9").encode("latin-1")
    policy = Policy(fallback_charset="iso8859-1")
    assert parse(latin, policy).header.codec == "iso8859-1"
    declared = message(18, "UNICODE UTF-8", GOOD.replace("7", "\u00e9")).decode().encode("latin-1")
    assert refusal(declared, policy) == (102, False, 18)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("UNICODE UTF-8", "utf-8"), ("8859/15", "iso8859-15"), ("ISO 8859-1", "iso8859-1"), ("iso8859/2", "iso8859-2")],
)
def test_table_0211_and_what_senders_write_instead(name: str, codec: str) -> None:
    """Character sets are found under their HL7 names and common spellings."""
    assert codec_of(name) == codec


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda tail: b"MSH|^~\\&|" + tail)))
def test_any_bytes_are_judged_without_a_crash(data: bytes) -> None:
    """A verdict always comes back, and its reason never repeats the message."""
    parsed = parse(data, Policy())
    assert isinstance(parsed, Parsed)
    peek(data)
    if parsed.rejection is not None:
        assert parsed.rejection.code in {100, 101, 102, 103, 200, 201, 202, 203}
