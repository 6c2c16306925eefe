"""What outsiders can check: proofs, the evidence folder, and checking it. The check itself is the stand-alone verifier's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json

from ._ask import Ask, Out, Tenant, asking

if TYPE_CHECKING:
    from .verify_audit import Verifier

__all__ = ["export", "prove", "verify"]


def prove(
    index: Annotated[
        int | None, typer.Argument(metavar="INDEX", help="Prove that this entry is in the log.", show_default=False)
    ] = None,
    patient: Annotated[
        str,
        typer.Option("--patient", help="Prove all disclosures of a patient, such as Patient/123.", show_default=False),
    ] = "",
    since: Annotated[
        int, typer.Option("--since", help="Prove that the log extends its checkpoint of so many entries.", min=0)
    ] = 0,
    size: Annotated[
        int, typer.Option("--size", help="Under the checkpoint of so many entries; 0: the latest.", min=0)
    ] = 0,
    out: Out = None,
    tenant: Tenant = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Prove an entry, a patient's disclosures, or that nothing was changed since a checkpoint; checked by `verify`."""
    if (index is not None) + bool(patient) + bool(since) != 1:
        raise typer.BadParameter("give one of INDEX, --patient and --since")
    from rustcare_cli._render import print_json

    from ._files import write_out

    with asking(data) as ask:
        if index is not None:
            text = ask("audit.show", index=index, size=size)["proof"]
            found: Any = {"proof": text}
        elif patient:
            found = _disclosures(ask, patient, tenant, size)
        else:
            found = consistency(ask, since, size)
    if json and out is None:
        print_json(found)
        return
    import json as json_

    write_out(out, text.encode() if index is not None else json_.dumps(found, indent=2).encode() + b"\n")
    if json:
        print_json({"written": str(out)})


def _disclosures(ask: Ask, patient: str, tenant: str, size: int) -> Any:
    from rustcare_cli._errors import CommandFailed

    found = ask("audit.disclosures", patient=patient, tenant=tenant, size=size)
    if not found["evidence"]:
        raise CommandFailed(
            "Expected a patient that the log knows, got one without a key",
            address=patient,
            hint="nothing of them was ever on record, or their key is destroyed",
        )
    return found["evidence"]


def consistency(ask: Ask, old: int, new: int) -> dict[str, Any]:
    """`proofs/<name>.consistency.json` of the evidence folder."""
    first, last = ask("audit.checkpoint", size=old), ask("audit.checkpoint", size=new)
    proof = ask("audit.prove", old=old, size=last["size"])
    return {"old": first["text"], "new": last["text"], "proof": proof["hashes"]}


def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write; may hold an earlier export.", show_default=False)
    ],
    patient: Annotated[
        list[str] | None,
        typer.Option("--patient", help="With the accounting of this patient; may be given more than once."),
    ] = None,
    checkpoints: Annotated[
        int, typer.Option("--checkpoints", help="How many earlier checkpoints to write, spread evenly.", min=0)
    ] = 1000,
    witnessed: Annotated[
        bool, typer.Option("--witnessed", help="Only up to the largest checkpoint that witnesses have cosigned.")
    ] = False,
    tenant: Tenant = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Write the evidence folder: everything that an outsider needs to check the log, but for the key to believe."""
    from rustcare_cli._client import connect
    from rustcare_cli._render import busy, note, print_json, say

    from .export import export_evidence

    with connect(data) as control, busy("Exporting"):
        done = export_evidence(control, folder, patient or [], checkpoints, tenant, witnessed)
    if json:
        print_json(done)
        return
    say(
        f"{done['size']} entries in {folder}: {done['written']} files written, {done['checkpoints']} checkpoints",
        "green",
    )
    note(f"Check it with: rustcare audit verify --export {folder} --key FILE")
    note("FILE must come from somewhere else than this folder; the log says that its key is:")
    note(done["key"])


def verify(
    export: Annotated[
        Path | None, typer.Option("--export", metavar="DIR", help="An evidence folder. Without it, the running log.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The keys that you believe (vkeys), one a line.")
    ] = None,
    witness: Annotated[
        Path | None, typer.Option("--witness", metavar="FILE", help="Witnesses that must have cosigned (vkeys).")
    ] = None,
    quorum: Annotated[
        int | None, typer.Option("--quorum", help="How many of them must have; all if not given.")
    ] = None,
    since: Annotated[
        list[Path] | None, typer.Option("--since", metavar="FILE", help="A checkpoint that you kept from earlier.")
    ] = None,
    patient: Annotated[
        list[Path] | None, typer.Option("--patient", metavar="FILE", help="An accounting of disclosures.")
    ] = None,
    proof: Annotated[
        list[Path] | None, typer.Option("--proof", metavar="FILE", help="A proof of one entry, or of consistency.")
    ] = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Check an evidence folder or single proofs, offline; or let the running log check itself. Exit code 1: it is not well."""
    offline = export is not None or patient or proof
    if not offline:
        if key or witness or since or quorum is not None:
            raise typer.BadParameter("expected --export DIR, or --patient or --proof, beside --key")
        _verify_running(data, json)
        return
    if key is None:
        raise typer.BadParameter("expected the key that you believe: --key FILE", param_hint="--key")
    if export is not None and not export.is_dir():
        raise typer.BadParameter(f"expected a folder, got {export}", param_hint="--export")
    from . import verify_audit

    try:
        found = verify_audit.verify(export, key, witness, since or [], patient or [], proof or [], quorum)
    except verify_audit.Fault as fault:
        raise typer.BadParameter(str(fault)) from None
    _show(found, json)
    if not found.ok:
        raise typer.Exit(1)


def _verify_running(data: Path, json: bool) -> None:
    from rustcare_cli._render import busy, print_json, say

    with asking(data) as ask, busy("Reading the log again"):
        found = ask("audit.verify")
    if json:
        print_json(found)
    elif found["ok"]:
        say(f"ok: {found['entries']} entries and {found['checkpoints']} checkpoints are as they were signed", "green")
    else:
        place = f"leaf {found['index']}" if found["index"] >= 0 else f"checkpoint {found['size']}"
        say(f"NOT VERIFIED: {place}: {found['problem']}", "red")
    if not found["ok"]:
        raise typer.Exit(1)


def _show(found: Verifier, json: bool) -> None:
    from dataclasses import asdict

    from rustcare_cli._render import print_json, say, table

    if json:
        latest = found.latest
        head = {"origin": latest.origin, "size": latest.size, "root": latest.root.hex()} if latest else {}
        print_json({"ok": found.ok, **head, "checks": [asdict(check) for check in found.checks]})
        return
    words = {True: "ok", False: "error", None: "note"}
    table(("", "check", "what"), [(words[check.ok], check.check, check.detail) for check in found.checks])
    say("VERIFIED" if found.ok else "NOT VERIFIED", "green" if found.ok else "red")
