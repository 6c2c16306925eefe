"""`Context` inside the sandbox: each method is one host call, and returns at once.

An interface that the manifest does not ask for is not part of the component at all; using it raises `CapabilityDenied`
without leaving the sandbox.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType, ModuleType
from typing import Any, NoReturn

from rustcare_sdk import codec
from rustcare_sdk.context import Delivery, PluginInfo
from rustcare_sdk.errors import CapabilityDenied, NotPortable, error_from_failure

__all__ = ["GuestContext"]

# Made by componentize-py from the WIT; it exists only in there.
_Err: Any = importlib.import_module("componentize_py_types").Err
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Missing:
    """Stands for an interface that was not asked for."""

    def __init__(self, capability: str) -> None:
        self._capability = capability

    def __getattr__(self, name: str) -> NoReturn:
        raise CapabilityDenied(
            f"the plugin's manifest does not ask for {self._capability}",
            hint=f'add [[capability]] use = "{self._capability}" to plugin.toml and build again',
        )


def _interface(name: str, capability: str) -> ModuleType | _Missing:
    try:
        return importlib.import_module(f"wit_world.imports.{name}")
    except ImportError:
        return _Missing(capability)


def _ask(function: Callable[..., Any], *args: Any) -> Any:
    """Call the host; its failure becomes the typed error."""
    try:
        return function(*args)
    except _Err as error:
        failure = error.value
        raise error_from_failure(
            {"code": failure.code, "message": failure.message, "hint": failure.hint, "address": failure.address}
        ) from None


def _trusted_only(what: str) -> NotPortable:
    return NotPortable(
        f"{what} does not exist in the sandbox",
        hint="run the plugin trusted (runtime python), or ask a plugin that serves it over the bus",
    )


class _Logger:
    def __init__(self) -> None:
        self._host: Any = importlib.import_module("wit_world.imports.log")

    def _log(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self._host.log(self._host.Level[level], event, codec.encode(fields).decode())

    def debug(self, event: str, **fields: Any) -> None:
        self._log("DEBUG", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log("INFO", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._log("WARNING", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._log("ERROR", event, fields)


class _KeyValue:
    def __init__(self) -> None:
        self._host: Any = _interface("kv", "kv:read@*")

    async def get(self, key: str) -> bytes | None:
        value: bytes | None = _ask(self._host.get, key)
        return value

    async def put(self, key: str, value: bytes) -> None:
        _ask(self._host.put, key, bytes(value))

    async def delete(self, key: str) -> None:
        _ask(self._host.delete, key)

    async def keys(self, prefix: str = "") -> list[str]:
        return list(_ask(self._host.keys, prefix))


class _Secrets:
    def __init__(self) -> None:
        self._host: Any = _interface("secrets", "secret:use@NAME")

    async def hmac_sha256(self, name: str, data: bytes) -> bytes:
        value: bytes = _ask(self._host.hmac_sha256, name, bytes(data))
        return value


class GuestContext:
    """What a sandboxed plugin holds as `self.ctx`."""

    def __init__(self) -> None:
        self._bus: Any = _interface("bus", "bus:publish@SUBJECT")
        self._clock: Any = _interface("clock", "clock:read")
        self._random: Any = _interface("random", "random:read")
        self._config: Any = importlib.import_module("wit_world.imports.config")
        self._info: PluginInfo | None = None
        self._settings: Mapping[str, Any] | None = None
        self.log = _Logger()
        self.kv = _KeyValue()
        self.secrets = _Secrets()

    @property
    def plugin(self) -> PluginInfo:
        if self._info is None:
            identity = self._config.plugin()
            self._info = PluginInfo(identity.id, identity.version, identity.digest, "component")
        return self._info

    @property
    def config(self) -> Mapping[str, Any]:
        if self._settings is None:  # a new configuration comes with a new instance
            self._settings = MappingProxyType(codec.decode(self._config.get()))
        return self._settings

    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=_ask(self._clock.now) // 1000)

    def random(self, size: int) -> bytes:
        value: bytes = _ask(self._random.bytes, size)
        return value

    async def publish(
        self, subject: str, data: Any = None, *, headers: Mapping[str, str] | None = None, confirm: bool = False
    ) -> Delivery | None:
        pairs = list(headers.items()) if headers else []
        if not confirm:
            _ask(self._bus.publish, subject, codec.encode(data).decode(), pairs)
            return None
        found = _ask(self._bus.publish_confirmed, subject, codec.encode(data).decode(), pairs)
        return Delivery(found.receivers, found.handled, tuple(found.failures))

    async def request(
        self, service: str, data: Any = None, *, timeout: float | None = None, type: type[Any] | None = None
    ) -> Any:
        limit = None if timeout is None else float(timeout)
        answer = _ask(self._bus.request, service, codec.encode(data).decode(), limit)
        return codec.decode(answer, type)

    async def forward(self, service: str, data: Any = None) -> Any:
        # The kernel asks the service when this handler has returned, and takes its answer for the handler's.
        _ask(self._bus.forward, service, codec.encode(data).decode())

    @property
    def db(self) -> NoReturn:
        raise _trusted_only("ctx.db")

    def spawn(self, task: Coroutine[Any, Any, Any], *, name: str) -> NoReturn:
        task.close()
        raise _trusted_only("ctx.spawn")

    async def listen(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise _trusted_only("ctx.listen")
