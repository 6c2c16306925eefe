"""One call into a guest, as the event loop and the worker thread both see it."""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any

__all__ = ["Job", "Stopped", "Waitable"]

Waitable = Callable[[], Awaitable[Any]]


class Stopped(Exception):
    """The caller gave the call up; the guest is stopped and nobody is to blame."""


class Job:
    """A call on its way.

    The clock of `timeout` counts the guest's own time: it stands still while the guest waits for the kernel (a slow
    subscriber is not the plugin's fault). What bounds the whole is the message's deadline, which cancels the caller.
    """

    __slots__ = (
        "action", "bytes_in", "bytes_out", "cancelled", "context", "deadline", "forward", "fuel", "future", "handling",
        "host_calls", "loop", "sandbox", "task", "timeout", "what",
    )  # fmt: skip

    def __init__(
        self,
        what: str,
        action: Callable[[Any, Job], Any],
        timeout: float,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        future: asyncio.Future[Any] | None = None,
    ) -> None:
        self.what = what
        self.action = action
        self.timeout = timeout
        self.loop = loop
        self.context = context
        self.future = future
        self.deadline = math.inf
        self.cancelled = False
        self.task: asyncio.Task[Any] | None = None
        self.sandbox: Any = None
        self.handling = False  # a message, and not the plugin's start or the like
        #: The service whose answer is the answer to the message, and what it is to be asked.
        self.forward: tuple[str, Any] | None = None
        self.fuel = self.bytes_in = self.bytes_out = self.host_calls = 0

    # in the worker

    @property
    def overdue(self) -> bool:
        """Whether the guest must stop now."""
        return self.cancelled or monotonic() >= self.deadline

    def wait(self, start: Waitable) -> Any:
        """Run a coroutine on the event loop, in the call's context, and wait for it here."""
        if self.cancelled:
            raise Stopped
        replies: SimpleQueue[asyncio.Task[Any]] = SimpleQueue()
        left = self.deadline - monotonic()
        self.deadline = math.inf
        try:
            self.loop.call_soon_threadsafe(self._begin, start, replies, context=self.context)
        except RuntimeError:  # the loop is closed
            raise Stopped from None
        task = replies.get()
        self.deadline = monotonic() + left
        if task.cancelled():
            raise Stopped
        error = task.exception()  # looked at even when nobody wants it: asyncio reports those that never were
        if self.cancelled:
            raise Stopped
        if error is not None:
            raise error
        return task.result()

    # on the event loop

    def _begin(self, start: Waitable, replies: SimpleQueue[asyncio.Task[Any]]) -> None:
        self.task = task = self.loop.create_task(_await(start))
        task.add_done_callback(replies.put)
        if self.cancelled:
            task.cancel()

    def cancel(self) -> None:
        """The caller is gone: stop the guest soon."""
        self.cancelled = True
        if self.task is not None:
            self.task.cancel()
        if (sandbox := self.sandbox) is not None:  # the worker may take it away any time
            sandbox.interrupt()


async def _await(start: Waitable) -> Any:
    return await start()
