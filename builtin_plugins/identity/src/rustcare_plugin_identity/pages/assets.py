"""Style sheet, scripts and icon of the pages: public, and kept by browsers for an hour."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import Any

from rustcare_sdk import Message, route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse

from .base import PageServices

__all__ = ["AssetRoutes"]

_TYPES = {
    "identity.css": "text/css; charset=utf-8",
    "forms.js": "text/javascript; charset=utf-8",
    "passkey.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class AssetRoutes(PageServices):
    """Files that pages load."""

    @route("GET", "/identity/assets/{name}", public=True, tenant="optional", hidden=True, limit="none")
    async def asset(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """One of them, or 404."""
        request: HttpRequest[Any] = message.data
        name = request.params["name"]
        if name not in _TYPES:
            return HttpResponse(404, text="There is no such file.\n")
        data = files(__package__).joinpath("static", name).read_bytes()
        tag = f'"{sha256(data).hexdigest()[:32]}"'
        headers = {"etag": tag, "cache-control": "public, max-age=3600", "x-content-type-options": "nosniff"}
        if request.headers.get("if-none-match") == tag:
            return HttpResponse(304, headers=headers)
        return HttpResponse(body=data, media_type=_TYPES[name], headers=headers)
