"""`make bench`: every benchmark of the project, or those named: `python -m tests.benchmarks bus start --json`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from tests.benchmarks.harness import Row


def main() -> int:
    """Run the benchmarks and print one table. The exit code does not depend on the figures."""
    rooms = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("rooms", nargs="*", metavar="room", help=", ".join(rooms))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    unknown = sorted(set(options.rooms) - set(rooms))
    if unknown:
        parser.error(f"expected one of {', '.join(rooms)}, got {', '.join(unknown)}")
    found: list[Row] = []
    for room in options.rooms or rooms:
        print(f"… {room}", file=sys.stderr, flush=True)
        found.extend(importlib.import_module(f"tests.benchmarks.bench_{room}").rows())
    if options.json:
        print(json.dumps([row.as_dict() for row in found], indent=1))
    else:
        show(found)
    return 0


def show(rows: list[Row]) -> None:
    """A table: ours, the bare thing, the ratio, the aim."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Ratios to the bare thing, taken in turn in this run", title_justify="left")
    for column in ("what", "ours", "bare", "ratio", "aim", "", "note"):
        table.add_column(column, justify="right" if column in ("ours", "bare", "ratio", "aim") else "left")
    for row in rows:
        sign = "≤" if row.kind == "cost" else "≥"
        table.add_row(
            row.name,
            f"{row.ours:,.4g} {row.unit}",
            "" if row.floor is None else f"{row.floor:,.4g}",
            "" if row.ratio is None else f"{row.ratio:.2f}",
            "" if row.aim is None else f"{sign} {row.aim:g}",
            {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[row.met],
            row.note,
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
