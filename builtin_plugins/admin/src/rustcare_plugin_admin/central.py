"""What is kept in one place for all processes: uploads, and the latest events; and commands, which concern uploads.

The routes, which are answered in every process, ask these services, and the primary alone answers. Nobody else may ask: each
would be a way around what the routes demand of their callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from rustcare_sdk import serve, subscribe
from rustcare_sdk.contracts.http import CHANGED, RoutesChanged
from rustcare_sdk.contracts.plugin import (
    ACCOUNTING,
    CONTROL,
    PLUGINS,
    STATE,
    AccountingReply,
    AccountingRequest,
    ControlReply,
    ControlRequest,
    PluginsReply,
    PluginsRequest,
    PluginState,
)
from rustcare_sdk.errors import CapabilityDenied, RustCareError
from rustcare_sdk.message import Message

from .base import COMMAND, EVENTS, UPLOAD, Base, Command, CommandReply, UploadReply, UploadRequest, etag
from .errors import Changed, NotFromHere, SourceRefused
from .events import WAIT, Counts, Events, EventsReply, EventsRequest, differences
from .uploads import PREFIX, Uploads

__all__ = ["CentralServices"]

GATEWAY = "rustcare.gateway"
#: These end or replace the plugin they name, and wait until it has finished what it has.
ENDING = frozenset(
    f"plugin.{word}" for word in ("configure", "disable", "enable", "remove", "restart", "rollback", "upgrade")
)
PACKAGES = frozenset({"plugin.inspect", "plugin.install", "plugin.upgrade"})


class CentralServices(Base):
    """Commands, uploads and events."""

    any_source: bool
    turn: asyncio.Lock
    inspecting: asyncio.Lock
    uploads: Uploads
    events: Events
    period: float
    _asked: float = float("-inf")

    def _only_itself(self, message: Message[Any]) -> None:
        if message.source != self.ctx.plugin.id:
            raise CapabilityDenied(
                f"{message.subject} is asked by {self.ctx.plugin.id} alone, got {message.source or 'nobody'}",
                hint="use the routes under /admin/v1, or the control socket",
                address=message.subject,
            )

    # commands

    @serve(COMMAND)
    async def command(self, message: Message[Command]) -> CommandReply:
        """Call a method of the control API in the caller's name. A `source` that is an upload is replaced by its bytes.

        Raises:
            SourceRefused, UploadUnknown: the package is not one that a caller from elsewhere may name.
            NotFromHere: it would end what carries the request.
            Changed: the plugin is not as the caller saw it.
        """
        self._only_itself(message)
        if message.data.method not in ENDING:  # a right is taken at once, whatever else goes on
            return await self._looked(message)
        async with self.turn:  # one after the other: nothing comes between looking and doing
            return await self._looked(message)

    async def _unchanged(self, command: Command) -> None:
        if command.match in ("", "*"):
            return
        found = await self.ctx.request(PLUGINS, PluginsRequest(command.of), type=PluginsReply)
        if found.plugins and etag(found.plugins[0]) not in [item.strip() for item in command.match.split(",")]:
            raise Changed(
                "the plugin is not as it was when you looked",
                hint="read it again, and decide again",
                address="If-Match",
            )

    async def _looked(self, message: Message[Command]) -> CommandReply:
        await self._unchanged(message.data)
        method, given = message.data.method, dict(message.data.params)
        if method in ENDING:
            self._not_on_itself(method, given.get("id"))
        source, package = "", b""
        if method in PACKAGES:
            source = str(given.get("source", ""))
            if source.startswith(PREFIX):
                package = self.uploads.get(message.principal, source)
                del given["source"]
            elif not source.startswith("installed:") and not self.any_source:
                raise SourceRefused(
                    "expected an upload or installed:NAME, got something else",
                    hint="upload the package, or allow paths in the configuration of rustcare.admin (any_source)",
                    address="source",
                )
        if method == "plugin.upgrade":
            await self._not_an_upgrade_of_itself(given, package)
        reply = await self.ctx.request(CONTROL, ControlRequest(method, given, package), type=ControlReply)
        if package and method != "plugin.inspect":
            self.uploads.drop(source)
        return CommandReply(reply.result)

    def _not_on_itself(self, method: str, plugin: Any) -> None:
        """What answers this request would have to wait for the request to end, and the request for it."""
        if plugin in (GATEWAY, self.ctx.plugin.id):
            raise NotFromHere(
                f"{plugin} is what carries this request, so {method} would wait for itself",
                hint="do it on the machine: rustcare plugin … --data DIR",
                address="id",
            )

    async def _not_an_upgrade_of_itself(self, given: Mapping[str, Any], package: bytes) -> None:
        asked = {"source": given["source"]} if "source" in given else {}
        found = await self.ctx.request(CONTROL, ControlRequest("plugin.inspect", asked, package), type=ControlReply)
        self._not_on_itself("plugin.upgrade", found.result["id"])

    @serve(UPLOAD)
    async def keep_upload(self, message: Message[UploadRequest]) -> UploadReply:
        """Inspect a package, and keep it for the caller when it is one. Raises InvalidUpload, UploadsFull."""
        self._only_itself(message)
        data = message.data.data
        Uploads.check(data)
        async with self.inspecting:  # one at a time: what is small here may be large when it is unpacked
            self.uploads.check_room(len(data))
            found = await self.ctx.request(CONTROL, ControlRequest("plugin.inspect", {}, data), type=ControlReply)
            return UploadReply(found.result, *self.uploads.put(message.principal, data))

    # events

    @serve(EVENTS)
    async def look_for_events(self, message: Message[EventsRequest]) -> EventsReply:
        """The events behind an id, as soon as there is one."""
        self._only_itself(message)
        self._asked = asyncio.get_running_loop().time()
        return await self.events.look(message.data)

    def watched(self) -> bool:
        """Whether somebody has looked for events lately."""
        return asyncio.get_running_loop().time() - self._asked < 2 * WAIT + self.period

    @subscribe(STATE, queue=1000, overflow="drop-oldest")
    async def state_changed(self, message: Message[PluginState]) -> None:
        """A plugin went from one state to another."""
        state = message.data
        self.events.put(
            {
                "kind": "state",
                "time": message.time,
                "plugin": state.plugin,
                "version": state.version,
                "from": state.from_state,
                "to": state.to_state,
                "reason": state.reason,
            }
        )

    @subscribe(CHANGED, queue=1000, overflow="drop-oldest")
    async def routes_changed(self, message: Message[RoutesChanged]) -> None:
        """Routes came or went."""
        told = message.data
        self.events.put({"kind": "routes", "time": message.time, "plugin": told.plugin, "revision": told.revision})

    async def read_accounting(self) -> None:
        """Tell what was used meanwhile, while somebody looks."""
        before: Counts | None = None
        while True:
            await asyncio.sleep(self.period)
            if not self.watched():
                before = None
                continue
            try:
                now = await self._counts()
            except RustCareError as error:
                self.ctx.log.warning("the accounting could not be read", code=error.code)
                continue
            if before is not None and (rows := differences(before, now)):
                self.events.put({"kind": "accounting", "time": self.time(), "rows": rows})
            before = now

    async def _counts(self) -> Counts:
        found = await self.ctx.request(ACCOUNTING, AccountingRequest(), type=AccountingReply)
        counts: Counts = {}
        for row in found.rows:
            if row.plugin == self.ctx.plugin.id:
                continue  # else reading would be what is told next
            calls, errors, wall = counts.get((row.plugin, row.capability), (0, 0, 0.0))
            counts[row.plugin, row.capability] = (calls + row.calls, errors + row.errors, wall + row.wall_s)
        return counts
