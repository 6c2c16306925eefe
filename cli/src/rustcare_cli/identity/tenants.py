"""Tenants: make them, say under which names they are reached, change their settings, switch them off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json
from rustcare_cli.trust._ask import asking

from ._common import when

__all__ = ["change", "create", "disable", "enable", "list_tenants", "must_be_tenant", "show"]

PAGE = 500

Id = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.", show_default=False)]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", metavar="NAME", help="A name under which it is reached; may be given more than once."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        metavar="KEY=VALUE",
        help="A setting; the value is JSON, or else text. May be given more than once.",
    ),
]


def create(
    tenant: Id,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What people call it.")] = "",
    hosts: Hosts = None,
    settings: Settings = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Make a tenant."""
    from rustcare_cli._errors import TargetExists

    wanted = _settings(settings, {})
    with asking(data) as ask:
        if _find(ask, tenant) is not None:
            raise TargetExists(f"There is a tenant {tenant!r} already", hint=f"rustcare tenant show {tenant}")
        _show(ask("identity.tenant.put", id=tenant, name=name, hosts=hosts or [], settings=wanted)["tenant"], json)


def list_tenants(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """The tenants."""
    from rustcare_cli._render import print_json, table

    with asking(data) as ask:
        found = list(_all(ask))
    if json:
        print_json(found)
        return
    rows = [
        (item["id"], item["name"], "enabled" if item["enabled"] else "disabled", item["hosts"], when(item["created"]))
        for item in found
    ]
    table(("id", "name", "state", "hosts", "created"), rows, empty="There are no tenants.")


def show(tenant: Id, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """One tenant, with its settings."""
    with asking(data) as ask:
        _show(must_be_tenant(ask, tenant), json)


def change(
    tenant: Id,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Another name.")] = None,
    hosts: Hosts = None,
    no_hosts: Annotated[bool, typer.Option("--no-hosts", help="It is reached under no name of its own.")] = False,
    settings: Settings = None,
    whole: Annotated[
        str,
        typer.Option("--settings", metavar="FILE", help="All settings anew: a TOML or JSON file, or a JSON object."),
    ] = "",
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Change a tenant. What is not named stays; `--setting KEY=null` takes a setting away."""
    from rustcare_cli.operate import read_config

    if hosts and no_hosts:
        raise typer.BadParameter("expected names or none, got both", param_hint="--no-hosts")
    if settings and whole:
        raise typer.BadParameter("expected one of --setting and --settings, got both", param_hint="--settings")
    given: dict[str, Any] = {} if name is None else {"name": name}
    if hosts or no_hosts:
        given["hosts"] = hosts or []
    if whole:
        given["settings"] = _object(whole) if whole.lstrip().startswith("{") else read_config(Path(whole))
    with asking(data) as ask:
        before = must_be_tenant(ask, tenant)
        if settings:
            given["settings"] = _settings(settings, before["settings"])
        if not given:
            raise typer.BadParameter("expected something to change, such as --setting KEY=VALUE")
        # The version that the settings were read from: what somebody else changed meanwhile is not written over.
        _show(ask("identity.tenant.put", id=tenant, version=before["version"], **given)["tenant"], json)


def disable(tenant: Id, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Switch a tenant off: nobody of it gets in any more. Its data stays."""
    _switch(tenant, False, data, json)


def enable(tenant: Id, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Switch a tenant on again."""
    _switch(tenant, True, data, json)


def _switch(tenant: str, enabled: bool, data: Path, json: bool) -> None:
    with asking(data) as ask:
        must_be_tenant(ask, tenant)
        _show(ask("identity.tenant.put", id=tenant, enabled=enabled)["tenant"], json)


def _all(ask: Any) -> Iterator[dict[str, Any]]:
    """Every tenant, page by page."""
    after = ""
    while page := ask("identity.tenants", after=after, limit=PAGE)["tenants"]:
        yield from page
        after = page[-1]["id"]
        if len(page) < PAGE:
            return


def _find(ask: Any, tenant: str) -> dict[str, Any] | None:
    return next((item for item in _all(ask) if item["id"] == tenant), None)


def must_be_tenant(ask: Any, tenant: str) -> dict[str, Any]:
    """A tenant. Raises CommandFailed when there is none of that id."""
    from rustcare_cli._errors import CommandFailed

    found = _find(ask, tenant)
    if found is None:
        raise CommandFailed(f"There is no tenant {tenant!r}", hint="rustcare tenant list shows them")
    return found


def _object(text: str) -> dict[str, Any]:
    import json

    try:
        found = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected a JSON object: {error}", param_hint="--settings") from None
    assert isinstance(found, dict)  # it begins with a brace
    return found


def _settings(given: list[str] | None, before: dict[str, Any]) -> dict[str, Any]:
    """Settings with `a.b=VALUE` laid over them; a value of null takes the key away."""
    import copy
    import json

    found = copy.deepcopy(before)
    for item in given or []:
        path, sign, text = item.partition("=")
        if not sign or not all(path.split(".")):
            raise typer.BadParameter(f"expected KEY=VALUE, got {item!r}", param_hint="--setting")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *parents, last = path.split(".")
        place = found
        for name in parents:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                raise typer.BadParameter(f"expected settings below {name!r}, it has a value", param_hint="--setting")
            place = inner
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return found


def _show(item: dict[str, Any], json: bool) -> None:
    import json as json_

    from rustcare_cli._render import fields, print_json, say

    if json:
        print_json(item)
        return
    say(f"{item['id']}{f' ({name})' if (name := item['name']) else ''}", "bold")
    fields(
        [
            ("state", "enabled" if item["enabled"] else "disabled"),
            ("hosts", item["hosts"] or "none of its own"),
            ("created", when(item["created"])),
            ("version", item["version"]),
        ]
    )
    if item["settings"]:
        say("settings", "bold")
        say(json_.dumps(item["settings"], ensure_ascii=False, indent=2, sort_keys=True))
