"""Keys of the keyring. Their secret parts stay there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json, Yes

from ._ask import asking

__all__ = ["create", "destroy", "disable", "list_keys", "rotate"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name.", show_default=False)]


def create(
    name: Name,
    algorithm: Annotated[
        str, typer.Option("--algorithm", help="Such as aes256-gcm, ed25519, hmac-sha256 or ed25519+ml-dsa-65.")
    ] = "aes256-gcm",
    derived: Annotated[bool, typer.Option("--derived", help="Another key for each context.")] = False,
    exportable: Annotated[bool, typer.Option("--exportable", help="Its secret part may be taken out.")] = False,
    rotate_after: Annotated[
        int, typer.Option("--rotate-after", help="Rotate after so many seconds; 0: never.", min=0)
    ] = 0,
    users: Annotated[
        list[str] | None, typer.Option("--user", help="A plugin that may use it; all of them if none is given.")
    ] = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Make a key."""
    with asking(data) as ask:
        found = ask(
            "crypto.key.create",
            name=name, algorithm=algorithm, derived=derived, exportable=exportable, rotate_after=rotate_after,
            users=users or [],
        )  # fmt: skip
    _show(found, json)


def list_keys(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """The keys that there are."""
    from rustcare_cli._render import print_json, table

    keys: list[dict[str, Any]] = []
    after = ""
    with asking(data) as ask:
        while True:
            page = ask("crypto.key.list", after=after)
            keys += page["keys"]
            after = page["next"]
            if not after:
                break
    if json:
        print_json(keys)
        return
    rows = [
        (
            key["name"],
            key["algorithm"],
            _primary(key),
            len(key["versions"]),
            key["min_decryption_version"],
            key["owner"] or "operator",
        )
        for key in keys
    ]
    table(("name", "algorithm", "primary", "versions", "minimum", "made by"), rows, empty="There are no keys.")


def rotate(name: Name, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Make a new version of a key; what was encrypted before can still be read."""
    with asking(data) as ask:
        _show(ask("crypto.key.rotate", key=name), json)


def disable(
    name: Name,
    version: Annotated[int, typer.Option("--version", help="Which version; the primary one cannot be.", min=1)],
    enable: Annotated[bool, typer.Option("--undo", help="Enable it again.")] = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Let nothing be done with a version of a key, until it is enabled again."""
    with asking(data) as ask:
        _show(ask("crypto.key.state", key=name, version=version, state="enabled" if enable else "disabled"), json)


def destroy(
    name: Name,
    version: Annotated[int, typer.Option("--version", help="Which version; all of them if not given.", min=0)] = 0,
    yes: Yes = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Destroy a key, or a version of it, for good: whatever is encrypted with it can never be read again."""
    import sys

    from rustcare_cli._consent import confirm
    from rustcare_cli._errors import ConsentMissing

    what = f"version {version} of the key {name}" if version else f"the key {name}"
    if not yes:
        if json or not sys.stdin.isatty():
            raise ConsentMissing(
                f"Expected consent to destroy {what}, there is no terminal to ask on", hint="say --yes if you mean it"
            )
        if not confirm(f"Destroy {what} for good?"):
            raise ConsentMissing("No consent was given", hint="nothing was changed")
    with asking(data) as ask:
        _show(ask("crypto.key.destroy", key=name, version=version), json)


def _primary(key: dict[str, Any]) -> str:
    return next((str(item["version"]) for item in key["versions"] if item["state"] == "primary"), "none")


def _show(key: dict[str, Any], json: bool) -> None:
    from rustcare_cli._render import print_json, say, table

    if json:
        print_json(key)
        return
    say(f"{key['name']} ({key['algorithm']})", "bold")
    table(
        ("version", "state", "created"),
        [(item["version"], item["state"], item["created"]) for item in key["versions"]],
        empty="No version of it is left.",
    )
