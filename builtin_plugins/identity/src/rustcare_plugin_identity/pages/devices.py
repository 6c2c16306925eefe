"""A program or device that asks to be signed in (RFC 8628): its user types its code here, compares, and says yes or no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from .base import PageServices, page_route, says, status_of

__all__ = ["DevicePages", "VerdictForm"]


@dataclass(frozen=True)
class VerdictForm:
    """Which device, and whether it may."""

    code: str = ""
    verdict: str = ""


class DevicePages(PageServices):
    """Approve or refuse a device."""

    @page_route("GET", "/device", limit="login", query=("code",))
    async def device_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for the code, or what waits under it."""
        return await self._device(message.data, message.data.argument("code"))

    async def _device(self, request: HttpRequest[Any], code: str, error: RustCareError | None = None) -> HttpResponse:
        asked: dict[str, Any] | None = None
        if code.strip() and error is None:
            try:
                found = await self.ask(identity.DEVICE_SHOW, identity.DeviceShowRequest(code[:32]), identity.DeviceInfo)
                asked = {
                    "code": found.user_code,
                    "rows": [
                        ("Device", found.client or "Unknown"),
                        ("Asks from", found.address or "Unknown"),
                        ("May do", ", ".join(found.scopes) or "everything that you may do"),
                        *([("At", found.audience)] if found.audience else []),
                    ],
                }
            except RustCareError as refused:
                error = refused
        errors = {} if error is None else {"code" if asked is None else "": says(error)}
        status = 200 if error is None else status_of(error)
        shown = {"asked": asked, "code": code[:32], "errors": errors}
        return self.page(request, "device.html", "Connect a device", status, **shown)

    @page_route("POST", "/device", limit="login")
    async def device_send(self, message: Message[HttpRequest[VerdictForm]]) -> HttpResponse:
        """Say yes or no."""
        request, form = message.data, message.data.content
        approve = form.verdict == "approve"
        asked = identity.DeviceApproveRequest(form.code, request.caller.session, approve)
        try:
            await self.ask(identity.DEVICE_APPROVE, asked, identity.DeviceInfo)
        except RustCareError as error:
            return await self._device(request, form.code, error)
        if approve:
            return self.message_page(
                request,
                "The device is connected",
                "Go back to it. You can close this page.",
                links=(("/account", "Account security"),),
            )
        return self.message_page(
            request,
            "The device was refused",
            "If you did not begin this, somebody else did: change your password.",
            links=(("/account", "Account security"),),
        )
