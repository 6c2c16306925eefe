"""What a package asks for, shown; and the operator's consent, asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ._errors import ConsentMissing
from ._render import say, short, table

__all__ = ["ask", "confirm", "show_change", "show_request"]


def show_request(inspection: Mapping[str, Any]) -> None:
    """The package and each capability that it asks for, with the author's reason."""
    version = inspection["version"]
    before = inspection.get("installed_version")
    say(f"{inspection['id']} {version}{f' (installed: {before})' if before else ''}", "bold")
    if inspection.get("summary"):
        say(f"  {inspection['summary']}")
    say(f"  {short(inspection['digest'])}…  runtimes: {', '.join(inspection['runtimes'])}", "dim")
    rows = [
        (item["use"], item.get("reason", ""), "" if item.get("availability") == "required" else "optional")
        for item in inspection["capabilities"]
    ]
    table(("capability", "reason", ""), rows, title="It asks for", empty="It asks for no capabilities.")
    if limits := inspection.get("limits"):
        say(
            f"Limits: {limits['timeout']:g} s a call; sandboxed also {limits['memory'] / 2**20:g} MiB of memory and "
            f"{limits['output'] / 2**20:g} MiB of output",
            "dim",
        )
    if inspection.get("change"):
        show_change(inspection["change"])


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


def ask(what: str, inspections: Sequence[Mapping[str, Any]], *, yes: bool, as_json: bool) -> None:
    """Return when the operator consents.

    Raises:
        ConsentMissing: they do not, or there is nobody to ask.
    """
    if not as_json:
        for inspection in inspections:
            show_request(inspection)
    if yes or not any(inspection["capabilities"] for inspection in inspections):
        return
    names = ", ".join(inspection["id"] for inspection in inspections)
    if as_json or not sys.stdin.isatty():
        raise ConsentMissing(
            f"Expected consent to the capabilities of {names}, there is no terminal to ask on",
            hint="look at them, then say --yes",
        )
    if not confirm(what):
        raise ConsentMissing(f"No consent was given for {names}", hint="nothing was changed")


def confirm(question: str) -> bool:
    """Ask a person. Ctrl-C ends the command, also where an event loop has taken the signal for itself."""
    import signal

    import typer

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(question, err=True)
    finally:
        signal.signal(signal.SIGINT, before)
