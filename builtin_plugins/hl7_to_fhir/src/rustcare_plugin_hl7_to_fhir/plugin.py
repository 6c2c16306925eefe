"""On the bus: every ADT and ORU^R01 message that was received becomes resources in the store, in order, once.

The store is idempotent by the message's key, so a message that is delivered again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustcare_sdk.contracts.fhir import STORE, StoreRequest
from rustcare_sdk.contracts.hl7 import Hl7Message
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Plugin, serve, subscribe

from .transform import transform

__all__ = ["HL7ToFHIR", "TransformRequest", "Transformed"]

GROUP = "hl7-to-fhir"


@dataclass(frozen=True)
class TransformRequest:
    """`hl7.to-fhir`: the text of one message."""

    text: str


@dataclass(frozen=True)
class Transformed:
    """What would be stored: `key` is `<sending facility>/<control id>`, `type` and `event` are MSH-9.

    In `resources` an element that is null says that the message deletes it.
    """

    key: str
    type: str
    event: str
    resources: list[dict[str, Any]]


class HL7ToFHIR(Plugin):
    """The transformer. It keeps nothing between messages, so they may be handled by any of several instances."""

    state_version = 1

    def __init__(self) -> None:
        self._timezone = "Z"

    async def start(self) -> None:
        """Take the configured offset."""
        self._timezone = str(self.ctx.config.get("timezone", "Z"))

    # Of two messages about one patient the later must be stored later. The receiver's partition key, made of the patient,
    # keeps that order; messages about others go side by side, so that their commits in the store are shared.
    @subscribe("hl7.adt.*", group=GROUP, parallel=16)
    @subscribe("hl7.oru.r01", group=GROUP, parallel=16)
    async def received(self, message: Message[Hl7Message]) -> None:
        """Transform one message and store what it says.

        Raises:
            ServiceError: `hl7-to-fhir.unmappable`; or whatever `fhir.store` raises.
        """
        sent = message.data
        found = transform(sent.text, timezone=self._timezone)
        if found["resources"]:
            request = StoreRequest(key=sent.key, resources=found["resources"], source=f"hl7:{sent.key}", merge=True)
            await self.ctx.forward(STORE, request)  # last: the instance takes the next message meanwhile

    @serve("hl7.to-fhir")
    async def preview(self, message: Message[TransformRequest]) -> Transformed:
        """The resources of a message, without storing them."""
        return Transformed(**transform(message.data.text, timezone=self._timezone))
