"""What the commands about accounts, tenants and keys share: options, consent, how times and links look."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rustcare_cli.trust._ask import Ask

__all__ = [
    "Account",
    "OfTenant",
    "Reason",
    "agree",
    "duration",
    "link_of",
    "names",
    "pages",
    "show_once",
    "when",
    "whole_link",
]

#: Accounts are asked for by the hundred.
PAGE = 100
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its id, name or e-mail address.", show_default=False)]
OfTenant = Annotated[str, typer.Option("--tenant", metavar="TENANT", help="In this tenant.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is put on record.", show_default=False)]


def agree(what: str, *, yes: bool, json: bool) -> None:
    """Return when whoever operates wants it. Raises ConsentMissing."""
    from rustcare_cli._consent import confirm
    from rustcare_cli._errors import ConsentMissing

    if yes:
        return
    if json or not sys.stdin.isatty():
        raise ConsentMissing(
            f"Expected consent to {what}, there is no terminal to ask on", hint="say --yes if you mean it"
        )
    if not confirm(f"{what[0].upper()}{what[1:]}?"):
        raise ConsentMissing("No consent was given", hint="nothing was changed")


def pages(ask: Ask, service: str, field: str, **asked: Any) -> Iterator[dict[str, Any]]:
    """Every item of an answer that comes in pages (`next` is where to go on)."""
    after = ""
    while True:
        page = ask(service, **asked, after=after)
        yield from page[field]
        after = page.get("next", "")
        if not after:
            return


def duration(text: str, option: str) -> int:
    """Seconds of `90d`, `12h`, `30min`, `45s`; 0 for `never`."""
    if text in ("", "0", "never"):
        return 0
    found = re.fullmatch(r"([0-9]{1,6})(s|min|h|d)", text)
    if found is None:
        raise typer.BadParameter(f"expected a time such as 90d, 12h or never, got {text!r}", param_hint=option)
    return int(found[1]) * _UNITS[found[2]]


def when(seconds: float) -> str:
    """A time of day, or `never`."""
    from rustcare_cli._render import moment

    return moment(seconds) if seconds else "never"


def names(values: Any) -> str:
    """A list in one cell."""
    return ", ".join(map(str, values or ()))


def link_of(ask: Ask, link: str) -> str:
    """A link as it can be opened: what a service gives is a path, its origin is the server's own."""
    return whole_link(link, origin(ask)) if link else ""


def origin(ask: Ask) -> str:
    """Where the server is reached, empty when that is not known here."""
    from rustcare_cli._client import SERVER

    server = SERVER.get()
    if server is not None:
        return server.url
    from rustcare_cli.serving import public_address

    return public_address(ask)


def whole_link(link: str, base: str) -> str:
    """A link with its origin, if it is only a path."""
    return f"{base.rstrip('/')}{link}" if link.startswith("/") else link


def show_once(label: str, secret: str) -> None:
    """Something that is shown this once: the label for people on standard error, the thing itself on standard output."""
    from rustcare_cli._render import note, say

    note(label, "bold")
    say(secret)
