"""The plugin: its parts put together, its life, and how one version hands over to the next.

Each part brings its services as a mixin; all share one `Trust` (`bundle.py`).
"""

from __future__ import annotations

from rustcare_sdk import Plugin

from .bundle import Trust, waking

__all__ = ["Audit"]


@waking
class Audit(Plugin):
    """The tamper-evident audit log: a Merkle tree of canonical entries that an outsider can verify."""

    state_version = 1
    trust: Trust
