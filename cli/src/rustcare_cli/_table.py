"""How rows fit into a terminal: no name, id or address is ever broken, so that all of them can be copied.

As long as the columns fit side by side they stand so. Then prose (reasons, summaries) is wrapped at its blanks. What still
has no place goes below its row, as `name value`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

__all__ = ["Piece", "layout", "safe"]

#: A text, and what it is: `head`, `rule` (the line below the headings), `cell`, `name` (of a cell below its row), or empty.
Piece = tuple[str, str]

GAP = 2
#: A column that is narrower is no place for prose.
PROSE = 24

#: What a terminal obeys rather than shows, and what turns the direction of writing.
_UNSAFE = {
    number: f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    for number in (*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_UNSAFE_TEXT = {number: text for number, text in _UNSAFE.items() if number not in (9, 10)}


def safe(text: str, *, lines: bool = False) -> str:
    """The text as it may be shown: what others wrote (the name of a device, say) cannot command the terminal.

    Args:
        lines: line breaks and tabs stay as they are.
    """
    return text.translate(_UNSAFE_TEXT if lines else _UNSAFE)


def layout(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[Piece]]:
    """Lines of a table, headings and a rule first. Columns in which nothing stands are left out."""
    used = [place for place in range(len(columns)) if not rows or any(row[place] for row in rows)] or [0]
    natural = {place: max(_width(text) for text in (columns[place], *(row[place] for row in rows))) for place in used}
    beside = list(used)
    last = used[-1]
    prose = len(used) > 1 and any(" " in row[last] for row in rows) and natural[last] > PROSE
    if prose and _total(beside, natural) > width:
        room = width - _total(beside[:-1], natural) - GAP
        if room >= PROSE:
            natural[last] = room
    while len(beside) > 1 and _total(beside, natural) > width:
        beside.pop()
    below = [place for place in used if place not in beside]
    numbers = {place for place in beside if all(row[place].replace(",", "").isdigit() for row in rows)}
    head = [columns[place].rjust(natural[place]) if place in numbers else columns[place] for place in beside]
    found = [_line([(text, "head") for text in head], [natural[place] for place in beside])]
    found.append([("─" * min(width, _total(beside, natural)), "rule")])
    for row in rows:
        cells = [_wrapped(row[place], natural[place] if place == last else 0) for place in beside]
        for number in range(max(map(len, cells))):
            pieces: list[Piece] = []
            for place, cell in zip(beside, cells, strict=True):
                text = cell[number] if number < len(cell) else ""
                pieces.append((_right(text, natural[place]) if place in numbers else text, "cell"))
            found.append(_line(pieces, [natural[place] for place in beside]))
        found.extend(_beneath([(columns[place], row[place]) for place in below if row[place]], width))
    return found


def _beneath(pairs: Sequence[tuple[str, str]], width: int) -> list[list[Piece]]:
    """`name value` pairs, as many on a line as have room there; prose on lines of its own."""
    found: list[list[Piece]] = []
    used = width
    for name, value in pairs:
        size = _width(name) + 1 + _width(value)
        if used + GAP + size > width or not found:
            found.append([("    ", "")])
            used = 4
            room = max(PROSE, width - 4 - _width(name) - 1)
            first, *more = _wrapped(value, room if " " in value else 0)
            found[-1] += [(f"{name} ", "name"), (first, "cell")]
            found += [[(" " * (4 + _width(name) + 1), ""), (text, "cell")] for text in more]
            used = width if more else 4 + size
        else:
            found[-1] += [(" " * GAP, ""), (f"{name} ", "name"), (value, "cell")]
            used += GAP + size
    return found


def _line(pieces: Sequence[Piece], widths: Sequence[int]) -> list[Piece]:
    line: list[Piece] = []
    for number, ((text, style), width) in enumerate(zip(pieces, widths, strict=True)):
        line.append((text, style))
        if number < len(pieces) - 1:
            line.append((" " * (width - _width(text) + GAP), ""))
    return line


def _wrapped(text: str, width: int) -> list[str]:
    if not width or _width(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _total(places: Sequence[int], widths: dict[int, int]) -> int:
    return sum(widths[place] for place in places) + GAP * (len(places) - 1)


def _right(text: str, width: int) -> str:
    return " " * (width - _width(text)) + text


def _width(text: str) -> int:
    """Columns on the terminal: some letters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
