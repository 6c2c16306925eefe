"""The demo's judge: what was acknowledged must have been handled, once, and in its order.

It watches the bus itself (every message passes the observer): which keys were published, and which keys the transformer
brought to the store. It trusts neither the receiver's counters nor the transformer's.
"""

from __future__ import annotations

from typing import Any

import msgspec
from rustcare_sdk.contracts.fhir import STORE, StoreRequest
from rustcare_sdk.contracts.hl7 import Hl7Message
from rustcare_sdk.message import PARTITION_KEY, Message

from rustcare_cli.demo.mllp import Acknowledged

__all__ = ["Ledger"]


class _Key(msgspec.Struct):
    key: str


class Ledger:
    """Keeps the account of one feed."""

    def __init__(self) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.published: dict[str, tuple[str, str]] = {}  # key → (lane, subject), in the order of first publication
        self.texts: dict[str, str] = {}  # what the messages said, to judge those that were not stored
        self.stored: list[str] = []  # keys, in the order in which the transformer brought them to the store

    def acknowledge(self, answer: Acknowledged) -> None:
        """Note an acknowledgement."""
        self.acknowledged.append(answer)

    def observe(self, message: Message[Any]) -> None:
        """Note what passes on the bus."""
        data = message.data
        if message.subject == STORE:
            if isinstance(data, StoreRequest):
                self.stored.append(data.key)
            elif type(data) is msgspec.Raw:
                self.stored.append(msgspec.json.decode(data, type=_Key).key)
        elif type(data) is Hl7Message and data.key not in self.published:
            lane = message.headers.get(PARTITION_KEY, message.subject)
            self.published[data.key] = (lane, message.subject)
            self.texts[data.key] = data.text

    @property
    def received(self) -> int:
        """How many messages were answered at all."""
        return len(self.acknowledged)

    def acked(self) -> list[Acknowledged]:
        """Those that were accepted (AA, or CA)."""
        return [answer for answer in self.acknowledged if answer.code in ("AA", "CA")]

    def rejected(self) -> list[dict[str, str]]:
        """Those that were refused, with the file and the reason."""
        return [
            {"file": answer.item.name, "code": answer.code, "reason": answer.reason}
            for answer in self.acknowledged
            if answer.code not in ("AA", "CA")
        ]

    def unstored(self) -> list[str]:
        """Keys that the transformer was given and that never reached the store."""
        stored = set(self.stored)
        return [
            key
            for key, (_, subject) in self.published.items()
            if key not in stored and (subject.startswith("hl7.adt.") or subject == "hl7.oru.r01")
        ]

    def duplicated(self) -> list[str]:
        """Keys that reached the store more than once."""
        seen: set[str] = set()
        twice = []
        for key in self.stored:
            if key in seen:
                twice.append(key)
            seen.add(key)
        return twice

    def reordered(self) -> list[str]:
        """Keys that were stored after a later message of the same lane (the same patient)."""
        rank = {key: index for index, key in enumerate(self.published)}
        last: dict[str, int] = {}
        wrong = []
        for key in self.stored:
            if key not in self.published:
                continue
            lane = self.published[key][0]
            if rank[key] < last.get(lane, -1):
                wrong.append(key)
            else:
                last[lane] = rank[key]
        return wrong
