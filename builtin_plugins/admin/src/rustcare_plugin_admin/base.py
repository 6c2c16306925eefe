"""What all routes share: a command in the caller's name, if need be only while a plugin is as the caller saw it.

The routes are answered in each process that accepts connections. Commands, uploads and events are of the whole, so they are
services which the primary process alone answers (`central`); their messages are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rustcare_sdk import Plugin
from rustcare_sdk.contracts.http import HttpRequest
from rustcare_sdk.contracts.plugin import PluginRow

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
    """A method of the control API with its parameters; a `source` may be an upload.

    `match`: what the caller's `If-Match` says of the plugin `of`, empty when it says nothing.
    """

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    match: str = ""
    of: str = ""


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
        return await self._command(Command(method, _given(params)), timeout)

    async def change(
        self, request: HttpRequest[Any], plugin: str, method: str, params: Mapping[str, Any], timeout: float
    ) -> Any:
        """As `control`, for a plugin that must be as the request's `If-Match` says (RFC 9110, section 13.1.1).

        Raises Changed when it is not.
        """
        match = request.headers.get("if-match", "").strip()
        return await self._command(Command(method, _given(params), match, plugin), timeout)

    async def _command(self, command: Command, timeout: float | None) -> Any:
        reply = await self.ctx.request(COMMAND, command, timeout=timeout, type=CommandReply)
        return reply.result


def _given(params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (params or {}).items() if value is not None}
