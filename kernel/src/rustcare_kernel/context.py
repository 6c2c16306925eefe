"""The context that a plugin holds as `self.ctx`: every call passes its capability check here, at the kernel's edge.

One is made for each running package and closed with it: its tasks are cancelled, its listeners and connections closed.
"""

from __future__ import annotations

import asyncio
import contextvars
import hmac
import os
import re
import socket
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from rustcare_sdk.capability import net_scope
from rustcare_sdk.context import Database, Delivery, KeyValue, Listener, Logger, PluginInfo, Queries, Secrets
from rustcare_sdk.errors import BusClosed, InvalidPayload, StoreError
from rustcare_sdk.message import Call

from .bus import Bus, Sender, current_message
from .grants import Rights
from .secret_files import SecretFiles
from .stores._contract import PluginStore

__all__ = ["PluginContext", "decode_as"]

Connection = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
#: Seconds for a TLS handshake. Before its end no protocol knows of the connection, so none can count it or cut it off.
HANDSHAKE = 10.0


def decode_as(data: Any, type_: Any, address: str) -> Any:
    """Data as the type the other side declared: encoded JSON is decoded, builtins are converted, the type itself passes.

    Raises InvalidPayload, which gives the path but not the value.
    """
    try:
        if type(data) is msgspec.Raw:
            return msgspec.json.decode(data, type=Any if type_ is None else type_)
        if type_ is None or type(data) is type_:
            return data
        if isinstance(type_, type) and isinstance(data, type_):
            return data
        try:
            return msgspec.convert(data, type_, from_attributes=True)
        except msgspec.ValidationError:
            if isinstance(data, _ENCODED):
                raise
            # An object where a plain dict is wanted: it converts as it would had it crossed a boundary.
            return msgspec.convert(msgspec.to_builtins(data), type_)
    except (msgspec.ValidationError, msgspec.DecodeError, TypeError) as error:
        raise InvalidPayload(
            _without_values(str(error)), hint="both sides must agree on the contract", address=address
        ) from None


_ENCODED = (dict, list, tuple, str, int, float, bytes, type(None))
# Messages that speak of types and places only. All others (enum values, tags, a class's own checks) quote the data.
_SPEAKS_OF_TYPES = re.compile(r"Expected `|Object missing required field `|JSON is malformed|Input data was truncated")


def _without_values(text: str) -> str:
    what, at, place = text.partition(" - at ")
    return (what if _SPEAKS_OF_TYPES.match(what) else "expected a value that the declared type allows") + at + place


class PluginContext:
    """The kernel's `rustcare_sdk.Context`.

    Args:
        info: who the plugin is.
        rights: what it may do.
        store: opened on first use, so that a plugin without data has no file.
        secrets: the kernel's secrets, by name.
        crashed: told when a background task ends with an error.
    """

    def __init__(
        self,
        info: PluginInfo,
        bus: Bus,
        rights: Rights,
        config: Mapping[str, Any],
        log: Logger,
        store: Callable[[], Awaitable[PluginStore]],
        secrets: SecretFiles,
        crashed: Callable[[str, BaseException], None],
    ) -> None:
        self._info = info
        self._bus = bus
        self._rights = rights
        self._config = config
        self._log = log
        self._store = store
        self._crashed = crashed
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._listeners: list[_Listener] = []
        self._predecessor: PluginContext | None = None
        #: False where workers accept this plugin's connections: it opens its sockets, and does not accept.
        self.accepts = True
        #: In a worker: the way to the sockets that the primary opened.
        self.obtain: Callable[[str, int], Awaitable[socket.socket]] | None = None
        self.sender = Sender(info.id, rights)
        self._kv = _KeyValue(self)
        self._db = _Database(self)
        self._secrets = _Secrets(self, secrets)

    @property
    def plugin(self) -> PluginInfo:
        return self._info

    @property
    def config(self) -> Mapping[str, Any]:
        return self._config

    @property
    def log(self) -> Logger:
        return self._log

    @property
    def kv(self) -> KeyValue:
        return self._kv

    @property
    def db(self) -> Database:
        return self._db

    @property
    def secrets(self) -> Secrets:
        return self._secrets

    def now(self) -> datetime:
        self.check("clock", "read", "")
        return datetime.now(UTC)

    def random(self, size: int) -> bytes:
        self.check("random", "read", "")
        if not 0 <= size <= 65536:
            raise InvalidPayload(f"random takes 0 to 65536 bytes, got {size}", hint="ask in pieces")
        return os.urandom(size)

    def publish(
        self,
        subject: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        confirm: bool = False,
        call: Call | None = None,
    ) -> Coroutine[Any, Any, Any]:
        if call is not None:
            return self._publish_for(call, subject, data, headers, confirm)
        return self._bus.publish(self.sender, subject, data, headers, confirm)

    def request(
        self,
        service: str,
        data: Any = None,
        *,
        timeout: float | None = None,
        type: Any = None,
        call: Call | None = None,
    ) -> Coroutine[Any, Any, Any]:
        if call is not None:
            return self._request_for(call, service, data, timeout, type)
        if type is None and self.obtain is None:
            return self._bus.request(self.sender, service, data, timeout)
        # In a worker an answer that came from elsewhere is decoded in any case: it looks as if it were given here.
        return self._request_as(service, data, timeout, type)

    def forward(self, service: str, data: Any = None) -> Coroutine[Any, Any, Any]:
        return self._bus.request(self.sender, service, data)

    async def _publish_for(
        self, call: Call, subject: str, data: Any, headers: Mapping[str, str] | None, confirm: bool
    ) -> Delivery | None:
        sender = self._bus.originating(self.sender, call)
        token = current_message.set(None)
        try:
            return await self._bus.publish(sender, subject, data, headers, confirm)
        finally:
            current_message.reset(token)

    async def _request_for(self, call: Call, service: str, data: Any, timeout: float | None, type_: Any) -> Any:
        sender = self._bus.originating(self.sender, call)
        token = current_message.set(None)
        try:
            found = await self._bus.request(sender, service, data, timeout)
        finally:
            current_message.reset(token)
        return found if type(found) is type_ else decode_as(found, type_, f"answer of {service}")

    async def _request_as(self, service: str, data: Any, timeout: float | None, type_: Any) -> Any:
        return decode_as(await self._bus.request(self.sender, service, data, timeout), type_, f"answer of {service}")

    def spawn(self, task: Coroutine[Any, Any, Any], *, name: str) -> None:
        if self._closed:
            task.close()
            self._log.warning("a task was not started, the plugin has stopped", task=name)
            return
        # A fresh context: a background task works for the system, not for whichever message was handled just now.
        running = asyncio.get_running_loop().create_task(
            task, name=f"{self._info.id}: {name}", context=contextvars.Context()
        )
        self._tasks.add(running)
        running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crashed(task.get_name(), error)

    async def listen(
        self, host: str, port: int, handler: Connection, *, ssl: Any = None, limit: int = 65536
    ) -> Listener:
        listener: Listener = await self.use(
            "net:listen", net_scope(host, port), lambda: self._listen(host, port, handler, ssl, limit)
        )
        return listener

    async def _listen(self, host: str, port: int, handler: Connection, ssl: Any, limit: int) -> Listener:
        if self._closed:
            raise BusClosed(f"{self._info.id} has stopped, it cannot listen on {host}:{port}")
        listener = _Listener(self, handler, (host, port), 512)
        where = await self._where(host, port)
        listener.server = await asyncio.start_server(
            listener.connected,
            **where,
            ssl=ssl,
            ssl_handshake_timeout=HANDSHAKE if ssl else None,
            limit=limit,
            backlog=self._backlog(512),
            start_serving=False,
        )
        await self._opened(listener)
        return listener

    async def serve_protocol(
        self, host: str, port: int, protocol: Callable[[], Any], *, ssl: Any = None, backlog: int = 2048
    ) -> Listener:
        listener: Listener = await self.use(
            "net:listen",
            net_scope(host, port),
            lambda: self._serve_protocol(host, port, protocol, ssl, backlog),
        )
        return listener

    async def _serve_protocol(
        self, host: str, port: int, protocol: Callable[[], Any], ssl: Any, backlog: int
    ) -> Listener:
        if self._closed:
            raise BusClosed(f"{self._info.id} has stopped, it cannot listen on {host}:{port}")
        listener = _Listener(self, None, (host, port), backlog)

        def connected() -> Any:
            made = protocol()
            listener.protocols.add(made)
            return made

        loop = asyncio.get_running_loop()
        where = await self._where(host, port)
        listener.server = await loop.create_server(
            connected,
            **where,
            ssl=ssl,
            ssl_handshake_timeout=HANDSHAKE if ssl else None,
            backlog=self._backlog(backlog),
            start_serving=False,
        )
        await self._opened(listener)
        return listener

    async def _where(self, host: str, port: int) -> dict[str, Any]:
        """Where a server listens: on a socket that is there already, or on one of its own.

        If the version before listens here, or this process is a worker, the socket is a duplicate: all accept from one
        queue in the operating system, and no connection is refused or reset while one takes over from another.
        """
        inherited = self._predecessor.listening(host, port) if self._predecessor is not None else None
        if inherited is None and self.obtain is not None:
            inherited = await self.obtain(host, port)
        return {"host": host, "port": port} if inherited is None else {"sock": inherited}

    def _backlog(self, backlog: int) -> int:
        # asyncio accepts so many connections in one turn of its loop. Of processes that share a queue one would take all.
        shared = self.obtain is not None and isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)
        return 1 if shared else backlog

    async def _opened(self, listener: _Listener) -> None:
        self._listeners.append(listener)
        if self._predecessor is None and self.accepts:
            await listener.server.start_serving()
        if self.obtain is not None or not self.accepts:
            listener.queue()

    def listening(self, host: str, port: int) -> socket.socket | None:
        """A duplicate of the socket on which the plugin listens at this address as it asked for it, if it does."""
        for listener in self._listeners:
            if listener.asked == (host, port) and listener.server.sockets:
                return _duplicate(listener.server.sockets[0])
        return None

    # the kernel's side

    def check(self, kind: str, action: str, scope: str) -> None:
        """Count one use of a right for the current tenant, or raise CapabilityDenied."""
        message = current_message.get()
        tenant = self.sender.call.tenant if message is None else message.call.tenant
        self._rights.check(kind, action, scope, tenant)

    async def use(self, key: str, scope: str, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Check and count one use of a right (`key` is `kind:action`), have it on record if it must be, then do it."""
        kind, _, action = key.partition(":")
        self.check(kind, action, scope)
        gate = self._bus.gate
        if gate is None or not gate.audits(self._info.id, key, scope):
            return await work()
        message = current_message.get()
        call = self.sender.call if message is None else message.call
        return await gate.through(self.sender, call, key, scope, None, lambda attempt: work())

    def succeed(self, predecessor: PluginContext) -> None:
        """This context is for a new version: its listeners take over the sockets, and accept only from `go_live` on."""
        self._predecessor = predecessor

    async def go_live(self) -> None:
        """The new version is committed: accept connections."""
        self._predecessor = None
        for listener in self._listeners:
            if self.accepts:
                await listener.server.start_serving()
            if self.obtain is not None:
                listener.queue()

    async def stop_accepting(self) -> None:
        """Close the listening sockets, keep the connections: another version has taken over, or the plugin stops."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.BaseEventLoop):
            for listener in self._listeners:
                for socket_ in listener.server.sockets:
                    loop.remove_reader(socket_.fileno())
        # asyncio forgets a connection, without closing it, that was accepted but not yet set up when its server is closed.
        # That takes one turn of the loop; two more, and its handler runs, so that the plugin's `stop` can see it.
        for _ in range(3):
            await asyncio.sleep(0)
        for listener in self._listeners:
            listener.server.close()
        # uvloop forgets none, and goes on to accept until here: what it accepted just now is set up in the next turn.
        for _ in range(2):
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Cancel the plugin's tasks, close its listeners and connections. Nothing can be opened from now on."""
        self._closed = True
        for listener in self._listeners:
            await listener.close()
        self._listeners.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    async def opened_store(self) -> PluginStore:
        """The plugin's store, opened on first use."""
        return await self._store()


class _Listener:
    """A listening socket and its connections."""

    server: asyncio.Server

    def __init__(
        self, context: PluginContext, handler: Connection | None, asked: tuple[str, int], backlog: int
    ) -> None:
        self.asked = asked
        self._backlog = backlog
        self._context = context
        self._handler = handler
        self._connections: set[asyncio.Task[None]] = set()
        self.protocols: weakref.WeakSet[Any] = weakref.WeakSet()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        assert self._handler is not None, "a protocol handles its connections itself"
        try:
            await self._handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the peer went away; the handler has nothing to tell it any more
        except asyncio.CancelledError:
            if task.cancelling():
                task.uncancel()  # closing: asyncio's stream callback would report the cancellation as an error
        except Exception as error:  # of the plugin's own code: this connection ends, others do not
            self._context.log.error("connection failed", error=type(error).__name__)
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    def queue(self) -> None:
        """Have the operating system keep connections until some process accepts them."""
        for listening in self.server.sockets:
            with _duplicate(listening) as handle:
                handle.listen(self._backlog)

    @property
    def address(self) -> tuple[str, int]:
        if not self.server.sockets:
            return ("", 0)
        name = self.server.sockets[0].getsockname()
        return (str(name[0]), int(name[1]))

    async def close(self) -> None:
        self.server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections, timeout=5)
        for protocol in self.protocols:  # the plugin has stopped: what it left open is nobody's
            transport = getattr(protocol, "transport", None)
            if transport is not None:
                transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self.server.wait_closed()


def _duplicate(listening: Any) -> socket.socket:
    return socket.fromfd(listening.fileno(), listening.family, socket.SOCK_STREAM)


class _KeyValue:
    __slots__ = ("_context",)

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    async def _store(self) -> KeyValue:
        return (await self._context.opened_store()).kv

    async def get(self, key: str) -> bytes | None:
        async def work() -> bytes | None:
            return await (await self._store()).get(key)

        value: bytes | None = await self._context.use("kv:read", key, work)
        return value

    async def put(self, key: str, value: bytes) -> None:
        async def work() -> None:
            await (await self._store()).put(key, value)

        await self._context.use("kv:write", key, work)

    async def delete(self, key: str) -> None:
        async def work() -> None:
            await (await self._store()).delete(key)

        await self._context.use("kv:write", key, work)

    async def keys(self, prefix: str = "") -> list[str]:
        async def work() -> list[str]:
            return await (await self._store()).keys(prefix)

        found: list[str] = await self._context.use("kv:read", f"{prefix}*", work)
        return found


# The first word of a statement tells whether it only reads. `WITH` may write, so it is treated as if it did.
_READS = ("select", "values", "explain")


class _Database:
    __slots__ = ("_context",)

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    async def _run(self, sql: str, work: Callable[[Database], Coroutine[Any, Any, Any]]) -> Any:
        async def opened() -> Any:
            return await work((await self._context.opened_store()).db)

        reads = sql.lstrip()[:8].lower().startswith(_READS)
        return await self._context.use("db:read" if reads else "db:write", "*", opened)

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = await self._run(sql, lambda db: db.fetch(sql, params))
        return rows

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Mapping[str, Any] | None:
        row: Mapping[str, Any] | None = await self._run(sql, lambda db: db.fetch_one(sql, params))
        return row

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        count: int = await self._run(sql, lambda db: db.execute(sql, params))
        return count

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        await self._run(sql, lambda db: db.execute_many(sql, rows))

    def transaction(self) -> AbstractAsyncContextManager[Queries]:
        return _Transaction(self._context)

    async def scrub(self) -> None:
        await self._run("", lambda db: db.scrub())


class _Transaction:
    """Opens the store if need be, then the store's own transaction. Needs the right to write."""

    __slots__ = ("_context", "_inner")

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    async def __aenter__(self) -> Queries:
        async def begin() -> Queries:
            self._inner = (await self._context.opened_store()).db.transaction()
            return await self._inner.__aenter__()

        queries: Queries = await self._context.use("db:write", "*", begin)
        return queries

    async def __aexit__(self, *error: Any) -> bool | None:
        return await self._inner.__aexit__(*error)


_NO_SECRET = "put it into the data folder's secrets/, or into the environment as RUSTCARE_SECRET_NAME"


class _Secrets:
    __slots__ = ("_context", "_secrets")

    def __init__(self, context: PluginContext, secrets: SecretFiles) -> None:
        self._context = context
        self._secrets = secrets

    async def _value(self, key: str, name: str) -> bytes:
        async def get() -> bytes:
            value = self._secrets.get(name)
            if value is None:
                raise StoreError(f"secret {name!r} is granted but does not exist", hint=_NO_SECRET)
            return value

        found: bytes = await self._context.use(key, name, get)
        return found

    async def hmac_sha256(self, name: str, data: bytes) -> bytes:
        return hmac.digest(await self._value("secret:use", name), data, "sha256")

    async def reveal(self, name: str) -> bytes:
        return await self._value("secret:reveal", name)

    async def create(self, name: str, size: int = 32) -> bool:
        async def make() -> bool:
            if not 16 <= size <= 1024:
                raise InvalidPayload(f"a secret has 16 to 1024 bytes, got {size}")
            return await asyncio.to_thread(self._secrets.create, name, os.urandom(size))

        made: bool = await self._context.use("secret:create", name, make)
        return made
