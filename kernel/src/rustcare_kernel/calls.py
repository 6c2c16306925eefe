"""What a call runs in: who speaks, which message is being handled, and the deadline.

The message that is handled is in a context variable that only the bus sets; a plugin's own calls take tenant, principal,
trace and deadline from there, so they cannot be forged through the API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any

from rustcare_sdk.errors import DeadlineExceeded
from rustcare_sdk.message import Call, Message

from .grants import Rights

__all__ = ["FOREVER", "Invoke", "Sender", "current_message", "finish"]

Invoke = Callable[[Message[Any]], Coroutine[Any, Any, Any]]

#: The deadline of what has none (monotonic seconds).
FOREVER = float("inf")

#: The message that is being handled in this task, if any. Set by the bus only.
current_message: ContextVar[Message[Any] | None] = ContextVar("rustcare_current_message", default=None)

_SYSTEM = Call()


class Sender:
    """Who speaks on the bus: a plugin with its rights, or (with `rights` None) the operator or embedder itself."""

    __slots__ = ("call", "name", "rights")

    def __init__(self, name: str, rights: Rights | None, call: Call = _SYSTEM) -> None:
        self.name = name
        self.rights = rights
        self.call = call


class _Resume:
    """Goes on with a coroutine whose first step has been run: hands up what it waits for, and steps it further."""

    __slots__ = ("_coroutine", "_pending")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], pending: Any) -> None:
        self._coroutine = coroutine
        self._pending = pending

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, pending = self._coroutine, self._pending
        while True:
            try:
                value = yield pending
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                try:
                    pending = coroutine.throw(error)
                except StopIteration as done:
                    return done.value
            else:
                try:
                    pending = coroutine.send(value)
                except StopIteration as done:
                    return done.value


async def finish(coroutine: Coroutine[Any, Any, Any], pending: Any, deadline: float, service: str) -> Any:
    """Go on with a coroutine whose first step gave `pending`, until the deadline (monotonic seconds)."""
    if deadline == FOREVER:
        return await _Resume(coroutine, pending)
    scope = asyncio.timeout_at(asyncio.get_running_loop().time() + (deadline - time.monotonic()))
    try:
        async with scope:
            return await _Resume(coroutine, pending)
    except TimeoutError:
        if scope.expired():
            raise DeadlineExceeded(
                f"{service} did not answer before the deadline", hint="allow more time, or ask what slows it down"
            ) from None
        raise
