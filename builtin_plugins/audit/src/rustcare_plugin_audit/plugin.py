"""The plugin."""

from __future__ import annotations

from rustcare_sdk import Plugin

__all__ = ["Audit"]


class Audit(Plugin):
    """The tamper-evident audit log: a Merkle tree of canonical entries that an outsider can verify."""

    state_version = 1
