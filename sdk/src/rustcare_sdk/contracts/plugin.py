"""What the kernel tells plugins about plugins.

| subject | request or event | answer |
|---|---|---|
| `plugin.state` | event `PluginState` | |
| `kernel.accounting` | `AccountingRequest` | `AccountingReply` |
| `kernel.plugins` | `PluginsRequest` | `PluginsReply` |
| `kernel.control` | `ControlRequest` | `ControlReply` |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "ACCOUNTING",
    "CONTROL",
    "PLUGINS",
    "STATE",
    "AccountingReply",
    "AccountingRequest",
    "AccountingRow",
    "ControlReply",
    "ControlRequest",
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
#: Service: a command of the operator (`ControlRequest` → `ControlReply`). There while a control socket is open.
CONTROL = "kernel.control"


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


@dataclass(frozen=True)
class ControlRequest:
    """A method of the control API with its parameters, in the name of the message's principal.

    Whoever may request this may do all that an operator may: a plugin that offers it to others decides to whom.
    `package`: the bytes of a package, instead of a `source` among the parameters.
    """

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    package: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class ControlReply:
    """What the method answers, as plain data."""

    result: Any = None
