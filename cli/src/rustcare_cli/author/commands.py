"""What a plugin's author types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rustcare_cli._options import Json

__all__ = ["build", "check", "dev", "new", "run_tests"]

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The plugin's folder.", show_default=False)]
HERE = Path(".")


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Such as ward-bell, or acme.ward-bell.", show_default=False)
    ],
    runtime: Annotated[
        str, typer.Option("--runtime", metavar="NAME", help="python, component (Python, sandboxed) or extism (C).")
    ] = "python",
    into: Annotated[Path | None, typer.Option("--into", metavar="DIR", help="The new folder.")] = None,
    json: Json = False,
) -> None:
    """Write a new plugin: manifest, code, a test that passes."""
    from rustcare_cli._render import print_json, say

    from .scaffold import write_plugin

    folder, files = write_plugin(name, runtime, into)
    if json:
        print_json({"folder": str(folder), "files": files})
        return
    say(f"Wrote {folder}", "green")
    for file in files:
        say(f"  {file}")
    say("Next:")
    for command in ("test", "check", "dev", "build"):
        say(f"  rustcare plugin {command} {folder}")


def check(
    folder: Folder = HERE,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail too.")] = False,
    json: Json = False,
) -> None:
    """Check manifest, portability, imports and uses of rights."""
    from rustcare_cli._render import print_json

    from .check import check_project, show_findings

    findings = check_project(folder)
    failed = any(item.level == "error" or strict for item in findings)
    if json:
        print_json({"ok": not failed, "findings": [item.plain() for item in findings]})
    else:
        show_findings(findings, folder)
    if failed:
        raise typer.Exit(1)


def build(
    folder: Folder = HERE,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to; dist/ in the folder.")] = None,
    tar: Annotated[bool, typer.Option("--tar", help="The OCI layout as one .tar too.")] = False,
    wheel: Annotated[bool, typer.Option(help="Build the wheel.")] = True,
    json: Json = False,
) -> None:
    """Check, then build component, wheel and OCI layout."""
    from rustcare_cli._render import print_json

    from .build import build_project, show_built

    built = build_project(folder, out, tar=tar, wheel=wheel)
    if json:
        print_json(built)
    else:
        show_built(built)


def run_tests(
    folder: Folder = HERE,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="-- PYTEST OPTIONS", help="Passed on to pytest.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Run a plugin's tests with pytest. It need not be installed."""
    from rustcare_cli._render import print_json

    from .project import Project

    code, seconds = Project.find(folder).run_tests(arguments or [], quiet=json)
    if json:
        print_json({"passed": code == 0, "exit_code": code, "seconds": round(seconds, 3)})
    if code:
        raise typer.Exit(1)


def dev(
    folder: Folder = HERE,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", metavar="NAME", help="python when there is Python code, else what there is."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="The data folder; .rustcare in the plugin's folder.")
    ] = None,
    temporary: Annotated[bool, typer.Option("--temp", help="A data folder that is deleted afterwards.")] = False,
    others: Annotated[
        list[str] | None, typer.Option("--with", metavar="SOURCE", help="Install this plugin too; may be repeated.")
    ] = None,
    requests: Annotated[
        list[str] | None,
        typer.Option("--request", metavar="SERVICE=JSON", help="Ask this after every load; may be repeated."),
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option("--publish", metavar="SUBJECT=JSON", help="Publish this after every load; may be repeated."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Load it, do what is asked, show it, and end.")] = False,
    poll: Annotated[float, typer.Option("--poll", metavar="SECONDS", help="How often files are looked at.")] = 0.3,
    json: Json = False,
) -> None:
    """Run a plugin, reload it on save, show what it does."""
    import asyncio

    from .dev import Session, Settings

    settings = Settings(
        folder=folder,
        runtime=runtime,
        data=data,
        temporary=temporary,
        others=tuple(others or ()),
        requests=tuple(requests or ()),
        events=tuple(events or ()),
        once=once,
        poll=poll,
        json=json,
    )
    try:
        good = asyncio.run(Session(settings).run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        good = True  # the author ends it
    if not good:
        raise typer.Exit(1)
