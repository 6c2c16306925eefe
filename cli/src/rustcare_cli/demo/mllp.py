"""A sender of HL7 v2 over MLLP that keeps many messages in flight, and matches acknowledgements by their order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from rustcare_cli.demo.feed import Item

__all__ = ["Acknowledged", "send_all"]

_START, _END = b"\x0b", b"\x1c\r"


@dataclass(frozen=True)
class Acknowledged:
    """What the receiver said: `code` is MSA-1, `reason` the text of MSA-3 or ERR-8 for a refusal."""

    item: Item
    code: str
    control_id: str
    reason: str


def _read(item: Item, frame: bytes) -> Acknowledged:
    code = control = reason = ""
    for segment in frame.decode("utf-8", "replace").split("\r"):
        fields = segment.split("|")
        if fields[0] == "MSA":
            fields += [""] * 3
            code, control, reason = fields[1], fields[2], fields[3] or reason
        elif fields[0] == "ERR":
            fields += [""] * 9
            reason = fields[8] or fields[7] or fields[3] or reason
    return Acknowledged(item, code, control, reason)


async def send_all(
    host: str,
    port: int,
    items: Iterable[Item],
    acknowledged: Callable[[Acknowledged], None],
    before: Callable[[int], None] | None = None,
    window: int = 64,
) -> None:
    """Send items over one connection, at most `window` unacknowledged; every acknowledgement is handed on.

    `before(index)` is called before each item is sent. Raises ConnectionError when the receiver hangs up on unanswered
    messages.
    """
    reader, writer = await asyncio.open_connection(host, port, limit=2**22)
    flying: asyncio.Queue[Item | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)

    async def receive() -> None:
        while (item := await flying.get()) is not None:
            try:
                frame = await reader.readuntil(_END)
            except asyncio.IncompleteReadError:
                raise ConnectionResetError(f"the receiver hung up before it answered {item.name}") from None
            acknowledged(_read(item, frame.strip(_START + b"\x1c\r")))
            room.release()

    receiving = asyncio.create_task(receive())
    receiving.add_done_callback(lambda _: room.release())  # who waits for room must learn that the receiver hung up
    try:
        for index, item in enumerate(items):
            await room.acquire()
            if receiving.done():
                break
            if before is not None:
                before(index)
            flying.put_nowait(item)
            writer.write(_START + item.content + _END)
            await writer.drain()
        flying.put_nowait(None)
        await receiving
    finally:
        receiving.cancel()
        writer.close()
        with suppress(OSError):  # when it was the other side that closed it
            await writer.wait_closed()
