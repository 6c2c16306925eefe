"""What a sandboxed guest may ask of the kernel, the same for components and for Extism.

A host call arrives in the worker thread that runs the guest. What needs the event loop (the bus, the store) goes there
and the worker waits; the rest is done on the spot. Either way the plugin's own `Context` does it, inside the context of
the message being handled, so grants, tenant and accounting are those of trusted code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from rustcare_sdk.errors import CapabilityDenied, InvalidPayload, NotPortable

from ._contract import CallLimitExceeded, Host
from ._interface import IMPORTS
from ._job import Job

__all__ = ["HostCalls", "json_of", "raw_json"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LOG_EVENT, _LOG_FIELDS = 512, 16_384
#: What may still be called when the message was forwarded: the service is asked later, so nothing may seem to follow it.
_AFTER_FORWARD = frozenset({"log", "config"})


def raw_json(data: bytes | str, address: str) -> msgspec.Raw:
    """JSON that came out of a sandbox: checked to be well formed (about 1 ns a byte), decoded by whoever needs it.

    Raises:
        InvalidPayload: it is not.
    """
    try:
        return msgspec.json.decode(data, type=msgspec.Raw)
    except msgspec.DecodeError:  # without the position: the text is the plugin's, the fault too
        raise InvalidPayload(
            "the plugin gave malformed JSON",
            hint="the plugin must encode what it answers and publishes",
            address=address,
        ) from None


def json_of(data: Any) -> bytes:
    """Data as JSON for a sandbox; what is encoded already passes as it is."""
    if type(data) is msgspec.Raw:
        return bytes(data)
    return msgspec.json.encode(data)


class HostCalls:
    """The functions of all interfaces, as `table[interface][function](job, *arguments)`.

    They return what the WIT says, or raise; the binding turns what is raised into a `failure` record. `denied` are the
    interfaces that the manifest calls optional and nobody granted: they are linked, and every call of them fails.
    """

    def __init__(self, host: Host, output: int, denied: frozenset[str] = frozenset()) -> None:
        self._ctx = host.ctx
        self._output = output
        self._denied = denied
        self.table: dict[str, dict[str, Callable[..., Any]]] = {
            "bus": {
                "publish": self._publish,
                "publish-confirmed": self._publish_confirmed,
                "request": self._request,
                "forward": self._forward,
            },
            "kv": {"get": self._get, "put": self._put, "delete": self._delete, "keys": self._keys},
            "clock": {"now": self._now},
            "random": {"bytes": self._bytes},
            "secrets": {"hmac-sha256": self._hmac},
            "log": {"log": self._log},
            "config": {"get": self._config, "plugin": self._plugin},
        }

    def call(self, interface: str, function: str, job: Job, arguments: Sequence[Any]) -> Any:
        """One host call, counted."""
        job.host_calls += 1
        if interface in self._denied:
            raise CapabilityDenied(
                f"the optional capability {IMPORTS[interface].example} was not granted",
                hint="grant it, or do without it",
                address=f"{interface}.{function}",
            )
        if job.forward is not None and interface not in _AFTER_FORWARD:
            raise NotPortable(
                "the plugin called the kernel after it had forwarded the message",
                hint="forward is the last thing a handler does; use request",
                address=f"{interface}.{function}",
            )
        return self.table[interface][function](job, *arguments)

    # bus

    def _payload(self, data: str | bytes, address: str) -> msgspec.Raw:
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        if size > self._output:
            raise CallLimitExceeded(
                f"expected at most {self._output} bytes of data, got {size}",
                hint="raise limits.output in plugin.toml, or publish in pieces",
                address=address,
            )
        return raw_json(data, address)

    def _publish(self, job: Job, subject: str, data: str, headers: Sequence[tuple[str, str]]) -> None:
        raw = self._payload(data, f"bus.publish {subject}")
        job.bytes_out += len(data)
        job.wait(lambda: self._ctx.publish(subject, raw, headers=dict(headers) if headers else None))

    def _publish_confirmed(
        self, job: Job, subject: str, data: str, headers: Sequence[tuple[str, str]]
    ) -> dict[str, Any]:
        raw = self._payload(data, f"bus.publish {subject}")
        job.bytes_out += len(data)
        found = job.wait(
            lambda: self._ctx.publish(subject, raw, headers=dict(headers) if headers else None, confirm=True)
        )
        return {"receivers": found.receivers, "handled": found.handled, "failures": list(found.failures)}

    def _request(self, job: Job, service: str, data: str, timeout: float | None) -> bytes:
        raw = self._payload(data, f"bus.request {service}")
        job.bytes_out += len(data)
        answer = json_of(job.wait(lambda: self._ctx.request(service, raw, timeout=timeout)))
        job.bytes_in += len(answer)
        return answer

    def _forward(self, job: Job, service: str, data: str) -> None:
        """Nothing is asked here: whoever gave the message to the instance does, when the guest has returned."""
        if not job.handling:
            raise NotPortable(
                "a message can be forwarded by its handler only", hint="use request", address=f"bus.forward {service}"
            )
        job.forward = (service, self._payload(data, f"bus.forward {service}"))
        job.bytes_out += len(data)

    # store

    def _get(self, job: Job, key: str) -> bytes | None:
        value: bytes | None = job.wait(lambda: self._ctx.kv.get(key))
        return value

    def _put(self, job: Job, key: str, value: bytes) -> None:
        job.wait(lambda: self._ctx.kv.put(key, value))

    def _delete(self, job: Job, key: str) -> None:
        job.wait(lambda: self._ctx.kv.delete(key))

    def _keys(self, job: Job, prefix: str) -> list[str]:
        found: list[str] = job.wait(lambda: self._ctx.kv.keys(prefix))
        return found

    # on the spot

    def _now(self, job: Job) -> int:
        return (job.context.run(self._ctx.now) - _EPOCH) // _MICROSECOND * 1000

    def _bytes(self, job: Job, size: int) -> bytes:
        return job.context.run(self._ctx.random, size)

    def _hmac(self, job: Job, name: str, data: bytes) -> bytes:
        value: bytes = job.wait(lambda: self._ctx.secrets.hmac_sha256(name, data))
        return value

    def _log(self, job: Job, level: str, event: str, fields: str) -> None:
        write = getattr(self._ctx.log, level if level in ("debug", "info", "warning", "error") else "info")
        try:
            found = (
                msgspec.json.decode(fields, type=dict[str, Any]) if len(fields) <= _LOG_FIELDS else {"dropped": True}
            )
        except msgspec.DecodeError:
            found = {"dropped": True}
        # A field must not collide with the parameters of the logger's methods.
        safe = {f"{name}_" if name in ("self", "event", "level") else name: value for name, value in found.items()}
        job.context.run(lambda: write(event[:_LOG_EVENT], **safe))

    def _config(self, job: Job) -> bytes:
        return msgspec.json.encode(dict(self._ctx.config))

    def _plugin(self, job: Job) -> dict[str, Any]:
        info = self._ctx.plugin
        return {"id": info.id, "version": info.version, "digest": info.digest}
