"""What crosses the link between a primary and a worker.

A frame is a length (four bytes, little-endian) and a MessagePack array whose first item says what it is. What plugins say
to each other is in it as the bytes of its JSON (empty for None): written once, and read by nobody on the way.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct
from rustcare_sdk.errors import InvalidPayload
from rustcare_sdk.message import Call
from rustcare_sdk.plugin import Overflow

from rustcare_kernel.accounting import Counted
from rustcare_kernel.catalog import Entry
from rustcare_kernel.grants import Grant

__all__ = [
    "FROM_PRIMARY",
    "FROM_WORKER",
    "Answer",
    "Applied",
    "Ask",
    "Collect",
    "Converged",
    "Counts",
    "Deliver",
    "Desired",
    "Drop",
    "Enter",
    "Failed",
    "Handled",
    "Held",
    "Hello",
    "Leave",
    "Listen",
    "Log",
    "Stop",
    "Tell",
    "Trap",
    "Unwire",
    "Wanted",
    "Welcome",
    "Wire",
    "payload_of",
    "raw_of",
]


class Ask(Struct, frozen=True, array_like=True, tag=1):
    """A plugin's request. `deadline` is a point of the machine's monotonic clock, which all processes share."""

    id: int
    plugin: str
    digest: str
    service: str
    call: Call
    deadline: float
    headers: dict[str, str] | None
    data: bytes


class Tell(Struct, frozen=True, array_like=True, tag=2):
    """A plugin's event; answered when it is in every queue, or with `confirm` when all have handled it."""

    id: int
    plugin: str
    digest: str
    subject: str
    call: Call
    headers: dict[str, str] | None
    confirm: bool
    data: bytes


class Drop(Struct, frozen=True, array_like=True, tag=3):
    """Nobody waits any more for the answer to an `Ask`, `Tell`, `Enter` or `Listen`."""

    id: int


class Enter(Struct, frozen=True, array_like=True, tag=4):
    """A use that must be on record; answered with the attempt's id (JSON text) when it is."""

    id: int
    plugin: str
    digest: str
    key: str
    scope: str
    call: Call
    data: bytes


class Leave(Struct, frozen=True, array_like=True, tag=5):
    """How a use ended that was entered under this id: the code of its error, or nothing."""

    id: int
    code: str


class Listen(Struct, frozen=True, array_like=True, tag=6):
    """A plugin wants the socket that it listens on in the primary; the descriptor goes another way, before the answer."""

    id: int
    plugin: str
    host: str
    port: int


class Wire(Struct, frozen=True, array_like=True, tag=7):
    """Subscribers of a plugin to a pattern: deliver what fits. The same `wire` again changes `queue` and `overflow`."""

    wire: int
    owner: str
    pattern: str
    group: str
    queue: int
    overflow: Overflow


class Unwire(Struct, frozen=True, array_like=True, tag=8):
    """They are gone."""

    wire: int


class Handled(Struct, frozen=True, array_like=True, tag=9):
    """What was delivered under this number was handled; `code` is that of a failure."""

    number: int
    code: str


class Counts(Struct, frozen=True, array_like=True, tag=10):
    """What was counted since the last of these, and which uses were seen for the first time or denied.

    `uses`: (plugin, tenant, capability, count, denied); `seen`: (plugin, capability, tenant, allowed). `number`: of the
    `Collect` it answers, or 0.
    """

    number: int
    stats: list[Counted]
    uses: list[tuple[str, str, str, int, int]]
    seen: list[tuple[str, str, str, bool]]


class Log(Struct, frozen=True, array_like=True, tag=11):
    """A log entry; `fields` is a JSON object."""

    plugin: str
    level: str
    event: str
    fields: bytes


class Trap(Struct, frozen=True, array_like=True, tag=12):
    """A plugin's code crashed in a worker: it counts against the budget of all its processes together."""

    plugin: str
    digest: str
    reason: str


class Hello(Struct, frozen=True, array_like=True, tag=13):
    """A worker is there, and has nothing yet."""

    pid: int


class Applied(Struct, frozen=True, array_like=True, tag=14):
    """The grants and the audit policy of a `Desired` are in force in a worker."""

    revision: int


class Converged(Struct, frozen=True, array_like=True, tag=15):
    """A worker runs what a `Desired` says; `missing` are the plugins that would not start there."""

    revision: int
    missing: list[str]


class Welcome(Struct, frozen=True, array_like=True, tag=32):
    """What a worker is to know of its kernel. `level` is the least level of a log entry that is written out."""

    number: int
    name: str
    data_dir: str
    config: dict[str, dict[str, Any]]
    timeout: float


class Wanted(Struct, frozen=True):
    """One plugin that workers are to run. `start` grows when it is started anew without another change."""

    entry: Entry
    start: int


class Held(Struct, frozen=True):
    """What a plugin may do, also while it does not serve (any more): it finishes what it has with its rights."""

    plugin: str
    grants: list[Grant]
    tenants: list[str]


class Desired(Struct, frozen=True, array_like=True, tag=33):
    """What every worker is to run, who may do what, and what must be on record (`recorder` empty: nothing)."""

    revision: int
    plugins: list[Wanted]
    rights: list[Held]
    recorder: str
    must: list[str]


class Answer(Struct, frozen=True, array_like=True, tag=34):
    """What came of what was asked under this id."""

    id: int
    data: bytes


class Failed(Struct, frozen=True, array_like=True, tag=35):
    """The typed error that came of it."""

    id: int
    code: str
    message: str
    hint: str
    address: str


class Deliver(Struct, frozen=True, array_like=True, tag=36):
    """An event for the subscribers behind a wire; `Handled` with its number is awaited."""

    number: int
    wire: int
    subject: str
    source: str
    call: Call
    time: float
    headers: dict[str, str] | None
    uid: str
    data: bytes


class Collect(Struct, frozen=True, array_like=True, tag=37):
    """Send what was counted so far, now."""

    number: int


class Stop(Struct, frozen=True, array_like=True, tag=38):
    """Finish what is under way, then end."""


FROM_WORKER = msgspec.msgpack.Decoder(
    Ask
    | Tell
    | Drop
    | Enter
    | Leave
    | Listen
    | Wire
    | Unwire
    | Handled
    | Counts
    | Log
    | Trap
    | Hello
    | Applied
    | Converged
)
FROM_PRIMARY = msgspec.msgpack.Decoder(Welcome | Desired | Answer | Failed | Deliver | Collect | Stop)

_encoder = msgspec.json.Encoder()


def payload_of(data: Any, what: str) -> bytes:
    """Data as the bytes that cross.

    Raises InvalidPayload for what JSON cannot hold. Never the library's own text: it may quote the data.
    """
    if data is None:
        return b""
    if type(data) is msgspec.Raw:
        return bytes(data)
    try:
        return _encoder.encode(data)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidPayload(
            f"expected {what} to be data that JSON can hold, got {type(data).__name__} ({type(error).__name__})",
            hint="use dataclasses, dict, list, str, int, float, bool, None, bytes or datetime",
            address=what,
        ) from None


def raw_of(payload: bytes) -> msgspec.Raw | None:
    """What came across, for whoever knows its type to decode."""
    return msgspec.Raw(payload) if payload else None
