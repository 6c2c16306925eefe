"""What travels on the bus: a `Message`, and the `Call` that the kernel stamps on it.

Portable: on the host both are `msgspec.Struct`s, because one is created for every message and creation is the hot path;
in the sandbox's Python, which has no C extensions, the same classes are frozen dataclasses.

A message maps one to one to a CloudEvents 1.0 event (`to_cloudevent`).
"""

from __future__ import annotations

import os
import time as _time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Generic, TypeVar

__all__ = ["PARTITION_KEY", "Call", "Message", "to_cloudevent"]

T = TypeVar("T")

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

#: The header that orders messages across subjects (CloudEvents partitioning extension): messages with the same key are
#: handled in the order of their publication, whatever their subject. Without it, order is kept for each subject.
PARTITION_KEY = "partitionkey"


class _View:
    """What both forms of a message can do."""

    __slots__ = ()

    @property
    def id(self: Any) -> str:
        """A unique id, made when first asked for (48 bits of time, 80 random bits, hex) and stable from then on."""
        if not self.uid:
            _set(self, "uid", f"{int(self.time * 1000):012x}{os.urandom(10).hex()}")
        uid: str = self.uid
        return uid

    @property
    def tenant(self: Any) -> str:
        """The tenant the message belongs to."""
        tenant: str = self.call.tenant
        return tenant

    @property
    def principal(self: Any) -> str:
        """On whose behalf: a user or service account, or empty for the system itself."""
        principal: str = self.call.principal
        return principal

    @property
    def trace(self: Any) -> str:
        """The W3C `traceparent` of the call, or empty."""
        trace: str = self.call.trace
        return trace

    def remaining(self: Any) -> float | None:
        """Seconds until the deadline (zero when it has passed), or None when there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - _time.monotonic())


try:
    from msgspec import Struct
    from msgspec.structs import force_setattr as _set

    class Call(Struct, frozen=True):
        """Who a message is for and on whose behalf: stamped by the kernel, never taken from a plugin.

        `tenant` and `principal` are ids; `trace` is a W3C `traceparent` value or empty. `on_behalf` is for whom the
        principal acts, `purpose` why (a code of HL7 v3 PurposeOfUse such as `TREAT`); both may be empty.
        """

        tenant: str = "default"
        principal: str = ""
        trace: str = ""
        on_behalf: str = ""
        purpose: str = ""

    class Message(_View, Struct, Generic[T], frozen=True):
        """One message: `data` is an object in process, decoded JSON after it crossed a boundary.

        `source` is the sender's plugin id; `deadline` a point of `time.monotonic()` or None; `time` Unix seconds.
        """

        subject: str
        data: T
        source: str = ""
        call: Call = Call()
        deadline: float | None = None
        time: float = 0.0
        headers: Mapping[str, str] = NO_HEADERS
        uid: str = ""

except ImportError:  # the sandbox's Python
    from dataclasses import dataclass, field

    _set = object.__setattr__

    @dataclass(frozen=True)
    class Call:  # type: ignore[no-redef]
        """Who a message is for and on whose behalf."""

        tenant: str = "default"
        principal: str = ""
        trace: str = ""
        on_behalf: str = ""
        purpose: str = ""

    @dataclass(frozen=True)
    class Message(_View, Generic[T]):  # type: ignore[no-redef]
        """One message."""

        subject: str
        data: T
        source: str = ""
        call: Call = Call()  # frozen, so sharing it is safe
        deadline: float | None = None
        time: float = 0.0
        headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
        uid: str = ""


_ATTRIBUTES = frozenset(
    {"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data", "data_base64"}
    | {"tenant", "principal", "traceparent", "tracestate"}
)


def to_cloudevent(message: Message[Any]) -> dict[str, Any]:
    """The CloudEvents 1.0 form (JSON event format, section 3 of that spec); tenant and principal are extensions."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": message.id,
        "source": f"rustcare:{message.source}" if message.source else "rustcare:",
        "type": message.subject,
        "time": datetime.fromtimestamp(message.time, UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "tenant": message.tenant,
        "data": message.data,
    }
    if message.principal:
        event["principal"] = message.principal
    if message.trace:
        event["traceparent"] = message.trace
    # A header must not pass for what the kernel stamps, not even where that is empty, or in another case.
    event.update({key: value for key, value in message.headers.items() if key.lower() not in _ATTRIBUTES})
    return event
