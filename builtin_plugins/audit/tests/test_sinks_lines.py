"""Records are one line each, whatever is in an entry; syslog messages parse back to what they were made of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.entry import Change, Entry, What, Which, Who
from rustcare_plugin_audit.sinks import fhir, lines, ocsf
from rustcare_plugin_audit.sinks.event import Event, Subject, json_line, one_line, rfc3339
from rustcare_plugin_audit.sinks.syslog import frame, message

from tests.support.syslog_server import parse, unframed

WILD = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    ['"]', '\\"] [x y="z"]', "a\nb", "\r\n<13>1 - - - - - -", "\u2028", "\u202e", "\ufeff", "\ud800", "]", "\\"]
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Events with anything at all in their texts."""
    text = lambda: draw(WILD)  # noqa: E731
    entry = Entry(
        v=1,
        id=text(),
        time=draw(st.integers(-(2**40), 2**60)),
        kind=draw(st.sampled_from(["use", "operation", "fact"])),
        who=draw(st.none() | st.just(Who(text(), text(), text(), text(), text()))),
        what=draw(st.none() | st.just(What(text(), draw(st.sampled_from(["bus:request@fhir.read", text()])), text()))),
        which=draw(st.none() | st.just(Which(text(), text(), {text(): 3}, text()))),
        why=text(),
        trace=text(),
        changes=[Change(text())],
        details={text(): text()},
    )
    subject = Subject("ab" * 32, "open", text(), (text(), text()), text(), draw(st.booleans()), 7)
    outcome = draw(st.sampled_from(["success", "failure", "interrupted"]))
    return Event(4, entry, b"\x01" * 32, outcome, text(), text(), 9, (subject,), text(), 10, b"\x02" * 32)


MAPPINGS = [fhir.records, ocsf.records, lines.text_records, lines.entry_records]


@given(events())
def test_every_record_is_one_line(event: Event) -> None:
    """No character of an entry can end a line, move a cursor or turn text around, in any format."""
    for mapping in MAPPINGS:
        for record in mapping(event):
            assert record.text == one_line(record.text)
            assert len(record.text.splitlines()) == 1
            if record.value:
                assert record.text.isascii()
                assert isinstance(json.loads(record.text), dict)


@given(events())
def test_syslog_messages_parse_back(event: Event) -> None:
    """A parser that knows only RFC 5424 finds one element of structured data, with the values that went in."""
    for mapping in MAPPINGS:
        for record in mapping(event):
            found = parse(message(record, "host name\n"))
            assert found.facility == 13
            assert found.severity == (5 if event.outcome == "success" else 4)
            assert list(found.data) == ["audit@32473"]
            values = found.data["audit@32473"]
            assert values["index"] == "4"
            assert values.get("trace", "") == one_line(event.entry.trace)
            assert values.get("code", "") == one_line(event.code)
            assert found.text == record.text
            assert found.bom == (not record.value)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5))
def test_frames_are_read_back(messages: list[bytes]) -> None:
    """Octet counting keeps messages apart whatever bytes they have."""
    assert list(unframed(b"".join(map(frame, messages)))) == messages


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WILD, lambda inner: st.lists(inner)))
def test_json_lines_say_the_same(value: Any) -> None:
    """A line of JSON is ASCII, and means what it was made of; a lone surrogate becomes a question mark."""
    text = json_line(value)
    assert text.isascii()
    assert not any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text)
    assert json.loads(text) == _mended(value)


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_mended(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "1970-01-01T00:00:00.000000Z"), (1_800_000_000_000_001, "2027-01-15T08:00:00.000001Z"), (-5, None)],
)
def test_times_are_rfc_3339(micros: int, text: str | None) -> None:
    """Times are in UTC with six digits; what lies before 1970 is 1970."""
    assert rfc3339(micros) == (text or rfc3339(0))
