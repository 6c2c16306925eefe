"""One process publishes at a time: that keeps the order, also while one version hands over to the next.

The lease is a row in the plugin's database. Its holder renews it; a holder that is gone is followed at once when it was
a process of this machine that no longer runs (after kill -9), else when the lease has expired.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rustcare_sdk.context import Database

__all__ = ["EXPIRY", "Lease", "process_identity"]

#: Seconds after which a lease that was not renewed is free.
EXPIRY = 10.0
RENEW = 3.0


def _started(pid: int) -> str:
    """When a process started, in the system's ticks: tells it from a later one with the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def process_identity() -> str:
    """This process among all: host, boot, process number, start."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()}/{boot}/{os.getpid()}/{_started(os.getpid())}"


def _is_dead(owner: str) -> bool:
    """Whether the owner was a process of this machine that has ended."""
    parts = owner.split("/")
    mine = process_identity().split("/")
    if len(parts) != 5 or parts[:2] != mine[:2] or not parts[1] or not parts[3]:
        return False  # another machine, or one that does not tell: wait for the expiry
    return _started(int(parts[2])) != parts[3] if parts[2].isdigit() else False


class Lease:
    """The right to publish. `held` is what the last call found out."""

    def __init__(self, db: Database, now: Callable[[], datetime], name: str, token: str) -> None:
        self._db = db
        self._now = now
        self._name = name
        self.owner = f"{process_identity()}/{token}"
        self.held = False
        self._until = 0.0
        # One after the other: else the row could be free while this process takes it for its own.
        self._turn = asyncio.Lock()

    @property
    def safe(self) -> bool:
        """Whether it is held and nobody can have taken it over yet."""
        return self.held and self._now().timestamp() < self._until

    @property
    def due(self) -> bool:
        """Whether it is time to renew it."""
        return self._now().timestamp() > self._until - EXPIRY + RENEW

    async def acquire(self) -> bool:
        """Take or renew the lease if that is possible now."""
        async with self._turn:
            return await self._acquire()

    async def _acquire(self) -> bool:
        now = self._now().timestamp()
        row = await self._db.fetch_one("SELECT owner, expires FROM lease WHERE name = ?", (self._name,))
        if row is None:
            count = await self._db.execute(
                "INSERT INTO lease (name, owner, expires) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
                (self._name, self.owner, now + EXPIRY),
            )
        elif row["owner"] in (self.owner, "") or row["expires"] < now or _is_dead(row["owner"]):
            count = await self._db.execute(
                "UPDATE lease SET owner = ?, expires = ? WHERE name = ? AND owner = ? AND expires = ?",
                (self.owner, now + EXPIRY, self._name, row["owner"], row["expires"]),
            )
        else:
            count = 0
        self.held = count == 1
        if self.held:
            self._until = now + EXPIRY
        return self.held

    async def release(self) -> None:
        """Let the next one have it at once."""
        async with self._turn:
            if self.held:
                self.held = False
                await self._db.execute(
                    "UPDATE lease SET owner = '', expires = 0 WHERE name = ? AND owner = ?", (self._name, self.owner)
                )
