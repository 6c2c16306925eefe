"""Style sheet, scripts and icon of the pages, for everybody. Browsers keep them for good at the address that pages say."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Message, route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse

from .base import PageServices
from .static_files import TYPES, content_of, tag_of

__all__ = ["AssetRoutes"]


class AssetRoutes(PageServices):
    """Files that pages load."""

    @route("GET", "/identity/assets/{name}", public=True, tenant="optional", hidden=True, limit="none")
    async def asset(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """One of them, or 404."""
        request: HttpRequest[Any] = message.data
        name = request.params["name"]
        if name not in TYPES:
            return HttpResponse(404, text="There is no such file.\n")
        tag = tag_of(name)
        said = request.argument("v")
        keep = "public, max-age=31536000, immutable" if said == tag else "public, max-age=3600"
        if said and said != tag:
            # While one version of this plugin hands over to the next, a page of the one may load a file of the other: that is
            # not what belongs at this address.
            keep = "no-store"
        headers = {"etag": f'"{tag}"', "cache-control": keep, "x-content-type-options": "nosniff"}
        if request.headers.get("if-none-match") == f'"{tag}"':
            return HttpResponse(304, headers=headers)
        return HttpResponse(body=content_of(name), media_type=TYPES[name], headers=headers)
