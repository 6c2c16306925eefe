"""Plugins of a running kernel: what is there, what it may do, and changing both."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ._options import DEFAULT_DATA, Data, Full, Json, PluginId, Source, Yes

__all__ = [
    "caps",
    "configure",
    "disable",
    "enable",
    "grant",
    "info",
    "install",
    "list_plugins",
    "logs",
    "remove",
    "restart",
    "revoke",
    "rollback",
    "upgrade",
]

Runtime = Annotated[
    str | None, typer.Option("--runtime", help="python (trusted), component or extism (sandboxed).", metavar="NAME")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Configuration: a TOML or JSON file.", metavar="FILE")
]
Tenant = Annotated[str | None, typer.Option("--tenant", help="For this tenant only.")]
Capability = Annotated[
    str, typer.Argument(metavar="CAPABILITY", help="Such as bus:publish@hl7.adt.*", show_default=False)
]


def list_plugins(data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Which plugins are installed, and how they are."""
    from ._client import call
    from ._render import print_json, table

    found = call(data, "plugin.list")
    if json:
        print_json(found)
        return
    rows = [(item["id"], item["version"], item["runtime"], item["state"], item["reason"]) for item in found]
    table(("id", "version", "runtime", "state", "reason"), rows, empty="No plugins are installed.")


def info(plugin: PluginId, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """One plugin: state, versions, capabilities, what it used."""
    from ._client import call
    from ._render import fields, moment, print_json, say, size

    found = call(data, "plugin.info", id=plugin)
    if json:
        print_json(found)
        return
    calls = [row for row in found["accounting"] if not row["capability"]]
    say(f"{found['id']} {found['version']}", "bold")
    fields(
        [
            ("summary", found["summary"]),
            ("state", found["state"]),
            *([("reason", found["reason"])] if found["reason"] else []),
            ("since", moment(found["since"])),
            ("runtime", found["runtime"]),
            ("digest", found["digest"]),
            ("size", size(found["size"])),
            ("earlier versions", ", ".join(item[0] for item in found["previous"]) or "none"),
            ("traps", found["traps"]),
            ("calls", sum(row["calls"] for row in calls)),
            ("errors", sum(row["errors"] for row in calls)),
            ("time", f"{sum(row['wall_s'] for row in calls):.3f} s"),
        ]
    )
    _show_capabilities(found["capabilities"])


def _show_capabilities(capabilities: list[dict[str, Any]]) -> None:
    from ._render import table

    rows = [
        (
            item["use"],
            item["right"] + (f" (tenant {item['tenant']})" if item["tenant"] else ""),
            item["used"],
            item["denied"] or "",
            item["reason"],
        )
        for item in capabilities
    ]
    table(("capability", "right", "used", "denied", "reason"), rows, title="Capabilities", empty="No capabilities.")


def install(
    source: Source,
    runtime: Runtime = None,
    config: ConfigFile = None,
    enable: Annotated[bool, typer.Option(help="Start it at once.")] = True,
    yes: Yes = False,
    full: Full = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Install a plugin, with your consent to what it asks for."""
    _put(
        "plugin.install", "Install it with these capabilities?", source, runtime, config, yes, full, data, json, enable
    )


def upgrade(
    source: Source,
    runtime: Runtime = None,
    config: ConfigFile = None,
    yes: Yes = False,
    full: Full = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Replace a plugin while it runs. Asks only for what is new."""
    _put("plugin.upgrade", "Upgrade to this version?", source, runtime, config, yes, full, data, json, None)


def _put(
    method: str,
    question: str,
    source: str,
    runtime: str | None,
    config: Path | None,
    yes: bool,
    full: bool,
    data: Path,
    json: bool,
    enable: bool | None,
) -> None:
    from ._client import connect, source_for
    from ._consent import ask
    from ._render import busy

    settings = read_config(config) if config is not None else None
    with connect(data) as control:
        with busy("Reading the package"):
            where = source_for(control, source, runtime)
            inspection = control.call("plugin.inspect", source=where)
        ask(question, [inspection], yes=yes, as_json=json, full=full)
        with busy(f"{'Installing' if method == 'plugin.install' else 'Upgrading to'} {inspection['id']}"):
            status = control.call(
                method,
                source=where,
                digest=inspection["digest"],
                consent=[item["use"] for item in inspection["capabilities"]],
                runtime=runtime,
                config=settings,
                enable=enable,
            )
    _show_status(status, json)


def read_config(path: Path) -> dict[str, Any]:
    """A plugin's configuration from a TOML or JSON file."""
    import json
    import tomllib

    from ._errors import CommandFailed

    try:
        text = path.read_text()
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise CommandFailed(f"Expected a readable file: {error.strerror}", address=str(path)) from None
    except ValueError as error:  # both readers' errors derive from it
        raise CommandFailed(
            f"Expected {'JSON' if path.suffix == '.json' else 'TOML'}: {error}", address=str(path)
        ) from None
    if not isinstance(found, dict):
        raise CommandFailed(f"Expected an object, got {type(found).__name__}", address=str(path))
    return found


def _show_status(status: dict[str, Any], json: bool) -> None:
    """What became of a plugin. One that should run and cannot makes the command fail."""
    from ._render import print_json, say

    if json:
        print_json(status)
    else:
        style = {"active": "green", "failed": "red", "quarantined": "red"}.get(status["state"], "yellow")
        reason = f": {status['reason']}" if status["reason"] else ""
        say(f"{status['id']} {status['version']} ({status['runtime']}) is {status['state']}{reason}", style)
    if status["state"] in ("failed", "retry", "quarantined"):
        raise typer.Exit(1)


def _act(method: str, plugin: str, data: Path, json: bool, **params: Any) -> None:
    from ._client import call

    _show_status(call(data, method, id=plugin, **params), json)


def rollback(plugin: PluginId, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Go back to the version before, as it was consented to."""
    _act("plugin.rollback", plugin, data, json)


def enable(plugin: PluginId, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Start a plugin, now and whenever the kernel starts."""
    _act("plugin.enable", plugin, data, json)


def disable(plugin: PluginId, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Drain and stop a plugin; it stays installed."""
    _act("plugin.disable", plugin, data, json)


def restart(plugin: PluginId, data: Data = DEFAULT_DATA, json: Json = False) -> None:
    """Stop a plugin and start it again."""
    _act("plugin.restart", plugin, data, json)


def configure(
    plugin: PluginId,
    config: Annotated[Path, typer.Argument(metavar="FILE", help="A TOML or JSON file.", show_default=False)],
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Give a plugin another configuration."""
    _act("plugin.configure", plugin, data, json, config=read_config(config))


def remove(
    plugin: PluginId,
    purge: Annotated[bool, typer.Option("--purge", help="Delete its data too. This cannot be undone.")] = False,
    yes: Yes = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Remove a plugin. Its data stays, unless you say --purge."""
    import sys

    from ._client import connect
    from ._consent import confirm
    from ._errors import ConsentMissing
    from ._render import print_json, say

    with connect(data) as control:
        control.call("plugin.caps", id=plugin)  # an unknown plugin is told before anything is asked
        if purge and not yes:
            if json or not sys.stdin.isatty():
                raise ConsentMissing(
                    f"Expected consent to delete the data of {plugin}, there is no terminal to ask on",
                    hint="say --yes if you mean it",
                )
            if not confirm(f"Delete everything that {plugin} stored?"):
                raise ConsentMissing("No consent was given", hint="nothing was changed")
        found = control.call("plugin.remove", id=plugin, purge=purge)
    if json:
        print_json(found)
    else:
        say(f"{plugin} is removed{', its data too' if purge else '; its data is kept'}")


def grant(
    plugin: PluginId,
    capability: Capability,
    tenant: Tenant = None,
    deny: Annotated[bool, typer.Option("--deny", help="Deny it; a denial beats every grant.")] = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Grant a capability to a plugin (or deny it)."""
    _act("plugin.grant", plugin, data, json, capability=capability, tenant=tenant, deny=deny)


def revoke(
    plugin: PluginId,
    capability: Capability,
    tenant: Tenant = None,
    deny: Annotated[bool, typer.Option("--deny", help="Lift a denial, rather than a grant.")] = False,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Take a capability back; its next use fails."""
    _act("plugin.revoke", plugin, data, json, capability=capability, tenant=tenant, deny=deny)


def caps(
    plugin: Annotated[str | None, typer.Argument(metavar="ID", help="The plugin's id.", show_default=False)] = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option("--diff", metavar="OLD NEW", help="Compare two packages, or a plugin's id with one."),
    ] = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """What a plugin may do, and did. With --diff: what a version asks for beyond another."""
    from ._client import call
    from ._render import print_json, say

    if (plugin is None) == (diff is None):
        raise typer.BadParameter("give a plugin's ID, or --diff OLD NEW")
    if diff is not None:
        _caps_diff(*diff, data, json)
        return
    found = call(data, "plugin.caps", id=plugin)
    if json:
        print_json(found)
        return
    say(f"{found['id']} {found['version']}", "bold")
    _show_capabilities(found["capabilities"])


def _caps_diff(old: str, new: str, data: Path, json: bool) -> None:
    from rustcare_kernel.control import change_of
    from rustcare_sdk.capability import diff

    from ._consent import change_rows
    from ._render import print_json, table

    found = change_of(diff(_uses(old, data), _uses(new, data)))
    if json:
        print_json(found)
        return
    table(("change", "capability"), change_rows(found), empty="Both ask for the same.")


def _uses(source: str, data: Path) -> list[Any]:
    """The capabilities that a package asks for, or (with a plugin's id) an installed one does."""
    from rustcare_kernel.package import PackageNotFound, read_package
    from rustcare_sdk.capability import parse

    from ._client import call

    try:
        return [parse(item.use) for item in read_package(source).manifest.capability]
    except PackageNotFound:
        if "/" in source or ":" in source or "." not in source:
            raise
    found = call(data, "plugin.caps", id=source)
    return [parse(item["use"]) for item in found["capabilities"] if item["reason"]]


def logs(
    plugin: PluginId,
    tail: Annotated[int, typer.Option("--tail", "-n", help="How many lines.", min=1)] = 100,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """The last lines of a plugin's log."""
    from ._client import call
    from ._render import print_json, say

    found = call(data, "plugin.logs", id=plugin, tail=tail)
    if json:
        print_json(found)
        return
    for line in found:
        say(log_line(line), {"error": "red", "warning": "yellow", "debug": "dim"}.get(line.get("level", ""), ""))


def log_line(line: dict[str, Any]) -> str:
    """One entry of a log as text."""
    rest = {key: value for key, value in line.items() if key not in ("time", "level", "plugin", "event")}
    extra = "".join(f" {key}={value}" for key, value in rest.items())
    return f"{str(line.get('time', ''))[:23]} {line.get('level', ''):<7} {line.get('event', '')}{extra}"
