"""Accounts in bulk: out as lines of JSON, and in again, here or in another system."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json
from rustcare_cli.trust._ask import Out, asking

from ._common import OfTenant

__all__ = ["export_users", "import_users"]


def import_users(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Lines as `user export` writes them; -: standard input.", show_default=False
        ),
    ],
    update: Annotated[
        bool, typer.Option("--update", help="Change accounts that there are already; else they refuse the import.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only look whether all could be taken.")] = False,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Take over accounts and groups, all of them or none. Hashes of passwords from elsewhere are renewed at sign-in."""
    from rustcare_cli._errors import CommandFailed
    from rustcare_cli._render import busy, print_json, say
    from rustcare_cli.trust._files import read_in

    source = None if str(file) == "-" else file
    try:
        lines = read_in(source, hint="import it in parts").decode("utf-8")
    except UnicodeDecodeError:
        raise CommandFailed("Expected UTF-8", address=str(source or "standard input")) from None
    if not lines.strip():
        raise CommandFailed(
            "Expected lines as `rustcare user export` writes them, got none", address=str(source or "-")
        )
    with asking(data, tenant) as ask, busy("Importing"):
        found = ask("identity.account.import", lines=lines, update=update, check=check)
    if json:
        print_json(found)
        return
    verb = "could be" if check else "were"
    say(f"{found['created']} accounts {verb} made, {found['updated']} changed; {found['groups']} groups.")


def export_users(
    out: Out = None,
    passwords: Annotated[
        bool, typer.Option("--passwords", help="With the hashes of passwords: keep that file as you keep a backup.")
    ] = False,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Write accounts and groups as lines of JSON. With --json: only how many there were; give --out then."""
    from rustcare_cli._render import note, print_json

    if json and out is None:
        raise typer.BadParameter("expected --out FILE with --json", param_hint="--out")
    accounts = groups = 0
    after = ""
    with asking(data, tenant) as ask, _target(out) as file:
        while True:
            page = ask("identity.account.export", after=after, limit=1000, passwords=passwords)
            file.write(page["lines"].encode())
            accounts, groups, after = accounts + page["accounts"], groups + page["groups"], page["next"]
            if not after:
                break
        file.flush()
    if json:
        print_json({"accounts": accounts, "groups": groups, "file": str(out)})
    elif out is not None:
        note(f"{accounts} accounts and {groups} groups in {out}")


@contextlib.contextmanager
def _target(out: Path | None) -> Iterator[BinaryIO]:
    from rustcare_cli.trust._files import whole

    if out is None:
        yield sys.stdout.buffer
    else:
        with whole(out) as file:
            yield file
