"""PostgreSQL: a schema per plugin in one database, through one pool of connections (asyncpg).

Placeholders are `?` as on SQLite. Transactions of one plugin follow each other, on one machine by a queue, over several
by an advisory lock, so that a plugin which reads and then writes is right on both databases. The server itself lets
commits share an fsync.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
from rustcare_sdk.context import Queries

from . import _postgres_backup as backups
from ._contract import Migration, check_sequence
from ._files import safe_name
from ._kv import StoreKeyValue
from ._migrations import check_applied, failed
from ._postgres_server import Server, explain, quoted, row_count
from ._sql import Statement, analyse, check_values, split
from ._worker import Worker
from .errors import StatementInvalid, StoreBusy, StoreClosed, StoreError, TransactionAborted, TransactionNested

__all__ = ["PostgresDriver", "PostgresStore"]

Row = Mapping[str, Any]
_PREFIX = "rustcare_"
_LONGEST_NAME = 63  # PostgreSQL cuts longer identifiers off, and two plugins would share a schema


class _Shared:
    """What the handles of one plugin share: its schema, and whose turn it is to have a transaction."""

    def __init__(self, server: Server, plugin_id: str) -> None:
        self.server = server
        self.address = plugin_id
        self.schema = _PREFIX + safe_name(plugin_id, _LONGEST_NAME - len(_PREFIX))
        self.mark = f"/* {self.schema.replace('*', '')} */ "
        self.lock_key = int.from_bytes(hashlib.sha256(self.schema.encode()).digest()[:8], "big", signed=True)
        self.turn = asyncio.Lock()
        self.task: asyncio.Task[Any] | None = None
        self.current: PostgresTransaction | None = None
        self.handles: set[PostgresStore] = set()
        self.ready = False
        self.closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def prepare(self, sql: str, params: Sequence[Any]) -> Statement:
        statement = analyse(sql, "postgres", self.mark)
        if statement.holes != len(params):
            raise StatementInvalid(
                f"{statement.holes} placeholders were expected for {len(params)} parameters", address=self.address
            )
        check_values(params)
        return statement

    def prepare_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> tuple[str, list[Sequence[Any]]]:
        kept = list(rows)
        statement = analyse(sql, "postgres", self.mark)
        for row in kept:
            self.prepare(sql, row)
        if statement.keyword not in ("INSERT", "UPDATE", "DELETE"):
            raise StatementInvalid("INSERT, UPDATE or DELETE was expected for many rows", address=self.address)
        return statement.text, kept

    def check(self, *, writes: bool) -> None:
        if self.closed:
            raise StoreClosed("the store is closed", hint="open it again through its driver", address=self.address)
        if writes and self.task is not None and self.task is asyncio.current_task():
            raise TransactionNested(
                "a task that holds a transaction asks the same store for another write",
                hint="use the transaction's own `tx` inside of the block",
                address=self.address,
            )

    def opening(self) -> str:
        """What begins a transaction, in one round trip."""
        return f"BEGIN; SET LOCAL search_path TO {quoted(self.schema)}; SELECT pg_advisory_xact_lock({self.lock_key})"

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what must end even when its caller is gone meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settle(self) -> None:
        """Wait for what is still ending."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))


class PostgresDatabase:
    """`Database` over one plugin's schema."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        statement = self._shared.prepare(sql, params)
        return [dict(row) for row in await self._run("fetch", not statement.reads, statement.text, *params)]

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        statement = self._shared.prepare(sql, params)
        row = await self._run("fetchrow", not statement.reads, statement.text, *params)
        return None if row is None else dict(row)

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        statement = self._shared.prepare(sql, params)
        return row_count(await self._run("execute", True, statement.text, *params))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        text, kept = self._shared.prepare_many(sql, rows)
        await self._run("executemany", True, text, kept)

    async def _run(self, method: str, writes: bool, *args: Any) -> Any:
        shared = self._shared
        shared.check(writes=writes)
        for last in (False, False, True):
            async with shared.server.connection(shared.schema) as connection:
                try:
                    return await getattr(connection, method)(*args)
                except asyncpg.InternalServerError as caught:
                    # A restore replaced the tables between the server's planning and its opening them. Nothing was done.
                    if last or not str(caught).startswith(("could not open relation with OID", "cache lookup failed")):
                        raise
        raise AssertionError("the last round returns or raises")

    def transaction(self) -> AbstractAsyncContextManager[Queries]:
        return PostgresTransaction(self._shared)

    async def scrub(self) -> None:
        schema = self._shared.schema
        self._shared.check(writes=True)
        async with self._shared.server.connection(schema) as connection:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
            for table in tables:
                await connection.execute(f"VACUUM {quoted(schema)}.{quoted(table['tablename'])}")


class PostgresTransaction:
    """An interactive transaction on a connection of its own."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._connection: Any = None
        self._busy = asyncio.Lock()
        self._error: StoreError | None = None
        self._last_used = 0.0
        self._watchdog: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        shared = self._shared
        shared.check(writes=True)
        await shared.turn.acquire()
        try:
            shared.check(writes=False)  # it may have been closed while we waited
            self._connection = await shared.server.acquire()
            await self._connection.execute(shared.opening())
        except BaseException as caught:
            await self._end("ROLLBACK")
            if isinstance(caught, Exception):
                raise explain(caught, shared.address) from None
            raise
        shared.task, shared.current = asyncio.current_task(), self
        loop = asyncio.get_running_loop()
        self._last_used = loop.time()
        self._watchdog = loop.call_later(shared.server.lease, self._watch)
        return self

    def _watch(self) -> None:
        """End a transaction that has long done nothing. The server does so too, for the case that we are gone."""
        shared = self._shared
        loop = asyncio.get_running_loop()
        left = self._last_used + shared.server.lease - loop.time()
        if self._busy.locked():
            left = shared.server.lease
        if left > 0:
            self._watchdog = loop.call_later(left, self._watch)
            return
        self.abort(
            StoreError(
                f"it did nothing for {shared.server.lease:g} seconds while it kept others from writing",
                hint="wait for other services before the transaction, or after it",
                address=shared.address,
            )
        )

    def abort(self, error: StoreError) -> None:
        """Take the connection back: it lasted too long, or the store is closed."""
        self._error = error
        if self._connection is not None:
            self._shared.start(self._end_connection("ROLLBACK"))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is GeneratorExit:
            # The collector takes an abandoned coroutine and will not wait: end the connection instead.
            if self._connection is not None:
                self._connection.terminate()
                self._shared.start(self._end_connection(""))
            return
        if kind is not None or self._error is not None:
            if self._connection is not None:
                await self._end("ROLLBACK")
            if kind is None:
                self._check()
            return
        await self._end("COMMIT")

    async def _end(self, word: str) -> None:
        await asyncio.shield(self._shared.start(self._end_connection(word)))

    async def _end_connection(self, word: str) -> None:
        shared = self._shared
        connection, self._connection = self._connection, None
        shared.task = shared.current = None
        if self._watchdog is not None:
            self._watchdog.cancel()
        try:
            if connection is not None:
                async with self._busy:
                    await self._say(connection, word)
        finally:
            if connection is not None:
                await shared.server.release(connection)
            shared.turn.release()

    async def _say(self, connection: Any, word: str) -> None:
        try:
            if word and not connection.is_closed() and connection.is_in_transaction():
                await connection.execute(word)
            elif word == "COMMIT":
                raise StoreError("the server had ended the transaction before", address=self._shared.address)
        except Exception as caught:
            connection.terminate()
            if word == "COMMIT":
                raise explain(caught, self._shared.address) from None

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        statement = self._shared.prepare(sql, params)
        return [dict(row) for row in await self._run("fetch", statement.text, *params)]

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        statement = self._shared.prepare(sql, params)
        row = await self._run("fetchrow", statement.text, *params)
        return None if row is None else dict(row)

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        statement = self._shared.prepare(sql, params)
        return row_count(await self._run("execute", statement.text, *params))

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        text, kept = self._shared.prepare_many(sql, rows)
        await self._run("executemany", text, kept)

    async def _run(self, method: str, *args: Any) -> Any:
        async with self._busy:
            self._check()
            self._last_used = asyncio.get_running_loop().time()
            try:
                return await getattr(self._connection, method)(*args)
            except Exception as caught:
                self._error = explain(caught, self._shared.address)
                raise self._error from None

    def _check(self) -> None:
        if self._error is not None:
            raise TransactionAborted(
                f"the transaction was given up before: {self._error.message}",
                hint=self._error.hint or "leave the block and begin again",
                address=self._shared.address,
            )
        if self._connection is None:
            raise TransactionAborted(
                "the transaction is over", hint="use `tx` inside of its block only", address=self._shared.address
            )


class PostgresStore:
    """One plugin's store (`PluginStore`)."""

    def __init__(self, driver: PostgresDriver, shared: _Shared) -> None:
        self._driver = driver
        self._shared = shared
        self._db = PostgresDatabase(shared)
        self._kv = StoreKeyValue(self._db)

    @property
    def db(self) -> PostgresDatabase:
        return self._db

    @property
    def kv(self) -> StoreKeyValue:
        return self._kv

    async def migrate(self, migrations: Sequence[Migration]) -> int:
        check_sequence(migrations)
        steps = [(step, split(step.sql, "postgres", f"migrations/{step.label}.sql")) for step in migrations]
        async with PostgresTransaction(self._shared) as transaction:
            connection = transaction._connection
            rows = await transaction._run("fetch", "SELECT number, name, digest FROM _migrations")
            applied = {row["number"]: (row["name"], row["digest"]) for row in rows}
            new = check_applied(migrations, applied)
            for step, statements in steps:
                if step in new:
                    await apply_migration(connection, step, statements, datetime.now(UTC).isoformat(timespec="seconds"))
        if new:
            await self._driver.server.expire()
        return max([*applied, *(step.number for step in new)], default=0)

    async def backup(self, target: Path) -> None:
        shared = self._shared
        shared.check(writes=False)
        async with shared.server.connection() as connection:
            await backups.write(connection, shared.schema, target, self._driver.worker)

    async def restore(self, source: Path) -> None:
        shared, worker = self._shared, self._driver.worker
        backup = await worker.run(partial(backups.read, source))
        try:
            async with PostgresTransaction(shared) as transaction:
                connection = transaction._connection
                try:
                    await connection.execute(emptying(shared.schema))
                    for step, when in backup.migrations:
                        await apply_migration(connection, step, split(step.sql, "postgres", str(source)), when)
                    await backups.fill(connection, shared.schema, backup, worker)
                    await self._driver.server.expire()  # before the commit lets waiting transactions go on
                except Exception as caught:
                    raise explain(caught, shared.address) from None
        finally:
            await worker.run(backup.file.close)
        await self._driver.server.expire()

    async def close(self) -> None:
        await self._driver._close(self)


_OWN_TABLES = (
    "CREATE TABLE {0}._kv (key bytea PRIMARY KEY, value bytea NOT NULL);"
    " CREATE TABLE {0}._migrations (number integer PRIMARY KEY, name text NOT NULL, digest text NOT NULL,"
    " applied text NOT NULL, sql text NOT NULL)"
)


def creation(schema: str) -> str:
    """A plugin's schema with our own tables. `blob` is a name for PostgreSQL's `bytea`, so that SQL can be shared."""
    name = quoted(schema)
    return f"CREATE SCHEMA {name}; CREATE DOMAIN {name}.blob AS bytea; {_OWN_TABLES.format(name)}"


def emptying(schema: str) -> str:
    """The same schema anew. The type `blob` is carried over: statements that other connections prepared refer to it."""
    name = quoted(schema)
    aside = quoted(f"rustcare_aside_{hashlib.sha256(schema.encode()).hexdigest()[:16]}")
    return (
        f"CREATE SCHEMA {aside}; ALTER DOMAIN {name}.blob SET SCHEMA {aside}; DROP SCHEMA {name} CASCADE;"
        f" CREATE SCHEMA {name}; ALTER DOMAIN {aside}.blob SET SCHEMA {name}; DROP SCHEMA {aside};"
        f" {_OWN_TABLES.format(name)}"
    )


async def apply_migration(connection: Any, step: Migration, statements: Sequence[str], when: str) -> None:
    """Run one migration on a connection inside of a transaction, and write it down (with its text, for a restore)."""
    for position, statement in enumerate(statements, 1):
        try:
            await connection.execute(statement)
        except Exception as caught:
            raise failed(step, position, explain(caught, "").message) from None
    await connection.execute(
        "INSERT INTO _migrations (number, name, digest, applied, sql) VALUES ($1, $2, $3, $4, $5)",
        *(step.number, step.name, step.digest, when, step.sql),
    )


class PostgresDriver:
    """`StoreDriver` for a PostgreSQL database.

    Args:
        dsn: `postgresql://user:password@host:port/database`. The user needs the right to create schemas there.
        size: the most connections at a time.
        lease: seconds that a transaction may keep others from writing without a statement of its own.
    """

    def __init__(self, dsn: str, *, size: int = 10, lease: float = 30.0) -> None:
        self.server = Server(dsn, size=size, lease=lease)
        self.worker = Worker("store backups")
        self._open: dict[str, _Shared] = {}
        self._lock = asyncio.Lock()

    @property
    def dialect(self) -> str:
        return "postgres"

    async def open(self, plugin_id: str) -> PostgresStore:
        async with self._lock:
            shared = self._open.get(plugin_id)
            if shared is None:
                shared = _Shared(self.server, plugin_id)
                await self._create(shared)
                self._open[plugin_id] = shared
            store = PostgresStore(self, shared)
            shared.handles.add(store)
            return store

    async def _create(self, shared: _Shared) -> None:
        async with self.server.connection() as connection, connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({shared.lock_key})")  # another node may open it too
            found = await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", shared.schema)
            if not found:
                await connection.execute(creation(shared.schema))

    async def _close(self, store: PostgresStore) -> None:
        async with self._lock:
            shared = store._shared
            if store not in shared.handles:
                return
            shared.handles.discard(store)
            if not shared.handles:
                self._open.pop(shared.address, None)
                await self._close_shared(shared)

    async def _close_shared(self, shared: _Shared) -> None:
        shared.closed = True
        if shared.current is not None:
            shared.current.abort(StoreClosed("the store is closed", address=shared.address))
        await shared.settle()

    async def drop(self, plugin_id: str) -> None:
        async with self._lock:
            if plugin_id in self._open:
                raise StoreBusy(
                    "the store is still open", hint="stop the plugin before its data is deleted", address=plugin_id
                )
            schema = _Shared(self.server, plugin_id).schema
            async with self.server.connection() as connection:
                await connection.execute(f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")

    async def close(self) -> None:
        async with self._lock:
            while self._open:
                _, shared = self._open.popitem()
                shared.handles.clear()
                await self._close_shared(shared)
            await self.server.close()
            await self.worker.stop()
