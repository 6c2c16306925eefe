"""The kernel itself: start it (see `serving`), look at it, stop it, and read what it stored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from ._options import DEFAULT_DATA, Data, Full, Json, Yes

__all__ = ["export", "status", "stop", "up"]

FHIR_STORE = "rustcare.fhir"


def up(
    data: Data = DEFAULT_DATA,
    store: Annotated[
        str,
        typer.Option(
            "--store",
            envvar="RUSTCARE_STORE",
            metavar="STORE",
            help="Where plugins keep data: sqlite, or postgresql://…",
            show_default=True,
        ),
    ] = "sqlite",
    http: Annotated[
        str | None,
        typer.Option(
            "--http", metavar="HOST:PORT", help="Where the front door listens; else as configured (127.0.0.1:8080)."
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers", metavar="N", min=1, max=64, help="Processes that accept connections; 1: this one alone."
        ),
    ] = 1,
    bare: Annotated[bool, typer.Option("--bare", help="Install nothing on the first start.")] = False,
    log_level: Annotated[
        str, typer.Option("--log-level", help="debug, info, warning, error or silent.", metavar="LEVEL")
    ] = "warning",
    yes: Yes = False,
    full: Full = False,
    json: Json = False,
) -> None:
    """Run a kernel here until Ctrl-C. A new data folder gets the built-in plugins, with your consent."""
    from . import serving

    _check_level(log_level)
    _check_store(store)
    serving.run(
        data, store=store, workers=workers, bare=bare, http=http, log_level=log_level, yes=yes, full=full, json=json
    )


def _check_store(store: str) -> None:
    """Raises BadParameter for a store that is none. Its text is not repeated: there may be a password in it."""
    if store != "sqlite" and not store.startswith("postgresql://"):
        raise typer.BadParameter(
            "expected sqlite, or an address that begins with postgresql://, got something else", param_hint="--store"
        )


def _check_level(level: str) -> None:
    levels = ("debug", "info", "warning", "error", "silent")
    if level not in levels:
        raise typer.BadParameter(f"expected one of {', '.join(levels)}, got {level!r}", param_hint="--log-level")


def status(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """The kernel that runs on a data folder, and its plugins."""
    from ._client import connect
    from ._render import fields, print_json, size, span, table

    with connect(data) as control:
        found = control.call("system.status")
        plugins = control.call("plugin.list")
        rows = control.call("accounting.read")
    if json:
        print_json({**found, "details": plugins, "accounting": rows})
        return
    fields(
        [
            ("kernel", f"{found['version']}, process {found['pid']}, up {span(found['uptime_s'])}"),
            ("data", f"{found['data_dir']} ({found['store']})"),
            ("memory", size(found["rss_bytes"])),
            ("services", _by_first_word(found["services"]) or "none"),
            *([("workers", ", ".join(map(_worker, found["workers"])))] if found.get("workers") else []),
            ("capability uses", found["capability_uses"]),
        ]
    )
    calls: dict[str, list[float]] = {}
    for row in rows:
        if not row["capability"]:
            count = calls.setdefault(row["plugin"], [0, 0, 0.0])
            count[0] += row["calls"]
            count[1] += row["errors"]
            count[2] += row["wall_s"]
    table(
        ("id", "version", "runtime", "state", "calls", "errors", "time", "reason"),
        [
            (
                item["id"],
                item["version"],
                item["runtime"],
                item["state"],
                int(calls.get(item["id"], [0, 0, 0.0])[0]),
                int(calls.get(item["id"], [0, 0, 0.0])[1]),
                f"{calls.get(item['id'], [0, 0, 0.0])[2]:.2f} s",
                item["reason"],
            )
            for item in plugins
        ],
        empty="No plugins are installed.",
    )


def _by_first_word(services: list[str]) -> str:
    """How many services there are whose names begin alike; there are hundreds. --json has each name."""
    counts = Counter(name.partition(".")[0] for name in services if not name.startswith("http.route."))
    routes = sum(name.startswith("http.route.") for name in services)
    shown = [f"{word} {count}" for word, count in sorted(counts.items())] + ([f"routes {routes}"] if routes else [])
    return ", ".join(shown)


def _worker(worker: dict[str, Any]) -> str:
    missing = f", without {', '.join(worker['missing'])}" if worker["missing"] else ""
    return f"process {worker['pid']} {worker['state']}{missing}"


def stop(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Drain and stop the kernel. Returns when it has ended."""
    from ._client import SERVER, connect
    from ._render import busy, print_json, say

    with connect(data) as control:
        control.call("system.stop")
        with busy("Waiting for the kernel to finish what it has"):
            control.wait_closed()
        if SERVER.get() is None:
            _wait_unlocked(data)
    if json:
        print_json({"stopped": True})
    else:
        say("The kernel has stopped.")


def _wait_unlocked(data: Path) -> None:
    """Return when the data folder is free: the socket closes before the plugins have stopped."""
    import fcntl

    from rustcare_kernel.data_lock import DataFolderLock

    with open(DataFolderLock(data).path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # waits; the kernel holds it until the very end


def export(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A kernel's data folder, in use or not.", show_default=False)
    ] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only resources of this type; may be given more than once.")
    ] = None,
    store: Annotated[
        str, typer.Option("--store", envvar="RUSTCARE_STORE", metavar="STORE", help="As in `rustcare up`.")
    ] = "sqlite",
    json: Json = False,
) -> None:
    """Print the stored FHIR resources, one a line (NDJSON). With --json: one array."""
    import asyncio
    import sys

    from rustcare_kernel.control import ControlUnavailable

    from ._client import SERVER, connect
    from ._errors import CommandFailed

    _check_store(store)
    folder = folder if folder is not None else DEFAULT_DATA
    if SERVER.get() is None and not (folder / "kernel.sqlite3").is_file():
        raise CommandFailed(
            "Expected a kernel's data folder", address=str(folder), hint="rustcare demo --keep DIR makes one"
        )
    writer = _Ndjson(sys.stdout, json)
    try:
        with connect(folder) as control:
            after = ""
            while True:
                page = control.call(
                    "bus.request", service="fhir.export", data={"types": types or [], "limit": 500, "after": after}
                )
                writer.write(page["resources"])
                after = page["next"]
                if not after:
                    break
    except ControlUnavailable:
        asyncio.run(_export_offline(folder, store, types or [], writer))
    writer.close()


class _Ndjson:
    """Resources as they come: a line for each, or the items of one array."""

    def __init__(self, stream: Any, array: bool) -> None:
        self._stream = stream
        self._array = array
        self._first = True

    def write(self, resources: list[dict[str, Any]]) -> None:
        import json

        for resource in resources:
            text = json.dumps(resource, ensure_ascii=False, separators=(",", ":"))
            if self._array:
                self._stream.write(f"{'[' if self._first else ','}{text}")
            else:
                self._stream.write(text + "\n")
            self._first = False

    def close(self) -> None:
        if self._array:
            self._stream.write("[]\n" if self._first else "]\n")
        self._stream.flush()


async def _export_offline(folder: Path, store: str, types: list[str], writer: _Ndjson) -> None:
    """Run only the store's plugin: the others would listen, or go on with what they had."""
    from rustcare_kernel import Kernel
    from rustcare_sdk.contracts.fhir import EXPORT, ExportReply, ExportRequest

    async with Kernel(folder, store=store, log_level="error", only=(FHIR_STORE,)) as kernel:
        after = ""
        while True:
            page = await kernel.request(EXPORT, ExportRequest(types, 500, after), type=ExportReply)
            writer.write(page.resources)
            after = page.next
            if not after:
                return
