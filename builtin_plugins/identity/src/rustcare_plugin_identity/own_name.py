"""Requests in the plugin's own name, whoever it works for: keys of the default tenant serve people of every tenant."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

__all__ = ["in_own_name"]

#: Seconds for an answer. The deadline of the message that is being handled does not count.
_TIMEOUT = 30.0
T = TypeVar("T")


async def in_own_name(request: Callable[..., Awaitable[Any]], service: str, data: Any, type_: type[T]) -> T:
    """What a service answers, asked on nobody's behalf. `request`: `Context.request`. Raises what that raises."""

    async def asked() -> T:
        found: T = await request(service, data, timeout=_TIMEOUT, type=type_)
        return found

    # A context of its own has no message, so the call is the plugin's.
    return await asyncio.get_running_loop().create_task(asked(), context=contextvars.Context())
