"""What the kernel tells plugins about plugins.

| subject | request or event | answer |
|---|---|---|
| `plugin.state` | event `PluginState` | |
| `kernel.accounting` | `AccountingRequest` | `AccountingReply` |
| `kernel.plugins` | `PluginsRequest` | `PluginsReply` |
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "ACCOUNTING",
    "PLUGINS",
    "STATE",
    "AccountingReply",
    "AccountingRequest",
    "AccountingRow",
    "PluginRow",
    "PluginState",
    "PluginsReply",
    "PluginsRequest",
]

#: Event: a plugin went from one state of its life to another (`PluginState`).
STATE = "plugin.state"
#: Service: what plugins used (`AccountingRequest` → `AccountingReply`).
ACCOUNTING = "kernel.accounting"
#: Service: which plugins there are (`PluginsRequest` → `PluginsReply`).
PLUGINS = "kernel.plugins"


@dataclass(frozen=True)
class PluginState:
    """A plugin changed state. States are the lower-case names of the lifecycle (`active`, `quarantined`, …)."""

    plugin: str
    version: str
    digest: str
    from_state: str
    to_state: str
    reason: str = ""


@dataclass(frozen=True)
class AccountingRequest:
    """Rows of one plugin or tenant, or of all (empty)."""

    plugin: str = ""
    tenant: str = ""


@dataclass(frozen=True)
class AccountingRow:
    """What one plugin used of one capability for one tenant since the kernel started.

    `capability` is `kind:action` (`bus:publish`), or `call` for the handling of messages itself. `wall_s`: seconds.
    """

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
class AccountingReply:
    """Rows sorted by plugin, tenant, capability."""

    rows: list[AccountingRow] = field(default_factory=list)


@dataclass(frozen=True)
class PluginsRequest:
    """One plugin, or all (empty)."""

    plugin: str = ""


@dataclass(frozen=True)
class PluginRow:
    """One plugin as it stands."""

    id: str
    version: str
    digest: str
    runtime: str
    state: str
    enabled: bool = True
    summary: str = ""


@dataclass(frozen=True)
class PluginsReply:
    """Rows sorted by id."""

    plugins: list[PluginRow] = field(default_factory=list)
