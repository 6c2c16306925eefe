"""The plugin against the SDK's double of the kernel."""

from __future__ import annotations

from typing import Any

import pytest
from example_vital_signs.plugin import Ask, Measured, Summary, VitalSigns
from rustcare_sdk.testing import PluginHarness, harness

pytestmark = pytest.mark.parametrize("sandboxed", [False, True])


async def measure(h: PluginHarness, *values: float | None) -> None:
    """Readings of the oxygen saturation, numbered from 1."""
    for number, value in enumerate(values, 1):
        await h.send("vitals.measured", Measured("bed-1", number, 72, value))


def alarms(h: PluginHarness) -> list[tuple[int, bool]]:
    """The alarms so far: at which reading, raised or over."""
    told: list[Any] = [message.data for message in h.assert_published("vitals.alarm")]
    return [(_of(each, "number"), _of(each, "raised")) for each in told]


def _of(alarm: Any, name: str) -> Any:
    return alarm[name] if isinstance(alarm, dict) else getattr(alarm, name)


async def test_an_alarm_is_raised_once_and_ends_once(sandboxed: bool) -> None:
    """Three readings out of range in a row raise it, the first one in range ends it; a gap is neither."""
    async with harness(VitalSigns, round_trip=sandboxed) as h:
        await measure(h, 97, 90, 90, 97, 91, None, 91, 91, 90, 88, 95, 96)
        assert alarms(h) == [(8, True), (11, False)]
        answer = await h.request("vitals.summary", Ask("bed-1"), type=Summary)
        assert (answer.number, answer.readings, answer.alarms, answer.raised) == (12, 12, 1, ())
        h.assert_capabilities_within_manifest()


async def test_a_reading_that_was_seen_counts_once(sandboxed: bool) -> None:
    """A device that sends again what it sent before changes nothing."""
    async with harness(VitalSigns, round_trip=sandboxed) as h:
        await measure(h, 97, 97, 97)
        await measure(h, 80, 80, 80, 80)
        answer = await h.request("vitals.summary", Ask("bed-1"), type=Summary)
        assert (answer.number, answer.readings, answer.alarms) == (4, 4, 0)


async def test_it_goes_on_after_a_restart(sandboxed: bool) -> None:
    """Two readings out of range before a restart and one after it raise the alarm."""
    async with harness(VitalSigns, round_trip=sandboxed) as h:
        await measure(h, 97, 85, 85)
        await h.restart()
        await h.send("vitals.measured", Measured("bed-1", 4, 72, 85))
        assert alarms(h) == [(4, True)]


async def test_ranges_and_patience_are_configured(sandboxed: bool) -> None:
    """What is out of range, and for how long, is the operator's to say."""
    async with harness(VitalSigns, config={"oxygen_saturation": [80, 100], "patience": 1}, round_trip=sandboxed) as h:
        await measure(h, 85, 79)
        assert alarms(h) == [(2, True)]
