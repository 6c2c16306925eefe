"""The kernel itself, packages that come to be installed, and who the caller is."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.message import Message

from .base import UPLOAD, Base, UploadReply, UploadRequest
from .errors import PROBLEMS
from .shapes import CapabilityRow, Inspection, SourceBody, SystemStatus, WhoAmI, WorkerRow, filled

__all__ = ["MAX_PACKAGE", "SystemRoutes"]

#: In base64 it must fit into one message between two processes.
MAX_PACKAGE = 32 * 1024 * 1024


class SystemRoutes(Base):
    """`/admin/v1/status`, `/admin/v1/packages`, `/admin/v1/whoami`."""

    @route(
        "GET",
        "/admin/v1/status",
        scope="admin.read",
        aal=2,
        tenant="system",
        limit="read",
        problems=PROBLEMS,
        summary="The kernel",
    )
    async def status(self, message: Message[HttpRequest[None]]) -> SystemStatus:
        """The kernel: version, memory, plugins by state, services, worker processes."""
        found = await self.control("system.status")
        return filled(SystemStatus, found, workers=[filled(WorkerRow, row) for row in found.get("workers", ())])

    @route(
        "POST",
        "/admin/v1/packages",
        scope="admin.plugins",
        aal=2,
        tenant="system",
        limit="write",
        status=201,
        max_body=MAX_PACKAGE,
        timeout=120.0,
        media_types=("application/octet-stream",),
        problems=PROBLEMS,
        summary="Upload a package",
    )
    async def upload(self, message: Message[HttpRequest[Any]]) -> Inspection:
        """Upload a package: a tar of an OCI layout, or a wheel. The answer says how to name it, and what it asks for."""
        asked = UploadRequest(message.data.body)
        found = await self.ctx.request(UPLOAD, asked, timeout=120.0, type=UploadReply)
        return _inspection(found.inspection, found.source, found.expires)

    @route(
        "POST",
        "/admin/v1/packages/inspect",
        scope="admin.plugins",
        aal=2,
        tenant="system",
        limit="write",
        timeout=120.0,
        problems=PROBLEMS,
        summary="What installing a package would mean",
    )
    async def inspect(self, message: Message[HttpRequest[SourceBody]]) -> Inspection:
        """What a package is and asks for, compared with what is installed. Nothing is changed."""
        source = message.data.content.source
        return _inspection(await self.control("plugin.inspect", {"source": source}), source)

    @route(
        "GET",
        "/admin/v1/whoami",
        aal=0,
        tenant="optional",
        limit="none",
        summary="Whom the server takes the caller for",
    )
    async def whoami(self, message: Message[HttpRequest[None]]) -> WhoAmI | HttpResponse:
        """Whom the front door takes the caller for."""
        caller = message.data.caller
        content = WhoAmI(
            caller.principal, caller.tenant, caller.kind, caller.name, caller.aal, list(caller.scopes),
            list(caller.roles), caller.session, caller.authenticated, caller.on_behalf, caller.purpose,
        )  # fmt: skip
        return HttpResponse(200, content, headers={"cache-control": "no-store"})


def _inspection(found: dict[str, Any], source: str, expires: float = 0.0) -> Inspection:
    rows = [filled(CapabilityRow, row) for row in found["capabilities"]]
    return filled(Inspection, found, source=source, expires=expires, capabilities=rows)
