"""Accounts of people: make, look at, change, disable, and let in again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json, Yes
from rustcare_cli.trust._ask import asking

from ._common import Account, OfTenant, Reason, agree, link_of, names, show_once, when

__all__ = ["change", "create", "delete", "disable", "enable", "invite", "list_users", "reset_mfa", "show", "unlock"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="What they sign in with.", show_default=False)]
Roles = Annotated[list[str] | None, typer.Option("--role", metavar="ROLE", help="A role; may be given more than once.")]
Groups = Annotated[
    list[str] | None, typer.Option("--group", metavar="ID", help="A group's id; may be given more than once.")
]
Mail = Annotated[bool, typer.Option("--mail", help="Send the link to their address, rather than showing it.")]


def create(
    name: Name,
    email: Annotated[str, typer.Option("--email", metavar="ADDRESS", help="Their e-mail address.")] = "",
    display_name: Annotated[str, typer.Option("--display-name", metavar="TEXT", help="What others see.")] = "",
    roles: Roles = None,
    groups: Groups = None,
    mail: Mail = False,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file", metavar="FILE", help="Its first line is their password; -: standard input, unseen."
        ),
    ] = None,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Make an account. Without a password they get a link, shown once, to set one or a passkey themselves."""
    from rustcare_cli._render import print_json

    password = _password(password_file) if password_file is not None else ""
    with asking(data, tenant) as ask:
        made = ask(
            "identity.account.create",
            name=name, email=email, display_name=display_name, password=password, roles=roles or [],
            groups=groups or [], mail=mail,
        )  # fmt: skip
        made["link"] = link_of(ask, made["link"])
    if json:
        print_json(made)
        return
    _show_account(made["account"])
    if made["link"]:
        show_once("Give them this link. It works once and is not shown again:", made["link"])


def _password(path: Path) -> str:
    """The first line of a file or of standard input; on a terminal it is asked for twice and not shown."""
    import sys

    from rustcare_cli._errors import CommandFailed
    from rustcare_cli.trust._files import read_in

    typed = str(path) == "-"
    if typed and sys.stdin.isatty():
        return str(typer.prompt("Their password", hide_input=True, confirmation_prompt=True, err=True))
    try:
        text = read_in(None if typed else path, 4096, hint="").decode().partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError:
        raise CommandFailed("Expected a password in UTF-8", address=str(path)) from None
    if not text:
        raise CommandFailed("Expected a password in the first line, it is empty", address=str(path))
    return text


def list_users(
    query: Annotated[str, typer.Option("--query", "-q", metavar="TEXT", help="Part of a name or an address.")] = "",
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="user or service; both if not given.")] = "",
    state: Annotated[
        str, typer.Option("--state", metavar="STATE", help="invited, active, locked or disabled; all if not given.")
    ] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many; 0: all.", min=0)] = 0,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """The accounts of a tenant."""
    from itertools import islice

    from rustcare_cli._render import print_json, table

    from ._common import PAGE, pages
    from .tenants import must_be_tenant

    for value, allowed, option in (
        (kind, ("", "user", "service"), "--kind"),
        (state, ("", "invited", "active", "locked", "disabled"), "--state"),
    ):
        if value not in allowed:
            raise typer.BadParameter(f"expected one of {', '.join(allowed[1:])}, got {value!r}", param_hint=option)
    with asking(data, tenant) as ask:
        asked = {"query": query, "kind": kind, "state": state, "limit": min(limit or PAGE, PAGE)}
        found = list(islice(pages(ask, "identity.account.list", "accounts", **asked), limit or None))
        if not found and tenant != "default":
            must_be_tenant(ask, tenant)  # that nobody is in it is no answer for one that is not there
    if json:
        print_json(found)
        return
    rows = [
        (
            item["name"], item["email"], item["state"], item["kind"], names(item["roles"]), names(item["factors"]),
            when(item["last_login"]), item["id"],
        )
        for item in found
    ]  # fmt: skip
    columns = ("name", "e-mail", "state", "kind", "roles", "factors", "last sign-in", "id")
    table(columns, rows, empty="No account fits." if query or kind or state else "There are no accounts.")


def show(account: Account, tenant: OfTenant = "default", data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """One account: state, roles, factors."""
    with asking(data, tenant) as ask:
        _answer(ask("identity.account.read", account=account), json)


def change(
    account: Account,
    name: Annotated[str | None, typer.Option("--name", help="Another name to sign in with.")] = None,
    email: Annotated[str | None, typer.Option("--email", metavar="ADDRESS", help="Another e-mail address.")] = None,
    display_name: Annotated[
        str | None, typer.Option("--display-name", metavar="TEXT", help="Another name to be shown.")
    ] = None,
    roles: Roles = None,
    no_roles: Annotated[bool, typer.Option("--no-roles", help="Take every role away.")] = False,
    groups: Groups = None,
    no_groups: Annotated[bool, typer.Option("--no-groups", help="Take them out of every group.")] = False,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Change an account. What is not named stays; roles and groups are replaced by those that are named."""
    if (roles and no_roles) or (groups and no_groups):
        raise typer.BadParameter("expected roles (or groups) to give or none, got both", param_hint="--no-roles")
    wanted = {
        "name": name,
        "email": email,
        "display_name": display_name,
        "roles": [] if no_roles else (roles or None),
        "groups": [] if no_groups else (groups or None),
    }
    given = {key: value for key, value in wanted.items() if value is not None}
    if not given:
        raise typer.BadParameter("expected something to change, such as --role or --email")
    with asking(data, tenant) as ask:
        _answer(ask("identity.account.update", account=account, **given), json)


def disable(
    account: Account,
    reason: Reason = "",
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Disable an account: its sessions, keys and tokens end with the next request."""
    with asking(data, tenant) as ask:
        _answer(ask("identity.account.disable", account=account, disabled=True, reason=reason), json)


def enable(
    account: Account,
    reason: Reason = "",
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Enable an account that was disabled."""
    with asking(data, tenant) as ask:
        _answer(ask("identity.account.disable", account=account, disabled=False, reason=reason), json)


def unlock(account: Account, tenant: OfTenant = "default", data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Let an account sign in again that failed too often."""
    with asking(data, tenant) as ask:
        _answer(ask("identity.account.unlock", account=account), json)


def reset_mfa(
    account: Account,
    yes: Yes = False,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Take all second factors and sessions of an account away; shows the link to set new ones, once."""
    _known(account, "take every second factor of {name} away", yes, tenant, data, json)
    _link("identity.account.reset-mfa", account, tenant, data, json)


def invite(
    account: Account,
    mail: Mail = False,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Make a new link for an account to set its credentials; the links before do not work any more."""
    _link("identity.account.invite", account, tenant, data, json, mail=mail)


def _link(service: str, account: str, tenant: str, data: Path, json: bool, **fields: Any) -> None:
    from rustcare_cli._render import print_json, say

    with asking(data, tenant) as ask:
        found = ask(service, account=account, **fields)
        found["link"] = link_of(ask, found["link"])
    if json:
        print_json(found)
        return
    if "account" in found:
        _show_account(found["account"])
    if found["link"]:
        show_once("Give them this link. It works once and is not shown again:", found["link"])
    else:
        say("The link was sent to their address.")


def delete(
    account: Account,
    yes: Yes = False,
    tenant: OfTenant = "default",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Take an account away for good. What it did stays on record; to keep somebody out for a time: `user disable`."""
    _known(account, "take the account {name} away for good", yes, tenant, data, json)
    with asking(data, tenant) as ask:
        _answer(ask("identity.account.delete", account=account), json)


def _known(account: str, what: str, yes: bool, tenant: str, data: Path, json: bool) -> None:
    """Ask whether it is wanted, naming the account; one that is not there is told before anything is asked."""
    if yes:
        return
    from rustcare_cli._table import safe

    with asking(data, tenant) as ask:
        found = ask("identity.account.read", account=account)["account"]
    mail = f" ({found['email']})" if found["email"] else ""
    agree(what.format(name=safe(found["name"] + mail)), yes=yes, json=json)


def _answer(found: dict[str, Any], json: bool) -> None:
    from rustcare_cli._render import print_json

    if json:
        print_json(found["account"])
    else:
        _show_account(found["account"])


def _show_account(item: dict[str, Any]) -> None:
    from rustcare_cli._render import fields, say

    say(f"{item['name']} ({item['kind']})", "bold")
    pairs: list[tuple[str, Any]] = [
        ("id", item["id"]),
        ("tenant", item["tenant"]),
        ("state", item["state"]),
        *([("locked until", when(item["locked_until"]))] if item["state"] == "locked" else []),
        ("e-mail", f"{item['email']}{'' if item['email_verified'] else ' (not verified)'}" if item["email"] else ""),
        ("shown as", item["display_name"]),
        ("roles", names(item["roles"])),
        ("scopes", names(item["scopes"])),
        ("groups", names(item["groups"])),
        ("factors", names(item["factors"])),
        ("created", when(item["created"])),
        ("last sign-in", when(item["last_login"])),
    ]
    fields([(name, value) for name, value in pairs if value not in ("", None)])
