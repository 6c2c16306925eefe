"""Request ids and trace context."""

from __future__ import annotations

import re

import pytest
from rustcare_plugin_gateway.trace import Tracer

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_trace_that_came_is_gone_on_with() -> None:
    """The trace's id and flags stay, the span is new (section 3.2)."""
    _, found = Tracer().begin({"traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", found)
    assert SPAN not in found


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}x-{SPAN}-01",
    ],
)
def test_what_is_not_well_formed_begins_a_new_trace(parent: str) -> None:
    """Section 4.2: it is as if nothing had come."""
    _, found = Tracer().begin({"traceparent": parent})
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-02", found)
    assert TRACE not in found


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """Section 4.1: of a higher version the known fields count, and this one's version goes on."""
    _, found = Tracer().begin({"traceparent": f"cc-{TRACE}-{SPAN}-09-what-the-future-brings"})
    assert found.startswith(f"00-{TRACE}-")
    assert found.endswith("-01")


def test_request_ids() -> None:
    """One that came is kept when it is plain text of a sensible length; all others are new and differ."""
    tracer = Tracer()
    assert tracer.begin({"x-request-id": "ward-3.bed_7"})[0] == "ward-3.bed_7"
    for bad in ("", "short", "a" * 65, "with space", "line\nbreak", "-begins", "\u00e9" * 10):
        made, _ = tracer.begin({"x-request-id": bad})
        assert re.fullmatch(r"[0-9a-f]{24}", made)
    assert len({tracer.begin({})[0] for _ in range(10_000)}) == 10_000
