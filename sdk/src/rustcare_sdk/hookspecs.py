"""The hooks of the kernel, for pluggy: what trusted plugins and embedders may listen to. Messages do not pass here.

A hook is implemented by a method of the same name marked with `hookimpl`; a trusted plugin's own object is registered.
"""

from __future__ import annotations

import pluggy

__all__ = [
    "hookimpl",
    "hookspec",
    "rustcare_capability_used",
    "rustcare_plugin_started",
    "rustcare_plugin_stopped",
]

hookspec = pluggy.HookspecMarker("rustcare")
hookimpl = pluggy.HookimplMarker("rustcare")


@hookspec
def rustcare_plugin_started(plugin_id: str, version: str) -> None:
    """A plugin became active."""


@hookspec
def rustcare_plugin_stopped(plugin_id: str, version: str, reason: str) -> None:
    """A plugin stopped or was quarantined."""


@hookspec
def rustcare_capability_used(plugin_id: str, capability: str, tenant: str, allowed: bool) -> None:
    """A right was asked for whose answer was not cached yet: once for each plugin, tenant and scope until grants change."""
