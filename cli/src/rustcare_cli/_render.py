"""How results look: tables and colours on a terminal, plain aligned columns in a pipe, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from rustcare_sdk.errors import RustCareError

from ._table import layout, safe

if TYPE_CHECKING:
    from rich.console import Console

#: What JSON need not escape and a terminal must not get: control characters beyond ASCII, and those that turn writing.
_RAW = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

__all__ = ["busy", "is_terminal", "note", "print_json", "say", "show_error", "table"]

_STATES = {
    "active": "green",
    "degraded": "yellow",
    "retry": "yellow",
    "starting": "yellow",
    "draining": "yellow",
    "failed": "red",
    "quarantined": "red",
    "refused": "red",
    "denied": "red",
    "granted": "green",
    "not granted": "yellow",
    "enabled": "green",
    "disabled": "red",
    "invited": "yellow",
    "locked": "red",
    "revoked": "red",
    "expired": "red",
    "added": "yellow",
    "widened": "yellow",
    "removed": "green",
    "narrowed": "green",
    "ok": "green",
    "error": "red",
    "warning": "yellow",
}


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether people look at it."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def _console(stream: IO[str]) -> Console:
    from rich.console import Console

    return Console(file=stream, highlight=False, emoji=False)


def print_json(data: Any) -> None:
    """One JSON value on standard output."""
    text = _RAW.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(data, ensure_ascii=False, default=str))
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(text: str, style: str = "") -> None:
    """One line of result on standard output."""
    _line(sys.stdout, text, style)


def note(text: str, style: str = "dim") -> None:
    """One line about what goes on, on standard error: not part of the result."""
    _line(sys.stderr, text, style)


def _line(stream: IO[str], text: str, style: str) -> None:
    text = safe(text, lines=True)
    if style and is_terminal(stream):
        _console(stream).print(text, style=style, markup=False, soft_wrap=True)
    else:
        stream.write(text + "\n")
        stream.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str = "", empty: str = "") -> None:
    """Rows under headings. A cell that is the name of a state gets its colour. A column without either is left out."""
    kept = [number for number, name in enumerate(columns) if name or any(row[number] for row in rows)]
    columns = [columns[number] for number in kept]
    cells = [[_text(row[number]) for number in kept] for row in rows]
    if not cells and empty:
        say(empty)
        return
    if title:
        say(title, "bold")
    if is_terminal():
        from rich.text import Text

        console = _console(sys.stdout)
        styles = {"head": "bold", "rule": "dim", "name": "dim"}
        for line in layout(columns, cells, console.width):
            shown = Text.assemble(*((text, styles.get(kind, _STATES.get(text, ""))) for text, kind in line))
            shown.rstrip()
            console.print(shown, soft_wrap=True)
        return
    widths = [max(len(line[number]) for line in [list(columns), *cells]) for number in range(len(columns))]
    for row in [[name.upper() for name in columns], *cells]:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    """A cell: one line, nothing that a terminal would obey."""
    return safe(_plain(value))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def fields(pairs: Sequence[tuple[str, Any]]) -> None:
    """Names and values, one pair a line."""
    width = max(len(name) for name, _ in pairs)
    if is_terminal():
        from rich.text import Text

        console = _console(sys.stdout)
        for name, value in pairs:
            cell = _text(value)
            line = Text.assemble((name.ljust(width + 2), "dim"), (cell, _STATES.get(cell, "")))
            console.print(line, soft_wrap=True)
        return
    for name, value in pairs:
        say(f"{name.ljust(width)}  {_text(value)}".rstrip())


def show_error(error: RustCareError, *, as_json: bool) -> None:
    """An error: what was expected and what came, where, what to do, and its stable code."""
    if as_json:
        body = {"code": error.code, "message": error.message, "hint": error.hint, "address": error.address}
        print_json({"error": body})
        return
    where = f"{safe(error.address)}: " if error.address else ""
    message, hint = safe(error.message, lines=True), safe(error.hint or "", lines=True)
    if is_terminal(sys.stderr):
        from rich.text import Text

        console = _console(sys.stderr)
        console.print(Text.assemble(("error: ", "bold red"), (where, "bold"), message), soft_wrap=True)
        if hint:
            console.print(Text.assemble(("hint:  ", "bold cyan"), hint), soft_wrap=True)
        console.print(Text(f"code:  {error.code}", style="dim"), soft_wrap=True)
        return
    sys.stderr.write(f"error: {where}{message}\n")
    if hint:
        sys.stderr.write(f"hint:  {hint}\n")
    sys.stderr.write(f"code:  {error.code}\n")


@contextmanager
def busy(text: str) -> Iterator[None]:
    """Show that something goes on, to people who wait for it."""
    if not is_terminal(sys.stderr):
        yield
        return
    from rich.status import Status

    with Status(text, console=_console(sys.stderr)):
        yield


def moment(seconds: float) -> str:
    """A time of day, local."""
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float) -> str:
    """How long, in the unit that fits."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """A number of bytes, in the unit that fits."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024 or unit == "MiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError("the last unit takes everything")


def short(digest: str) -> str:
    """A digest as people compare it."""
    return digest[:19]
