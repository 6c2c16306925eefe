"""SQLite: a file per plugin, `<data folder>/plugins/<id>/store.sqlite3`.

Write-ahead log, `synchronous=FULL`, foreign keys on. Writes that arrive together share one commit (`_sqlite_writer`),
reads run beside them (`_sqlite_reader`). Nothing is opened, and no thread started, before the first use.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rustcare_sdk.context import Queries

from ._contract import Migration, check_sequence
from ._files import safe_name, sync_folder
from ._kv import StoreKeyValue
from ._migrations import check_applied, failed
from ._sql import Statement, analyse, check_values, split
from ._sqlite_files import explain, restore_into, write_backup
from ._sqlite_reader import Reader, read_all, read_one
from ._sqlite_writer import Writer
from .errors import StatementInvalid, StoreBusy, StoreError, TransactionAborted

__all__ = ["SqliteDriver", "SqliteStore"]

Row = Mapping[str, Any]
_IN_PLACE_ROWS = 32  # more rows than these in one execute_many go to the thread


def _execute(sql: str, counts: bool, params: Sequence[Any], connection: sqlite3.Connection) -> int:
    cursor = connection.execute(sql, params)
    if cursor.description is not None:
        cursor.fetchall()
    if counts:
        return max(cursor.rowcount, 0)
    # Python counts the rows of a statement that begins with INSERT, UPDATE or DELETE only.
    return int(connection.execute("SELECT changes()").fetchone()[0])


def _execute_many(sql: str, rows: Sequence[Sequence[Any]], connection: sqlite3.Connection) -> None:
    connection.execute("SAVEPOINT many")
    try:
        connection.executemany(sql, rows)
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO many")
            connection.execute("RELEASE many")
        raise
    connection.execute("RELEASE many")


def _prepare(sql: str, params: Sequence[Any], address: str) -> Statement:
    statement = analyse(sql, "sqlite")
    if statement.holes != len(params):
        raise StatementInvalid(
            f"{statement.holes} placeholders were expected for {len(params)} parameters", address=address
        )
    check_values(params)
    return statement


def _job_execute(statement: Statement, params: Sequence[Any]) -> Callable[[sqlite3.Connection], int]:
    if statement.reads:
        return lambda connection: _execute(statement.text, True, params, connection)
    return partial(_execute, statement.text, statement.keyword != "WITH", params)


def _prepare_many(sql: str, rows: Sequence[Sequence[Any]], address: str) -> tuple[str, list[Sequence[Any]]]:
    kept = list(rows)
    statement = analyse(sql, "sqlite")
    for row in kept:
        if len(row) != statement.holes:
            raise StatementInvalid(
                f"{statement.holes} placeholders were expected for {len(row)} parameters", address=address
            )
        check_values(row)
    if statement.keyword not in ("INSERT", "UPDATE", "DELETE"):
        raise StatementInvalid("INSERT, UPDATE or DELETE was expected for many rows", address=address)
    return statement.text, kept


class SqliteDatabase:
    """`Database` over one SQLite file."""

    def __init__(self, writer: Writer, reader: Reader) -> None:
        self._writer = writer
        self._reader = reader

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        rows: list[Row] = await self._fetch(read_all, sql, params)
        return rows

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        row: Row | None = await self._fetch(read_one, sql, params)
        return row

    async def _fetch(self, read: Callable[..., Any], sql: str, params: Sequence[Any]) -> Any:
        statement = _prepare(sql, params, self._writer.address)
        job = partial(read, statement.text, params)
        if not statement.reads:  # INSERT … RETURNING
            return await self._writer.write(statement.text, job)
        try:
            return await self._reader.read(statement.text, job)
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as caught:
            raise explain(caught, self._writer.address) from None

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        statement = _prepare(sql, params, self._writer.address)
        count: int = await self._writer.write(statement.text, _job_execute(statement, params))
        return count

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        text, kept = _prepare_many(sql, rows, self._writer.address)
        await self._writer.write(_pace_key(text, kept), partial(_execute_many, text, kept))

    def transaction(self) -> AbstractAsyncContextManager[Queries]:
        return SqliteTransaction(self._writer)

    async def scrub(self) -> None:
        await self._writer.alone(partial(_scrub, self._writer.address))


def _scrub(address: str, connection: sqlite3.Connection) -> None:
    """Deleted content is overwritten in the file already (`secure_delete`); this ends its life in the log."""
    connection.execute("PRAGMA busy_timeout = 5000")
    try:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.execute("PRAGMA busy_timeout = 0")
    if busy:
        raise StoreBusy("a reader kept the log from being emptied", hint="try again", address=address)


def _pace_key(text: str, rows: Sequence[Any]) -> str:
    # Never quick by its key when it is long by its size: a key of its own that the thread keeps.
    return text if len(rows) <= _IN_PLACE_ROWS else ""


class SqliteTransaction:
    """An interactive transaction: a SAVEPOINT in the writer's group, while it holds the connection."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._busy: asyncio.Future[Any] | None = None
        self._error: StoreError | None = None
        self._open = False
        self._undo_later = False
        self._started = 0.0
        self.task: asyncio.Task[Any] | None = None
        self.last_used = 0.0

    async def __aenter__(self) -> Self:
        self.task = asyncio.current_task()
        turn = self._writer.begin(self)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._open = True  # the turn came in the very moment of the cancellation
                self._undo()
            raise
        self._open = self._error is None
        self._started = self._loop.time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            # No await on this path: it is taken by cancellation, and by the collector for an abandoned coroutine.
            self._undo()
            return
        try:
            await self._until_free()
            self._check()
        except BaseException:
            self._undo()
            raise
        self._open = False
        try:
            durable = self._writer.finish(self._loop.time() - self._started)
        except sqlite3.Error as caught:
            self._writer.undo(0.0)
            raise explain(caught, self._writer.address) from None
        await durable

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        statement = _prepare(sql, params, self._writer.address)
        rows: list[Row] = await self._run(statement.text, partial(read_all, statement.text, params))
        return rows

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        statement = _prepare(sql, params, self._writer.address)
        row: Row | None = await self._run(statement.text, partial(read_one, statement.text, params))
        return row

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        statement = _prepare(sql, params, self._writer.address)
        count: int = await self._run(statement.text, _job_execute(statement, params))
        return count

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        text, kept = _prepare_many(sql, rows, self._writer.address)
        await self._run(_pace_key(text, kept), partial(_execute_many, text, kept))

    def abort(self, error: StoreError) -> None:
        """The writer takes the connection back."""
        self._error = error
        self._undo()

    async def _until_free(self) -> None:
        while self._busy is not None:
            await asyncio.wait((self._busy,))

    def _check(self) -> None:
        if self._error is not None:
            raise TransactionAborted(
                f"the transaction was given up before: {self._error.message}",
                hint=self._error.hint or "leave the block and begin again",
                address=self._writer.address,
            )
        if not self._open:
            raise TransactionAborted(
                "the transaction is over", hint="use `tx` inside of its block only", address=self._writer.address
            )

    async def _run(self, sql: str, job: Callable[[sqlite3.Connection], Any]) -> Any:
        writer = self._writer
        if writer.pace.is_due():  # before we look who is busy: between that look and the run nobody may come
            await asyncio.sleep(0)
        await self._until_free()
        self._check()
        self.last_used = self._loop.time()
        if writer.pace.is_quick(sql):
            try:
                return writer.run_here(sql, job)
            except Exception as caught:
                raise self._fail(caught) from None
        done: asyncio.Future[Any] = self._loop.create_future()
        self._busy = done
        writer.run_there(sql, job, self._ran)
        return await asyncio.shield(done)

    def _ran(self, result: Any, caught: BaseException | None) -> None:
        done, self._busy = self._busy, None
        assert done is not None
        self.last_used = self._loop.time()
        error = None if caught is None else self._fail(caught)
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)
            done.exception()  # its caller may be gone: that is no unhandled error
        if self._undo_later:
            self._undo_later = False
            self._give_back()

    def _fail(self, caught: BaseException) -> StoreError:
        error = explain(caught, self._writer.address)
        if self._error is None:
            self._error = error
        self._writer.survived(error)
        return error

    def _undo(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._busy is not None:
            self._undo_later = True  # the thread still runs a statement of ours; nothing can stop it half way
        else:
            self._give_back()

    def _give_back(self) -> None:
        self._writer.undo(self._loop.time() - self._started)


class _Shared:
    """What the handles of one plugin share."""

    def __init__(self, path: Path, address: str, lease: float) -> None:
        self.writer = Writer(path, address, lease)
        self.reader = Reader(self.writer)
        self.handles: set[SqliteStore] = set()

    async def close(self) -> None:
        await self.reader.close()
        await self.writer.close()


class SqliteStore:
    """One plugin's store (`PluginStore`). `commits` and `units` count what was committed and in how many commits."""

    def __init__(self, driver: SqliteDriver, plugin_id: str, shared: _Shared) -> None:
        self._driver = driver
        self._plugin_id = plugin_id
        self._shared = shared
        self._db = SqliteDatabase(shared.writer, shared.reader)
        self._kv = StoreKeyValue(self._db)

    @property
    def db(self) -> SqliteDatabase:
        return self._db

    @property
    def kv(self) -> StoreKeyValue:
        return self._kv

    @property
    def commits(self) -> int:
        return self._shared.writer.commits

    @property
    def units(self) -> int:
        return self._shared.writer.units

    async def migrate(self, migrations: Sequence[Migration]) -> int:
        check_sequence(migrations)
        steps = [(step, split(step.sql, "sqlite", f"migrations/{step.label}.sql")) for step in migrations]
        number: int = await self._shared.writer.alone(partial(_migrate, steps))
        return number

    async def backup(self, target: Path) -> None:
        await self._shared.writer.opened()
        await self._shared.reader.aside(partial(write_backup, self._shared.writer.path, target))

    async def restore(self, source: Path) -> None:
        await self._shared.writer.alone(partial(restore_into, source=source))

    async def close(self) -> None:
        await self._driver._close(self._plugin_id, self)


def _migrate(steps: Sequence[tuple[Migration, list[str]]], connection: sqlite3.Connection) -> int:
    applied = {
        number: (name, digest)
        for number, name, digest in connection.execute("SELECT number, name, digest FROM _migrations")
    }
    new = check_applied([step for step, _ in steps], applied)
    if not new:
        return max(applied, default=0)
    # SQLite's own recipe for changing tables: foreign keys off (a rebuilt table is dropped meanwhile), then all
    # checked.
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA busy_timeout = 5000")
    try:
        connection.execute("BEGIN IMMEDIATE")
        for step, statements in steps:
            if step in new:
                _apply(step, statements, connection)
        broken = connection.execute("PRAGMA foreign_key_check").fetchone()
        if broken is not None:
            raise failed(new[-1], 0, f"rows of the table {broken[0]} refer to missing rows of {broken[2]}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    finally:
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA foreign_keys = ON")
    return new[-1].number


def _apply(step: Migration, statements: Sequence[str], connection: sqlite3.Connection) -> None:
    for position, statement in enumerate(statements, 1):
        try:
            connection.execute(statement)
        except sqlite3.Error as caught:
            raise failed(step, position, explain(caught, "").message) from None
    connection.execute(
        "INSERT INTO _migrations (number, name, digest, applied) VALUES (?, ?, ?, ?)",
        (step.number, step.name, step.digest, datetime.now(UTC).isoformat(timespec="seconds")),
    )


class SqliteDriver:
    """`StoreDriver` for SQLite files under a data folder.

    Args:
        data_dir: the kernel's data folder.
        lease: seconds that a transaction may keep others from writing without a statement of its own.
    """

    def __init__(self, data_dir: Path, *, lease: float = 30.0) -> None:
        self._folder = data_dir / "plugins"
        self._lease = lease
        self._open: dict[str, _Shared] = {}
        self._lock = asyncio.Lock()

    @property
    def dialect(self) -> str:
        return "sqlite"

    def path(self, plugin_id: str) -> Path:
        """Where a plugin's database is (or will be)."""
        return self._folder / safe_name(plugin_id) / "store.sqlite3"

    async def open(self, plugin_id: str) -> SqliteStore:
        async with self._lock:
            shared = self._open.get(plugin_id)
            if shared is None:
                shared = self._open[plugin_id] = _Shared(self.path(plugin_id), plugin_id, self._lease)
            store = SqliteStore(self, plugin_id, shared)
            shared.handles.add(store)
            return store

    async def _close(self, plugin_id: str, store: SqliteStore) -> None:
        async with self._lock:
            shared = self._open.get(plugin_id)
            if shared is None or store not in shared.handles:
                return
            shared.handles.discard(store)
            if not shared.handles:
                del self._open[plugin_id]
                await shared.close()

    async def drop(self, plugin_id: str) -> None:
        async with self._lock:
            if plugin_id in self._open:
                raise StoreBusy(
                    "the store is still open", hint="stop the plugin before its data is deleted", address=plugin_id
                )
            path = self.path(plugin_id)
            # The log goes first: a log without its database would be played into the next one of this name.
            for name in (f"{path.name}-wal", f"{path.name}-shm", path.name):
                with suppress(FileNotFoundError):
                    (path.parent / name).unlink()
            if path.parent.is_dir():
                with suppress(OSError):  # something else of the plugin's is kept there
                    path.parent.rmdir()
                sync_folder(self._folder)

    async def close(self) -> None:
        async with self._lock:
            while self._open:
                _, shared = self._open.popitem()
                shared.handles.clear()
                await shared.close()
