"""A loaded sandboxed plugin, for components and for Extism: its pool of instances behind the kernel's `Instance`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler, Health

from ._contract import Host
from ._description import Description, describe
from ._hostcalls import json_of, raw_json
from ._job import Job
from ._pool import Pool, Sandbox
from ._watchdog import Watchdog

__all__ = ["Linked", "SandboxInstance"]


class Linked(Protocol):
    """Code that was checked and linked, ready to be instantiated."""

    name: str
    manifest: Manifest
    #: Which of start, stop and health do something; None (all of them) until the guest described itself.
    lifecycle: frozenset[str] | None

    def prepare(self) -> None:
        """What takes long before the first instance of a thread, and is no fault of the plugin's."""
        ...

    def instantiate(self, job: Job) -> Sandbox:
        """A new instance, in the thread that will run it."""
        ...

    def close(self) -> None:
        """Let go of the code; every instance is gone by now."""
        ...


class SandboxInstance:
    """Implements `Instance`. `closed` is told when the plugin is closed."""

    def __init__(
        self, linked: Linked, host: Host, watchdog: Watchdog, closed: Callable[[SandboxInstance], None]
    ) -> None:
        manifest = linked.manifest
        self._tell = closed
        self._linked = linked
        self._host = host
        self._limits = manifest.limits
        self._start_timeout = manifest.lifecycle.start_timeout
        self._description = Description()
        self._index: dict[int, int] = {}
        self._closed = False
        self._pool = Pool(
            manifest.plugin.id,
            linked.prepare,
            linked.instantiate,
            watchdog,
            min(manifest.limits.concurrency, manifest.runtime.pool),
            manifest.runtime.instance == "per-message",
            self._start_timeout,
            host.trapped,
        )

    async def describe(self) -> None:
        """Learn the handlers from the guest."""
        text = await self._call("describe")
        self._description = describe(text, self._linked.name, self._linked.manifest)
        self._linked.lifecycle = self._description.lifecycle
        self._index = {id(handler): index for index, handler in enumerate(self._description.handlers)}

    @property
    def handlers(self) -> tuple[Handler, ...]:
        return self._description.handlers

    async def _call(self, name: str, *arguments: Any, timeout: float = 0.0) -> Any:
        answer, job = await self._pool.run(
            name,
            lambda guest, job: guest.use(job).call(name, arguments),
            timeout or self._start_timeout,
            primary=True,
        )
        self._account(job)
        return answer

    def _account(self, job: Job) -> None:
        self._host.used(job.fuel, job.bytes_in, job.bytes_out, job.host_calls)

    def _does(self, name: str) -> bool:
        lifecycle = self._description.lifecycle
        return lifecycle is None or name in lifecycle

    async def start(self) -> None:
        self._account(await self._pool.start())

    async def stop(self) -> None:
        if self._does("stop"):
            await self._call("stop", timeout=self._linked.manifest.lifecycle.drain)

    async def health(self) -> Health:
        if not self._does("health"):
            return Health()
        found = await self._call("health")
        details = msgspec.json.decode(raw_json(found["details"], f"health of {self._linked.name}"))
        return Health(found["ok"], found["reason"], details if isinstance(details, dict) else {})

    async def invoke(self, handler: Handler, message: Message[Any]) -> Any:
        index = self._index.get(id(handler))
        if index is None:
            index = self._description.index(handler)
        pool = self._pool

        def handle(guest: Sandbox, job: Job) -> bytes:
            job.handling = True
            return guest.use(job).handle(index, message, job)

        job = pool.job(handler.subject, handle, self._limits.timeout)
        try:
            answer: bytes = await pool.submit(job)
        finally:
            self._host.used(job.fuel, job.bytes_in, job.bytes_out, job.host_calls)
        if job.forward is not None:
            service, data = job.forward
            return await self._host.ctx.request(service, data)  # the instance is free for the next message
        return raw_json(answer, f"answer of {self._linked.name} to {message.subject}")

    async def export_state(self) -> Any:
        return msgspec.json.decode(raw_json(await self._call("export-state"), f"state of {self._linked.name}"))

    async def import_state(self, version: int, state: Any) -> None:
        await self._call("import-state", version, json_of(state))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._tell(self)
        if await self._pool.close():
            self._linked.close()  # else a guest still runs it
