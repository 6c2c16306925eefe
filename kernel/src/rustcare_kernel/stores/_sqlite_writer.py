"""The one writer of a SQLite file: who has the connection, and when a commit is made for everybody who wrote meanwhile.

A commit costs one fsync (hundreds of microseconds), a small statement a few microseconds. So:

- The connection has at most one holder: a transaction, the thread, or (for the length of one statement) the event loop.
  Everybody else waits in one queue, first come first served.
- What ran joins a *group* inside one SQLite transaction. When the queue is empty, or the group is full, the thread says
  COMMIT, the only step that waits for the disk; while it does, the next group gathers. A call returns when the commit
  of its group is done.
- A statement that fails undoes itself alone. A transaction is a SAVEPOINT inside the group, so it can be rolled back
  alone.
- Statements that have shown to be quick run in the event loop's thread (see `_pace`), all others in the writer's
  thread.

Everything here but the jobs handed to the thread runs in the event loop's thread, so no lock is needed.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ._pace import Pace
from ._sqlite_files import create, explain
from ._worker import Worker
from .errors import StoreClosed, StoreError, TransactionNested

__all__ = ["Holder", "Job", "Writer"]

Job = Callable[[sqlite3.Connection], Any]

GROUP_UNITS = 512  # units in one commit
GROUP_SECONDS = 0.003  # how long a group gathers while others wait; it bounds what the event loop does in one go too
SHARING_SECONDS = 0.025  # a transaction that lasted longer makes the next one start after the commit of its neighbours
PATIENCE = 5_000  # milliseconds to wait for another process that has the file open for writing


class Holder(Protocol):
    """An interactive transaction, as the writer sees it."""

    task: asyncio.Task[Any] | None
    last_used: float

    def abort(self, error: StoreError) -> None:
        """The writer ends the transaction: it lasted too long, SQLite gave it up, or the store is closed."""
        ...


class _Unit:
    __slots__ = ("alone", "future", "job", "sql", "transaction")

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self.job: Job | None = None
        self.sql = ""
        self.transaction: Holder | None = None
        self.alone = False


class Writer:
    """Group commit over one connection.

    Args:
        path: the database's file; it is opened by the first use.
        address: what error texts call the store.
        lease: seconds that a transaction may hold the writer without a statement.
    """

    def __init__(self, path: Path, address: str, lease: float = 30.0) -> None:
        self.path = path
        self.address = address
        self.pace = Pace()
        self.worker = Worker(f"store {address}")
        self.reader: sqlite3.Connection | None = None
        self.commits = 0
        self.units = 0
        self._lease = lease
        self._loop = asyncio.get_running_loop()
        self._connection: sqlite3.Connection | None = None
        self._queue: deque[_Unit] = deque()
        self._holder: object | None = _UNOPENED
        self._begun = False
        self._group: list[tuple[asyncio.Future[Any], Any]] = []
        self._group_since = 0.0
        self._limit = GROUP_UNITS
        self._commit_soon = False
        self._sharing = True
        self._watchdog: asyncio.TimerHandle | None = None
        self._closed = False

    # what the store calls

    def write(self, sql: str, job: Job) -> asyncio.Future[Any]:
        """Run `job` as one unit that fails alone. The future has its result once it is durable."""
        unit = _Unit(self._loop.create_future())
        unit.sql, unit.job = sql, job
        return self._submit(unit)

    def begin(self, transaction: Holder) -> asyncio.Future[Any]:
        """Wait for the turn of a transaction. It holds the connection until `finish` or `undo`."""
        unit = _Unit(self._loop.create_future())
        unit.transaction = transaction
        return self._submit(unit)

    async def alone(self, job: Job) -> Any:
        """Run `job` in the thread with the connection to itself and no transaction open."""
        unit = _Unit(self._loop.create_future())
        unit.job, unit.alone = job, True
        return await self._submit(unit)

    async def opened(self) -> sqlite3.Connection:
        """The reader's connection, once the file is open."""
        if self.reader is None:
            await self.alone(lambda connection: None)
        if self.reader is None:
            raise self._is_closed()
        return self.reader

    async def close(self) -> None:
        """Finish the writes that were accepted, give up transactions, close the file, end the thread."""
        if self._closed:
            return
        self._closed = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        for unit in self._queue:
            if unit.transaction is not None:
                _reject(unit.future, self._is_closed())
        if isinstance(self._holder, _TransactionTurn):
            self._holder.transaction.abort(self._is_closed())
        if self._holder is not _UNOPENED:
            unit = _Unit(self._loop.create_future())
            unit.job, unit.alone = self._close_files, True
            with suppress(StoreError):  # the file never opened: there is nothing to close
                await self._enqueue(unit)
        await self.worker.stop()

    # what a transaction calls while it holds the connection

    def run_here(self, sql: str, job: Job) -> Any:
        """Run a quick statement in place."""
        assert self._connection is not None
        started = time.thread_time()
        try:
            return job(self._connection)
        finally:
            self.pace.ran_in_place(sql, time.thread_time() - started)

    def run_there(self, sql: str, job: Job, done: Callable[[Any, BaseException | None], None]) -> None:
        """Run a statement in the thread; `done` comes back in the event loop."""
        connection = self._connection
        assert connection is not None

        def measured() -> Any:
            started = time.thread_time()
            try:
                return job(connection)
            finally:
                # A dictionary's item is set in one step, and nobody else runs a statement of this connection meanwhile.
                self.pace.ran_in_thread(sql, time.thread_time() - started)

        self.worker.submit(measured, done)

    def survived(self, error: StoreError) -> bool:
        """Whether the group is still there after a statement failed. SQLite gives it up whole when the disk is full."""
        assert self._connection is not None
        if self._connection.in_transaction:
            return True
        self._begun = False
        group, self._group = self._group, []
        for future, _ in group:
            _reject(future, type(error)(error.message, hint=error.hint, address=error.address))
        return False

    def finish(self, duration: float) -> asyncio.Future[Any]:
        """The holding transaction ends well: it joins the group. The future is done once it is durable."""
        assert self._connection is not None
        future: asyncio.Future[Any] = self._loop.create_future()
        self._connection.execute("RELEASE unit")
        self._join(future, None)
        self._let_go(duration)
        return future

    def undo(self, duration: float) -> None:
        """The holding transaction ends badly: what it did is undone. Nothing here waits."""
        assert self._connection is not None
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK TO unit")
                self._connection.execute("RELEASE unit")
            except sqlite3.Error as caught:  # a failing disk: give up the neighbours rather than keep half of it
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                self.survived(explain(caught, self.address))
        self._let_go(duration)

    # turns

    def _submit(self, unit: _Unit) -> asyncio.Future[Any]:
        if self._closed:
            raise self._is_closed()
        holder = self._holder
        if isinstance(holder, _TransactionTurn) and holder.transaction.task is asyncio.current_task():
            raise TransactionNested(
                "a task that holds a transaction waits for the same store's writer",
                hint="use the transaction's own `tx` inside of the block",
                address=self.address,
            )
        return self._enqueue(unit)

    def _enqueue(self, unit: _Unit) -> asyncio.Future[Any]:
        self._queue.append(unit)
        if self._holder is None:
            self._next()
        elif self._holder is _UNOPENED:
            self._holder = _THREAD
            self.worker.submit(partial(create, self.path), self._files_open)
        return unit.future

    def _next(self) -> None:
        """Give the connection to who waits first; when nobody does, or the group is full, commit."""
        while self._holder is None:
            if self._queue and not self._is_full():
                unit = self._queue.popleft()
                if not unit.future.done():  # its caller went away
                    self._serve(unit)
            elif not self._begun:
                return
            elif not self._group:
                self._roll_back()
            elif self._queue:
                self._commit()
            else:
                # Not at once: whoever else writes in this round of the event loop joins.
                if not self._commit_soon:
                    self._commit_soon = True
                    self._loop.call_soon(self._commit_if_free)
                return

    def _is_full(self) -> bool:
        group = self._group
        return bool(group) and (len(group) >= self._limit or time.perf_counter() - self._group_since > GROUP_SECONDS)

    def _serve(self, unit: _Unit) -> None:
        assert self._connection is not None
        if unit.alone:
            if self._begun:
                self._queue.appendleft(unit)
                self._end_group()
                return
            assert unit.job is not None
            self._holder = _THREAD
            self.worker.submit(partial(unit.job, self._connection), partial(self._alone_done, unit))
            return
        if unit.transaction is not None and self._group and not self._sharing:
            self._queue.appendleft(unit)
            self._commit()
            return
        if not self._begun:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                    self._queue.appendleft(unit)
                    self._holder = _THREAD
                    self.worker.submit(partial(_begin_patiently, self._connection), self._begun_patiently)
                else:
                    _reject(unit.future, explain(error, self.address))
                return
            self._begun = True
        if unit.transaction is not None:
            self._serve_transaction(unit, unit.transaction)
            return
        job = unit.job
        assert job is not None
        if not self.pace.is_quick(unit.sql):
            self._holder = _THREAD
            self.run_there(unit.sql, job, partial(self._unit_done, unit))
            return
        try:
            value = self.run_here(unit.sql, job)
        except Exception as caught:
            self._unit_failed(unit, caught)
        else:
            self._join(unit.future, value)

    def _serve_transaction(self, unit: _Unit, transaction: Holder) -> None:
        assert self._connection is not None
        try:
            self._connection.execute("SAVEPOINT unit")
        except sqlite3.Error as error:
            self._unit_failed(unit, error)
            return
        self._holder = _TransactionTurn(transaction)
        transaction.last_used = self._loop.time()
        if self._watchdog is None:
            self._watchdog = self._loop.call_later(self._lease, self._watch)
        unit.future.set_result(None)

    def _join(self, future: asyncio.Future[Any], value: Any) -> None:
        if not self._group:
            self._group_since = time.perf_counter()
        self._group.append((future, value))

    def _let_go(self, duration: float) -> None:
        self._sharing = duration < SHARING_SECONDS
        self._holder = None
        self._next()

    def _watch(self) -> None:
        """End a transaction that has long done nothing. One timer for all of them, gone when there is none."""
        self._watchdog = None
        holder = self._holder
        if not isinstance(holder, _TransactionTurn):
            return
        left = holder.transaction.last_used + self._lease - self._loop.time()
        if left <= 0:
            holder.transaction.abort(
                StoreError(
                    f"it did nothing for {self._lease:g} seconds while it kept others from writing",
                    hint="wait for other services before the transaction, or after it",
                    address=self.address,
                )
            )
            return
        self._watchdog = self._loop.call_later(left, self._watch)

    # ends

    def _end_group(self) -> None:
        if self._group:
            self._commit()
        else:
            self._roll_back()

    def _commit_if_free(self) -> None:
        self._commit_soon = False
        if self._holder is None and self._group:
            self._commit()

    def _commit(self) -> None:
        assert self._connection is not None
        group, self._group = self._group, []
        self._holder = _THREAD
        self.worker.submit(partial(_commit, self._connection), partial(self._committed, group))

    def _committed(
        self, group: list[tuple[asyncio.Future[Any], Any]], result: Any, error: BaseException | None
    ) -> None:
        self._begun = False
        self._holder = None
        if error is None:
            self.commits += 1
            self.units += len(group)
            for future, value in group:
                if not future.done():
                    future.set_result(value)
        else:
            for future, _ in group:
                _reject(future, explain(error, self.address))
        self._next()

    def _roll_back(self) -> None:
        """End a SQLite transaction in which nothing is left."""
        assert self._connection is not None
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._begun = False

    # what comes back from the thread

    def _files_open(self, result: Any, error: BaseException | None) -> None:
        if error is not None:
            self._holder = _UNOPENED  # the next use tries again
            waiting, self._queue = self._queue, deque()
            for unit in waiting:
                _reject(unit.future, explain(error, self.address))
            return
        self._connection, self.reader = result
        self._holder = None
        self._look_at_schema()
        self._next()

    def _look_at_schema(self) -> None:
        """A deferred foreign key is checked by COMMIT only, where it would fail everybody: then each commits alone."""
        assert self._connection is not None
        deferred = self._connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE sql LIKE '%INITIALLY%DEFERRED%' LIMIT 1"
        ).fetchone()
        self._limit = 1 if deferred else GROUP_UNITS

    def _begun_patiently(self, result: Any, error: BaseException | None) -> None:
        self._holder = None
        if error is None:
            self._begun = True
        else:
            waiting, self._queue = self._queue, deque()
            for unit in waiting:
                _reject(unit.future, explain(error, self.address))
        self._next()

    def _unit_done(self, unit: _Unit, result: Any, error: BaseException | None) -> None:
        self._holder = None
        if error is None:
            self._join(unit.future, result)
        else:
            self._unit_failed(unit, error)
        self._next()

    def _unit_failed(self, unit: _Unit, caught: BaseException) -> None:
        error = explain(caught, self.address)
        _reject(unit.future, error)
        self.survived(error)

    def _alone_done(self, unit: _Unit, result: Any, error: BaseException | None) -> None:
        self._holder = None
        if self._connection is not None and self.reader is not None:
            self._look_at_schema()
        if error is None:
            if not unit.future.done():
                unit.future.set_result(result)
        else:
            _reject(unit.future, explain(error, self.address))
        self._next()

    def _close_files(self, connection: sqlite3.Connection) -> None:
        reader, self.reader = self.reader, None
        self._connection = None
        if reader is not None:
            reader.close()
        connection.close()

    def _is_closed(self) -> StoreClosed:
        return StoreClosed("the store is closed", hint="open it again through its driver", address=self.address)


class _TransactionTurn:
    __slots__ = ("transaction",)

    def __init__(self, transaction: Holder) -> None:
        self.transaction = transaction


_UNOPENED = object()
_THREAD = object()


def _reject(future: asyncio.Future[Any], error: StoreError) -> None:
    if not future.done():
        future.set_exception(error)


def _commit(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


def _begin_patiently(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {PATIENCE}")
    try:
        connection.execute("BEGIN IMMEDIATE")
    finally:
        connection.execute("PRAGMA busy_timeout = 0")
