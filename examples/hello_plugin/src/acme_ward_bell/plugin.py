"""The plugin. The same source runs trusted and, built as a component, sandboxed."""

from __future__ import annotations

from dataclasses import dataclass

from rustcare_sdk import Message, Plugin, serve


@dataclass(frozen=True)
class Greet:
    """Whom to greet."""

    name: str


@dataclass(frozen=True)
class Greeting:
    """The greeting, and how many there were."""

    text: str
    count: int


class WardBell(Plugin):
    """Greets by the time of day, counts, and tells others."""

    @serve("ward-bell.greet")
    async def greet(self, message: Message[Greet]) -> Greeting:
        count = int(await self.ctx.kv.get("greetings") or b"0") + 1
        await self.ctx.kv.put("greetings", str(count).encode())
        await self.ctx.publish("ward-bell.greeted", {"count": count})
        part = "morning" if self.ctx.now().hour < 12 else "day"
        return Greeting(f"Good {part}, {message.data.name}!", count)
