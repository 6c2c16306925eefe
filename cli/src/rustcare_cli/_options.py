"""Options that several commands share, and what a command remembers of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["DEFAULT_DATA", "Data", "Full", "Json", "Source", "Yes", "anywhere"]

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
Full = Annotated[bool, typer.Option("--full", help="Show each capability that is asked for, not groups of them.")]
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
Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="RUSTCARE_URL", metavar="URL", help="A remote server, rather than a data folder.",
        show_default=False,
    ),
]  # fmt: skip
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="The token for the server; without it, as signed in."),
]


def anywhere(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, made to work against a remote server too: it takes `--url` and `--token-file`.

    What it connects to (`_client.connect`) is then that server. A `--data` on the command line beats `RUSTCARE_URL`.
    """
    own = inspect.signature(command, eval_str=True)
    here = next(name for name in ("data", "folder") if name in own.parameters)

    @functools.wraps(command)
    def run(_context: typer.Context, _url: str, _token_file: Path | None, **given: Any) -> Any:
        def typed(name: str) -> bool:
            source = _context.get_parameter_source(name)
            return source is not None and source.name == "COMMANDLINE"

        if not _url or (typed(here) and not typed("_url")):
            return command(**given)
        if typed(here):
            raise typer.BadParameter("expected one of --data and --url, got both", param_hint="--url")
        from ._client import SERVER, Server

        before = SERVER.set(Server(_url.rstrip("/"), _token_file))
        try:
            return command(**given)
        finally:
            SERVER.reset(before)

    kind = inspect.Parameter.KEYWORD_ONLY
    added = {
        "_context": (typer.Context, inspect.Parameter.empty),
        "_url": (Url, ""),
        "_token_file": (TokenFile, None),
    }
    more = [inspect.Parameter(name, kind, default=value, annotation=type_) for name, (type_, value) in added.items()]
    parameters = [item.replace(kind=kind) for item in own.parameters.values()]
    at = next((place for place, item in enumerate(parameters) if item.name == "json"), len(parameters))
    parameters[at:at] = more
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    del run.__wrapped__  # whoever looks for a signature shall find this one
    return run
