"""An authenticator whose identity is there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.authenticators import Opened, opened


@pytest.fixture
async def door() -> AsyncIterator[Opened]:
    """An authenticator whose identity is there."""
    async with opened() as found:
        yield found
