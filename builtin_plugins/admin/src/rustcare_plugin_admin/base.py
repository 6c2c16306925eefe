"""What all routes share: a command in the caller's name, and whether a plugin is still as the caller saw it.

The routes are answered in each process that accepts connections. Commands, uploads and events are of the whole, so they are
services which the primary process alone answers (`central`); their messages are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rustcare_sdk import Plugin
from rustcare_sdk.contracts.http import HttpRequest
from rustcare_sdk.contracts.plugin import PLUGINS, PluginRow, PluginsReply, PluginsRequest

from .errors import Changed

__all__ = [
    "COMMAND",
    "EVENTS",
    "UPLOAD",
    "Base",
    "Command",
    "CommandReply",
    "UploadReply",
    "UploadRequest",
    "etag",
]

#: Service: a method of the control API in the caller's name (`Command` → `CommandReply`).
COMMAND = "admin.command"
#: Service: inspect and keep a package (`UploadRequest` → `UploadReply`).
UPLOAD = "admin.upload"
#: Service: the latest events (`EventsRequest` → `EventsReply`).
EVENTS = "admin.events"


@dataclass(frozen=True)
class Command:
    """A method of the control API with its parameters; a `source` may be an upload."""

    method: str
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CommandReply:
    """What the method answers, as plain data."""

    result: Any = None


@dataclass(frozen=True)
class UploadRequest:
    """A package's bytes."""

    data: bytes = field(repr=False)


@dataclass(frozen=True)
class UploadReply:
    """What the package is and asks for; how it is named until `expires` (Unix seconds)."""

    inspection: dict[str, Any]
    source: str
    expires: float


def etag(row: PluginRow) -> str:
    """What `If-Match` compares: which package is installed, how it runs, and whether it shall."""
    return f'"{row.digest}.{row.runtime}.{"enabled" if row.enabled else "disabled"}"'


class Base(Plugin):
    """The parts that all routes share."""

    def time(self) -> float:
        """Unix seconds."""
        return self.ctx.now().timestamp()

    async def control(
        self, method: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Call a method of the control API in the name of whoever is being answered; its result as plain data.

        Parameters that are None are left out. Raises what the method refuses with, and what `CentralServices.command` does.
        """
        given = {key: value for key, value in (params or {}).items() if value is not None}
        reply = await self.ctx.request(COMMAND, Command(method, given), timeout=timeout, type=CommandReply)
        return reply.result

    async def unchanged(self, request: HttpRequest[Any], plugin: str) -> None:
        """Raise Changed unless the plugin is as `If-Match` says, when it says something (RFC 9110, section 13.1.1)."""
        wanted = request.headers.get("if-match", "")
        if not wanted or wanted.strip() == "*":
            return
        found = await self.ctx.request(PLUGINS, PluginsRequest(plugin), type=PluginsReply)
        if found.plugins and etag(found.plugins[0]) not in [item.strip() for item in wanted.split(",")]:
            raise Changed(
                "the plugin is not as it was when you looked",
                hint="read it again, and decide again",
                address="If-Match",
            )
