"""A plugin's private database in memory: real SQLite, with the rules of the kernel's stores."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

from rustcare_sdk.context import Queries, Row
from rustcare_sdk.errors import StoreError

__all__ = ["MemoryDatabase", "MemoryKeyValue"]

Check = Callable[[str, str, str], None]

_FIRST_WORD = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*([A-Za-z]+)", re.DOTALL)
_MIGRATION = re.compile(r"(?:.*/)?migrations/(\d{4})_[a-z0-9_]+(?:\.(sqlite|postgres))?\.sql")
_READS = ("SELECT", "VALUES")
_ALLOWED = (*_READS, "WITH", "INSERT", "UPDATE", "DELETE")


def _error(code: str, message: str, hint: str = "") -> StoreError:
    error = StoreError(message, hint=hint)
    error.code = code  # type: ignore[misc]  # the codes of the kernel's stores
    return error


def _keyword(sql: str) -> str:
    found = _FIRST_WORD.match(sql)
    word = found[1].upper() if found else ""
    if word not in _ALLOWED:
        raise _error(
            "store.statement-refused",
            "SELECT, VALUES, WITH, INSERT, UPDATE or DELETE was expected and another statement came",
            "the schema changes in migrations; transactions are `async with db.transaction() as tx:`",
        )
    return word


class MemoryDatabase:
    """`rustcare_sdk.context.Database` over one connection. `check` is asked before every statement."""

    def __init__(self, check: Check) -> None:
        self._check = check
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._lock = asyncio.Lock()
        self._owner: asyncio.Task[Any] | None = None

    def migrate(self, files: Mapping[str, bytes]) -> None:
        """Apply the migrations among a package's files, those for SQLite where they differ."""
        found = {}
        for path, data in sorted(files.items()):
            named = _MIGRATION.fullmatch(path)
            if named and named[2] != "postgres":
                found[int(named[1])] = (path, data.decode())
        if sorted(found) != list(range(1, len(found) + 1)):
            raise _error("store.migration-invalid", f"migrations are numbered without a gap, got {sorted(found)}")
        for _, (path, sql) in sorted(found.items()):
            try:
                self._connection.executescript(sql)
            except sqlite3.Error as error:
                raise _error("store.migration-failed", f"{path}: {error}") from None

    def close(self) -> None:
        """Everything is gone."""
        self._connection.close()

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        async with self._turn(sql):
            return _fetch(self._connection, sql, params)

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        rows = await self.fetch(sql, params)
        return rows[0] if rows else None

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        async with self._turn(sql):
            return _execute(self._connection, sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        async with self.transaction() as tx:
            await tx.execute_many(sql, rows)

    @asynccontextmanager
    async def _turn(self, sql: str) -> AsyncIterator[None]:
        """One statement outside of a transaction: it sees what is committed, so it waits for an open transaction."""
        self._check("db", "read" if _keyword(sql) in _READS else "write", "*")
        self._refuse_nesting()
        async with self._lock:
            yield

    def _refuse_nesting(self) -> None:
        if self._owner is not None and self._owner is asyncio.current_task():
            raise _error(
                "store.transaction-nested",
                "a statement or transaction was begun inside of a transaction of the same task",
                "use the `tx` of `async with db.transaction() as tx:`",
            )

    def transaction(self) -> AbstractAsyncContextManager[Queries]:
        return self._transaction()

    async def scrub(self) -> None:
        """Nothing to do: this database is in memory."""
        self._check("db", "write", "*")

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Queries]:
        self._check("db", "write", "*")
        self._refuse_nesting()
        async with self._lock:
            self._owner = asyncio.current_task()
            self._connection.execute("BEGIN")
            transaction = _Transaction(self._connection)
            try:
                yield transaction
                transaction.end()
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                transaction.open = False
                self._owner = None


class _Transaction:
    """The queries of an open transaction. After one failed, it can only be rolled back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._failed = False
        self.open = True

    def end(self) -> None:
        """The block is left without an error."""
        if self._failed:
            raise _error("store.transaction-aborted", "a statement of the transaction failed, so it was rolled back")

    @contextmanager
    def _statement(self) -> Iterator[None]:
        if not self.open or self._failed:
            raise _error("store.transaction-aborted", "the transaction is over, or a statement of it failed before")
        try:
            yield
        except StoreError:
            self._failed = True
            raise

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]:
        with self._statement():
            return _fetch(self._connection, sql, params)

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Row | None:
        rows = await self.fetch(sql, params)
        return rows[0] if rows else None

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        with self._statement():
            return _execute(self._connection, sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with self._statement():
            for row in rows:
                _execute(self._connection, sql, row)


@contextmanager
def _explained() -> Iterator[None]:
    """SQLite's errors as the store's, without the values of a statement."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise _error("store.constraint", f"SQLite says {error.sqlite_errorname}: {error}") from None
    except sqlite3.Error as error:
        raise _error("store.statement-invalid", f"SQLite says {type(error).__name__}: {error}") from None
    except OverflowError:
        raise _error("store.value-unsupported", "an integer of more than 64 bits came") from None


def _values(params: Sequence[Any]) -> tuple[Any, ...]:
    for position, value in enumerate(params, 1):
        if not isinstance(value, (int, float, str, bytes, type(None))):
            raise _error(
                "store.value-unsupported",
                f"parameter {position}: int, float, str, bytes, bool or None was expected and {type(value).__name__} came",
                "write times as ISO 8601 text, structures as JSON text, and raw data as bytes",
            )
    return tuple(params)


def _fetch(connection: sqlite3.Connection, sql: str, params: Sequence[Any]) -> list[Row]:
    _keyword(sql)
    with _explained():
        return [dict(row) for row in connection.execute(sql, _values(params))]


def _execute(connection: sqlite3.Connection, sql: str, params: Sequence[Any]) -> int:
    _keyword(sql)
    with _explained():
        return max(0, connection.execute(sql, _values(params)).rowcount)


class MemoryKeyValue:
    """`rustcare_sdk.context.KeyValue` over a dict."""

    def __init__(self, check: Check, content: dict[str, bytes]) -> None:
        self._check = check
        self._content = content

    async def get(self, key: str) -> bytes | None:
        self._check("kv", "read", key)
        return self._content.get(_key(key))

    async def put(self, key: str, value: bytes) -> None:
        self._check("kv", "write", key)
        if not isinstance(value, bytes):
            raise _error(
                "store.value-unsupported",
                f"a value of bytes was expected and {type(value).__name__} came",
                "encode it first, as JSON for instance",
            )
        self._content[_key(key)] = value

    async def delete(self, key: str) -> None:
        self._check("kv", "write", key)
        self._content.pop(_key(key), None)

    async def keys(self, prefix: str = "") -> list[str]:
        self._check("kv", "read", f"{prefix}*")
        return sorted(key for key in self._content if key.startswith(prefix))


def _key(key: str) -> str:
    size = len(key.encode(errors="surrogatepass"))
    if not 0 < size <= 512:
        raise _error("store.key-invalid", f"a key of 1 to 512 bytes was expected and {size} came")
    return key
