"""API keys, and the service accounts that use them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json
from rustcare_cli.trust._ask import asking

from ._common import PAGE, OfTenant, duration, names, pages, show_once, when
from .tenants import must_be_tenant

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
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the key to a new file of yours; do not show it."),
    ] = None,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Make an API key. It is shown this once; only its hash is kept."""
    from rustcare_cli._render import fields, note, print_json, say

    if roles and not new:
        raise typer.BadParameter(
            "expected --create with --role: keys hold what their account does", param_hint="--role"
        )
    seconds = duration(expires, "--expires")
    # The file first: when it cannot be written, no key is made that nobody has.
    with _new_file(out) as file, asking(data, tenant) as ask:
        if new:
            _service(ask, account, roles or [])
        made = ask("identity.key.create", account=account, name=name, scopes=scopes or [], expires_in=seconds)
        if file is not None:
            file.write(made["secret"].encode() + b"\n")
    if json:
        print_json(made if out is None else {"key": made["key"], "file": str(out)})
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
    if out is None:
        show_once("The key. It is not shown again:", made["secret"])
    else:
        note(f"The key is in {out}, which only you can read. It is not shown again.", "bold")


@contextlib.contextmanager
def _new_file(path: Path | None) -> Iterator[BinaryIO | None]:
    """A file for the key, which only its owner may read. Raises TargetExists: what is in it may be another key."""
    from rustcare_cli._errors import TargetExists
    from rustcare_cli.trust._files import whole

    if path is None:
        yield None
        return
    if path.exists():
        raise TargetExists("Expected a file that is not there yet", address=str(path))
    with whole(path) as file:
        yield file


def _service(ask: Any, name: str, roles: list[str]) -> None:
    """The service account of that name, made if it is not there; if it is, it must have the roles that were asked for."""
    from rustcare_sdk.errors import RustCareError

    from rustcare_cli._errors import CommandFailed

    try:
        ask("identity.service.create", name=name, roles=roles)
    except RustCareError as error:
        if error.code != "identity.account-exists":
            raise
        found = ask("identity.account.read", account=name)["account"]
        if found["kind"] != "service":
            raise  # somebody's name, not a machine's
        if roles and set(roles) != set(found["roles"]):
            raise CommandFailed(
                f"Expected the roles {names(sorted(roles))}, the account {name} is there and has "
                f"{names(sorted(found['roles'])) or 'none'}",
                hint=f"leave --role out, or change it: rustcare user set {name} --role ROLE",
            ) from None


def list_keys(
    account: Annotated[
        str, typer.Argument(metavar="ACCOUNT", help="Whose; of the whole tenant if not given.", show_default=False)
    ] = "",
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """The API keys that there are, without their secrets."""
    from rustcare_cli._render import print_json, table

    with asking(data, tenant) as ask:
        found = ask("identity.key.list", account=account)["keys"]
        if not found and tenant != "default":
            must_be_tenant(ask, tenant)
        machines = {} if json else _machines(ask, bool(found and not account))
    if json:
        print_json(found)
        return
    rows = [
        (
            item["name"],
            item["prefix"],
            "revoked" if item["revoked"] else "expired" if 0 < item["expires"] <= time.time() else "active",
            names(item["scopes"]),
            when(item["created"]),
            when(item["expires"]),
            when(item["used"]),
            account or machines.get(item["account"], item["account"]),
            item["id"],
        )
        for item in found
    ]
    columns = ("name", "prefix", "state", "scopes", "created", "expires", "used", "account", "id")
    table(columns, rows, empty="There are no keys.")


def _machines(ask: Any, wanted: bool) -> dict[str, str]:
    """Names of service accounts by id: most keys are theirs."""
    accounts = pages(ask, "identity.account.list", "accounts", kind="service", limit=PAGE) if wanted else ()
    return {item["id"]: item["name"] for item in accounts}


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
