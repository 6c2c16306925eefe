"""The connections to one PostgreSQL server, and what its errors mean."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from .errors import (
    ConstraintViolated,
    StatementInvalid,
    StoreBusy,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    TransactionAborted,
    ValueUnsupported,
)

__all__ = ["Connection", "Server", "explain", "quoted", "row_count"]

_log = logging.getLogger(__name__)

_FINISH = 5.0  # seconds for the server to end what was cut off

# Times, identifiers and decimals that a migration of PostgreSQL's own dialect may use come back as what SQLite gives
# too.
_AS_TEXT = ("date", "time", "timestamp", "timestamptz", "timetz", "uuid")


class Connection(asyncpg.Connection):  # type: ignore[misc,type-arg,unused-ignore]
    """A connection that remembers which plugin's schema it looks into."""

    _looks_into = ""

    async def look_into(self, schema: str) -> None:
        """Set the search path, unless it is set already."""
        if self._looks_into != schema:
            self._looks_into = ""
            await self.execute(f"SET search_path TO {quoted(schema)}")
            self._looks_into = schema


def quoted(name: str) -> str:
    """An identifier as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def row_count(status: str) -> int:
    """How many rows a statement touched, from the server's `INSERT 0 3` or `UPDATE 2`."""
    words = status.split()
    return int(words[-1]) if words and words[0] in ("INSERT", "UPDATE", "DELETE") else 0


def _decimal(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


async def _settle_types(connection: Any) -> None:
    await connection.set_type_codec("numeric", schema="pg_catalog", encoder=str, decoder=_decimal, format="text")
    for name in _AS_TEXT:
        await connection.set_type_codec(name, schema="pg_catalog", encoder=str, decoder=str, format="text")


async def _keep(connection: Any) -> None:
    """No reset between uses: plugins cannot send SET, LISTEN or LOCK, and a reset would be one more round trip each."""


async def _finish(connection: Any) -> None:
    """End what was cut off on a connection.

    Between the parse and the execution of a statement that is cancelled, the server waits for the rest, and holds the locks
    of its tables until something else is said.
    """
    try:
        async with asyncio.timeout(_FINISH):
            await connection.execute("")
    except Exception:  # whatever is wrong with it: another takes its place
        connection.terminate()


class Server:
    """A pool of connections, shared by all plugins of a kernel. It connects at the first use.

    Args:
        dsn: the database's address; its password is in no error text.
        size: the most connections at a time.
        lease: seconds after which the server ends a transaction that does nothing.
        patience: seconds to wait for a free connection.
    """

    def __init__(self, dsn: str, *, size: int, lease: float, patience: float = 30.0) -> None:
        self._dsn = dsn
        self._size = size
        self.lease = lease
        self._patience = patience
        self._pool: Any = None
        self._connecting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        parts = urlsplit(dsn)
        host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
        self.where = f"{host}:{_port(dsn)}{parts.path or '/'}"

    @asynccontextmanager
    async def connection(self, schema: str = "") -> AsyncIterator[Any]:
        """A connection from the pool that looks into `schema`. Errors of the server come out explained.

        Raises:
            StoreUnavailable: the server cannot be reached.
            StoreBusy: no connection became free in time.
        """
        connection = await self.acquire()
        whole = False
        try:
            if schema:
                await connection.look_into(schema)
            yield connection
            whole = True
        except Exception as caught:
            whole = True
            raise explain(caught, self.where) from None
        finally:
            await self.release(connection, whole=whole)

    async def acquire(self) -> Any:
        pool = self._pool or await self._connect()
        try:
            return await pool.acquire(timeout=self._patience)
        except TimeoutError:
            raise StoreBusy(
                f"no connection became free within {self._patience:g} seconds",
                hint="transactions that wait for something else keep their connections meanwhile",
                address=self.where,
            ) from None
        except Exception as caught:
            raise self._unreachable(caught) from None

    async def release(self, connection: Any, *, whole: bool = True) -> None:
        """Give a connection back. `whole`: what was said on it was said to its end."""
        if whole:
            await self._give_back(connection)
            return
        # Its user was cancelled, and may be again: that must not keep the connection from the pool.
        ending = asyncio.get_running_loop().create_task(self._end(connection))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    async def _end(self, connection: Any) -> None:
        await _finish(connection)
        await self._give_back(connection)

    async def _give_back(self, connection: Any) -> None:
        if self._pool is not None:
            # A broken connection makes this fail after the pool has dropped it, which is what we want.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._pool.release(connection)

    async def expire(self) -> None:
        """Let the connections be replaced: what they prepared may not fit the schema any more."""
        if self._pool is not None:
            await self._pool.expire_connections()

    async def _connect(self) -> Any:
        async with self._connecting:
            if self._closed:
                raise StoreClosed("the connections to the server are closed", address=self.where)
            if self._pool is None:
                try:
                    pool = await asyncpg.create_pool(
                        self._dsn,
                        min_size=1,
                        max_size=self._size,
                        timeout=10,
                        init=_settle_types,
                        reset=_keep,
                        connection_class=Connection,
                        server_settings={
                            "application_name": "rustcare",
                            "synchronous_commit": "on",
                            "client_encoding": "UTF8",
                            "idle_in_transaction_session_timeout": str(max(1, int(self.lease * 1000))),
                        },
                    )
                except Exception as caught:
                    raise self._unreachable(caught) from None
                async with pool.acquire() as connection:
                    if await connection.fetchval("SHOW fsync") != "on":
                        _log.warning(
                            "%s runs with fsync off: acknowledged writes may be lost with the power", self.where
                        )
                self._pool = pool
            return self._pool

    def _unreachable(self, caught: Exception) -> StoreError:
        reason = type(caught).__name__
        if isinstance(caught, asyncpg.PostgresError):
            hint = "check the user, the password and the database's name in the store's address"
        else:
            hint = "is the server running there, and does the store's address name its host and port?"
        return StoreUnavailable(f"PostgreSQL was expected to answer and {reason} came", hint=hint, address=self.where)

    async def close(self) -> None:
        while self._ending:
            await asyncio.wait(tuple(self._ending))
        async with self._connecting:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), timeout=10)
            except (TimeoutError, OSError):
                pool.terminate()


def _port(dsn: str) -> str:
    try:
        parts = urlsplit(dsn)
        return str(parts.port or parse_qs(parts.query).get("port", ["5432"])[0])
    except ValueError:
        return "?"


# Texts of the server that name the schema only. All others may repeat values, and are not passed on.
_HARMLESS = re.compile(
    r'relation "[\w.]+" (does not exist|already exists)|column ("[\w.]+"|[\w.]+)( of relation "\w+")? does not exist'
    r'|type "[\w.]+" does not exist|null value in column "\w+" of relation "\w+" violates not-null constraint'
    r'|duplicate key value violates unique constraint "\w+"|new row for relation "\w+" violates check constraint "\w+"'
    r'|(insert or update|update or delete) on table "\w+" violates foreign key constraint "\w+"( on table "\w+")?'
)


def explain(caught: BaseException, address: str) -> StoreError:
    """The store's error for one of the server or of its Python driver, without anything of the statement's values."""
    if isinstance(caught, StoreError):
        return caught
    if isinstance(caught, asyncpg.PostgresError):
        return _explain_server(caught, address)
    name = type(caught).__name__
    if isinstance(caught, (OverflowError, UnicodeError)):
        return ValueUnsupported(f"a parameter was not storable: {name}", address=address)
    if isinstance(caught, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)):
        return StoreUnavailable(
            f"the connection to PostgreSQL broke with {name}",
            hint="whether the last write was kept is not known; the next use connects again",
            address=address,
        )
    return StoreError(f"the driver of PostgreSQL failed with {name}", address=address)


def _explain_server(caught: Any, address: str) -> StoreError:
    state = str(caught.sqlstate or "")
    text = str(caught.args[0]) if caught.args else ""
    name = type(caught).__name__
    detail = f"PostgreSQL says {name}: {text}" if _HARMLESS.fullmatch(text) else f"PostgreSQL says {name} ({state})"
    kind, hint = _KINDS.get(state) or _KINDS.get(state[:2]) or (StoreError, "")
    return kind(detail, hint=hint, address=address)


_Kind = Callable[..., StoreError]
_BUSY: tuple[_Kind, str] = (StoreBusy, "another process works on the same rows; try again")
_VALUE: tuple[_Kind, str] = (ValueUnsupported, "the parameter's type must be the column's: PostgreSQL converts nothing")
_STATEMENT: tuple[_Kind, str] = (StatementInvalid, "check the statement against the migrations")
_SERVER: tuple[_Kind, str] = (StoreUnavailable, "check the server; the next use connects again")
_ABORTED: tuple[_Kind, str] = (TransactionAborted, "leave the block and begin again")
_KINDS: dict[str, tuple[_Kind, str]] = {
    "23": (ConstraintViolated, "nothing of this statement was kept"),
    "22": _VALUE,
    "42": _STATEMENT,
    "0A": _STATEMENT,
    "25P02": _ABORTED,
    "25P03": _ABORTED,
    "40": _BUSY,
    "55P03": _BUSY,
    "53100": (StoreFull, "free space on the server's disk"),
    "53": _SERVER,
    "57": _SERVER,
    "58": _SERVER,
    "08": _SERVER,
    "28": _SERVER,
    "XX001": (StoreCorrupt, "restore a backup"),
    "XX002": (StoreCorrupt, "restore a backup"),
}
