"""Reads beside the writer: short ones in the event loop's thread, long ones in a thread with its own connection.

In WAL mode a reader sees the last commit and waits for nobody. How long a read takes cannot be known before, so it
starts in place with a deadline of two milliseconds; one that overruns it is stopped, which has no effect since it only
reads, and runs again in the thread.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ._pace import Pace
from ._sqlite_files import connect
from ._sqlite_writer import Writer
from ._worker import Worker
from .errors import StoreClosed

__all__ = ["Read", "Reader", "read_all", "read_one"]

Row = Mapping[str, Any]
Read = Callable[[sqlite3.Connection], Any]

_DEADLINE = 0.002  # seconds a read may keep the event loop
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


class Reader:
    """Reads of one store outside of transactions."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._pace = Pace()
        self._guarded: sqlite3.Connection | None = None
        self._long: sqlite3.Connection | None = None
        self._deadline = 0.0
        self._closed = False
        self.worker = Worker(f"reads {writer.address}")

    async def read(self, sql: str, read: Read) -> Any:
        """The result of `read`, which only reads.

        Raises:
            sqlite3.Error: what SQLite says; the caller explains it.
        """
        if self._closed:
            raise StoreClosed("the store is closed", address=self._writer.address)
        connection = self._writer.reader or await self._writer.opened()
        if connection is not self._guarded:
            connection.set_progress_handler(self._overdue, _STEPS)
            self._guarded = connection
        # What was long the last time goes to the thread at once; what was never seen may try here, the deadline holds.
        if not self._pace.was_long(sql):
            started = time.perf_counter()
            self._deadline = started + _DEADLINE
            try:
                return read(connection)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
                    raise
            finally:
                self._pace.ran_in_place(sql, time.perf_counter() - started)
        return await self._read_there(sql, read)

    def _overdue(self) -> int:
        return time.perf_counter() > self._deadline

    async def _read_there(self, sql: str, read: Read) -> Any:
        cancelled = False
        running = False

        def job() -> Any:
            nonlocal running
            if self._long is None:
                self._long = connect(self._writer.path, read_only=True)
            started = time.thread_time()
            running = True
            try:
                while not cancelled:
                    try:
                        return read(self._long)
                    except sqlite3.OperationalError as error:
                        # An interrupt that was meant for the read before this one: once more.
                        if cancelled or getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_INTERRUPT:
                            raise
                return None
            finally:
                running = False
                self._pace.ran_in_thread(sql, time.thread_time() - started)

        try:
            return await self.worker.run(job)
        except asyncio.CancelledError:
            cancelled = True
            if running and self._long is not None:
                self._long.interrupt()
            raise

    async def close(self) -> None:
        """Stop the thread. The connection for short reads is the writer's to close."""
        self._closed = True
        if self._long is not None:
            await self.worker.run(partial(sqlite3.Connection.close, self._long))
            self._long = None
        await self.worker.stop()
