"""What a package asks for, shown; and the operator's consent, asked for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ._errors import ConsentMissing
from ._grouped import FEW, Group, grouped, reaches_far
from ._render import note, say, short, table

__all__ = ["ask", "confirm", "show_change", "show_request"]


def show_request(inspection: Mapping[str, Any], *, full: bool = True) -> bool:
    """The package and what it asks for, with the author's reasons; whether each capability was shown by itself.

    Args:
        full: each by itself, however many there are. Else many are shown in groups, what reaches far by itself all the same.
    """
    version = inspection["version"]
    before = inspection.get("installed_version")
    say(f"{inspection['id']} {version}{f' (installed: {before})' if before else ''}", "bold")
    if inspection.get("summary"):
        say(f"  {inspection['summary']}")
    say(f"  {short(inspection['digest'])}…  runtimes: {', '.join(inspection['runtimes'])}", "dim")
    capabilities = inspection["capabilities"]
    whole = full or len(capabilities) <= FEW
    if whole:
        rows = [
            (item["use"], "" if item.get("availability") == "required" else "optional", item.get("reason", ""))
            for item in sorted(capabilities, key=lambda item: not reaches_far(item["use"]))
        ]
        table(("capability", "", "reason"), rows, title="It asks for", empty="It asks for no capabilities.")
    else:
        _show_groups(grouped(capabilities))
    if limits := inspection.get("limits"):
        say(
            f"Limits: {limits['timeout']:g} s a call; sandboxed also {limits['memory'] / 2**20:g} MiB of memory and "
            f"{limits['output'] / 2**20:g} MiB of output",
            "dim",
        )
    if inspection.get("change"):
        show_change(inspection["change"])
    return whole


def _show_groups(groups: Sequence[Group]) -> None:
    far = [group for group in groups if group.far]
    near = [group for group in groups if not group.far]
    total = f"It asks for {sum(item.count for item in groups)} capabilities"
    if far:
        rows = [(item.use, _optional(item), item.reason) for item in far]
        table(("capability", "", "reason"), rows, title=f"{total}. Look first at what reaches far")
    counted = [(item.use, item.count, _optional(item), item.reason) for item in near]
    alike = "The others, what is alike together" if far else f"{total}, here what is alike together"
    table(("capability", "count", "", "reason"), counted, title=alike)


def _optional(group: Group) -> str:
    return "" if not group.optional else "optional" if group.optional == group.count else f"{group.optional} optional"


def change_rows(change: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows of a difference of two sets of capabilities."""
    rows: list[tuple[str, str]] = []
    for kind in ("added", "widened", "narrowed", "removed"):
        for item in change.get(kind) or ():
            rows.append((kind, f"{item['old']} → {item['new']}" if isinstance(item, Mapping) else str(item)))
    return rows


def show_change(change: Mapping[str, Any]) -> None:
    """What a new version asks for beyond the old one, and what it gives up."""
    table(("change", "capability"), change_rows(change), title="Compared with what is granted", empty="Nothing new.")


def ask(what: str, inspections: Sequence[Mapping[str, Any]], *, yes: bool, as_json: bool, full: bool = False) -> None:
    """Return when the operator consents. Who is asked can have each capability shown before they answer.

    Raises:
        ConsentMissing: they do not, or there is nobody to ask.
    """
    asked = not yes and any(inspection["capabilities"] for inspection in inspections)
    nobody = as_json or not sys.stdin.isatty()
    shown = True
    if not as_json:
        for inspection in inspections:
            shown = show_request(inspection, full=full) and shown
    if not asked or nobody:
        if not shown:
            note("To see each capability by itself: the same command with --full")
        if not asked:
            return
    names = ", ".join(inspection["id"] for inspection in inspections)
    if nobody:
        raise ConsentMissing(
            f"Expected consent to the capabilities of {names}, there is no terminal to ask on",
            hint="look at them, then say --yes",
        )
    if not (confirm(what) if shown else _confirm_or_list(what, inspections)):
        raise ConsentMissing(f"No consent was given for {names}", hint="nothing was changed")


def _confirm_or_list(what: str, inspections: Sequence[Mapping[str, Any]]) -> bool:
    """Ask, and show each capability by itself to whoever wants to see them first."""
    import typer

    with _interruptible():
        while True:
            answer = typer.prompt(f"{what} [y/N, or l to list each]", default="n", show_default=False, err=True)
            match answer.strip().lower():
                case "y" | "yes":
                    return True
                case "n" | "no" | "":
                    return False
                case "l" | "list":
                    for inspection in inspections:
                        show_request(inspection)
                case _:
                    note("Expected y, n or l")


def confirm(question: str) -> bool:
    """Ask a person."""
    import typer

    with _interruptible():
        return typer.confirm(question, err=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the command, also where an event loop has taken the signals for itself."""
    import signal

    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
