"""Acknowledgements: what they say, and that they can always be framed and read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_hl7.ack import build, codes_for
from rustcare_plugin_hl7.header import Header, Policy, Rejection, parse
from rustcare_plugin_hl7.mllp import FrameDecoder, wrap

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = b"MSH|^~\\&|APP|FAC|RAPP|RFAC|20260101||ADT^A01^ADT_A01|C1|T|2.5.1\rPID|1||7\r"


def answer(data: bytes, code: str = "AA") -> list[list[str]]:
    parsed = parse(data, Policy())
    text = build(parsed.header, code, parsed.rejection, control_id="1", now=NOW).decode(parsed.header.codec)
    return [segment.split("|") for segment in text.split("\r") if segment]


def test_an_acknowledgement_goes_back_to_the_sender() -> None:
    """Sender and receiver change places; MSA repeats the control id; processing id and version are the sender's."""
    msh, msa = answer(GOOD)
    assert msh[:8] == ["MSH", "^~\\&", "RAPP", "RFAC", "APP", "FAC", "20260102030405+0000", ""]
    assert msh[8:] == ["ACK^A01^ACK", "1", "T", "2.5.1"]
    assert msa == ["MSA", "AA", "C1"]


def test_a_refusal_says_why_and_where() -> None:
    """MSA-3 and ERR: place, code of table 0357, severity, text."""
    _, msa, err = answer(GOOD.replace(b"|C1|", b"||"), "AE")
    assert msa[:3] == ["MSA", "AE", ""]
    assert "control id" in msa[3]
    assert err[2:5] == ["MSH^1^10", "101^Required field missing^HL70357", "E"]
    assert err[8] == msa[3]


def test_before_2_5_the_error_is_in_err_1() -> None:
    """ERR changed its form with version 2.5; a sender gets the form of its version."""
    _, _, err = answer(GOOD.replace(b"|C1|", b"||").replace(b"2.5.1", b"2.3"), "AE")
    assert err == ["ERR", "MSH^1^10^101&Required field missing&HL70357"]


def test_the_senders_delimiters_are_used() -> None:
    """What the answer repeats of the header is read by its own delimiters."""
    parsed = parse(GOOD.replace(b"|", b"#").replace(b"^", b"!"), Policy())
    text = build(parsed.header, "AA", None, control_id="1", now=NOW).decode()
    assert text.startswith("MSH#!~\\&#RAPP#RFAC#APP#FAC#")
    assert "#ACK!A01!ACK#" in text


@pytest.mark.parametrize(
    ("accept", "application", "good", "expected"),
    [
        ("", "", True, ("AA",)),
        ("AL", "NE", True, ("CA",)),
        ("NE", "AL", True, ("AA",)),
        ("AL", "AL", True, ("CA", "AA")),
        ("NE", "NE", True, ()),
        ("NE", "NE", False, ()),
        ("ER", "NE", True, ()),
        ("ER", "NE", False, ("CE",)),
        ("SU", "NE", True, ("CA",)),
        ("SU", "ER", False, ("AE",)),
        ("AL", "AL", False, ("CE",)),
        ("AL", "", True, ("CA",)),
    ],
)
def test_enhanced_mode_follows_msh_15_and_16(
    accept: str, application: str, good: bool, expected: tuple[str, ...]
) -> None:
    """AL always, NE never, SU on success, ER on error; original mode always answers once."""
    header = Header(accept_ack=accept, application_ack=application)
    rejection = None if good else Rejection(101, "x")
    assert codes_for(header, rejection, enhanced=True) == expected
    assert codes_for(header, rejection, enhanced=False) == (("AA",) if good else ("AE",))


def test_a_fatal_refusal_is_ar() -> None:
    """AR says that the same message will never be taken."""
    assert codes_for(Header(), Rejection(200, "x", fatal=True), enhanced=False) == ("AR",)


FIELD = st.text(max_size=20)
BYTES = st.one_of(
    st.binary(max_size=200),
    st.lists(FIELD, max_size=20).map(lambda fields: ("MSH|^~\\&|" + "|".join(fields)).encode("utf-8", "replace")),
)


@given(BYTES, st.sampled_from(["AA", "AE", "AR"]))
def test_any_answer_survives_its_frame(data: bytes, code: str) -> None:
    """Whatever the header held, the answer is one frame of two or three segments with the right code."""
    parsed = parse(data, Policy())
    rejection = None if code == "AA" else parsed.rejection or Rejection(207, "a | b ^ c")
    text = build(parsed.header, code, rejection, control_id="1", now=NOW)
    (frame,) = FrameDecoder(1 << 20).feed(wrap(text))
    assert frame.data == text
    segments = [segment for segment in text.split(b"\r") if segment]
    assert [segment[:3] for segment in segments] == [b"MSH", b"MSA", b"ERR"][: 2 if rejection is None else 3]
    assert parse(text, Policy(processing_ids=frozenset())).header.delimiters == parsed.header.delimiters
