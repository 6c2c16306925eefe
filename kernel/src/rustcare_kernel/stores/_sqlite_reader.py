"""Reads beside the writer: short ones in the event loop's thread, long ones in a thread with its own connection.

In WAL mode a reader sees the last commit and waits for nobody. How long a read takes cannot be known before, so it
starts in place with a deadline of two milliseconds; one that overruns it is stopped, which has no effect since it only
reads, and runs again in a thread. Many short ones in a row give the event loop its turn every few milliseconds.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ._pace import Pace
from ._sqlite_files import connect
from ._sqlite_writer import Writer
from ._worker import Worker
from .errors import StoreClosed

__all__ = ["Read", "Reader", "read_all", "read_one"]

Row = Mapping[str, Any]
Read = Callable[[sqlite3.Connection], Any]

_DEADLINE = 0.002  # seconds of processor time that a read may keep the event loop
_LANES = 4  # long reads of one store that run at the same time
_STEPS = 1000  # steps of SQLite's machine between two looks at the clock


def read_all(sql: str, params: Sequence[Any], connection: sqlite3.Connection) -> list[Row]:
    """All rows, as dicts."""
    cursor = connection.execute(sql, params)
    if cursor.description is None:
        return []
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def read_one(sql: str, params: Sequence[Any], connection: sqlite3.Connection) -> Row | None:
    """The first row, or None."""
    cursor = connection.execute(sql, params)
    if cursor.description is None:
        return None
    row = cursor.fetchone()
    names = [column[0] for column in cursor.description]
    cursor.close()
    return None if row is None else dict(zip(names, row, strict=True))


class _Lane:
    """A thread and a connection for long reads."""

    def __init__(self, path: Path, name: str) -> None:
        self.worker = Worker(name)
        self.waiting = 0
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._running: object | None = None

    async def read(self, read: Read, note: Callable[[float], None]) -> Any:
        """The result of `read`; it is stopped when the caller is cancelled. `note` gets the processor time it took."""
        token = object()
        cancelled = False

        def job() -> Any:
            if self._connection is None:
                self._connection = connect(self._path, read_only=True)
            started = time.thread_time()
            self._running = token
            try:
                while not cancelled:
                    try:
                        return read(self._connection)
                    except sqlite3.OperationalError as error:
                        # An interrupt that was meant for the read before this one: once more.
                        if cancelled or not _was_interrupted(error):
                            raise
                return None
            finally:
                self._running = None
                note(time.thread_time() - started)

        self.waiting += 1
        try:
            return await self.worker.run(job)
        except asyncio.CancelledError:
            cancelled = True
            if self._running is token and self._connection is not None:
                self._connection.interrupt()
            raise
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        if self._connection is not None:
            await self.worker.run(self._connection.close)
            self._connection = None
        await self.worker.stop()


class Reader:
    """Reads of one store outside of transactions."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._pace = Pace()
        self._guarded: sqlite3.Connection | None = None
        self._lanes: list[_Lane] = []
        self._deadline = 0.0
        self._closed = False

    async def read(self, sql: str, read: Read) -> Any:
        """The result of `read`, which only reads.

        Raises:
            sqlite3.Error: what SQLite says; the caller explains it.
        """
        self._check()
        connection = self._writer.reader or await self._writer.opened()
        if connection is not self._guarded:
            connection.set_progress_handler(self._overdue, _STEPS)
            self._guarded = connection
        # What was long the last time goes to a thread at once; what was never seen may try here, the deadline holds.
        if not self._pace.was_long(sql):
            if self._pace.is_due():
                await asyncio.sleep(0)
            started = time.thread_time()
            self._deadline = started + _DEADLINE
            try:
                return read(connection)
            except sqlite3.OperationalError as error:
                if not _was_interrupted(error):
                    raise
            finally:
                self._pace.ran_in_place(sql, time.thread_time() - started)
        return await self._lane().read(read, partial(self._pace.ran_in_thread, sql))

    def _check(self) -> None:
        if self._closed:
            raise StoreClosed("the store is closed", address=self._writer.address)

    def _overdue(self) -> int:
        # Processor time, not the clock on the wall: a read is not long because another process had the processor.
        return time.thread_time() > self._deadline

    def _lane(self) -> _Lane:
        free = min(self._lanes, key=lambda lane: lane.waiting, default=None)
        if free is None or (free.waiting and len(self._lanes) < _LANES):
            free = _Lane(self._writer.path, f"reads {self._writer.address}")
            self._lanes.append(free)
        return free

    async def aside(self, job: Callable[[], None]) -> None:
        """Run something long that reads the file through a connection of its own, such as a backup."""
        self._check()
        await self._lane().worker.run(job)

    async def close(self) -> None:
        """Stop the threads. The connection for short reads is the writer's to close."""
        self._closed = True
        for lane in self._lanes:
            await lane.close()


def _was_interrupted(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT
