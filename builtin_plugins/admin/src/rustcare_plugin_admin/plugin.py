"""The plugin."""

from __future__ import annotations

from rustcare_sdk import Plugin

__all__ = ["Admin"]


class Admin(Plugin):
    """The operator's API over HTTP."""
