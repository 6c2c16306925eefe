"""What is appended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Leaf"]


class Leaf(NamedTuple):
    """One entry: 1 to 65,535 bytes.

    Either `data`, or, for a disclosure: the subject's pseudonym (64 hex digits) and `make`, which gives the data for the
    subject's next count. `make` may be called more than once, with other counts, until the entry is durable.
    """

    data: bytes = b""
    disclosure: str = ""
    make: Callable[[int], bytes] | None = None
