"""Hooks of the kernel for trusted plugins and embedders, through pluggy (project name `rustcare`).

Host only. Hooks tell, they decide nothing: results are ignored and an error in one is logged. They run on the kernel's
event loop, so they must be quick. The data path is the bus, not these.

    class Watch:
        @hookimpl
        def rustcare_plugin_started(self, plugin_id: str, version: str) -> None: ...
"""

from __future__ import annotations

import pluggy

__all__ = [
    "PROJECT",
    "hookimpl",
    "hookspec",
    "rustcare_capability_used",
    "rustcare_plugin_started",
    "rustcare_plugin_stopped",
]

#: The name of the pluggy project.
PROJECT = "rustcare"

hookspec = pluggy.HookspecMarker(PROJECT)
#: Marks an implementation of a hook.
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def rustcare_plugin_started(plugin_id: str, version: str) -> None:
    """A plugin has started and receives messages."""


@hookspec
def rustcare_plugin_stopped(plugin_id: str, version: str, reason: str) -> None:
    """A plugin has stopped: disabled, removed, replaced by another version, or in quarantine; `reason` says which."""


@hookspec
def rustcare_capability_used(plugin_id: str, capability: str, tenant: str, allowed: bool) -> None:
    """A capability was asked about for the first time since grants changed, or was denied."""
