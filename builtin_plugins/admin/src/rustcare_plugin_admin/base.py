"""What all routes share: asking the kernel in the caller's name, and what cannot be asked through this door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rustcare_sdk import Plugin
from rustcare_sdk.contracts.http import HttpRequest
from rustcare_sdk.contracts.plugin import (
    CONTROL,
    PLUGINS,
    ControlReply,
    ControlRequest,
    PluginRow,
    PluginsReply,
    PluginsRequest,
)
from rustcare_sdk.message import Message

from .errors import Changed, NotFromHere, SourceRefused
from .uploads import PREFIX, Uploads

__all__ = ["Base", "etag"]

GATEWAY = "rustcare.gateway"
#: These end or replace the plugin they name, and wait until it has finished what it has.
ENDING = frozenset(
    f"plugin.{word}" for word in ("configure", "disable", "enable", "remove", "restart", "rollback", "upgrade")
)
PACKAGES = frozenset({"plugin.inspect", "plugin.install", "plugin.upgrade"})


def etag(row: PluginRow) -> str:
    """What `If-Match` compares: which package is installed, how it runs, and whether it shall."""
    return f'"{row.digest}.{row.runtime}.{"enabled" if row.enabled else "disabled"}"'


class Base(Plugin):
    """The parts that all routes share."""

    uploads: Uploads
    any_source: bool

    def time(self) -> float:
        """Unix seconds."""
        return self.ctx.now().timestamp()

    async def control(
        self,
        message: Message[Any],
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call a method of the control API in the caller's name; its result as plain data.

        A `source` that is an upload is replaced by its bytes. Raises what the method refuses with, and SourceRefused,
        UploadUnknown, NotFromHere.
        """
        given = {key: value for key, value in (params or {}).items() if value is not None}
        package = b""
        upload = ""
        if method in ENDING:
            self._not_on_itself(method, given.get("id"))
        if method in PACKAGES:
            source = str(given.get("source", ""))
            if source.startswith(PREFIX):
                upload = source
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
        reply = await self.ctx.request(
            CONTROL, ControlRequest(method, given, package), timeout=timeout, type=ControlReply
        )
        if upload and method != "plugin.inspect":
            self.uploads.drop(upload)
        return reply.result

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

    async def row(self, plugin: str) -> PluginRow | None:
        """A plugin as it stands, without asking in anybody's name."""
        found = await self.ctx.request(PLUGINS, PluginsRequest(plugin), type=PluginsReply)
        return found.plugins[0] if found.plugins else None

    async def unchanged(self, request: HttpRequest[Any], plugin: str) -> None:
        """Raise Changed unless the plugin is as `If-Match` says, when it says something (RFC 9110, section 13.1.1)."""
        wanted = request.headers.get("if-match", "")
        if not wanted or wanted.strip() == "*":
            return
        row = await self.row(plugin)
        if row is not None and etag(row) not in [item.strip() for item in wanted.split(",")]:
            raise Changed(
                "the plugin is not as it was when you looked",
                hint="read it again, and decide again",
                address="If-Match",
            )
