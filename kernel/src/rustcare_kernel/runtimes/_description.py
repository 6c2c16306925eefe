"""What a guest says of itself: its handlers, the version of its state, which lifecycle functions it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.plugin import Handler, Overflow
from rustcare_sdk.routes import Route

from ._contract import InvalidCode

__all__ = ["Description", "describe"]


class _Handler(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["subscribe", "serve", "route"]
    subject: str = ""
    name: str = ""
    group: str = ""
    queue: int = 1024
    overflow: Overflow = "block"
    parallel: int = 1
    route: Route | None = None


class _Described(msgspec.Struct, rename="kebab"):
    handlers: list[_Handler]
    state_version: int = 1
    lifecycle: list[str] | None = None


@dataclass(frozen=True)
class Description:
    """What the kernel needs of it. `lifecycle` is None when the guest did not say."""

    handlers: tuple[Handler, ...] = ()
    state_version: int = 1
    lifecycle: frozenset[str] | None = None

    def index(self, handler: Handler) -> int:
        """The number under which the guest knows a handler."""
        return self.handlers.index(handler)


def describe(text: str | bytes, plugin: str, manifest: Manifest) -> Description:
    """Read a guest's `describe`.

    Raises:
        InvalidCode: it is not what the interface says, or disagrees with the manifest.
    """
    try:
        found = msgspec.json.decode(text, type=_Described)
    except (msgspec.DecodeError, msgspec.ValidationError, RustCareError) as error:
        raise InvalidCode(
            f"the guest of {plugin} describes itself in a way the kernel does not understand: {error}",
            hint="see guest.describe in sdk/wit/plugin.wit",
        ) from None
    wanted = manifest.lifecycle.state_version
    if found.state_version != wanted:
        raise InvalidCode(
            f"the code of {plugin} has state version {found.state_version}, its manifest says {wanted}",
            hint="make state_version of the plugin's class and of plugin.toml the same",
            address="plugin.toml:lifecycle.state_version",
        )
    for handler in found.handlers:
        if handler.kind == "route":
            if handler.route is None or not handler.name:
                raise InvalidCode(
                    f"the guest of {plugin} declares a route without its name, or without saying what it is",
                    hint="see guest.describe in sdk/wit/plugin.wit",
                )
            handler.subject = handler.route.use
        if not (handler.subject and 1 <= handler.queue <= 1_000_000 and 1 <= handler.parallel <= 10_000):
            raise InvalidCode(
                f"the guest of {plugin} declares a handler with an empty subject, or queue or parallel out of range"
            )
    return Description(
        tuple(
            Handler(
                each.kind, each.subject, each.name, each.group, each.queue, each.overflow, each.parallel, each.route
            )
            for each in found.handlers
        ),
        found.state_version,
        None if found.lifecycle is None else frozenset(found.lifecycle),
    )
