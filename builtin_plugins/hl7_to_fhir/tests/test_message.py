"""The parser: what it takes, what it refuses, and that nothing is lost on the way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_hl7_to_fhir import transform
from rustcare_plugin_hl7_to_fhir.message import CODE, Delimiters, escape, parse, unescape
from rustcare_sdk.errors import ServiceError

HEADER = r"MSH|^~\&|APP|FAC|||20260101||ADT^A08|1|P|2.5"
PLAIN = Delimiters()


@given(st.text())
def test_escaping_round_trips(text: str) -> None:
    """Any text survives being put into a field."""
    encoded = escape(text, PLAIN)
    assert not set(encoded) & set("|^~&\r\n")
    assert unescape(encoded, PLAIN) == text


@given(st.text(alphabet="|^~&\\FSRTEXHN.br0Dsp+1 z", max_size=40))
def test_unescape_takes_any_text(text: str) -> None:
    """What looks like an escape sequence and is none stays; nothing raises."""
    unescape(text, PLAIN)


@given(st.permutations("*!@%/"), st.text())
def test_other_delimiters_round_trip(order: list[str], text: str) -> None:
    """MSH-1 and MSH-2 say what the delimiters are, not custom."""
    marks = "".join(order)
    field, component, repetition, mark, subcomponent = order
    delimiters = Delimiters(field, component, repetition, mark, subcomponent)
    header = field.join(("MSH" + field + marks[1:], "A", "F", "", "", "", "", f"ADT{component}A08", "1", "P", "2.5"))
    document = parse(f"{header}\rNTE{field}1{field}{field}{escape(text, delimiters)}{field}end")
    assert unescape(document.segments[1].field(3), document.delimiters) == text


@given(st.text())
def test_any_text_gives_a_typed_error(text: str) -> None:
    """Text that is no message is refused with our code, never with another exception, and never quoted."""
    with pytest.raises(ServiceError) as caught:
        transform(text)
    assert caught.value.code == CODE


FIELD = st.text(alphabet='^~&\\|"A0129.-+ ZLMFXE\u00e9\U0001f600', max_size=24)
LINE = st.builds(
    lambda name, fields: "|".join((name, *fields)),
    st.sampled_from(["PID", "PD1", "NK1", "MRG", "PV1", "PV2", "ORC", "OBR", "OBX", "SPM", "NTE", "ZZ1", "junk"]),
    st.lists(FIELD, max_size=30),
)


@given(st.sampled_from(["ADT^A01", "ADT^A40", "ADT^A45", "ADT^A24", "ORU^R01"]), st.lists(LINE, max_size=8))
def test_any_segments_give_whole_resources(kind: str, lines: list[str]) -> None:
    """Whatever stands in the segments: resources without empty parts and with references that lead somewhere. Twice
    the same."""
    text = "\r".join((rf"MSH|^~\&|APP|FAC|||20260101||{kind}|1|P|2.5", *lines))
    found = transform(text)
    assert found == transform(text)
    ids = {f"{resource['resourceType']}/{resource['id']}" for resource in found["resources"]}
    assert len(ids) == len(found["resources"])
    assert_complete(found["resources"], ids)


def assert_complete(value: object, ids: set[str]) -> None:
    """FHIR forbids empty objects, arrays and strings; a reference leads to a resource of the same message."""
    assert value not in ("", None, {})
    if isinstance(value, dict):
        if "reference" in value:
            assert value["reference"] in ids
        for item in value.values():
            assert item != []
            assert_complete(item, ids)
    elif isinstance(value, list):
        for item in value:
            assert_complete(item, ids)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\x0b", "\ufeff\r\n"])
def test_line_ends_and_frames_do_not_matter(start: str, end: str) -> None:
    """LF, CRLF, a byte order mark and MLLP framing are tolerated."""
    document = parse(start + end.join((HEADER, "PID|1||7", "")) + ("\x1c\r" if start == "\x0b" else ""))
    assert [segment.name for segment in document.segments] == ["MSH", "PID"]
    assert document.segments[1].field(3) == "7"


def test_a_line_break_inside_a_field_belongs_to_the_field() -> None:
    """A line that begins with no segment name continues the field before it."""
    document = parse(f"{HEADER}\nOBX|1|TX|1^c||first line\nsecond line|||\nOBX|2")
    assert document.segments[1].field(5).startswith("first line\nsecond line")
    assert document.segments[2].field(1) == "2"


def test_header_fields_are_numbered_as_the_standard_does() -> None:
    """MSH-1 is the separator, so MSH-9 is the message type."""
    header = parse(HEADER).header
    assert (header.field(1), header.field(2), header.field(9), header.field(10)) == ("|", "^~\\&", "ADT^A08", "1")


def test_a_truncation_character_is_accepted() -> None:
    r"""HL7 2.7 adds a fifth encoding character; `\P\` is it."""
    document = parse(HEADER.replace("&|", "&#|", 1))
    assert unescape("a\\P\\b", document.delimiters) == "a#b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PID|1",
        "MSH",
        r"MSH|^^\&|A|F|||2026||ADT^A01|1|P|2.5",
        "MSHA^~\\&A",
        f"{HEADER}\r{HEADER}",
        "BHS|^~\\&|x\rBTS|0",
    ],
    ids=["empty", "no header", "short", "equal delimiters", "letter as delimiter", "two messages", "empty batch"],
)
def test_refusals(text: str) -> None:
    """What is not exactly one message is refused with an address and a hint."""
    with pytest.raises(ServiceError) as caught:
        parse(text)
    assert (caught.value.code, caught.value.address) == (CODE, "MSH")
    assert caught.value.hint


def test_a_batch_of_one_is_a_message() -> None:
    """An envelope around one message is taken off."""
    document = parse(f"FHS|^~\\&|x\rBHS|^~\\&|x\r{HEADER}\rPID|1\rBTS|1\rFTS|1")
    assert [segment.name for segment in document.segments] == ["MSH", "PID"]


def test_refusals_hold_no_patient_data() -> None:
    """An error's text names fields, never what stands in them."""
    with pytest.raises(ServiceError) as caught:
        transform(r"MSH|^~\&|A|F|||20260101||SIU^S12|SECRET-1|P|2.5" + "\rPID|1||SECRET-2||Secretname^Jo")
    assert "ecret" not in str(caught.value).lower().replace("secretary", "")
