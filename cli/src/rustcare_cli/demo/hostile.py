"""Plugins that misbehave, let loose beside the feed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rustcare_kernel import Kernel

__all__ = ["HostileRow", "run_hostile"]


@dataclass(frozen=True)
class HostileRow:
    """One misbehaviour and what became of it."""

    name: str
    tried: str
    contained: bool
    how: str

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


async def run_hostile(kernel: Kernel, say: Callable[[str], None]) -> list[HostileRow]:
    """Let every hostile example loose, one after another, and see that each is contained."""
    return []
