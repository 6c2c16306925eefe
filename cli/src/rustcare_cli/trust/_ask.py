"""Requests to services over the control socket, and what several commands say of the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rustcare_cli._client import Control

__all__ = ["Ask", "Out", "Tenant", "asker", "asking", "instant"]

#: Ask one service: `ask("audit.status")`, `ask("audit.show", index=7)`.
Ask = Callable[..., Any]

Tenant = Annotated[str, typer.Option("--tenant", help="Of this tenant only.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write to a file, not to standard output.")
]


@contextmanager
def asking(data: Path, tenant: str = "") -> Iterator[Ask]:
    """A connection on which services are asked, for a tenant. Raises what `connect` does, and what a service refuses with."""
    from rustcare_cli._client import connect

    with connect(data) as control:
        yield asker(control, tenant)


def asker(control: Control, tenant: str = "") -> Ask:
    """Ask over a connection that there is."""

    def ask(service: str, /, **fields: Any) -> Any:
        return control.call("bus.request", service=service, data=fields, tenant=tenant or None)

    return ask


def instant(microseconds: Any) -> str:
    """An entry's time, UTC, as RFC 3339 to the millisecond."""
    if not isinstance(microseconds, int):
        return ""
    moment = datetime.fromtimestamp(microseconds / 1_000_000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{microseconds // 1000 % 1000:03}Z"
