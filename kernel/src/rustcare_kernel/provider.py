"""The provider of one service, and the gate where requests wait while it is being replaced."""

from __future__ import annotations

import asyncio
import time

from rustcare_sdk.errors import DeadlineExceeded, NoProvider

from .accounting import Stat
from .calls import FOREVER, Invoke
from .grants import Rights

__all__ = ["Provider"]


class Provider:
    """The provider of one service. `invoke` is None while it is being replaced: requests wait at the gate."""

    __slots__ = ("_idle", "_waiting", "draining", "gone", "inflight", "invoke", "limit", "rights", "service", "stats")

    def __init__(self, service: str, rights: Rights | None) -> None:
        self.service = service
        self.rights = rights
        self.invoke: Invoke | None = None
        self.draining: Provider | None = None  # for what the plugin itself asks while it drains
        self.gone = False
        self.limit = FOREVER  # seconds that one call may take, whatever the caller's deadline
        self.inflight = 0
        self.stats: dict[str, Stat] = {}
        self._waiting: list[asyncio.Future[None]] = []
        self._idle: asyncio.Future[None] | None = None

    def open(self, invoke: Invoke, rights: Rights | None) -> None:
        """Let requests through to this handler."""
        self.invoke = invoke
        self.draining = None
        self.rights = rights
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def close(self) -> None:
        """Keep new requests waiting, and return when those in flight are answered.

        Whatever the plugin asks itself meanwhile is not waited for: it is part of something that is, or of what goes on in the
        background and may never pause.
        """
        if self.invoke is not None:
            within = self.draining = Provider(self.service, self.rights)
            within.invoke, within.limit, within.stats = self.invoke, self.limit, self.stats
            self.invoke = None
        while self.inflight:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def left(self) -> None:
        """The last request in flight has ended."""
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def wait(self, deadline: float) -> Invoke:
        """Wait at the gate until the provider is open again, at most until the deadline; its handler then."""
        loop = asyncio.get_running_loop()
        while self.invoke is None:
            if self.gone:
                raise self._removed()
            future: asyncio.Future[None] = loop.create_future()
            self._waiting.append(future)
            left = deadline - time.monotonic()
            timer = loop.call_later(max(0.0, left), _expire, future) if deadline != FOREVER else None
            try:
                await future
            finally:
                if timer is not None:
                    timer.cancel()
            if deadline <= time.monotonic() and self.invoke is None:
                raise DeadlineExceeded(
                    f"{self.service} was being replaced until the deadline passed", hint="allow more time"
                )
        return self.invoke

    def abandon(self) -> None:
        """The service is gone: tell those who wait at the gate."""
        self.gone = True
        self.invoke = self.draining = None
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(self._removed())

    def _removed(self) -> NoProvider:
        return NoProvider(f"the provider of {self.service} was removed", hint="try again later", address=self.service)


def _expire(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
