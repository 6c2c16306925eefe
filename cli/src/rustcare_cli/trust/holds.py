"""Legal holds: a hold wins over every retention policy."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json

from ._ask import Tenant, asking

__all__ = ["list_holds", "place", "release"]

Reason = Annotated[str, typer.Option("--reason", help="Why; without names of patients.", show_default=False)]


def place(
    reason: Reason,
    patient: Annotated[str, typer.Option("--patient", help="Only what is about this patient.")] = "",
    since: Annotated[str, typer.Option("--since", help="Only from this time on (RFC 3339).")] = "",
    until: Annotated[str, typer.Option("--until", help="Only before this time (RFC 3339).")] = "",
    reference: Annotated[str, typer.Option("--reference", help="The matter's own reference.")] = "",
    tenant: Tenant = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Keep entries from disposal: everything, or what is about a patient, or of a time."""
    with asking(data) as ask:
        _show(
            ask(
                "audit.hold.place",
                reason=reason, reference=reference, patient=patient, since=since, until=until, tenant=tenant,
            ),
            json,
        )  # fmt: skip


def release(
    hold: Annotated[str, typer.Argument(metavar="ID", help="The hold's id.", show_default=False)],
    reason: Reason,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """End a hold."""
    with asking(data) as ask:
        _show(ask("audit.hold.release", id=hold, reason=reason), json)


def list_holds(
    released: Annotated[bool, typer.Option("--released", help="Those that ended, too.")] = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """The holds in force."""
    from rustcare_cli._render import print_json, table

    with asking(data) as ask:
        found = ask("audit.hold.list", released=released)
    if json:
        print_json(found["holds"])
        return
    rows = [_row(item) for item in found["holds"]]
    table(("id", "scope", "reason", "placed", "by", "released"), rows, empty="There are no holds.")


def _row(hold: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(hold.get(name, "") for name in ("id", "scope", "reason", "placed", "by", "released"))


def _show(hold: dict[str, Any], json: bool) -> None:
    from rustcare_cli._render import print_json, say

    if json:
        print_json(hold)
    else:
        state = f"ended {hold['released']}" if hold.get("released") else "is in force"
        say(f"hold {hold['id']} on {hold['scope']} {state}", "green")
