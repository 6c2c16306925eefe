"""All hashes behind one door: new ones by the keyring, foreign ones here, and none at all at the same cost.

Who signs in to an account that is not there, or has no password, costs what a wrong password costs: their password is
compared with the hash of one that nobody knows.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from rustcare_plugin_identity.errors import Overloaded

from . import foreign
from .rules import normal

__all__ = ["Hasher"]

#: Characters of a password (`settings.PasswordSettings.maximum` allows no more), and of what is typed for it: composed, and
#: with marks apart, which there are more of.
_LONGEST, _LONGEST_TYPED = 1024, 4096
#: Passwords that may wait to be compared with hashes of other systems.
_MOST_WAITING = 32


class Hasher:
    """Hashes and compares passwords.

    Args:
        make: a new hash (`crypto.password.hash`).
        compare: whether a hash is of a password, and whether it should be made anew (`crypto.password.verify`).
    """

    def __init__(
        self,
        make: Callable[[str], Awaitable[str]],
        compare: Callable[[str, str], Awaitable[tuple[bool, bool]]],
        random: Callable[[int], bytes],
    ) -> None:
        self._make = make
        self._compare = compare
        self._random = random
        self._nobody = ""
        self._first = asyncio.Lock()
        self._waiting = 0
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="rustcare-foreign", initializer=_stand_back)

    async def hash(self, password: str) -> str:
        """A new hash. Raises what the keyring raises (`crypto.overloaded`)."""
        return await self._make(normal(password))

    async def verify(self, encoded: str, password: str) -> tuple[bool, bool]:
        """Whether a hash (empty: nobody's) is of this password, and whether it is to be replaced by a new one.

        Raises Overloaded, or what the keyring raises (`crypto.overloaded`).
        """
        # Before anything else, so that the first to ask pays for it whoever they ask for.
        nobody = self._nobody or await self._made()
        text = normal(password[:_LONGEST_TYPED])
        if len(password) > _LONGEST_TYPED or len(text) > _LONGEST:
            # Too long to be one: it is wrong, and costs what a wrong one costs.
            encoded, text = "", text[:_LONGEST]
        if not encoded:
            await self._compare(nobody, text)
            return False, False
        if not foreign.is_foreign(encoded):
            valid, stale = await self._compare(foreign.keyring_form(encoded), text)
            return valid, stale or foreign.keyring_form(encoded) != encoded
        valid = await self._foreign(encoded, password)
        if not valid and text != password:
            valid = await self._foreign(encoded, text)
        return valid, valid

    async def _foreign(self, encoded: str, password: str) -> bool:
        """Compare in the thread, if not too many wait for it. Raises Overloaded."""
        if self._waiting >= _MOST_WAITING:
            raise Overloaded(f"expected at most {_MOST_WAITING} passwords at once, got one more", hint="try again soon")
        self._waiting += 1
        # Not `run_in_executor`: a caller that is cancelled must not free the place of work that still runs.
        future = self._threads.submit(foreign.verify, encoded, password)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: self._soon(loop))
        return await asyncio.wrap_future(future)

    def _soon(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # a loop that is closed has nobody left to be told
            loop.call_soon_threadsafe(self._done)

    def _done(self) -> None:
        self._waiting -= 1

    async def _made(self) -> str:
        async with self._first:
            if not self._nobody:
                self._nobody = await self._make(self._random(24).hex())
        return self._nobody

    def close(self) -> None:
        """End the thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _stand_back() -> None:
    """As the keyring's threads: whoever does not hash comes first."""
    if sys.platform == "linux":
        with suppress(OSError):
            mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, mine + 10))
