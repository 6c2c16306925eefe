"""What each method of the operator's API does: parameters in, plain data out. `METHODS` is the whole list.

Consent is bound to what was seen: `plugin.inspect` tells a package's digest and what it asks for; `plugin.install` and
`plugin.upgrade` take that digest, and the list of capabilities that were shown, and refuse anything else.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from rustcare_sdk.capability import CapabilityDiff, covers, parse

from rustcare_kernel.audit.operations import operator as operator_name
from rustcare_kernel.package import BlobStore, Package, read_package

from ._errors import ControlError, DigestNotConsented
from ._watch import KINDS

if TYPE_CHECKING:
    from rustcare_kernel.installer import Consent, Inspection
    from rustcare_kernel.kernel import Kernel, PluginStatus

__all__ = ["METHODS", "Method", "Operator", "change_of", "checked", "inspection_of", "told"]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters."""


class PluginId(msgspec.Struct, forbid_unknown_fields=True):
    """One plugin."""

    id: str


class Source(msgspec.Struct, forbid_unknown_fields=True):
    """A package, wherever it lies; paths are absolute, the kernel has a working folder of its own."""

    source: str


class Install(msgspec.Struct, forbid_unknown_fields=True):
    """A package with the operator's consent: true, or the capabilities that were shown; `digest` is what was seen."""

    source: str
    consent: bool | list[str] = False
    digest: str = ""
    runtime: str | None = None
    config: dict[str, Any] | None = None
    enable: bool = True


class Upgrade(msgspec.Struct, forbid_unknown_fields=True):
    """As for installing."""

    source: str
    consent: bool | list[str] = False
    digest: str = ""
    runtime: str | None = None
    config: dict[str, Any] | None = None


class Remove(msgspec.Struct, forbid_unknown_fields=True):
    """With `purge`, the plugin's data goes too."""

    id: str
    purge: bool = False


class Grant(msgspec.Struct, forbid_unknown_fields=True):
    """A capability given to a plugin, or denied to it, for one tenant or all."""

    id: str
    capability: str
    tenant: str | None = None
    deny: bool = False


class Revoke(msgspec.Struct, forbid_unknown_fields=True):
    """A capability taken back, or with `deny` a denial lifted."""

    id: str
    capability: str
    tenant: str | None = None
    deny: bool = False


class Configure(msgspec.Struct, forbid_unknown_fields=True):
    """A plugin's new configuration."""

    id: str
    config: dict[str, Any]


class Logs(msgspec.Struct, forbid_unknown_fields=True):
    """The last lines of a plugin's log."""

    id: str
    tail: int = 100


class Rows(msgspec.Struct, forbid_unknown_fields=True):
    """Accounting of one plugin, or of all (empty)."""

    plugin: str = ""


class Publish(msgspec.Struct, forbid_unknown_fields=True):
    """An event in the operator's name."""

    subject: str
    data: Any = None
    headers: dict[str, str] = {}
    confirm: bool = False
    tenant: str = "default"
    principal: str = ""
    on_behalf: str = ""
    purpose: str = ""


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """A request in the operator's name."""

    service: str
    data: Any = None
    timeout: float | None = None
    tenant: str = "default"
    principal: str = ""
    on_behalf: str = ""
    purpose: str = ""


class WatchEvents(msgspec.Struct, forbid_unknown_fields=True):
    """Which events to stream. `data` brings the messages' content, which may be patient data."""

    kinds: tuple[str, ...] = KINDS
    plugin: str = ""
    subject: str = ""
    data: bool = False


P = TypeVar("P", bound=msgspec.Struct)


#: What of a command's parameters is put on record: names and rights, never content.
_TOLD = ("id", "capability", "tenant", "deny", "service", "subject", "source", "digest", "purge", "plugin", "kinds")


def told(params: msgspec.Struct) -> dict[str, Any]:
    """What is put on record of a command."""
    found = {name: getattr(params, name, None) for name in _TOLD}
    return {name: value if isinstance(value, bool) else str(value) for name, value in found.items() if value}


class Method(msgspec.Struct, frozen=True):
    """One method: what its parameters are, and what it does."""

    params: type[msgspec.Struct]
    run: Callable[[Operator, Any], Coroutine[Any, Any, Any]]
    summary: str


METHODS: dict[str, Method] = {}


def method(name: str, params: type[P]) -> Callable[[Callable[[Operator, P], Coroutine[Any, Any, Any]]], None]:
    """File a function as a method; its docstring is the summary."""

    def file(run: Callable[[Operator, P], Coroutine[Any, Any, Any]]) -> None:
        METHODS[name] = Method(params, run, run.__doc__ or "")

    return file


def checked(name: str, params: dict[str, Any]) -> msgspec.Struct:
    """The parameters of a method, typed. Raises ControlError when there is no such method, or they do not fit."""
    method = METHODS.get(name)
    if method is None:
        import difflib

        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(METHODS))}"
        raise ControlError(f"No method {name[:100]!r}", hint=hint, address="method")
    try:
        found = msgspec.convert(params, method.params)
    except msgspec.ValidationError as error:
        raise ControlError(f"{name}: {error}") from None
    if isinstance(found, WatchEvents) and (unknown := set(found.kinds) - set(KINDS)):
        raise ControlError(f"Expected kinds of {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")
    return found


class Operator:
    """The operator's view of one kernel. `stop` is called by `system.stop`."""

    def __init__(self, kernel: Kernel, stop: Callable[[], None], store: str = "sqlite") -> None:
        self.kernel = kernel
        self.stop = stop
        self.store = store
        self.started = time.time()
        self.folder = os.path.abspath(kernel.data_dir)
        self.blobs = BlobStore(kernel.data_dir / "blobs")


@method("system.status", Nothing)
async def _status(operator: Operator, params: Nothing) -> Any:
    """The kernel: process, version, data folder, plugins by state, services."""
    kernel = operator.kernel
    states: dict[str, int] = {}
    for plugin in kernel.plugins():
        states[plugin.state] = states.get(plugin.state, 0) + 1
    return {
        "version": version("rustcare-kernel"),
        "pid": os.getpid(),
        "data_dir": operator.folder,
        "store": operator.store,
        "started": operator.started,
        "uptime_s": round(time.time() - operator.started, 3),
        "rss_bytes": _resident(),
        "plugins": states,
        "services": kernel.bus.services(),
        "workers": [msgspec.to_builtins(worker) for worker in kernel.workers()],
        "capability_uses": kernel.accounting.capability_uses(),
    }


@method("system.stop", Nothing)
async def _stop(operator: Operator, params: Nothing) -> Any:
    """Drain and stop the kernel; answered before it begins: the server calls `stop` when the answer is on its way."""
    return {"stopping": True}


@method("plugin.list", Nothing)
async def _list(operator: Operator, params: Nothing) -> Any:
    """All plugins."""
    return [msgspec.to_builtins(status) for status in operator.kernel.plugins()]


@method("plugin.info", PluginId)
async def _info(operator: Operator, params: PluginId) -> Any:
    """One plugin: its status, its manifest, what it asks for and holds, what it used."""
    status = operator.kernel.plugin(params.id)
    package = await asyncio.to_thread(operator.blobs.get_package, status.digest)
    return {
        **msgspec.to_builtins(status),
        "manifest": msgspec.to_builtins(package.manifest, enc_hook=str),
        "size": package.size,
        "capabilities": _capabilities(operator, status),
        "accounting": _rows(operator, params.id),
    }


@method("plugin.caps", PluginId)
async def _caps(operator: Operator, params: PluginId) -> Any:
    """What a plugin asks for, why, whether it holds it, and how often it used it."""
    status = operator.kernel.plugin(params.id)
    return {
        "id": status.id,
        "version": status.version,
        "digest": status.digest,
        "capabilities": _capabilities(operator, status),
    }


@method("plugin.inspect", Source)
async def _inspect(operator: Operator, params: Source) -> Any:
    """What installing a package would mean; nothing is changed."""
    package = await asyncio.to_thread(read_package, params.source)
    return inspection_of(await operator.kernel.inspect(package))


@method("plugin.install", Install)
async def _install(operator: Operator, params: Install) -> Any:
    """Install a package."""
    package, consent = await _consented(operator, params)
    return await operator.kernel.install(
        package, consent=consent, runtime=params.runtime, config=params.config, enable=params.enable
    )


@method("plugin.upgrade", Upgrade)
async def _upgrade(operator: Operator, params: Upgrade) -> Any:
    """Replace a plugin by another version of it while it runs."""
    package, consent = await _consented(operator, params)
    return await operator.kernel.upgrade(package, consent=consent, runtime=params.runtime, config=params.config)


@method("plugin.rollback", PluginId)
async def _rollback(operator: Operator, params: PluginId) -> Any:
    """Go back to the version before."""
    return await operator.kernel.rollback(params.id)


@method("plugin.enable", PluginId)
async def _enable(operator: Operator, params: PluginId) -> Any:
    """Start a plugin, now and after each start of the kernel."""
    await operator.kernel.enable(params.id)
    return operator.kernel.plugin(params.id)


@method("plugin.disable", PluginId)
async def _disable(operator: Operator, params: PluginId) -> Any:
    """Drain and stop a plugin until it is enabled again."""
    await operator.kernel.disable(params.id)
    return operator.kernel.plugin(params.id)


@method("plugin.restart", PluginId)
async def _restart(operator: Operator, params: PluginId) -> Any:
    """Stop a plugin and start it again."""
    await operator.kernel.restart(params.id)
    return operator.kernel.plugin(params.id)


@method("plugin.remove", Remove)
async def _remove(operator: Operator, params: Remove) -> Any:
    """Remove a plugin; its data stays unless `purge`."""
    await operator.kernel.remove(params.id, purge=params.purge)
    return {"id": params.id, "removed": True, "purged": params.purge}


@method("plugin.configure", Configure)
async def _configure(operator: Operator, params: Configure) -> Any:
    """Give a plugin another configuration."""
    await operator.kernel.configure(params.id, params.config)
    return operator.kernel.plugin(params.id)


@method("plugin.grant", Grant)
async def _grant(operator: Operator, params: Grant) -> Any:
    """Give (or with `deny`, deny) a capability."""
    await operator.kernel.grant(params.id, params.capability, tenant=params.tenant, deny=params.deny)
    return operator.kernel.plugin(params.id)


@method("plugin.revoke", Revoke)
async def _revoke(operator: Operator, params: Revoke) -> Any:
    """Take a capability back; its next use fails. With `deny`, lift a denial."""
    await operator.kernel.revoke(params.id, params.capability, tenant=params.tenant, deny=params.deny)
    return operator.kernel.plugin(params.id)


@method("plugin.logs", Logs)
async def _logs(operator: Operator, params: Logs) -> Any:
    """The last lines of a plugin's log."""
    operator.kernel.plugin(params.id)
    return operator.kernel.logs(params.id, tail=max(1, min(params.tail, 10_000)))


@method("accounting.read", Rows)
async def _accounting(operator: Operator, params: Rows) -> Any:
    """What plugins used: calls, time, fuel, bytes, capabilities."""
    if params.plugin:
        operator.kernel.plugin(params.plugin)
    return _rows(operator, params.plugin)


@method("bus.publish", Publish)
async def _publish(operator: Operator, params: Publish) -> Any:
    """Publish an event; with `confirm`, answered when every subscriber has handled it."""
    return await operator.kernel.publish(
        params.subject,
        params.data,
        headers=params.headers or None,
        confirm=params.confirm,
        tenant=params.tenant,
        principal=params.principal or operator_name.get(),
        on_behalf=params.on_behalf,
        purpose=params.purpose,
    )


@method("bus.request", Ask)
async def _request(operator: Operator, params: Ask) -> Any:
    """Ask a service."""
    return await operator.kernel.request(
        params.service,
        params.data,
        timeout=params.timeout,
        tenant=params.tenant,
        principal=params.principal or operator_name.get(),
        on_behalf=params.on_behalf,
        purpose=params.purpose,
    )


@method("events.watch", WatchEvents)
async def _watch(operator: Operator, params: WatchEvents) -> Any:
    """Stream what happens as notifications `event`, until the connection is closed."""
    return {"watching": params.kinds}  # the server begins the stream after this answer


async def _consented(operator: Operator, params: Install | Upgrade) -> tuple[Package, Consent]:
    """The package, read once, so that what is checked here is what gets installed; and whether it is consented to."""
    package = await asyncio.to_thread(read_package, params.source)
    if params.digest and package.digest != params.digest:
        raise DigestNotConsented(
            f"The operator consented to {params.digest}, the package is {package.digest}",
            address=params.source,
            hint="it changed meanwhile: inspect it again",
        )
    return package, params.consent


def inspection_of(inspection: Inspection) -> dict[str, Any]:
    """An inspection as plain data."""
    plain: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(inspection, change=None))
    return {**plain, "change": change_of(inspection.change) if inspection.change is not None else None}


def change_of(change: CapabilityDiff) -> dict[str, Any]:
    """A difference of two sets of capabilities as plain data: texts, and pairs of texts."""
    return {
        "added": [str(item) for item in change.added],
        "widened": [{"old": str(item.old), "new": str(item.new)} for item in change.widened],
        "narrowed": [{"old": str(item.old), "new": str(item.new)} for item in change.narrowed],
        "removed": [str(item) for item in change.removed],
    }


def _capabilities(operator: Operator, status: PluginStatus) -> list[dict[str, Any]]:
    """Each capability of the manifest, and each grant beside them, with its uses."""
    kernel = operator.kernel
    grants = list(kernel.grants.of(status.id, status.digest))
    held = [parse(grant.capability) for grant in grants if not grant.deny and grant.tenant is None]
    uses: dict[str, list[int]] = {}
    for row in kernel.accounting.rows(status.id):
        if row.capability:
            count = uses.setdefault(row.capability, [0, 0])
            count[0] += row.calls
            count[1] += row.errors
    found: list[dict[str, Any]] = []

    def add(use: str, reason: str, availability: str, right: str, tenant: str | None = None) -> None:
        used, denied = uses.get(use, (0, 0))
        found.append(
            {
                "use": use,
                "reason": reason,
                "availability": availability,
                "right": right,
                "tenant": tenant,
                "used": used,
                "denied": denied,
            }
        )

    asked = kernel.manifest(status.id).capabilities
    for request in asked:
        granted = any(covers(item, request.capability) for item in held)
        add(request.use, request.reason, request.availability, "granted" if granted else "not granted")
    known = {request.use for request in asked}
    for grant in grants:
        if grant.deny or grant.tenant is not None or str(parse(grant.capability)) not in known:
            right = "denied" if grant.deny else "granted"
            add(str(parse(grant.capability)), "", "", right, grant.tenant)
    for capability in sorted(set(uses) - {item["use"] for item in found}):
        add(capability, "", "", "")  # refused uses are counted by kind and action
    return found


def _rows(operator: Operator, plugin: str) -> list[Any]:
    return [msgspec.to_builtins(row) for row in operator.kernel.accounting.rows(plugin or None)]


def _resident() -> int:
    """The process's resident memory in bytes, or 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
