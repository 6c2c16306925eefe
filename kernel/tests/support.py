"""What the kernel's tests share: a bus with its grants, senders, handlers that wait until they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rustcare_kernel.accounting import Accounting
from rustcare_kernel.bus import Bus, Sender
from rustcare_kernel.grants import Grants, Rights
from rustcare_sdk.capability import parse
from rustcare_sdk.message import Call, Message
from rustcare_sdk.plugin import Handler, Overflow

OPERATOR = Sender("operator", None)
DIGEST = "sha256:" + "0" * 64


class Clock:
    """A clock that only moves when told."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class World:
    """A bus with grants, and plugins that are nothing but rights."""

    def __init__(self, timeout: float = 30.0) -> None:
        self.clock = Clock()
        self.accounting = Accounting()
        self.grants = Grants(self.accounting, self.clock)
        self.bus = Bus(self.accounting, timeout=timeout)
        self.errors: list[tuple[str, str, BaseException]] = []
        self.bus.on_error = lambda owner, subject, error: self.errors.append((owner, subject, error))

    def rights(self, plugin: str, *capabilities: str) -> Rights:
        """The rights of a plugin that asks for these capabilities and was granted all of them."""
        self.grants.declare(plugin, DIGEST, [parse(text) for text in capabilities])
        for text in capabilities:
            self.grants.give(plugin, DIGEST, text)
        return Rights(self.grants, plugin, DIGEST)

    def sender(self, plugin: str, *capabilities: str, call: Call | None = None) -> Sender:
        """A plugin as a sender."""
        return Sender(plugin, self.rights(plugin, *capabilities), *([call] if call is not None else []))

    def revoke(self, plugin: str, capability: str) -> None:
        """Take every grant of this text back."""
        for grant in list(self.grants.of(plugin, DIGEST)):
            if grant.capability == capability:
                self.grants.revoke(grant.id)


def on(subject: str, *, group: str = "", queue: int = 1024, overflow: Overflow = "block", parallel: int = 1) -> Handler:
    """A subscriber as declared."""
    return Handler("subscribe", subject, "handle", group, queue, overflow, parallel)


class Tape:
    """A handler that keeps what it handled; while it is held, it stops at each message until it is let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.seen: list[Any] = []
        self.messages: list[Message[Any]] = []
        self.started = 0
        self._held = held
        self._waiting: list[asyncio.Future[None]] = []
        self._watchers: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def __call__(self, message: Message[Any]) -> Any:
        self.started += 1
        self._tell()
        if self._held:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        self.seen.append(message.data)
        self.messages.append(message)
        self._tell()
        return message.data

    def let_go(self, count: int | None = None) -> None:
        """Let the first of those that wait go on, or all of them and all to come."""
        if count is None:
            self._held = False
        going, self._waiting = self._waiting[:count], self._waiting[count:] if count is not None else []
        for future in going:
            if not future.done():
                future.set_result(None)

    def _tell(self) -> None:
        for reached, future in self._watchers:
            if reached() and not future.done():
                future.set_result(None)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Return when the condition, which depends on this handler only, holds."""
        if not reached():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((reached, future))
            await asyncio.wait_for(future, 10)

    async def saw(self, count: int) -> list[Any]:
        """What it handled, as soon as it is so many."""
        await self.until(lambda: len(self.seen) >= count)
        return self.seen

    async def began(self, count: int) -> None:
        """Return when so many messages were begun."""
        await self.until(lambda: self.started >= count)


async def blocked(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task for work that has come as far as it can without anybody else: its first steps were run."""
    task = asyncio.get_running_loop().create_task(work)
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(begun.set_result, None)  # runs right after the task's first step
    await begun
    return task
