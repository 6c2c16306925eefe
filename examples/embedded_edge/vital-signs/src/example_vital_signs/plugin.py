"""The plugin. One durable record for each device holds all that it knows, so a power cut leaves nothing half done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from rustcare_sdk import Message, Plugin, serve, subscribe

SIGNS = ("heart_rate", "oxygen_saturation")


@dataclass(frozen=True)
class Measured:
    """One reading of a device, which numbers its readings. A sign that was not measured is None."""

    device: str
    number: int
    heart_rate: float | None = None
    oxygen_saturation: float | None = None


@dataclass(frozen=True)
class Alarm:
    """A sign has left its range (`raised`), or has come back into it. After a power cut the same one may come again."""

    device: str
    number: int
    sign: str
    value: float
    raised: bool


@dataclass(frozen=True)
class Ask:
    """Which device."""

    device: str


@dataclass(frozen=True)
class Summary:
    """What is known of a device: its last reading's number, how many were seen, and which signs are out of range."""

    device: str
    number: int = 0
    readings: int = 0
    alarms: int = 0
    raised: tuple[str, ...] = ()
    outside: dict[str, int] = field(default_factory=dict)  # for each sign, readings out of range in a row


class VitalSigns(Plugin):
    """Raises an alarm when a sign is out of range for some readings in a row, once, until it is back."""

    @serve("vitals.summary")
    async def summary(self, message: Message[Ask]) -> Summary:
        return await self._known(message.data.device)

    @subscribe("vitals.measured")
    async def measured(self, message: Message[Measured]) -> None:
        reading = message.data
        known = await self._known(reading.device)
        if reading.number <= known.number:
            return  # sent again by a device that did not hear that it had arrived
        outside, raised = dict(known.outside), set(known.raised)
        alarms = []
        for sign in SIGNS:
            value = getattr(reading, sign)
            if value is None:
                continue
            low, high = self.ctx.config[sign]
            outside[sign] = 0 if low <= value <= high else outside.get(sign, 0) + 1
            if outside[sign] == 0 and sign in raised:
                raised.discard(sign)
                alarms.append(Alarm(reading.device, reading.number, sign, value, False))
            elif outside[sign] >= self.ctx.config["patience"] and sign not in raised:
                raised.add(sign)
                alarms.append(Alarm(reading.device, reading.number, sign, value, True))
        # The alarm first, then the record: after a power cut in between it comes twice, never not at all.
        for alarm in alarms:
            await self.ctx.publish("vitals.alarm", alarm, confirm=True)
        count = known.alarms + sum(alarm.raised for alarm in alarms)
        await self._keep(
            Summary(reading.device, reading.number, known.readings + 1, count, tuple(sorted(raised)), outside)
        )

    async def _known(self, device: str) -> Summary:
        kept = await self.ctx.kv.get(f"device.{device}")
        if kept is None:
            return Summary(device)
        data: dict[str, Any] = json.loads(kept)
        return Summary(**{**data, "raised": tuple(data["raised"])})

    async def _keep(self, summary: Summary) -> None:
        await self.ctx.kv.put(f"device.{summary.device}", json.dumps(asdict(summary)).encode())
