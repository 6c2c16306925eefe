"""Answers `/openapi.json` and `/docs`. The document is made when routes have changed, not for each request."""

from __future__ import annotations

import pkgutil
from typing import Any

import msgspec
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse

from rustcare_plugin_gateway.errors import NoRoute
from rustcare_plugin_gateway.routes import RouteTable
from rustcare_plugin_gateway.visit import Visit

from .document import document_of

__all__ = ["Description"]

FILES = {
    "": ("docs.html", "text/html; charset=utf-8"),
    "docs.css": ("docs.css", "text/css; charset=utf-8"),
    "docs.js": ("docs.js", "text/javascript; charset=utf-8"),
}


class Description:
    """The document of a table's routes.

    Args:
        version: of the product.
    """

    def __init__(self, table: RouteTable, version: str) -> None:
        self._table = table
        self._version = version
        self._made: tuple[int, bytes] = (-2, b"")
        self._files = {name: (_shipped(file), media) for name, (file, media) in FILES.items()}

    async def document(self, visit: Visit, request: HttpRequest[Any]) -> HttpResponse:
        """`/openapi.json`."""
        if self._made[0] != self._table.revision:
            document = document_of(self._table.described, self._version)
            self._made = (self._table.revision, msgspec.json.encode(document))
        # The origin is the client's to say: were the document made for each, asking under ever new names would be costly.
        servers = msgspec.json.encode([{"url": request.base + visit.prefix}])
        body = b'{"servers":' + servers + b"," + self._made[1][1:]
        return HttpResponse(body=body, media_type="application/json", headers={"cache-control": "no-cache"})

    async def page(self, visit: Visit, request: HttpRequest[Any]) -> HttpResponse:
        """`/docs` and its parts."""
        found = self._files.get(request.params.get("name", ""))
        if found is None:
            raise NoRoute("no plugin answers this path")
        body, media = found
        return HttpResponse(body=body, media_type=media, headers={"cache-control": "max-age=300"})


def _shipped(file: str) -> bytes:
    """A file beside this module, wherever the package was loaded from."""
    data = pkgutil.get_data(__package__ or "", file)
    if data is None:
        raise FileNotFoundError(file)
    return data
