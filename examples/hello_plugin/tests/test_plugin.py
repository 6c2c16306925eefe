"""The plugin against the SDK's double of the kernel."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from acme_ward_bell.plugin import Greet, Greeting, WardBell
from rustcare_sdk.testing import harness


@pytest.mark.parametrize("sandboxed", [False, True])
@pytest.mark.parametrize(("hour", "part"), [(8, "morning"), (15, "day")])
async def test_it_greets_by_the_time_of_day(sandboxed: bool, hour: int, part: str) -> None:
    """Before noon it wishes a good morning, then a good day."""
    async with harness(WardBell, round_trip=sandboxed, now=datetime(2026, 1, 1, hour, tzinfo=UTC)) as h:
        answer = await h.request("ward-bell.greet", Greet("Ada"), type=Greeting)
        assert answer == Greeting(f"Good {part}, Ada!", 1)
