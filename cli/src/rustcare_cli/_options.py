"""Options that several commands share, and what a command remembers of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["DEFAULT_DATA", "Data", "Json", "Source", "Yes"]

DEFAULT_DATA = Path("rustcare-data")


def _remember_json(context: typer.Context, value: bool) -> bool:
    """Errors are shown as JSON too; they are reported where the command's own variables are gone."""
    context.meta["rustcare.json"] = value
    return value


def wants_json(context: Any) -> bool:
    """Whether the command that runs was called with `--json`."""
    return bool(context.meta.get("rustcare.json"))


Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.", callback=_remember_json)]
Data = Annotated[Path, typer.Option("--data", envvar="RUSTCARE_DATA", metavar="DIR", help="The kernel's data folder.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Consent without being asked.")]
Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A plugin's folder, a .whl, a .wasm with its plugin.toml, an OCI layout (folder or .tar), "
        "or installed:NAME.",
        show_default=False,
    ),
]
PluginId = Annotated[
    str, typer.Argument(metavar="ID", help="The plugin's id, such as rustcare.hl7.", show_default=False)
]
