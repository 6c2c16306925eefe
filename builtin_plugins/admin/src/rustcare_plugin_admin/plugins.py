"""Plugins over HTTP: what is installed, what it may do and did, and changing both."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.contracts.plugin import PluginRow
from rustcare_sdk.errors import InvalidPayload
from rustcare_sdk.message import Message

from .base import Base, etag
from .errors import PROBLEMS
from .shapes import (
    AccountingList,
    CapabilityUse,
    Configuration,
    GrantBody,
    InstallBody,
    LogLines,
    PluginCapabilities,
    PluginDetails,
    PluginList,
    PluginStatus,
    Removed,
    UpgradeBody,
    UseRow,
    filled,
)

__all__ = ["PluginRoutes"]

READ: dict[str, Any] = {"scope": "admin.read", "aal": 2, "tenant": "system", "limit": "read", "problems": PROBLEMS}
CHANGE: dict[str, Any] = {
    "scope": "admin.plugins",
    "aal": 2,
    "tenant": "system",
    "limit": "write",
    "problems": PROBLEMS,
    "timeout": 120.0,
}
#: Installing compiles.
INSTALL = {**CHANGE, "timeout": 900.0}


class PluginRoutes(Base):
    """`/admin/v1/plugins` and what is below it."""

    @route("GET", "/admin/v1/plugins", summary="All installed plugins", **READ)
    async def list_plugins(self, message: Message[HttpRequest[None]]) -> PluginList:
        """All installed plugins, by id."""
        return PluginList([filled(PluginStatus, item) for item in await self.control("plugin.list")])

    @route("GET", "/admin/v1/plugins/{id}", summary="One plugin", **READ)
    async def info(self, message: Message[HttpRequest[None]]) -> PluginDetails | HttpResponse:
        """One plugin, with an `ETag` for `If-Match`."""
        found = await self.control("plugin.info", {"id": message.data.params["id"]})
        details = filled(
            PluginDetails,
            found,
            capabilities=_capabilities(found["capabilities"]),
            accounting=[filled(UseRow, row) for row in found["accounting"]],
        )
        return _tagged(details, details)

    @route("GET", "/admin/v1/plugins/{id}/capabilities", summary="What a plugin may do, and did", **READ)
    async def capabilities(self, message: Message[HttpRequest[None]]) -> PluginCapabilities:
        """What a plugin asks for, why, whether it holds it, and how often it used it."""
        found = await self.control("plugin.caps", {"id": message.data.params["id"]})
        return filled(PluginCapabilities, found, capabilities=_capabilities(found["capabilities"]))

    @route(
        "GET",
        "/admin/v1/plugins/{id}/logs",
        query=("tail",),
        summary="The last lines of a plugin's log",
        **READ,
    )
    async def logs(self, message: Message[HttpRequest[None]]) -> LogLines:
        """`tail`: how many lines, 100 if it is not said."""
        tail = _number(message.data, "tail", 100, 10_000)
        return LogLines(await self.control("plugin.logs", {"id": message.data.params["id"], "tail": max(1, tail)}))

    @route("GET", "/admin/v1/accounting", query=("plugin",), summary="What plugins used", **READ)
    async def accounting(self, message: Message[HttpRequest[None]]) -> AccountingList:
        """Of one plugin, or of all."""
        rows = await self.control("accounting.read", {"plugin": message.data.argument("plugin") or None})
        return AccountingList([filled(UseRow, row) for row in rows])

    # changing

    @route("POST", "/admin/v1/plugins", status=201, summary="Install a plugin", **INSTALL)
    async def install(self, message: Message[HttpRequest[InstallBody]]) -> PluginStatus | HttpResponse:
        """Install a package with the operator's consent to what was seen of it, and start it."""
        body: InstallBody = message.data.content
        found = await self.control(
            "plugin.install",
            {**_consented(body), "enable": body.enable},
            timeout=900.0,
        )
        return _status(found, 201)

    @route("POST", "/admin/v1/plugins/{id}/upgrade", summary="Replace a plugin while it runs", **INSTALL)
    async def upgrade(self, message: Message[HttpRequest[UpgradeBody]]) -> PluginStatus | HttpResponse:
        """Replace a plugin by another package of the same id, without losing a request."""
        plugin = message.data.params["id"]
        body: UpgradeBody = message.data.content
        seen = await self.change(message.data, plugin, "plugin.inspect", {"source": body.source}, 120.0)
        if seen["id"] != plugin:
            raise InvalidPayload(
                f"expected a package of {plugin[:100]}, got one of {seen['id']}", address="body.source"
            )
        return _status(await self.change(message.data, plugin, "plugin.upgrade", _consented(body), 900.0))

    @route("POST", "/admin/v1/plugins/{id}/rollback", summary="Go back to the version before", **CHANGE)
    async def rollback(self, message: Message[HttpRequest[None]]) -> PluginStatus | HttpResponse:
        """Go back to the version before, as it was consented to."""
        return await self._act(message, "plugin.rollback")

    @route("POST", "/admin/v1/plugins/{id}/enable", summary="Start a plugin", **CHANGE)
    async def enable(self, message: Message[HttpRequest[None]]) -> PluginStatus | HttpResponse:
        """Start a plugin, now and whenever the kernel starts."""
        return await self._act(message, "plugin.enable")

    @route("POST", "/admin/v1/plugins/{id}/disable", summary="Drain and stop a plugin", **CHANGE)
    async def disable(self, message: Message[HttpRequest[None]]) -> PluginStatus | HttpResponse:
        """Drain and stop a plugin; it stays installed."""
        return await self._act(message, "plugin.disable")

    @route("POST", "/admin/v1/plugins/{id}/restart", summary="Stop a plugin and start it again", **CHANGE)
    async def restart(self, message: Message[HttpRequest[None]]) -> PluginStatus | HttpResponse:
        """Stop a plugin and start it again."""
        return await self._act(message, "plugin.restart")

    @route("PUT", "/admin/v1/plugins/{id}/config", summary="Give a plugin another configuration", **CHANGE)
    async def configure(self, message: Message[HttpRequest[Configuration]]) -> PluginStatus | HttpResponse:
        """Give a plugin another configuration: all of it."""
        body: Configuration = message.data.content
        return await self._act(message, "plugin.configure", config=body.config)

    @route(
        "DELETE",
        "/admin/v1/plugins/{id}",
        query=("purge",),
        summary="Remove a plugin",
        **CHANGE,
    )
    async def remove(self, message: Message[HttpRequest[None]]) -> Removed:
        """Remove a plugin. Its data stays, unless `purge=true`."""
        plugin = message.data.params["id"]
        purge = _truth(message.data, "purge")
        params = {"id": plugin, "purge": purge}
        return filled(Removed, await self.change(message.data, plugin, "plugin.remove", params, 120.0))

    @route("POST", "/admin/v1/plugins/{id}/grants", summary="Grant or deny a capability", **CHANGE)
    async def grant(self, message: Message[HttpRequest[GrantBody]]) -> PluginStatus | HttpResponse:
        """Grant a capability to a plugin; with `deny`, deny it, which beats every grant."""
        body: GrantBody = message.data.content
        return await self._act(message, "plugin.grant", capability=body.capability, tenant=body.tenant, deny=body.deny)

    @route(
        "DELETE",
        "/admin/v1/plugins/{id}/grants",
        query=("capability", "tenant", "deny"),
        summary="Take a capability back",
        **CHANGE,
    )
    async def revoke(self, message: Message[HttpRequest[None]]) -> PluginStatus | HttpResponse:
        """Take a capability back, so that its next use fails; with `deny=true`, lift a denial."""
        request = message.data
        capability = request.argument("capability")
        if not capability:
            raise InvalidPayload("expected a capability, such as bus:publish@lab.*", address="query.capability")
        tenant = request.argument("tenant") or None
        return await self._act(
            message, "plugin.revoke", capability=capability, tenant=tenant, deny=_truth(request, "deny")
        )

    async def _act(self, message: Message[Any], method: str, **params: Any) -> PluginStatus | HttpResponse:
        plugin = message.data.params["id"]
        return _status(await self.change(message.data, plugin, method, {"id": plugin, **params}, 120.0))


def _consented(body: InstallBody | UpgradeBody) -> dict[str, Any]:
    return {
        "source": body.source,
        "digest": body.digest or "none",  # empty would mean any to the kernel; here it is always what was seen
        "consent": body.consent,
        "runtime": body.runtime,
        "config": body.config,
    }


def _capabilities(rows: list[dict[str, Any]]) -> list[CapabilityUse]:
    return [filled(CapabilityUse, row) for row in rows]


def _status(found: dict[str, Any], status: int = 200) -> HttpResponse:
    plugin = filled(PluginStatus, found)
    return _tagged(plugin, plugin, status)


def _tagged(content: Any, plugin: PluginStatus | PluginDetails, status: int = 200) -> HttpResponse:
    """The content with the plugin's `ETag`."""
    row = PluginRow(plugin.id, plugin.version, plugin.digest, plugin.runtime, plugin.state, plugin.enabled)
    return HttpResponse(status, content, headers={"etag": etag(row)})


def _number(request: HttpRequest[Any], name: str, default: int, most: int) -> int:
    text = request.argument(name)
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise InvalidPayload(f"expected a number, got {text[:20]!r}", address=f"query.{name}")
    return min(int(text), most)


def _truth(request: HttpRequest[Any], name: str) -> bool:
    text = request.argument(name, "false")
    if text not in ("true", "false"):
        raise InvalidPayload(f"expected true or false, got {text[:20]!r}", address=f"query.{name}")
    return text == "true"
