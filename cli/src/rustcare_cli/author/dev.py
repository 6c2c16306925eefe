"""`plugin dev`: runs a plugin in a kernel of its own, reloads it on save with its state kept, shows what it does.

A reload is an upgrade, the same as in production: what fails leaves the version before serving. The author sees what an
operator never does, the whole traceback, because here the data is the author's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json as _json
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlServer, Stream
from rustcare_kernel.package import Package
from rustcare_sdk.errors import RustCareError

from rustcare_cli._consent import show_request
from rustcare_cli._errors import CommandFailed
from rustcare_cli._render import is_terminal, note, print_json, say

from .project import Project

__all__ = ["Session", "Settings"]


#: States that are only passed through.
_STEPS = frozenset({"verified", "resolved", "consented", "starting", "draining"})


@dataclass(frozen=True)
class Settings:
    """What was asked for on the command line."""

    folder: Path
    runtime: str | None = None
    data: Path | None = None
    temporary: bool = False
    others: tuple[str, ...] = ()
    requests: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    once: bool = False
    poll: float = 0.3
    json: bool = False


@dataclass
class Session:
    """One run of `plugin dev`."""

    settings: Settings
    good: bool = True
    _logged: dict[str, str] = field(default_factory=dict)
    _stream: Stream = field(init=False)
    _kernel: Kernel = field(init=False)
    _project: Project = field(init=False)
    _id: str = field(init=False)

    async def run(self) -> bool:
        """Run until interrupted (or once); whether the last load, and everything asked after it, went well."""
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that everything is closed
        project = Project.find(self.settings.folder)
        manifest = project.manifest()
        asks = [_parse(text, "--request") for text in self.settings.requests]
        tells = [_parse(text, "--publish") for text in self.settings.events]
        with self._data(project) as data:
            async with Kernel(data, log_level="silent") as kernel, ControlServer(kernel) as server:
                self._kernel, self._project, self._id = kernel, project, manifest.plugin.id
                kernel.bus.on_error = self._handler_failed(kernel.bus.on_error)
                stream = self._stream = server.watch.open(data=True)
                try:
                    for source in self.settings.others:
                        status = await kernel.install(source, consent=True)
                        self._tell({"kind": "with", "plugin": status.id, "state": status.state})
                    seen = project.stamps()  # before the load: a save during it is not missed
                    await self._load(first=True)
                    await self._exercise(asks, tells)
                    if self.settings.once:
                        await asyncio.sleep(0)  # events published in the background get their turn
                        server.watch.flush()
                        self._show()
                        return self.good
                    await self._follow(seen, asks, tells)
                finally:
                    server.watch.close(stream)
        return self.good

    @contextlib.contextmanager
    def _data(self, project: Project) -> Iterator[Path]:
        if self.settings.temporary:
            with tempfile.TemporaryDirectory(prefix="rustcare-dev-") as folder:
                yield Path(folder)
        else:
            yield self.settings.data or project.root / ".rustcare"

    # loading

    async def _load(self, *, first: bool) -> None:
        """Build and load what the folder has now. What goes wrong is shown, and the version before stays."""
        started = time.monotonic()
        try:
            package, runtime = await asyncio.to_thread(self._build)
            installed = {status.id for status in self._kernel.plugins()}
            if package.id != self._id:
                raise CommandFailed(
                    f"The plugin's id changed from {self._id} to {package.id}", hint="start rustcare plugin dev again"
                )
            if first and not self.settings.json:
                from rustcare_kernel.control import inspection_of

                show_request(inspection_of(await self._kernel.inspect(package)))
            if self._id in installed:
                status = await self._kernel.upgrade(package, consent=True, runtime=runtime)
                if status.state == "stopped":
                    status = await self._kernel.enable(self._id)
            else:
                status = await self._kernel.install(package, consent=True, runtime=runtime)
        except (RustCareError, SyntaxError, OSError) as error:
            self.good = False
            self._tell_failure("load failed", error, keeps=not first)
            return
        self.good = status.state in ("active", "degraded")
        await asyncio.sleep(0)  # the kernel tells of states in the background: let it, so that they come first
        self._tell(
            {
                "kind": "loaded" if first else "reloaded",
                "plugin": status.id,
                "version": status.version,
                "runtime": status.runtime,
                "digest": status.digest,
                "state": status.state,
                "reason": status.reason,
                "ms": round((time.monotonic() - started) * 1000, 1),
                "pause_ms": status.pause_ms,
            }
        )

    def _build(self) -> tuple[Package, str]:
        """The package as the folder has it now, with the code of the runtime that is to run."""
        for path in self._project.sources:  # the author is told file and line, not what the kernel makes of it
            compile(path.read_bytes(), str(path), "exec")
        runtime = self._runtime()
        if runtime == "extism":
            self._project.build_extism()
        package = self._project.read()
        if runtime == "component" and package.manifest.runtime.python is not None:
            package = package.with_wasm("component", self._project.build_component(package))
        return package, runtime

    def _runtime(self) -> str:
        names = self._project.manifest().runtime.names
        wanted = self.settings.runtime or ("python" if "python" in names else names[0])
        if wanted not in names:
            raise CommandFailed(f"Expected a runtime of {', '.join(names)}, got {wanted}", address="--runtime")
        return wanted

    async def _exercise(self, asks: list[tuple[str, Any]], tells: list[tuple[str, Any]]) -> None:
        """Do what the author wants done after every load."""
        if not self.good:
            return
        for service, data in asks:
            try:
                answer = await self._kernel.request(service, data, principal="developer")
                self._tell({"kind": "answer", "service": service, "data": _plain(answer)})
            except RustCareError as error:
                self.good = False
                self._tell_failure(f"{service} failed", error)
        for subject, data in tells:
            delivery = await self._kernel.publish(subject, data, confirm=True, principal="developer")
            assert delivery is not None
            self.good = self.good and not delivery.failures
            self._tell(
                {
                    "kind": "delivered",
                    "subject": subject,
                    "receivers": delivery.receivers,
                    "failures": list(delivery.failures),
                }
            )

    async def _follow(
        self, seen: dict[Path, tuple[int, int]], asks: list[tuple[str, Any]], tells: list[tuple[str, Any]]
    ) -> None:
        """Show what happens and reload on save, until interrupted."""
        if not self.settings.json:
            note(f"Watching {self._project.root}. Save a file to reload it; Ctrl-C ends.")
        changing = False
        while True:
            await asyncio.sleep(self.settings.poll)
            self._show()
            now = await asyncio.to_thread(self._project.stamps)
            if now != seen:
                seen, changing = now, True  # an editor may write in several steps: wait until it rests
            elif changing:
                changing = False
                await self._load(first=False)
                await self._exercise(asks, tells)

    # showing

    def _handler_failed(self, before: Any) -> Any:
        def failed(owner: str, subject: str, error: BaseException) -> None:
            if before is not None:
                before(owner, subject, error)
            self._tell_failure(f"{owner} failed on {subject}", error)

        return failed

    def _tell_failure(self, what: str, error: BaseException, *, keeps: bool = False) -> None:
        cause = error.__cause__ if isinstance(error, RustCareError) else error
        event = {
            "kind": "failed",
            "what": what,
            "code": getattr(error, "code", ""),
            "message": error.message if isinstance(error, RustCareError) else str(error),
            "hint": error.hint if isinstance(error, RustCareError) else "",
            "address": error.address if isinstance(error, RustCareError) else _place(error),
            "traceback": "".join(traceback.format_exception(cause)) if cause is not None else "",
            "serving": keeps,
        }
        self._tell(event)

    def _show(self) -> None:
        """What was watched and logged meanwhile."""
        entries = []
        for status in self._kernel.plugins():
            last = self._logged.get(status.id, "")
            for line in self._kernel.logs(status.id, tail=1000):
                if line["time"] > last:
                    self._logged[status.id] = line["time"]
                    if line["event"] not in ("state", "handler failed"):  # both are shown by themselves
                        entries.append({"kind": "log", **line})
        for event in [*self._stream.drain(), *entries]:
            self._print(event)

    def _tell(self, event: dict[str, Any]) -> None:
        """Show an event of this session, after everything that led to it."""
        self._show()
        self._print(event)

    def _print(self, event: dict[str, Any]) -> None:
        if event["kind"] == "state" and event["to"] in _STEPS and not self.settings.json:
            return
        if self.settings.json:
            print_json(msgspec.to_builtins({"time": time.time(), **event}, enc_hook=str))
            return
        text, style = describe(event)
        say(f"{time.strftime('%H:%M:%S')}  {text}", style)
        if event["kind"] == "failed" and event["traceback"]:
            say(event["traceback"].rstrip(), "dim" if is_terminal() else "")


def describe(event: dict[str, Any]) -> tuple[str, str]:
    """One line for an event, and how it looks."""
    kind = event["kind"]
    if kind in ("loaded", "reloaded"):
        good = event["state"] in ("active", "degraded")
        kept = f", state kept, paused {event['pause_ms']:.1f} ms" if kind == "reloaded" and good else ""
        reason = f": {event['reason']}" if event["reason"] else ""
        text = f"{event['plugin']} {event['version']} ({event['runtime']}) is {event['state']}{reason}"
        return f"{kind:<9} {text} after {event['ms']:.0f} ms{kept}", "green" if good else "yellow"
    if kind == "failed":
        where = f"{event['address']}: " if event["address"] else ""
        hint = f" ({event['hint']})" if event["hint"] else ""
        serving = "; the version before goes on serving" if event["serving"] else ""
        return f"{'failed':<9} {event['what']}: {where}{event['message']}{hint}{serving}", "red"
    if kind == "message":
        data = _json.dumps(_plain(event.get("data")), ensure_ascii=False, default=str)
        return f"{'message':<9} {event['subject']} from {event['plugin'] or 'nobody'}: {_cut(data)}", ""
    if kind == "capability":
        denied = f", {event['denied']} denied" if event["denied"] else ""
        style = "red" if event["denied"] else "cyan"
        return f"{'uses':<9} {event['plugin']} {event['capability']} ×{event['used']}{denied}", style
    if kind == "state":
        reason = f": {event['reason']}" if event["reason"] else ""
        return f"{'state':<9} {event['plugin']} {event['from']} → {event['to']}{reason}", "dim"
    if kind == "log":
        rest = {key: value for key, value in event.items() if key not in ("kind", "time", "level", "plugin", "event")}
        extra = "".join(f" {key}={value}" for key, value in rest.items())
        style = {"error": "red", "warning": "yellow"}.get(event["level"], "dim")
        return f"{'log':<9} {event['level']} {event['event']}{extra}", style
    if kind == "answer":
        return f"{'answer':<9} {event['service']}: {_cut(_json.dumps(event['data'], ensure_ascii=False))}", "green"
    if kind == "delivered":
        failures = f", failed: {', '.join(event['failures'])}" if event["failures"] else ""
        return f"{'delivered':<9} {event['subject']} to {event['receivers']} subscribers{failures}", "green"
    words = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("kind", "time"))
    return f"{kind:<9} {words}", "dim"


def _cut(text: str, length: int = 400) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _plain(value: Any) -> Any:
    """Data as JSON shows it."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    return str(getattr(error, "filename", "") or "")


def _parse(text: str, option: str) -> tuple[str, Any]:
    """`subject=JSON`, or `subject` alone."""
    name, equals, data = text.partition("=")
    try:
        return name, _json.loads(data) if equals else None
    except ValueError as error:
        raise CommandFailed(f"Expected JSON after the =: {error}", address=f"{option} {name}") from None
