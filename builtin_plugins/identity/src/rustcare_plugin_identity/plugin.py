"""The plugin."""

from __future__ import annotations

from rustcare_sdk import Plugin

__all__ = ["Identity"]


class Identity(Plugin):
    """People and machines: accounts, sessions, tokens, MFA, keys, tenants."""
