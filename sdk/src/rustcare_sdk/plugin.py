"""`Plugin`, the base of every plugin, and the marks `@subscribe`, `@serve` and `@route` on its handlers.

Portable: the same source runs trusted in the kernel's process and sandboxed inside a component. Handlers are
`async def handler(self, message)`; what a `@serve` handler returns is the answer, what it raises is the typed error.

    class Hello(Plugin):
        @serve("hello.greet")
        async def greet(self, message: Message[Greet]) -> Greeting:
            return Greeting(text=f"Hello, {message.data.name}")
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, TypeVar

from .errors import StateNotMigrated
from .routes import Method, Route

if typing.TYPE_CHECKING:
    from .context import Context

__all__ = ["Handler", "Health", "Overflow", "Plugin", "handlers_of", "route", "serve", "subscribe"]

Overflow = Literal["block", "drop-oldest", "disconnect"]
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])
_MARK = "__rustcare_handlers__"


@dataclass(frozen=True)
class Handler:
    """One handler as declared. `kind` is `subscribe`, `serve` or `route`; `subject` a pattern, a service's name, or the
    route's method and path.

    For subscribers: `group` (one member of a group gets each message), `queue` (bound of the queue, in messages),
    `overflow` (what happens when it is full: `block` the publisher, `drop-oldest` and count it, or `disconnect` the
    subscriber), `parallel` (how many messages at once; order is then kept for each partition key, or subject).
    """

    kind: Literal["subscribe", "serve", "route"]
    subject: str
    method: str = ""
    group: str = ""
    queue: int = 1024
    overflow: Overflow = "block"
    parallel: int = 1
    route: Route | None = None


@dataclass(frozen=True)
class Health:
    """What `Plugin.health` answers: `ok`, and in words why not (no secrets, no patient data)."""

    ok: bool = True
    reason: str = ""
    details: dict[str, Any] = field(default_factory=dict)


def subscribe(
    subject: str, *, group: str = "", queue: int = 1024, overflow: Overflow = "block", parallel: int = 1
) -> Callable[[F], F]:
    """Mark a handler of every event whose subject matches the pattern (`hl7.adt.*`, `fhir.>`)."""
    return _mark(Handler("subscribe", subject, "", group, queue, overflow, parallel))


def serve(service: str) -> Callable[[F], F]:
    """Mark the handler that answers requests to a service."""
    return _mark(Handler("serve", service))


def route(method: Method, path: str, **options: Any) -> Callable[[F], F]:
    """Mark the handler that answers HTTP requests to a path; the options are those of `rustcare_sdk.routes.Route`."""
    declared = Route(method, path, **options)
    return _mark(Handler("route", declared.use, route=declared))


def _mark(handler: Handler) -> Callable[[F], F]:
    def mark(function: F) -> F:
        if not hasattr(function, _MARK):
            setattr(function, _MARK, [])
        getattr(function, _MARK).append(handler)
        return function

    return mark


class Plugin:
    """The base of a plugin. `ctx` is there from `start` on (not in `__init__`, which takes no arguments)."""

    ctx: Context
    #: The version of what `export_state` returns; a manifest's `lifecycle.state_version` must agree.
    state_version: ClassVar[int] = 1

    async def start(self) -> None:
        """Called once before any message. Raise to refuse: the kernel retries with backoff, then gives up."""

    async def stop(self) -> None:
        """Called once after the last message. Timeouts apply; what was opened through `ctx` is closed anyway."""

    async def health(self) -> Health:
        """Asked after start, after an upgrade, and from time to time."""
        return Health()

    async def export_state(self) -> Any:
        """State to hand to the next version: something JSON can hold, or None for nothing."""
        return None

    async def import_state(self, state: Any) -> None:
        """Take over the state that the version before exported (already migrated to this `state_version`)."""

    async def migrate(self, version: int, state: Any) -> Any:
        """Turn state of another `state_version` into this one's; called before `import_state`."""
        raise StateNotMigrated(
            f"state of version {version} cannot become version {type(self).state_version}",
            hint="define migrate(version, state) in the new version",
        )


def handlers_of(plugin: type[Plugin]) -> tuple[Handler, ...]:
    """The handlers a plugin's class declares, in the order of their definition; base classes first."""
    found: dict[str, list[Handler]] = {}
    for cls in reversed(plugin.__mro__):
        for name, value in vars(cls).items():
            marks: list[Handler] | None = getattr(value, _MARK, None)
            if marks is not None:
                found[name] = marks
            elif name in found:
                del found[name]  # overridden without a mark: no handler any more
    return tuple(
        replace(mark, method=name, route=_typed(plugin, name, mark.route))
        for name, marks in found.items()
        for mark in marks
    )


def _typed(plugin: type[Plugin], method: str, declared: Route | None) -> Route | None:
    """A route with the schemas of its body and its answer, from the handler's annotations."""
    if declared is None:
        return None
    from ._json_schema import schema_of
    from .contracts.http import HttpResponse
    from .routes import content_type

    body = content_type(payload_type(plugin, method))
    answer = typing.get_type_hints(getattr(plugin, method)).get("return")
    if HttpResponse in typing.get_args(answer):  # `Bed | HttpResponse`: content, with header fields of its own at times
        rest = tuple(item for item in typing.get_args(answer) if item is not HttpResponse)
        answer = typing.Union[rest]  # noqa: UP007  # the members are known only now
    if answer is HttpResponse or answer is type(None):
        answer = None
    return replace(
        declared,
        body=schema_of(body) if body is not None else {},
        answer=schema_of(answer) if answer is not None else {},
    )


def payload_type(plugin: type[Plugin], method: str) -> Any:
    """The `T` of a handler's `message: Message[T]`, or None when it takes whatever comes."""
    hints = typing.get_type_hints(getattr(plugin, method))
    hints.pop("return", None)
    annotation = next(iter(hints.values()), None)
    arguments = typing.get_args(annotation)
    return arguments[0] if arguments and arguments[0] is not Any else None
