"""`PluginHarness`: the kernel's double around one plugin. Same handlers, same checks, nothing on disk."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from rustcare_sdk import codec
from rustcare_sdk.capability import Capability, covers, parse
from rustcare_sdk.context import Delivery, PluginInfo
from rustcare_sdk.contracts.http import Caller, HttpResponse
from rustcare_sdk.errors import (
    CapabilityDenied,
    DeadlineExceeded,
    HandlerFailed,
    InvalidManifest,
    InvalidPayload,
    NoProvider,
    RustCareError,
)
from rustcare_sdk.manifest import Manifest, read_manifest, read_manifest_text
from rustcare_sdk.message import NO_HEADERS, Call, Message
from rustcare_sdk.plugin import Handler, Health, Plugin, handlers_of, payload_type
from rustcare_sdk.subjects import check_pattern, check_subject, pattern_matches

from ._config import effective_config
from ._context import HarnessContext
from ._database import MemoryDatabase
from ._http import ask_route
from ._records import LogEntry, Use

__all__ = ["PluginHarness", "harness"]

P = TypeVar("P", bound=Plugin)
_current: ContextVar[Message[Any] | None] = ContextVar("rustcare_testing_message", default=None)


class PluginHarness:
    """A plugin under test. `async with` starts and stops it.

    Args:
        plugin: the plugin's class.
        manifest: a `Manifest`, its text, or the path of `plugin.toml`; else the file beside the plugin's module.
        config: the configuration; it is checked against the manifest's schema.
        files: what lies beside `plugin.toml` (schema, migrations), when that is not a file.
        secrets: the bytes of secrets by name.
        tenant, principal: for whom messages are, unless `send` and `request` say otherwise.
        now: what `ctx.now()` answers; it stands still but for `advance`.
        seed: of `ctx.random`, which repeats itself in every run.
        denied: capabilities of the manifest that the operator did not grant.
        round_trip: pass all data through JSON and the portable codec, and take away what only trusted plugins have.

    Attributes:
        plugin: the plugin itself.
        published, requested: the messages that it sent.
        capabilities_used: every use of a capability, allowed or not.
        logs: its log. crashes: errors of its background tasks and connections (raised at the end if left there).
        kv: its key-value space. now: its clock.
    """

    def __init__(
        self,
        plugin: type[Plugin],
        *,
        manifest: Manifest | Path | str | None = None,
        config: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        secrets: Mapping[str, bytes] | None = None,
        tenant: str = "default",
        principal: str = "",
        now: datetime = datetime(2026, 1, 1, 12, tzinfo=UTC),
        seed: int = 0,
        round_trip: bool = False,
        denied: Iterable[str] = (),
    ) -> None:
        self.manifest, folder = _read(plugin, manifest)
        self.config = dict(config or {})
        self.files = dict(files) if files is not None else _files(folder)
        self.secrets = dict(secrets or {})
        self.call = Call(tenant, principal)
        self.now = now
        self.round_trip = round_trip
        self.published: list[Message[Any]] = []
        self.requested: list[Message[Any]] = []
        self.capabilities_used: list[Use] = []
        self.logs: list[LogEntry] = []
        self.crashes: list[BaseException] = []
        self.kv: dict[str, bytes] = {}
        self._class = plugin
        self._seed = seed
        self._denied = [parse(text) for text in denied]
        self._answers: dict[str, tuple[Any, Any]] = {}
        self._subscribers: list[tuple[str, Callable[[Message[Any]], Any], Any]] = []
        self._deliveries: set[asyncio.Task[Any]] = set()

    # life

    async def __aenter__(self) -> Self:
        self.database = MemoryDatabase(self.check)
        try:
            self.database.migrate({} if self.round_trip else self.files)
            await self._start(self._class)
        except BaseException:
            self.database.close()
            raise
        return self

    async def _start(self, cls: type[Plugin]) -> None:
        if cls.state_version != self.manifest.lifecycle.state_version:
            raise InvalidManifest(
                f"expected {cls.state_version}, the state_version of {cls.__name__}, "
                f"got {self.manifest.lifecycle.state_version}",
                address="plugin.toml:lifecycle.state_version",
            )
        self._handlers = handlers_of(cls)
        for handler in self._handlers:
            if handler.kind == "route":
                self.check("http", "route", handler.subject)
                continue
            check_pattern(handler.subject) if handler.kind == "subscribe" else check_subject(handler.subject)
            self.check("bus", handler.kind, handler.subject)
        schema = self.manifest.config.schema if self.manifest.config is not None else None
        if schema is not None and schema not in self.files:
            raise InvalidManifest(f"there is no file {schema}", address="plugin.toml:config.schema")
        config = effective_config(self.manifest.plugin.id, self.files[schema] if schema else None, self.config)
        info = PluginInfo(
            self.manifest.plugin.id,
            self.manifest.plugin.version,
            "sha256:" + "0" * 64,
            "component" if self.round_trip else "python",
        )
        self.plugin = cls()
        self.ctx = self.plugin.ctx = HarnessContext(self, info, config, self._seed)
        try:
            await self.plugin.start()
        except BaseException:
            await self.ctx.close()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.settle()
            await self.plugin.stop()
        finally:
            await self.ctx.close()
            self.database.close()
        if error is None and self.crashes:
            raise self.crashes[0]

    async def restart(self, config: Mapping[str, Any] | None = None) -> None:
        """Stop the plugin and start a new instance, with the same data and, if given, another configuration."""
        await self.settle()
        await self.plugin.stop()
        await self.ctx.close()
        self.config = self.config if config is None else dict(config)
        await self._start(self._class)

    async def upgrade(self, plugin: type[Plugin], manifest: Manifest | Path | str | None = None) -> None:
        """Replace the plugin by another version: export state, start, migrate and import it, as the kernel does."""
        await self.settle()
        version = self._class.state_version
        state = codec.decode(codec.encode(await self.plugin.export_state()))
        await self.plugin.stop()
        await self.ctx.close()
        if manifest is not None:
            self.manifest, folder = _read(plugin, manifest)
            self.files = {**self.files, **_files(folder)}
        self._class = plugin
        await self._start(plugin)
        if state is not None:
            if version != plugin.state_version:
                state = await self.plugin.migrate(version, state)
            await self.plugin.import_state(state)

    async def health(self) -> Health:
        """What the plugin says of its health."""
        return await self.plugin.health()

    def advance(self, seconds: float) -> None:
        """Move the clock of `ctx.now()`."""
        self.now += timedelta(seconds=seconds)

    # what the plugin receives

    async def send(
        self,
        subject: str,
        data: Any = None,
        *,
        tenant: str | None = None,
        principal: str | None = None,
        headers: Mapping[str, str] | None = None,
        source: str = "test",
    ) -> None:
        """Publish an event to the plugin, and wait until its handlers have handled it; what they raise is raised here."""
        check_subject(subject)
        handlers = self._subscribed(subject)
        if not handlers:
            patterns = ", ".join(item.subject for item in self._handlers if item.kind == "subscribe") or "nothing"
            raise AssertionError(f"{self._class.__name__} subscribes to {patterns}, so {subject} does not reach it")
        message = self._message(subject, data, source, self._call(tenant, principal), headers)
        for handler in handlers:
            await self._invoke(handler, message)

    async def request(
        self,
        service: str,
        data: Any = None,
        *,
        tenant: str | None = None,
        principal: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        type: Any = None,
        source: str = "test",
    ) -> Any:
        """Ask a service of the plugin; its answer, or its typed error."""
        handler = self._served(service)
        if handler is None:
            served = ", ".join(item.subject for item in self._handlers if item.kind == "serve") or "nothing"
            raise NoProvider(f"{self._class.__name__} serves {served}, not {service}")
        message = self._message(service, data, source, self._call(tenant, principal), headers, timeout)
        return await self._answered(message, lambda: self._invoke(handler, message), type)

    async def http(
        self,
        method: str,
        target: str,
        *,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        caller: Caller | None = None,
        base: str = "https://test.example",
        address: str = "192.0.2.1",
    ) -> HttpResponse:
        """Ask a route of the plugin, as the gateway would after it let the caller in; its answer, or its typed error.

        `target` is path and query. `caller` also says for which tenant and principal the message is; left out, the harness's
        own (with no scopes). `content` of the answer is as a client would decode it. AssertionError when no route fits.
        """
        return await ask_route(
            self, method, target, json, form, body, dict(headers or {}), dict(cookies or {}), caller, base, address
        )

    def _subscribed(self, subject: str) -> list[Handler]:
        return [item for item in self._handlers if item.kind == "subscribe" and pattern_matches(item.subject, subject)]

    def _served(self, service: str) -> Handler | None:
        return next((item for item in self._handlers if item.kind == "serve" and item.subject == service), None)

    def _call(self, tenant: str | None, principal: str | None) -> Call:
        return Call(
            self.call.tenant if tenant is None else tenant, self.call.principal if principal is None else principal
        )

    def _message(
        self,
        subject: str,
        data: Any,
        source: str,
        call: Call,
        headers: Mapping[str, str] | None,
        timeout: float | None = None,
    ) -> Message[Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        above = _current.get()
        if above is not None and above.deadline is not None:
            deadline = above.deadline if deadline is None else min(deadline, above.deadline)
        if self.round_trip:
            data = codec.decode(codec.encode(data))
        return Message(subject, data, source, call, deadline, self.now.timestamp(), dict(headers or NO_HEADERS))

    async def _invoke(self, handler: Handler, message: Message[Any]) -> Any:
        wanted = payload_type(type(self.plugin), handler.method)
        data = (
            message.data
            if handler.kind == "route"
            else self._as_type(message.data, wanted, f"data of {handler.subject}")
        )
        token = _current.set(msgspec.structs.replace(message, data=data))
        try:
            return await getattr(self.plugin, handler.method)(_current.get())
        finally:
            _current.reset(token)

    def _as_type(self, data: Any, wanted: Any, address: str) -> Any:
        """Data as the type that a side declared, the way its tier does it."""
        try:
            if self.round_trip:
                data = codec.decode(codec.encode(data))
                return data if wanted is None else codec.from_builtins(wanted, data)
            if wanted is None or type(data) is wanted or (isinstance(wanted, type) and isinstance(data, wanted)):
                return data
            return msgspec.convert(data, wanted, from_attributes=True)
        except (InvalidPayload, msgspec.ValidationError) as error:
            text = error.message if isinstance(error, InvalidPayload) else codec.without_values(str(error))
            raise InvalidPayload(text, hint="both sides must agree on the contract", address=address) from None

    async def _answered(self, message: Message[Any], ask: Callable[[], Any], wanted: Any) -> Any:
        """The answer of a provider, within the deadline, as the kernel gives it to the caller."""
        try:
            async with asyncio.timeout(message.remaining()) as limit:
                found = ask()
                found = await found if inspect.isawaitable(found) else found
        except TimeoutError as error:
            if limit.expired():
                raise DeadlineExceeded(f"{message.subject} did not answer in time") from None
            raise HandlerFailed(f"the provider of {message.subject} failed with TimeoutError") from error
        except (RustCareError, AssertionError):
            raise
        except Exception as error:
            raise HandlerFailed(f"the provider of {message.subject} failed with {type(error).__name__}") from error
        return self._as_type(found, wanted, f"answer of {message.subject}")

    # what the plugin sends

    def answer(self, service: str, answer: Any, *, type: Any = None) -> None:
        """Say what a service answers when the plugin requests it.

        `answer` is a value, an exception to raise, or a function of the message (plain or async). With `type` the
        function gets `message.data` as that type.
        """
        check_subject(service)
        self._answers[service] = (answer, type)

    def subscribe(self, pattern: str, handler: Callable[[Message[Any]], Any], *, type: Any = None) -> None:
        """Let a function receive what the plugin publishes; an exception it raises is a failure for `confirm=True`."""
        check_pattern(pattern)
        self._subscribers.append((pattern, handler, type))

    async def publish_from_plugin(
        self, subject: str, data: Any, headers: Mapping[str, str] | None, confirm: bool, call: Call | None = None
    ) -> Delivery:
        """`ctx.publish`."""
        check_subject(subject)
        message = self._sent("publish", subject, data, headers, None, call)
        self.published.append(message)
        receivers: list[Callable[[], Any]] = []
        for pattern, function, wanted in self._subscribers:
            if pattern_matches(pattern, subject):
                data = self._as_type(message.data, wanted, subject)
                seen = msgspec.structs.replace(message, data=data)
                receivers.append(lambda function=function, seen=seen: function(seen))  # type: ignore[misc]
        for handler in self._subscribed(subject):
            receivers.append(lambda handler=handler: self._invoke(handler, message))  # type: ignore[misc]
        if confirm:
            return await self._deliver(receivers)
        if receivers:  # the bus hands it over in the background
            task = asyncio.get_running_loop().create_task(self._deliver(receivers))
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)
        return Delivery(len(receivers), 0)

    async def _deliver(self, receivers: list[Callable[[], Any]]) -> Delivery:
        failures = []
        for receiver in receivers:
            try:
                found = receiver()
                if inspect.isawaitable(found):
                    await found
            except RustCareError as error:
                failures.append(error.code)
            except Exception:
                failures.append(HandlerFailed.code)
        return Delivery(len(receivers), len(receivers) - len(failures), tuple(failures))

    async def settle(self) -> None:
        """Wait until everything that the plugin published has been handled by those who subscribed here."""
        while self._deliveries:
            await asyncio.wait(self._deliveries)

    async def request_from_plugin(
        self, service: str, data: Any, timeout: float | None, wanted: Any, call: Call | None = None
    ) -> Any:
        """`ctx.request`."""
        check_subject(service)
        message = self._sent("request", service, data, None, timeout, call)
        self.requested.append(message)
        handler = self._served(service)
        if service in self._answers:
            answer, type_ = self._answers[service]
            return await self._answered(message, lambda: self._give(answer, type_, message), wanted)
        if handler is not None:
            return await self._answered(message, lambda: self._invoke(handler, message), wanted)
        raise NoProvider(
            f"{self.manifest.plugin.id} asked {service}, which nobody serves",
            hint=f"say what it answers: h.answer({service!r}, …)",
            address=service,
        )

    def _give(self, answer: Any, wanted: Any, message: Message[Any]) -> Any:
        if isinstance(answer, BaseException) or (isinstance(answer, type) and issubclass(answer, BaseException)):
            raise answer
        if not callable(answer):
            return answer
        return answer(msgspec.structs.replace(message, data=self._as_type(message.data, wanted, message.subject)))

    def _sent(
        self,
        action: str,
        subject: str,
        data: Any,
        headers: Mapping[str, str] | None,
        timeout: float | None,
        call: Call | None,
    ) -> Message[Any]:
        self.check("bus", action, subject)
        above = _current.get()
        if call is None:
            call = self.call if above is None else above.call
        return self._message(subject, data, self.manifest.plugin.id, call, headers, timeout)

    # capabilities

    def check(self, kind: str, action: str, scope: str) -> None:
        """Write one use down. Raises CapabilityDenied unless the manifest asks for it and nobody denied it."""
        wanted = Capability(kind, action, scope)
        above = _current.get()
        tenant = self.call.tenant if above is None else above.call.tenant
        asked = any(covers(_bare(item.capability), wanted) for item in self.manifest.capabilities)
        denied = any(covers(_bare(item), wanted) or covers(wanted, _bare(item)) for item in self._denied)
        self.capabilities_used.append(Use(f"{kind}:{action}", scope, tenant, asked and not denied))
        if not asked or denied:
            why = "the operator has not granted it" if asked else "its manifest does not ask for it"
            hint = "" if asked else f'add [[capability]] use = "{wanted}" to plugin.toml'
            raise CapabilityDenied(f"{self.manifest.plugin.id} may not use {wanted}: {why}", hint=hint)

    def revoke(self, capability: str) -> None:
        """Take a capability away while the plugin runs."""
        self._denied.append(parse(capability))

    @property
    def capabilities_unused(self) -> list[str]:
        """The capabilities of the manifest that were not used yet: does the plugin need them?"""
        used = [use.capability for use in self.capabilities_used]
        return [
            item.use
            for item in self.manifest.capabilities
            if not any(covers(_bare(item.capability), use) for use in used)
        ]

    # assertions

    def assert_published(self, pattern: str, *, times: int | None = None) -> list[Message[Any]]:
        """The messages that the plugin published to subjects of a pattern: `times` of them, or at least one."""
        found = [message for message in self.published if pattern_matches(check_pattern(pattern), message.subject)]
        if (times is None and not found) or (times is not None and len(found) != times):
            all_subjects = ", ".join(message.subject for message in self.published) or "nothing"
            wanted = "at least one message" if times is None else f"{times} message{'' if times == 1 else 's'}"
            raise AssertionError(f"expected {wanted} on {pattern}, got {len(found)}; published: {all_subjects}")
        return found

    def assert_capabilities_within_manifest(self) -> None:
        """No use was denied so far, not even one whose error the plugin swallowed."""
        outside = sorted({str(use) for use in self.capabilities_used if not use.allowed})
        if outside:
            raise AssertionError(f"{self.manifest.plugin.id} used what it does not hold: {', '.join(outside)}")


#: `async with harness(MyPlugin, manifest=…, config=…) as h:`
harness = PluginHarness


def _bare(capability: Capability) -> Capability:
    """Without options: a rate bounds how often, not whether."""
    return Capability(capability.kind, capability.action, capability.scope)


def _read(plugin: type[Plugin], manifest: Manifest | Path | str | None) -> tuple[Manifest, Path | None]:
    """The manifest, and the folder that it lies in."""
    if isinstance(manifest, Manifest):
        return manifest, None
    if isinstance(manifest, str) and "\n" in manifest:
        return read_manifest_text(manifest), None
    path = Path(inspect.getfile(plugin)).parent / "plugin.toml" if manifest is None else Path(manifest)
    if not path.is_file():
        raise InvalidManifest(
            f"there is no {path.name} beside {plugin.__module__}" if manifest is None else "there is no such file",
            hint="harness(…, manifest=…) takes a path, the text, or a Manifest",
            address=path.name,
        )
    return read_manifest(path.read_bytes(), path.name), path.parent


def _files(folder: Path | None) -> dict[str, bytes]:
    if folder is None:
        return {}
    wanted = [path for path in folder.rglob("*") if path.suffix in (".json", ".sql") and path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in wanted}
