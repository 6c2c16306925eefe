"""The exports of a Python component, made from the author's `Plugin` class."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

from rustcare_sdk import codec
from rustcare_sdk.context import Context
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.message import Call, Message
from rustcare_sdk.plugin import Handler, Plugin, handlers_of, payload_type
from rustcare_sdk.routes import content_of, content_type

from ._context import GuestContext
from ._drive import failure_of, run

__all__ = ["guest_of"]

T = TypeVar("T")

# Made by componentize-py from the WIT; they exist only in there.
_Err: Any = importlib.import_module("componentize_py_types").Err
_Failure: Any = importlib.import_module("wit_world.imports.types").Failure
_HealthReport: Any = importlib.import_module("wit_world.exports.guest").HealthReport


@dataclasses.dataclass(frozen=True)
class _GuestMessage(Message[Any]):  # type: ignore[misc]  # a Struct on the host, a dataclass in here
    """A message whose remaining time is that of its delivery: the sandbox has no clock to count it down with."""

    left: float | None = None

    def remaining(self) -> float | None:
        return self.left


def _crossing(action: Callable[[], T]) -> T:
    """Whatever `action` raises leaves the sandbox as a failure record."""
    try:
        return action()
    except Exception as error:
        raise _Err(_Failure(**failure_of(error))) from None


def _overridden(plugin: type[Plugin]) -> list[str]:
    return [name for name in ("start", "stop", "health") if getattr(plugin, name) is not getattr(Plugin, name)]


def _described(handler: Handler) -> dict[str, Any]:
    fields = dataclasses.asdict(handler)
    fields["name"] = fields.pop("method")
    return fields


def _data(text: str, wanted: Any, declared: Handler) -> Any:
    """A message's data as the handler's type; a route's request, with its body as the type that the handler asks for."""
    if declared.route is None:
        return codec.decode(text, wanted)
    request: HttpRequest[Any] = codec.decode(text, HttpRequest)
    body = content_type(wanted)
    if body is not None:
        request.content = content_of(request, body, codec.decode, lambda data, type_: codec.from_builtins(type_, data))
    return request


def guest_of(plugin_class: type[Plugin]) -> type:
    """The class that componentize-py looks for under the name `Guest`.

    The plugin object is made here, while the component is built, and is part of its image: what `__init__` prepares
    costs nothing at run time. So is its context, because modules can be imported only now: later there are no files.
    """
    plugin = plugin_class()
    plugin.ctx = cast(Context, GuestContext())
    handlers = handlers_of(plugin_class)
    bound = [(getattr(plugin, each.method), payload_type(plugin_class, each.method), each) for each in handlers]
    description = codec.encode(
        {
            "handlers": [_described(each) for each in handlers],
            "state-version": plugin_class.state_version,
            "lifecycle": _overridden(plugin_class),
        }
    ).decode()

    class Guest:
        def describe(self) -> str:
            return description

        def start(self) -> None:
            _crossing(lambda: run(plugin.start(), "start"))

        def stop(self) -> None:
            _crossing(lambda: run(plugin.stop(), "stop"))

        def health(self) -> Any:
            found = _crossing(lambda: run(plugin.health(), "health"))
            return _HealthReport(found.ok, found.reason, codec.encode(found.details).decode())

        def handle(self, handler: int, message: Any) -> str:
            try:
                method, wanted, declared = bound[handler]
                received = _GuestMessage(
                    message.subject,
                    _data(message.data, wanted, declared),
                    message.source,
                    Call(message.tenant, message.principal, message.trace),
                    None,
                    message.time,
                    dict(message.headers),
                    message.id,
                    message.remaining,
                )
                answer = run(method(received), declared.method)
                if declared.route is not None and not isinstance(answer, HttpResponse):
                    answer = HttpResponse(204 if answer is None else declared.route.status, answer)
                if declared.kind == "subscribe" or answer is None:
                    return "null"
                return codec.encode(answer).decode()
            except Exception as error:
                raise _Err(_Failure(**failure_of(error))) from None

        def export_state(self) -> str:
            return _crossing(lambda: codec.encode(run(plugin.export_state(), "export_state")).decode())

        def import_state(self, version: int, state: str) -> None:
            def take() -> None:
                found = codec.decode(state)
                if version != plugin_class.state_version:
                    found = run(plugin.migrate(version, found), "migrate")
                run(plugin.import_state(found), "import_state")

            _crossing(take)

    return Guest
