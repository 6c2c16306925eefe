"""`login`, `logout`, `whoami`: this command line, and a server on another machine."""

from __future__ import annotations

from typing import Annotated

import typer

from rustcare_cli._options import Json, TokenFile

__all__ = ["login", "logout", "whoami"]

ServerUrl = Annotated[
    str,
    typer.Argument(
        metavar="URL", envvar="RUSTCARE_URL", help="The server, such as https://clinic.example.org", show_default=False
    ),
]


def login(
    url: ServerUrl,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="Only this; may be given more than once. Else all that you have."
        ),
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", metavar="TENANT", help="Sign in to this tenant.")] = "",
    json: Json = False,
) -> None:
    """Sign this command line in to a server. You approve it in a browser, on any machine."""
    from rustcare_cli._render import busy, note, print_json, say

    from ._http import Connection
    from .device import approved, begin
    from .tokens import Tokens

    url = url.rstrip("/")
    connection = Connection(url, timeout=60)
    begun = begin(connection, scopes or [], tenant)
    if json:  # two values, one a line: what to do, at once, and what came of it
        print_json({name: begun[name] for name in ("verification_uri", "user_code", "open")})
    else:
        say("Open this page, and approve the sign-in if it shows this code:")
        say(f"  {begun['open']}", "bold")
        say(f"  {begun['user_code']}", "bold")
    with busy("Waiting for you to approve it"):
        found = approved(connection, begun, tenant)
    tokens = Tokens()
    tokens.put(url, found)
    if json:
        print_json({"url": url, "scope": found.scope, "expires": found.expires, "file": str(tokens.path)})
        return
    say(f"Signed in to {url}", "green")
    note(f"The tokens are in {tokens.path}; rustcare logout {url} ends them.")


def logout(url: ServerUrl, json: Json = False) -> None:
    """End the sign-in of this command line, at the server and here."""
    from rustcare_cli._errors import NotSignedIn, ServerUnreachable
    from rustcare_cli._render import note, print_json, say

    from ._http import Connection
    from .device import ended
    from .tokens import Tokens, sign_in

    url = url.rstrip("/")
    found = Tokens().forget(url)
    if found is None:
        raise NotSignedIn("Expected a token for this server, there is none", address=url, hint=sign_in(url))
    try:
        told = ended(Connection(url, timeout=30), found)
    except ServerUnreachable:
        told = False
    if json:
        print_json({"url": url, "revoked": told})
        return
    say(f"Signed out of {url}")
    if not told:
        note("The server could not be told: its tokens stay valid until they expire, or are revoked there.", "yellow")


def whoami(url: ServerUrl, token_file: TokenFile = None, json: Json = False) -> None:
    """Who this command line is to a server, as the server says."""
    from rustcare_cli._client import Server
    from rustcare_cli._render import fields, moment, print_json, say

    from .client import WHOAMI, RemoteClient

    with RemoteClient.at(Server(url.rstrip("/"), token_file)) as client:
        found = client.ask("GET", WHOAMI).json()
    if json:
        print_json(found)
        return
    say(found["name"] or found["principal"], "bold")
    fields(
        [
            ("principal", found["principal"]),
            ("tenant", found["tenant"]),
            ("assurance", f"AAL{found['aal']}"),
            ("roles", ", ".join(found["roles"]) or "none"),
            ("scopes", ", ".join(found["scopes"]) or "none"),
            *([("signed in", moment(found["authenticated"]))] if found["authenticated"] else []),
        ]
    )
