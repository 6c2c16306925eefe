"""Sessions of an account: where it is signed in, and ending that."""

from __future__ import annotations

from typing import Annotated

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json
from rustcare_cli.trust._ask import asking

from ._common import Account, OfTenant, Reason, names, when

__all__ = ["revoke", "sessions"]


def sessions(account: Account, tenant: OfTenant = "default", data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Where an account is signed in, the newest first."""
    from rustcare_cli._render import print_json, table

    with asking(data, tenant) as ask:
        # By its id: a session list for an account that does not exist shall be an error, not an empty list.
        found = ask("identity.session.list", account=ask("identity.account.read", account=account)["account"]["id"])
    if json:
        print_json(found["sessions"])
        return
    rows = [
        (
            item["device"],
            item["address"],
            f"AAL{item['aal']} ({names(item['amr'])})",
            when(item["created"]),
            when(item["seen"]),
            when(item["expires"]),
            item["id"],
        )
        for item in found["sessions"]
    ]
    columns = ("device", "address", "assurance", "since", "last seen", "ends", "id")
    table(columns, rows, empty="It is not signed in anywhere.")


def revoke(
    account: Account,
    session: Annotated[
        str, typer.Option("--session", metavar="ID", help="Only this session; all of them if not given.")
    ] = "",
    keep: Annotated[str, typer.Option("--keep", metavar="ID", help="All but this session.")] = "",
    reason: Reason = "",
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Sign an account out: sessions end, and their tokens with them, with the next request."""
    from rustcare_cli._render import print_json, say

    if session and keep:
        raise typer.BadParameter("expected one of --session and --keep, got both", param_hint="--keep")
    with asking(data, tenant) as ask:
        owner = ask("identity.account.read", account=account)["account"]["id"]
        found = ask("identity.session.revoke", account=owner, session=session, keep=keep, reason=reason)
    if json:
        print_json(found)
    else:
        count = found["sessions"]
        say("No session had to end." if not count else f"{count} session{'s' if count > 1 else ''} ended.")
