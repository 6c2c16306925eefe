"""The plugin."""

from __future__ import annotations

from rustcare_sdk import Plugin

__all__ = ["Gateway"]


class Gateway(Plugin):
    """The front door: HTTP for plugins, with authentication, tenants, rate limits and tracing."""
