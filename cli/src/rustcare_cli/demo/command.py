"""`rustcare demo`."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rustcare_cli.demo.feed import Item
    from rustcare_cli.demo.scenario import Result

__all__ = ["demo"]


def demo(
    feed: Annotated[Path | None, typer.Option(help="Send every .hl7 file of this folder instead.")] = None,
    messages: Annotated[int, typer.Option(help="How many synthetic messages.", min=2, max=10_000_000)] = 1000,
    seed: Annotated[int, typer.Option(help="Another synthetic feed.")] = 7,
    runtime: Annotated[str, typer.Option(help="component (sandboxed) or python (trusted).")] = "component",
    keep: Annotated[Path | None, typer.Option(help="Leave the data folder here.")] = None,
    no_hostile: Annotated[bool, typer.Option("--no-hostile", help="Without the hostile plugins.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The main job from end to end: an HL7 feed into FHIR resources, a hot swap in its middle, hostile plugins beside it."""
    from rustcare_cli.demo.feed import from_folder, generated
    from rustcare_cli.demo.scenario import run

    if runtime not in ("component", "python"):
        raise typer.BadParameter(f"expected component or python, got {runtime!r}", param_hint="--runtime")
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise typer.BadParameter(f"{keep} is not empty", param_hint="--keep")
    items = from_folder(feed) if feed is not None else list(generated(messages, seed))
    folder = keep if keep is not None else Path(tempfile.mkdtemp(prefix="rustcare-demo-"))
    try:
        if json or not sys.stderr.isatty():
            quiet = json
            result = asyncio.run(
                run(
                    folder,
                    items,
                    runtime=runtime,
                    hostile=not no_hostile,
                    say=lambda text: None if quiet else print(text, flush=True),
                    progress=lambda done, total: None,
                )
            )
        else:
            result = _with_progress(folder, items, runtime, not no_hostile)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(result)).decode())
    else:
        from rustcare_cli.demo.report import show

        show(result)
        if keep is not None:
            print(f"The data is in {keep}. Look at it with: rustcare fhir export {keep}")
            print(f"Check the evidence with: rustcare audit verify --export {keep}/evidence --key {keep}/audit.vkey")
    if not result.ok:
        raise typer.Exit(1)


def _with_progress(folder: Path, items: list[Item], runtime: str, hostile: bool) -> Result:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from rustcare_cli.demo.scenario import run

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("acknowledged", total=len(items))
        return asyncio.run(
            run(
                folder,
                items,
                runtime=runtime,
                hostile=hostile,
                say=lambda text: bar.console.print(text),
                progress=lambda done, total: bar.update(task, completed=done),
            )
        )
