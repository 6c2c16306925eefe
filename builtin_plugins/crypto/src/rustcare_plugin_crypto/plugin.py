"""The plugin."""

from __future__ import annotations

from rustcare_sdk import Plugin

__all__ = ["Crypto"]


class Crypto(Plugin):
    """Keys that never leave, and what is done with them: a keyring and its operations as services on the bus."""

    state_version = 1
