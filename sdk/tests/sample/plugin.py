"""The sample: subscribes, serves, requests, publishes, remembers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, ClassVar

from rustcare_sdk import Message, Plugin, ServiceError, serve, subscribe
from rustcare_sdk.errors import CapabilityDenied


@dataclass(frozen=True)
class Admission:
    """Somebody got a bed."""

    bed: str
    person: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Beds:
    """Which beds are taken."""

    taken: list[str] = field(default_factory=list)
    tenant: str = ""


class WardBoard(Plugin):
    """Who lies in which bed."""

    state_version: ClassVar[int] = 2

    async def start(self) -> None:
        self.seen = 0

    async def export_state(self) -> Any:
        return {"seen": self.seen}

    async def import_state(self, state: Any) -> None:
        self.seen = state["seen"]

    @subscribe("hl7.adt.*")
    async def admitted(self, message: Message[Admission]) -> None:
        self.seen += 1
        await self.ctx.kv.put(f"bed.{message.data.bed}", message.data.person.encode())
        await self.ctx.publish("ward.changed", Beds([message.data.bed], message.tenant), headers={"partitionkey": "x"})

    @serve("ward.beds")
    async def beds(self, message: Message[Any]) -> Beds:
        return Beds([key[4:] for key in await self.ctx.kv.keys("bed.")], message.tenant)

    @serve("ward.name")
    async def name(self, message: Message[str]) -> str:
        known: dict[str, str] = await self.ctx.request(
            "ward.names", {"code": message.data}, timeout=1.0, type=dict[str, str]
        )
        if message.data not in known:
            raise ServiceError("acme.no-such-ward", "there is no such ward")
        return known[message.data]

    @serve("ward.note")
    async def note(self, message: Message[str]) -> int:
        async with self.ctx.db.transaction() as tx:
            await tx.execute(
                "INSERT INTO history (id, bed, at) VALUES (?, ?, ?)",
                (self.ctx.random(8), message.data, self.ctx.now().isoformat()),
            )
        return len(await self.ctx.db.fetch("SELECT * FROM history"))

    @serve("ward.sign")
    async def sign(self, message: Message[str]) -> bytes:
        return await self.ctx.secrets.hmac_sha256("board-key", message.data.encode())

    @serve("ward.sly")
    async def sly(self, message: Message[None]) -> str:
        try:
            await self.ctx.publish("secret.subject")
        except CapabilityDenied:
            return "swallowed"
        return "published"

    @serve("ward.listen")
    async def listen(self, message: Message[None]) -> int:
        async def show(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()

        return (await self.ctx.listen("127.0.0.1", 0, show)).address[1]

    @serve("ward.slow")
    async def slow(self, message: Message[None]) -> None:
        await asyncio.Event().wait()

    @serve("ward.crash")
    async def crash(self, message: Message[None]) -> None:
        async def work() -> None:
            raise RuntimeError("the background task failed")

        self.ctx.spawn(work(), name="work")

    @serve("ward.fail")
    async def fail(self, message: Message[None]) -> None:
        raise KeyError("Smith")
