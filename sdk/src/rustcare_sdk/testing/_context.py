"""The context that a plugin under test holds as `self.ctx`."""

from __future__ import annotations

import asyncio
import contextvars
import hmac
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rustcare_sdk.capability import net_scope
from rustcare_sdk.context import Database, Delivery, KeyValue, Listener, Logger, PluginInfo, Secrets
from rustcare_sdk.errors import InvalidPayload, NotPortable, StoreError
from rustcare_sdk.message import Call

from ._database import MemoryDatabase, MemoryKeyValue
from ._records import LogEntry

if TYPE_CHECKING:
    from ._harness import PluginHarness

__all__ = ["HarnessContext"]

Connection = Callable[[Any, Any], Awaitable[None]]
PATIENCE = 5.0  # seconds that background tasks have to end, as in the kernel


class HarnessContext:
    """`rustcare_sdk.Context`, in memory. It belongs to one started plugin and is closed with it."""

    def __init__(self, owner: PluginHarness, info: PluginInfo, config: Mapping[str, Any], seed: int) -> None:
        self._owner = owner
        self._info = info
        self._config = MappingProxyType(config)
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listeners: list[_Listener] = []
        self._log = _Logger(owner.logs)
        self._kv = MemoryKeyValue(owner.check, owner.kv)
        self._secrets = _Secrets(owner)

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
    def secrets(self) -> Secrets:
        return self._secrets

    def now(self) -> datetime:
        self._owner.check("clock", "read", "")
        return self._owner.now

    def random(self, size: int) -> bytes:
        self._owner.check("random", "read", "")
        if not 0 <= size <= 65536:
            raise InvalidPayload(f"random takes 0 to 65536 bytes, got {size}", hint="ask in pieces")
        return self._random.randbytes(size)

    async def publish(
        self,
        subject: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        confirm: bool = False,
        call: Call | None = None,
    ) -> Any:
        self._originates(call)
        delivery: Delivery = await self._owner.publish_from_plugin(subject, data, headers, confirm, call)
        return delivery if confirm else None

    async def request(
        self,
        service: str,
        data: Any = None,
        *,
        timeout: float | None = None,
        type: Any = None,
        call: Call | None = None,
    ) -> Any:
        self._originates(call)
        return await self._owner.request_from_plugin(service, data, timeout, type, call)

    def _originates(self, call: Call | None) -> None:
        if call is not None:
            self._trusted_only("call=")
            self._owner.check("bus", "originate", call.tenant)

    @property
    def db(self) -> Database:
        self._trusted_only("ctx.db")
        database: MemoryDatabase = self._owner.database
        return database

    async def forward(self, service: str, data: Any = None) -> Any:
        return await self.request(service, data)

    def spawn(self, task: Coroutine[Any, Any, Any], *, name: str) -> None:
        if self._owner.round_trip:
            task.close()
            self._trusted_only("ctx.spawn")
        running = asyncio.get_running_loop().create_task(task, name=name, context=contextvars.Context())
        self._tasks.add(running)
        running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._owner.crashes.append(error)

    async def listen(
        self, host: str, port: int, handler: Connection, *, ssl: Any = None, limit: int = 65536
    ) -> Listener:
        self._trusted_only("ctx.listen")
        self._owner.check("net", "listen", net_scope(host, port))
        listener = _Listener(handler, self._owner.crashes)
        listener.server = await asyncio.start_server(listener.connected, host, port, ssl=ssl, limit=limit)
        self._listeners.append(listener)
        return listener

    async def serve_protocol(
        self, host: str, port: int, protocol: Callable[[], Any], *, ssl: Any = None, backlog: int = 2048
    ) -> Listener:
        self._trusted_only("ctx.serve_protocol")
        self._owner.check("net", "listen", net_scope(host, port))
        listener = _Listener(None, self._owner.crashes)
        loop = asyncio.get_running_loop()
        listener.server = await loop.create_server(protocol, host, port, ssl=ssl, backlog=backlog)
        self._listeners.append(listener)
        return listener

    def _trusted_only(self, what: str) -> None:
        if self._owner.round_trip:
            raise NotPortable(
                f"{what} does not exist in the sandbox",
                hint="run the plugin trusted (runtime python), or ask a plugin that serves it over the bus",
            )

    async def close(self) -> None:
        """Close listeners and connections, cancel tasks."""
        for listener in self._listeners:
            await listener.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            _, left = await asyncio.wait(tasks, timeout=PATIENCE)
            names = ", ".join(sorted(task.get_name() for task in left))
            assert not left, (
                f"still running {PATIENCE:g} s after their cancellation, which they must not swallow: {names}"
            )


class _Logger:
    def __init__(self, entries: list[LogEntry]) -> None:
        self._entries = entries

    def debug(self, event: str, **fields: Any) -> None:
        self._entries.append(LogEntry("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self._entries.append(LogEntry("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self._entries.append(LogEntry("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self._entries.append(LogEntry("error", event, fields))


class _Secrets:
    def __init__(self, owner: PluginHarness) -> None:
        self._owner = owner

    async def hmac_sha256(self, name: str, data: bytes) -> bytes:
        self._owner.check("secret", "use", name)
        value = self._owner.secrets.get(name)
        if value is None:
            raise StoreError(f"secret {name!r} is granted but does not exist", hint="harness(…, secrets={name: b'…'})")
        return hmac.digest(value, data, "sha256")

    async def reveal(self, name: str) -> bytes:
        self._owner.check("secret", "reveal", name)
        value = self._owner.secrets.get(name)
        if value is None:
            raise StoreError(f"secret {name!r} is granted but does not exist", hint="harness(…, secrets={name: b'…'})")
        return value

    async def create(self, name: str, size: int = 32) -> bool:
        self._owner.check("secret", "create", name)
        made = name not in self._owner.secrets
        self._owner.secrets.setdefault(name, random.Random(name).randbytes(size))
        return made


class _Listener:
    """A real listening socket and its connections."""

    server: asyncio.Server

    def __init__(self, handler: Connection | None, crashes: list[BaseException]) -> None:
        self._handler = handler
        self._crashes = crashes
        self._connections: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert self._handler is not None, "a protocol handles its connections itself"
        self._connections.add(task)
        try:
            await self._handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the peer went away
        except asyncio.CancelledError:
            task.uncancel()  # closing; asyncio's stream callback would report the cancellation as an error
        except Exception as error:
            self._crashes.append(error)
        finally:
            self._connections.discard(task)
            writer.close()

    @property
    def address(self) -> tuple[str, int]:
        name = self.server.sockets[0].getsockname()
        return (str(name[0]), int(name[1]))

    async def close(self) -> None:
        self.server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        if connections:
            await asyncio.wait(connections)
        await self.server.wait_closed()
