"""Devices over HTTP (RFC 8628): where one asks, and where it asks again until somebody has approved it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rustcare_sdk import Message, RustCareError, route
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse

from rustcare_plugin_identity.sessions.errors import ScopeInvalid
from rustcare_plugin_identity.tokens.errors import AudienceInvalid, RefreshRefused, RefreshReused, ScopeNotHeld
from rustcare_plugin_identity.tokens.routes import TokenRoutes, oauth_error, oauth_tokens

from .errors import DeviceBusy, DeviceCodeUnknown, DeviceDenied, DeviceExpired, DevicePending, DeviceTooFast

__all__ = ["DeviceRoutes"]

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
#: The page on which codes are typed.
_PAGE = "/device"


@dataclass(frozen=True)
class DeviceBody:
    """RFC 8628, section 3.1. `client_id` is what the page shows; devices are not registered."""

    client_id: str = "device"
    scope: str = ""
    audience: str = ""


@dataclass(frozen=True)
class DeviceTokenBody:
    """RFC 8628, section 3.4, or RFC 6749, section 6."""

    grant_type: str = _GRANT
    device_code: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    scope: str = ""
    client_id: str = ""


class DeviceRoutes(TokenRoutes):
    """`/identity/v1/device`."""

    @route(
        "POST",
        "/identity/v1/device",
        public=True,
        limit="login",
        summary="Ask to sign a device in: a code for it, and one for its user (RFC 8628)",
        problems={ScopeInvalid.code: 400, AudienceInvalid.code: 400, DeviceBusy.code: 429},
        produces=("application/json",),
    )
    async def http_device(self, message: Message[HttpRequest[DeviceBody]]) -> HttpResponse:
        """Codes that are worth nothing before somebody approves."""
        asked, request = message.data.content, message.data
        wanted = identity.DeviceBeginRequest(asked.client_id, asked.scope.split(), asked.audience, request.address)
        try:
            made = await self.ctx.request(identity.DEVICE_BEGIN, wanted, type=identity.DeviceBeginReply)
        except RustCareError as error:
            return oauth_error(error)
        page = f"{request.base}{request.prefix}{_PAGE}"
        content: dict[str, Any] = {
            "device_code": made.device_code,
            "user_code": made.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?code={made.user_code}",
            "expires_in": made.expires_in,
            "interval": made.interval,
        }
        return HttpResponse(200, content=content, headers={"cache-control": "no-store"})

    @route(
        "POST",
        "/identity/v1/device/token",
        public=True,
        limit="write",
        summary="The tokens of a device, once its user has approved it; the next ones for a refresh token",
        problems={
            error.code: 400
            for error in (
                DevicePending,
                DeviceTooFast,
                DeviceDenied,
                DeviceExpired,
                DeviceCodeUnknown,
                RefreshRefused,
                RefreshReused,
                ScopeNotHeld,
                ScopeInvalid,
            )
        },
        produces=("application/json",),
    )
    async def http_device_token(self, message: Message[HttpRequest[DeviceTokenBody]]) -> HttpResponse:
        """Either grant; another is `unsupported_grant_type`."""
        asked = message.data.content
        if asked.grant_type == "refresh_token":
            return await self.refreshed(asked.refresh_token, asked.scope)
        if asked.grant_type != _GRANT:
            content = {"error": "unsupported_grant_type", "error_description": f"expected {_GRANT} or refresh_token"}
            return HttpResponse(400, content=content, headers={"cache-control": "no-store"})
        wanted = identity.DeviceTokenRequest(asked.device_code)
        try:
            await self.devices.poll(message.tenant, asked.device_code)  # most find nothing, and need not be on record
            return oauth_tokens(await self.ctx.request(identity.TOKEN_DEVICE, wanted, type=identity.TokenReply))
        except RustCareError as error:
            return oauth_error(error)
