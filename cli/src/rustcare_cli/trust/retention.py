"""Retention: what may be disposed of, and disposing of it. Every disposal leaves a signed statement, which is an entry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json, Yes

from ._ask import Tenant, asking

__all__ = ["plan", "prune", "shred"]

Reason = Annotated[str, typer.Option("--reason", help="Why; without names of patients.", show_default=False)]
Statement = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the signed statement to a file.")
]


def plan(
    at: Annotated[str, typer.Option("--at", help="As of this time (RFC 3339); now if not given.")] = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """What may be disposed of now, and why the rest may not. Changes nothing."""
    from rustcare_cli._render import fields, print_json, table

    with asking(data) as ask:
        found = ask("audit.retention.plan", at=at)
    if json:
        print_json(found)
        return
    fields(
        [
            ("as of", found["at"]),
            ("log", f"entries {found['first']} to {found['size'] - 1}"),
            ("may be pruned", f"entries below {found['prune_before']}"),
            ("kept by", found["blocked_by"] or "nothing"),
            ("may be shredded", f"{len(found['subjects'])} subjects"),
        ]
    )
    table(
        ("from", "to", "disposable", "until", "why"),
        [
            (item["first"], item["last"], "yes" if item["disposable"] else "no", item["keep_until"], item["why"])
            for item in found["ranges"]
        ],
        empty="There are no entries.",
    )


def prune(
    before: Annotated[int, typer.Option("--before", help="Dispose of the entries below this place.", min=1)],
    reason: Reason,
    out: Statement = None,
    yes: Yes = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Dispose of the oldest entries, as far as the plan allows. Every proof of what stays is valid as before."""
    _agree(f"dispose of all entries below {before}", yes, json)
    with asking(data) as ask:
        _show(ask("audit.retention.apply", reason=reason, before=before), out, json)


def shred(
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="Such as Patient/123.", show_default=False)],
    reason: Reason,
    out: Statement = None,
    yes: Yes = False,
    tenant: Tenant = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Destroy a patient's key: nothing sealed under it can ever be read again. Legal holds and retention periods win."""
    kind, slash, name = patient.partition("/")
    if not slash or not kind or not name:
        raise typer.BadParameter(f"expected a reference such as Patient/123, got {patient!r}", param_hint="PATIENT")
    _agree(f"destroy the key of {patient}", yes, json)
    with asking(data) as ask:
        _show(ask("audit.retention.apply", reason=reason, subject=f"{kind.lower()}/{name}", tenant=tenant), out, json)


def _agree(what: str, yes: bool, json: bool) -> None:
    import sys

    from rustcare_cli._consent import confirm
    from rustcare_cli._errors import ConsentMissing

    if yes:
        return
    if json or not sys.stdin.isatty():
        raise ConsentMissing(
            f"Expected consent to {what}, there is no terminal to ask on", hint="say --yes if you mean it"
        )
    if not confirm(f"{what[0].upper()}{what[1:]} for good?"):
        raise ConsentMissing("No consent was given", hint="nothing was changed")


def _show(done: dict[str, Any], out: Path | None, json: bool) -> None:
    from rustcare_cli._render import print_json, say

    from ._files import write_out

    if out is not None:
        write_out(out, done["statement"].encode())
    if json:
        print_json(done)
        return
    say(f"{done['disposed']} entries disposed of; the statement is entry {done['index']}.")
