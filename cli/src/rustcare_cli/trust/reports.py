"""Reports on the log: for a regulation, or for one patient."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json

from ._ask import Out, Tenant, asking

__all__ = ["report"]

KINDS = ("hipaa-security", "hipaa-disclosures", "sox-itgc", "gdpr", "part11")
FORMATS = ("data", "csv", "html")
AUDIENCES = ("individual", "organization")


def report(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=", ".join(KINDS), show_default=False)],
    patient: Annotated[str, typer.Option("--patient", help="Of hipaa-disclosures: such as Patient/123.")] = "",
    since: Annotated[
        str, typer.Option("--since", help="From this time on (RFC 3339); six years back if not given.")
    ] = "",
    until: Annotated[str, typer.Option("--until", help="Before this time (RFC 3339).")] = "",
    format_: Annotated[str, typer.Option("--format", help="data, csv or html.", metavar="FORMAT")] = "data",
    audience: Annotated[
        str, typer.Option("--audience", help="Of an accounting: individual or organization.", metavar="WHO")
    ] = "individual",
    size: Annotated[int, typer.Option("--size", help="On the log as it was with so many entries.", min=0)] = 0,
    out: Out = None,
    tenant: Tenant = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """A report whose every line cites entries of the log and one checkpoint."""
    for value, allowed, name in (
        (kind, KINDS, "KIND"),
        (format_, FORMATS, "--format"),
        (audience, AUDIENCES, "--audience"),
    ):
        if value not in allowed:
            raise typer.BadParameter(f"expected one of {', '.join(allowed)}, got {value!r}", param_hint=name)
    from rustcare_cli._render import print_json, say

    from ._files import write_out

    with asking(data) as ask:
        found = ask(
            "audit.report",
            kind=kind, patient=patient, since=since, until=until, format=format_, tenant=tenant, size=size,
            audience=audience,
        )  # fmt: skip
    if json:
        print_json(found)
    elif found["text"]:
        write_out(out, found["text"].encode())
    elif out is not None:
        import json as json_

        write_out(out, json_.dumps(found, ensure_ascii=False, indent=2).encode() + b"\n")
    else:
        say(found["title"], "bold")
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from rustcare_cli._render import fields, say, table

    fields(
        [
            ("from", found["since"]),
            ("until", found["until"]),
            ("entries read", found["entries"]),
            ("checkpoint", f"{found['size']} entries of {found['origin']}"),
            *((status, count) for status, count in found["summary"].items()),
        ]
    )
    rows = [
        (item["control"], item["status"], item["title"], ", ".join(str(index) for index in _cited(item)[:8]))
        for item in found["findings"]
    ]
    if rows:
        table(("control", "status", "title", "leaves"), rows)
    for each in found["tables"]:
        lines = [(*row["cells"], ", ".join(map(str, row["cites"]))) for row in each["rows"]]
        table((*each["columns"], "leaves"), lines, title=each["title"], empty=f"{each['title']}: nothing.")
        if each["note"]:
            say(each["note"], "dim")
    for line in found["limits"]:
        say(line, "dim")


def _cited(finding: dict[str, Any]) -> list[int]:
    return [index for evidence in finding["evidence"] for index in evidence["cites"]]
