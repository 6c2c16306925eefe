"""Fixtures of the kernel's own tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from .plugins import Board, board


@pytest.fixture
def desk() -> Iterator[Board]:
    """What the sample plugins report to; afterwards nothing of any plugin may be left in the process."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    with board() as made:
        yield made
    assert [name for name in set(sys.modules) - modules if "@" in name] == []
    assert sys.meta_path == finders
