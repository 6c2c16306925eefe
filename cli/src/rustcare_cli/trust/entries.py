"""Reading the log: what comes, what there is, one entry, how the log does."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json

from ._ask import Tenant, asking, instant

__all__ = ["search", "show", "status", "tail"]

WAIT = 20.0  # seconds that one request of `tail` waits for news
PAGE = 100
COLUMNS = ("index", "time", "kind", "action", "who", "about", "outcome")

Index = Annotated[int, typer.Argument(metavar="INDEX", help="The entry's place in the log.", min=0, show_default=False)]


def _condition(name: str, help_: str) -> Any:
    return typer.Option(f"--{name}", help=help_, show_default=False)


def tail(
    after: Annotated[
        int | None,
        typer.Option("--after", metavar="INDEX", help="Begin behind this entry; -1: with the first.", min=-1),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Wait for new entries, until Ctrl-C.")] = True,
    tenant: Tenant = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Entries as they are written. With --json: one JSON object a line."""
    from rustcare_cli._render import note

    if not follow and after is None:
        after = -1
    with asking(data) as ask:
        place = -2 if after is None else after
        if follow:
            note("Waiting for entries; stop with Ctrl-C.")
        try:
            while True:
                page = ask("audit.tail", after=place, limit=PAGE, wait=WAIT if follow else 0.0, tenant=tenant)
                for row in page["rows"]:
                    _print(row, json)
                place = int(page["next"]) if page["next"] else page["size"] - 1
                if not follow and place >= page["size"] - 1:
                    return
        except KeyboardInterrupt:
            return


def _print(row: dict[str, Any], json: bool) -> None:
    from rustcare_cli._render import print_json, say

    if json:
        print_json(row)
    else:
        index, time, *rest = (str(cell) for cell in _cells(row))
        say(f"{index:>8}  {time}  " + "  ".join(filter(None, rest)))


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    """An entry in one line."""
    entry = row["entry"]
    if row.get("pruned"):
        return (str(row["index"]), "", "", "disposed of", "", "", "")
    who, what, which = (entry.get(name) or {} for name in ("who", "what", "which"))
    outcome = row.get("outcome", "") + (f" ({row['code']})" if row.get("code") else "")
    return (
        str(row["index"]),
        instant(entry.get("time")),
        entry.get("kind", ""),
        what.get("action") or what.get("capability", ""),
        who.get("principal") or who.get("plugin", ""),
        _about(row, which) or what.get("subject", ""),
        outcome,
    )


def _about(row: dict[str, Any], which: dict[str, Any]) -> str:
    for part in row.get("opened") or []:
        for name in ("resource", "reference", "patient", "subject"):
            if isinstance(part.get(name), str):
                return str(part[name])
    if row.get("shredded"):
        return f"{which.get('type', '')} (key destroyed)".strip()
    return str(which.get("type", ""))


def search(
    since: Annotated[str, _condition("since", "From this time on (RFC 3339).")] = "",
    until: Annotated[str, _condition("until", "Before this time (RFC 3339).")] = "",
    principal: Annotated[str, _condition("principal", "Who acted.")] = "",
    patient: Annotated[str, _condition("patient", "About this patient, such as Patient/123.")] = "",
    resource: Annotated[str, _condition("resource", "About this resource, such as Observation/7.")] = "",
    type_: Annotated[str, _condition("type", "About resources of this type.")] = "",
    action: Annotated[str, _condition("action", "Such as read, or plugin.install.")] = "",
    kind: Annotated[str, _condition("kind", "use, operation, fact or disclosure.")] = "",
    outcome: Annotated[str, _condition("outcome", "success, failure, interrupted, denied or open.")] = "",
    plugin: Annotated[str, _condition("plugin", "Which plugin acted.")] = "",
    capability: Annotated[str, _condition("capability", "What was used.")] = "",
    trace: Annotated[str, _condition("trace", "Of this trace.")] = "",
    disclosures: Annotated[bool, typer.Option("--disclosures", help="Disclosures only.")] = False,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="In the order of the log.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many entries, of a page.", min=1, max=1000)] = PAGE,
    after: Annotated[str, _condition("after", "The cursor that a page before ended with.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every page. With --json: one JSON object a line.")] = False,
    tenant: Tenant = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Find entries; all conditions hold. Patients and resources are found by keyed tokens."""
    from rustcare_cli._render import note, print_json, table

    conditions: dict[str, Any] = {
        "since": since, "until": until, "principal": principal, "patient": patient, "resource": resource, "type": type_,
        "action": action, "kind": kind, "outcome": outcome, "plugin": plugin, "capability": capability, "trace": trace,
        "disclosures": disclosures, "oldest_first": oldest_first, "limit": limit, "tenant": tenant,
    }  # fmt: skip
    rows: list[dict[str, Any]] = []
    with asking(data) as ask:
        while True:
            page = ask("audit.search", **conditions, after=after)
            after = page["next"]
            if json and every:
                for row in page["rows"]:
                    print_json(row)
            else:
                rows += page["rows"]
            if not (every and after):
                break
    if json:
        if not every:
            print_json({"rows": rows, "next": after, "size": page["size"]})
        return
    table(COLUMNS, [_cells(row) for row in rows], empty="No entry fits.")
    if after:
        note(f"There are more: --after {after}")


def show(index: Index, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """One entry, with what of it can be read. Its proof: `rustcare audit prove`."""
    import json as json_

    from rustcare_cli._render import fields, print_json, say

    with asking(data) as ask:
        found = ask("audit.show", index=index)
    if json:
        print_json(found)
        return
    row = found["row"]
    if row.get("pruned"):
        say(f"{index} was disposed of", "yellow")
        return
    names = ("", "time", "kind", "action", "who", "about", "outcome")
    pairs = [(name, cell) for name, cell in zip(names, _cells(row), strict=True) if name and cell != ""]
    if row.get("outcome_index", -1) >= 0:
        pairs.append(("outcome stands in", str(row["outcome_index"])))
    say(f"entry {index}", "bold")
    fields(pairs)
    say(json_.dumps(row["entry"], ensure_ascii=False, indent=2))
    if row.get("opened"):
        say("sealed in it", "bold")
        say(json_.dumps(row["opened"], ensure_ascii=False, indent=2))
    elif row.get("shredded"):
        say("what was sealed in it cannot be read any more: its key is destroyed", "yellow")


def status(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """How large the log is, its latest checkpoint, and how sinks and witnesses do."""
    import base64

    from rustcare_cli._render import fields, print_json, table

    with asking(data) as ask:
        found = ask("audit.status")
    if json:
        print_json(found)
        return
    pairs = [
        ("log", found["origin"]),
        ("key", found["key"]),
        ("entries", found["size"]),
        ("disposed of", found["first"]),
        ("root", base64.b64decode(found["root"]).hex()),
        ("indexed", found["indexed"]),
        ("being written", found["waiting"]),
        ("problem", found["problem"] or "none"),
    ]
    fields(pairs)
    for title in ("sinks", "witnesses"):
        rows = found[title]
        if rows:
            columns = list(dict.fromkeys(name for row in rows for name in row))
            table(columns, [[row.get(name, "") for name in columns] for row in rows], title=title)
