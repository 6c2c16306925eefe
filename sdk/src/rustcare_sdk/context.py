"""`Context`: everything a plugin can do. What it was not granted raises `CapabilityDenied`.

Portable, but for the parts marked *trusted only*, which need sockets, tasks or SQL and do not exist in the sandbox.
These are contracts; the kernel, the sandbox's guest library and `rustcare_sdk.testing` each implement them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from .message import Call

__all__ = ["Context", "Database", "Delivery", "KeyValue", "Listener", "Logger", "PluginInfo", "Queries", "Secrets"]

from dataclasses import dataclass

T = TypeVar("T")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class PluginInfo:
    """Which plugin this is: its id, version, package digest (`sha256:…`) and runtime.

    `replaces`: the version that still serves while this one starts, and that will hand over to it; empty when there is
    none (the sandbox is not told). `worker`: the number of the worker process that this one runs in, 0 in the primary or
    where there are no workers (the sandbox is not told).
    """

    id: str
    version: str
    digest: str = ""
    runtime: Literal["python", "component", "extism"] = "python"
    replaces: str = ""
    worker: int = 0


@dataclass(frozen=True)
class Delivery:
    """What became of a confirmed publish: how many subscribers it reached, how many handled it, codes of failures."""

    receivers: int
    handled: int
    failures: tuple[str, ...] = ()


class KeyValue(Protocol):
    """The plugin's private key-value space. Durable when the call returns. Keys: up to 512 bytes of UTF-8.

    Capabilities `kv:read@PREFIX*` and `kv:write@PREFIX*` (`@*` for all of it).
    """

    async def get(self, key: str) -> bytes | None: ...
    async def put(self, key: str, value: bytes) -> None: ...
    async def delete(self, key: str) -> None: ...
    async def keys(self, prefix: str = "") -> list[str]: ...


class Queries(Protocol):
    """SQL with `?` for parameters, in the subset that SQLite and PostgreSQL both speak."""

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Row]: ...
    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Row | None: ...
    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run one statement; the count of rows it touched. Outside a transaction it is durable on return."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None: ...


class Database(Queries, Protocol):
    """The plugin's private database (*trusted only*; capabilities `db:read@*` and `db:write@*`).

    `async with db.transaction() as tx:` commits durably on leaving, rolls back when the block raises. Commits that
    arrive together share one fsync.
    """

    def transaction(self) -> AbstractAsyncContextManager[Queries]: ...
    async def scrub(self) -> None:
        """Take what deleted and overwritten rows left behind out of the database's own files, as far as it lets us.

        SQLite: nothing of them is in the file or its log when this returns. PostgreSQL: the space is free to be written
        over (VACUUM), its log keeps what it has until it is recycled. Copies made earlier are not touched.
        """
        ...


class Secrets(Protocol):
    """Secrets are used, not read: the kernel computes with them (`secret:use@NAME`).

    A secret is a file in the data folder's `secrets/`, or else the environment variable `RUSTCARE_SECRET_NAME` (upper case,
    `.` and `-` written as `_`). What must have the secret itself, such as a keyring its passphrase, is trusted code with a
    capability of its own for it: `reveal` and `create` do not exist in the sandbox.
    """

    async def hmac_sha256(self, name: str, data: bytes) -> bytes: ...

    # trusted only

    async def reveal(self, name: str) -> bytes:
        """The secret itself (`secret:reveal@NAME`). Raises StoreError when there is none of that name."""
        ...

    async def create(self, name: str, size: int = 32) -> bool:
        """Make a secret of random bytes, durably, unless there is one; whether it was made (`secret:create@NAME`)."""
        ...


class Logger(Protocol):
    """Structured logging: an event and fields. Values of keys that hold secrets or patient data must not be passed."""

    def debug(self, event: str, **fields: Any) -> None: ...
    def info(self, event: str, **fields: Any) -> None: ...
    def warning(self, event: str, **fields: Any) -> None: ...
    def error(self, event: str, **fields: Any) -> None: ...


class Listener(Protocol):
    """A listening socket opened through `Context.listen`. `address` is `(host, port)` as bound."""

    @property
    def address(self) -> tuple[str, int]: ...
    async def close(self) -> None: ...


class Context(Protocol):
    """What a plugin holds as `self.ctx`."""

    @property
    def plugin(self) -> PluginInfo: ...
    @property
    def config(self) -> Mapping[str, Any]:
        """The plugin's configuration, checked against the manifest's schema, defaults filled in."""
        ...

    @property
    def log(self) -> Logger: ...
    @property
    def kv(self) -> KeyValue: ...
    @property
    def secrets(self) -> Secrets: ...
    def now(self) -> datetime:
        """The time, in UTC (capability `clock:read`)."""
        ...

    def random(self, size: int) -> bytes:
        """Cryptographically secure random bytes (capability `random:read`)."""
        ...

    @overload
    async def publish(
        self, subject: str, data: Any = None, *, headers: Mapping[str, str] | None = None, call: Call | None = None
    ) -> None: ...
    @overload
    async def publish(
        self,
        subject: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        confirm: Literal[True],
        call: Call | None = None,
    ) -> Delivery: ...
    async def publish(
        self,
        subject: str,
        data: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        confirm: bool = False,
        call: Call | None = None,
    ) -> Delivery | None:
        """Tell every subscriber (`bus:publish@SUBJECT`). With `confirm`, return when all of them have handled it.

        `call`: as for `request`.
        """
        ...

    async def request(
        self,
        service: str,
        data: Any = None,
        *,
        timeout: float | None = None,
        type: type[T] | None = None,
        call: Call | None = None,
    ) -> Any:
        """Ask the one provider of a service (`bus:request@SERVICE`).

        `timeout` is in seconds and never extends the caller's own deadline. With `type` the answer is that type.

        `call` (*trusted only*, `bus:originate@TENANT`): for whom this is, said by whoever lets calls in from outside and
        has found that out. It replaces the call and the deadline of the message that is being handled.

        Raises:
            NoProvider, DeadlineExceeded, CapabilityDenied, InvalidPayload, or the provider's own typed error.
        """
        ...

    async def forward(self, service: str, data: Any = None) -> Any:
        """Leave the rest to a service (`bus:request@SERVICE`): its answer, or its failure, becomes the handler's.

        The last thing a handler does: `return await self.ctx.forward(…)`. What it gives is for returning only; in the
        sandbox the service is asked when the handler has returned, and the instance handles other messages meanwhile. A
        plugin that ends in a request handles several times as many messages this way.

        Raises:
            What `request` raises, in the trusted tier at once; in the sandbox the caller gets it.
        """
        ...

    # trusted only

    @property
    def db(self) -> Database: ...
    def spawn(self, task: Coroutine[Any, Any, Any], *, name: str) -> None:
        """Run a background task; it is cancelled when the plugin stops, and a crash of it counts as a trap."""
        ...

    async def listen(
        self,
        host: str,
        port: int,
        handler: Callable[[Any, Any], Awaitable[None]],
        *,
        ssl: Any = None,
        limit: int = 65536,
    ) -> Listener:
        """Serve TCP (`net:listen@HOST:PORT`): `handler(reader, writer)` of asyncio streams for each connection.

        Listener and connections are closed when the plugin stops. Port 0 takes a free one.
        """
        ...

    async def serve_protocol(
        self, host: str, port: int, protocol: Callable[[], Any], *, ssl: Any = None, backlog: int = 2048
    ) -> Listener:
        """Serve TCP with asyncio protocols (`net:listen@HOST:PORT`): `protocol()` makes one for each connection.

        For servers that bring their own protocol, such as HTTP. As with `listen`, the next version takes over the socket
        and no connection is refused meanwhile. The connections are the protocol's own: `stop` ends them.
        """
        ...
