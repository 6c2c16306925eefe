"""API keys, and the service accounts that use them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json
from rustcare_cli.trust._ask import asking

from ._common import OfTenant, duration, names, show_once, when

__all__ = ["create", "list_keys", "revoke"]

Expires = Annotated[
    str, typer.Option("--expires", metavar="TIME", help="How long it is valid: 90d, 12h, 30min, or never.")
]


def create(
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="Whose key: a service account, or a user.", show_default=False)
    ],
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What it is for.")] = "key",
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", metavar="SCOPE", help="Only this; may be given more than once. Else all it has."),
    ] = None,
    expires: Expires = "90d",
    new: Annotated[bool, typer.Option("--create", help="Make the service account if it is not there.")] = False,
    roles: Annotated[
        list[str] | None, typer.Option("--role", metavar="ROLE", help="With --create: a role of the new account.")
    ] = None,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Make an API key. It is shown this once; only its hash is kept."""
    from rustcare_cli._render import fields, print_json, say

    if roles and not new:
        raise typer.BadParameter(
            "expected --create with --role: keys hold what their account does", param_hint="--role"
        )
    seconds = duration(expires, "--expires")
    with asking(data, tenant) as ask:
        if new:
            _service(ask, account, roles or [])
        made = ask("identity.key.create", account=account, name=name, scopes=scopes or [], expires_in=seconds)
    if json:
        print_json(made)
        return
    key = made["key"]
    say(f"{key['name']} of {account}", "bold")
    fields(
        [
            ("id", key["id"]),
            ("prefix", key["prefix"]),
            ("scopes", names(key["scopes"]) or "all of its account"),
            ("expires", when(key["expires"])),
        ]
    )
    show_once("The key. It is not shown again:", made["secret"])


def _service(ask: Any, name: str, roles: list[str]) -> None:
    """The service account of that name, made if it is not there."""
    from rustcare_sdk.errors import RustCareError

    try:
        ask("identity.service.create", name=name, roles=roles)
    except RustCareError as error:
        try:
            found = ask("identity.account.read", account=name)["account"]
        except RustCareError:
            raise error from None
        if found["kind"] != "service":
            raise  # somebody's name, not a machine's


def list_keys(
    account: Annotated[
        str, typer.Argument(metavar="[ACCOUNT]", help="Whose; of the whole tenant if not given.", show_default=False)
    ] = "",
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """The API keys that there are, without their secrets."""
    from rustcare_cli._render import print_json, table

    with asking(data, tenant) as ask:
        found = ask("identity.key.list", account=account)["keys"]
    if json:
        print_json(found)
        return
    rows = [
        (
            item["name"],
            item["prefix"],
            "revoked" if item["revoked"] else "active",
            names(item["scopes"]),
            when(item["created"]),
            when(item["expires"]),
            when(item["used"]),
            item["account"],
            item["id"],
        )
        for item in found
    ]
    columns = ("name", "prefix", "state", "scopes", "created", "expires", "used", "account", "id")
    table(columns, rows, empty="There are no keys.")


def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id.", show_default=False)],
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Revoke a key: the next request with it is refused."""
    from rustcare_cli._render import print_json, say

    with asking(data, tenant) as ask:
        found = ask("identity.key.revoke", key=key)["keys"]
    if json:
        print_json(found)
    else:
        say("Revoked: " + (", ".join(f"{item['name']} ({item['prefix']})" for item in found) or key))
