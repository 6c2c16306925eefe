"""What the operator's API takes and answers, where its shape is fixed. The fields are those of the control API."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = [
    "AccountingList",
    "CapabilityRow",
    "CapabilityUse",
    "Configuration",
    "GrantBody",
    "Inspection",
    "InstallBody",
    "LogLines",
    "PluginCapabilities",
    "PluginDetails",
    "PluginList",
    "PluginStatus",
    "Removed",
    "SourceBody",
    "SystemStatus",
    "UpgradeBody",
    "UseRow",
    "WhoAmI",
    "WorkerRow",
    "filled",
]

T = TypeVar("T")


def filled(cls: type[T], plain: dict[str, Any], **more: Any) -> T:
    """An answer from plain data; what the type does not know is left out, so that a newer kernel breaks nothing."""
    names = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]  # every caller gives a dataclass
    return cls(**{name: value for name, value in {**plain, **more}.items() if name in names})


# bodies


@dataclass(frozen=True)
class SourceBody:
    """A package: `upload:…` as an upload was answered, or `installed:NAME` for one that the server's Python has."""

    source: str


@dataclass(frozen=True)
class InstallBody:
    """A package with the operator's consent to what was seen of it.

    `digest` and `consent` (capabilities) are those that the inspection told; a package that differs is refused.
    """

    source: str
    digest: str
    consent: list[str]
    runtime: str | None = None
    config: dict[str, Any] | None = None
    enable: bool = True


@dataclass(frozen=True)
class UpgradeBody:
    """As for installing; `consent` need only name what is new."""

    source: str
    digest: str
    consent: list[str]
    runtime: str | None = None
    config: dict[str, Any] | None = None


@dataclass(frozen=True)
class Configuration:
    """A plugin's whole configuration, checked against its schema."""

    config: dict[str, Any]


@dataclass(frozen=True)
class GrantBody:
    """A capability to grant, or with `deny` to deny; for one tenant, or for all."""

    capability: str
    tenant: str | None = None
    deny: bool = False


# answers


@dataclass(frozen=True)
class WorkerRow:
    """A worker process. `state`: `starting`, `serving`, `changing` or `down`; `since` in Unix seconds; `missing`: the plugins
    that would not start there."""

    number: int
    pid: int
    state: str
    restarts: int = 0
    since: float = 0.0
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SystemStatus:
    """The kernel: `plugins` by state, `uptime_s` in seconds, `rss_bytes` of memory; no `workers` where one process does it
    all."""

    version: str
    store: str
    started: float
    uptime_s: float
    rss_bytes: int
    capability_uses: int
    plugins: dict[str, int] = field(default_factory=dict)
    services: list[str] = field(default_factory=list)
    workers: list[WorkerRow] = field(default_factory=list)


@dataclass(frozen=True)
class PluginStatus:
    """One plugin as it is now. `since` in Unix seconds; `previous`: versions and digests to go back to."""

    id: str
    version: str
    digest: str
    runtime: str
    state: str
    enabled: bool
    summary: str = ""
    granted: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    traps: int = 0
    reason: str = ""
    since: float = 0.0
    previous: list[list[str]] = field(default_factory=list)
    pause_ms: float = 0.0


@dataclass(frozen=True)
class PluginList:
    """All installed plugins, by id."""

    plugins: list[PluginStatus] = field(default_factory=list)


@dataclass(frozen=True)
class CapabilityUse:
    """A capability of a plugin: why it wants it, whether it holds it, how often it used it and was denied it."""

    use: str
    right: str = ""
    reason: str = ""
    availability: str = ""
    tenant: str | None = None
    used: int = 0
    denied: int = 0


@dataclass(frozen=True)
class UseRow:
    """What a plugin used, for a tenant: of a capability, or (empty) of messages that it handled. `wall_s` in seconds."""

    plugin: str
    tenant: str
    capability: str
    calls: int = 0
    errors: int = 0
    wall_s: float = 0.0
    fuel: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    host_calls: int = 0


@dataclass(frozen=True)
class PluginDetails:
    """A plugin with its manifest, its capabilities and what it used. `size`: bytes of its package."""

    id: str
    version: str
    digest: str
    runtime: str
    state: str
    enabled: bool
    size: int
    summary: str = ""
    granted: list[str] = field(default_factory=list)
    denied: list[str] = field(default_factory=list)
    traps: int = 0
    reason: str = ""
    since: float = 0.0
    previous: list[list[str]] = field(default_factory=list)
    pause_ms: float = 0.0
    manifest: dict[str, Any] = field(default_factory=dict)
    capabilities: list[CapabilityUse] = field(default_factory=list)
    accounting: list[UseRow] = field(default_factory=list)


@dataclass(frozen=True)
class PluginCapabilities:
    """What a plugin may do, and did."""

    id: str
    version: str
    digest: str
    capabilities: list[CapabilityUse] = field(default_factory=list)


@dataclass(frozen=True)
class CapabilityRow:
    """One capability as a package asks for it; `availability` is `required` or `optional`."""

    use: str
    reason: str = ""
    availability: str = ""


@dataclass(frozen=True)
class Inspection:
    """What a package is and asks for. `source` is how to name it when it is installed; `expires`: an upload is kept until
    then (Unix seconds). `change` compares with what the installed version was granted; null when there is none."""

    source: str
    id: str
    version: str
    digest: str
    summary: str = ""
    runtimes: list[str] = field(default_factory=list)
    unbuilt: list[str] = field(default_factory=list)
    capabilities: list[CapabilityRow] = field(default_factory=list)
    limits: dict[str, float] = field(default_factory=dict)
    installed_version: str | None = None
    change: dict[str, Any] | None = None
    expires: float = 0.0


@dataclass(frozen=True)
class Removed:
    """A plugin is gone; with `purged`, its data too."""

    id: str
    removed: bool
    purged: bool


@dataclass(frozen=True)
class LogLines:
    """The last lines of a plugin's log, oldest first."""

    lines: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class AccountingList:
    """What plugins used since the kernel started."""

    rows: list[UseRow] = field(default_factory=list)


@dataclass(frozen=True)
class WhoAmI:
    """Whom the front door takes the caller for. `authenticated`: when they last proved it, Unix seconds."""

    principal: str
    tenant: str
    kind: str
    name: str = ""
    aal: int = 0
    scopes: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    session: str = ""
    authenticated: float = 0.0
    on_behalf: str = ""
    purpose: str = ""
