"""Tables on a terminal: what has no room, and what others wrote."""

from __future__ import annotations

import textwrap

from hypothesis import given
from hypothesis import strategies as st
from rustcare_cli._table import layout, safe

ID = "ce414f9971c193fa3ebbcd6e6d713b01"


def shown(columns: list[str], rows: list[list[str]], width: int) -> list[str]:
    """The lines as text."""
    return ["".join(text for text, _ in line).rstrip() for line in layout(columns, rows, width)]


def test_what_fits_stands_side_by_side() -> None:
    """Columns are as wide as what is in them; numbers are to the right; one in which nothing stands is left out."""
    rows = [["ada", "7", "", "active"], ["grace", "12", "", "locked"]]
    assert shown(["name", "keys", "reason", "state"], rows, 80) == [
        "name   keys  state",
        "───────────────────",
        "ada       7  active",
        "grace    12  locked",
    ]


def test_prose_is_wrapped_at_blanks() -> None:
    """The last column, if it is prose and has some room, is wrapped beside the others."""
    reason = "hashes what failed logins were for with a key"
    assert shown(["capability", "reason"], [["secret:use@identity.*", reason]], 50) == [
        "capability             reason",
        "─" * 50,
        "secret:use@identity.*  hashes what failed logins",
        "                       were for with a key",
    ]


def test_what_has_no_room_goes_below_and_is_never_broken() -> None:
    """Ids and addresses stay whole, so that they can be copied: those that do not fit are named below their row."""
    rows = [["laptop", "2001:db8::7", "2026-11-28 17:18:19", ID], ["phone", "192.0.2.1", "", ID]]
    assert shown(["device", "address", "since", "id"], rows, 44) == [
        "device  address      since",
        "────────────────────────────────────────",
        "laptop  2001:db8::7  2026-11-28 17:18:19",
        f"    id {ID}",
        "phone   192.0.2.1",
        f"    id {ID}",
    ]


WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=40)
CELLS = st.lists(WORDS, max_size=12).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS, CELLS).map(list), min_size=1, max_size=5), st.integers(20, 200))
def test_every_word_is_there_whole(rows: list[list[str]], width: int) -> None:
    """Whatever the width, each word of each cell is shown unbroken."""
    words = " ".join(shown(["a", "b", "c", "d"], rows, width)).split()
    for row in rows:
        for cell in row:
            assert set(cell.split()) <= set(words)


def test_a_terminal_is_shown_nothing_that_it_would_obey() -> None:
    """Escape sequences (also those of one character beyond ASCII) and turned writing are told, not done."""
    assert safe("\x1b[2J\x9b2J\x07 \u202etxt.exe") == "\\x1b[2J\\x9b2J\\x07 \\u202etxt.exe"
    assert safe("one\ntwo") == "one\\x0atwo"
    assert safe("one\n\ttwo\r", lines=True) == "one\n\ttwo\\x0d"
    text = textwrap.dedent("Zoë, 李明, عمر: 37 °C")
    assert safe(text) == text
