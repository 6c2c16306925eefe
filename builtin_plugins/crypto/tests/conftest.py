"""A kernel with the plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rustcare_kernel import Kernel


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    """A kernel with the plugin, new."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        yield kernel
