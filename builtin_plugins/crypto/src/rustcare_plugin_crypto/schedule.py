"""Rotation by schedule: a task that sleeps until the next key is due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime

from rustcare_sdk import Logger, RustCareError

from .keyring import Key, Keyring

__all__ = ["Schedule"]

#: Seconds after which the clock is looked at anew, since it may be set meanwhile; and after which a failure is tried again.
_LONGEST, _AGAIN = 86_400.0, 60.0


class Schedule:
    """Rotates keys that are due.

    Args:
        keyring: open.
        now: the clock.
        rotated: told of each key that has a new version.
    """

    def __init__(
        self, keyring: Keyring, now: Callable[[], datetime], rotated: Callable[[Key], Awaitable[None]], log: Logger
    ) -> None:
        self._keyring = keyring
        self._now = now
        self._rotated = rotated
        self._log = log
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """A key's schedule may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Rotate what is due, for ever."""
        while True:
            self._changed.clear()
            wait = _AGAIN
            try:
                wait = await self.rotate_due()
            except RustCareError as error:
                self._log.error("keys could not be rotated", code=error.code)
            # Not `wait_for`: in Python 3.11 it loses a cancellation that comes together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._changed.wait()

    async def rotate_due(self) -> float:
        """Rotate all keys that are due; seconds until the next one is. A key that cannot be rotated keeps no other back.

        What was destroyed and could not be taken out of the files then is tried again.
        """
        wait = _LONGEST
        if self._keyring.store.unscrubbed and not await self._keyring.store.scrub():
            wait = _AGAIN
        for tenant, name in await self._keyring.store.all_names():
            try:
                key = await self._keyring.rotate_if_due(tenant, name)
                if key is not None:
                    self._log.info("key rotated", key=name, version=key.record.primary)
                    await self._rotated(key)
                else:
                    key = await self._keyring.find(tenant, name)
            except RustCareError as error:
                self._log.error("a key could not be rotated", key=name, code=error.code)
                wait = min(wait, _AGAIN)
                continue
            due = None if key is None else self._keyring.due(key.record)
            if due is not None:
                wait = min(wait, max(0.0, (due - self._now()).total_seconds()))
        return wait
