"""The gateway's own routes: is it alive, is it ready, what does it count, may this request pass, and the description of all."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Any

from rustcare_sdk.contracts.http import HttpRequest, HttpResponse, RouteRow

from . import metrics
from .errors import NoRoute
from .forward_auth import ForwardAuth
from .forwarded import PATH
from .metrics import Counters
from .openapi import Description
from .routes import RouteTable
from .visit import Visit

__all__ = ["OwnRoutes"]

PLUGIN = "rustcare.gateway"
STATUS = {"type": "object", "properties": {"ok": {"type": "boolean"}, "reason": {"type": "string"}}, "required": ["ok"]}
#: Methods of requests that a proxy asks about. OPTIONS is one of them: answered as elsewhere it would let everybody pass.
EVERY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class OwnRoutes:
    """Adds them to the table.

    Args:
        version: the plugin's.
        ready: why the gateway is not ready, empty when it is.
        gauges: what it measures now.
        metrics_for: who may read `/metrics`: `scope`, `loopback` or `off`.
        docs: whether the description is answered.
    """

    def __init__(
        self,
        version: str,
        counters: Counters,
        ready: Callable[[], str],
        gauges: Callable[[], Iterable[tuple[str, str, float]]],
        metrics_for: str,
        docs: bool,
    ) -> None:
        self._version = version
        self._counters = counters
        self._ready = ready
        self._gauges = gauges
        self._metrics_for = metrics_for
        self._docs = docs

    def add_to(self, table: RouteTable, forward: ForwardAuth, description: Description) -> None:
        """Add them; they are there from the next `load` on."""
        table.add(self._row("GET", "/livez", "Whether the gateway runs", answer=STATUS), self._livez, quiet=True)
        ready = self._row("GET", "/readyz", "Whether it can serve", answer=STATUS, problems={"not-ready": 503})
        table.add(ready, self._readyz, quiet=True)
        if self._metrics_for == "scope":
            counted = self._row("GET", "/metrics", "Counters (OpenMetrics)", public=False, scope="metrics.read")
            table.add(counted, self._metrics)
        elif self._metrics_for == "loopback":
            table.add(self._row("GET", "/metrics", "Counters (OpenMetrics)", hidden=True), self._metrics, quiet=True)
        for method in EVERY:
            for path in (PATH, PATH + "/{rest...}"):
                row = self._row(
                    method,
                    path,
                    "May a request pass that a proxy holds?",
                    hidden=path != PATH or method == "OPTIONS",
                    query=("scope", "aal", "limit"),
                    problems={"gateway.unauthenticated": 401, "gateway.scope": 403},
                )
                table.add(row, forward.check, forwarded=True)
        if self._docs:
            table.add(self._row("GET", "/openapi.json", "This description", limit="read"), description.document)
            for path, text in (("/docs", "This description as a page"), ("/docs/{name}", "Its parts")):
                table.add(self._row("GET", path, text, limit="read", hidden=True), description.page)

    def _row(self, method: str, path: str, summary: str, **more: Any) -> RouteRow:
        return RouteRow(
            "", PLUGIN, self._version, method, path,
            **{"public": True, "tenant": "optional", "limit": "none", "summary": summary, **more},
        )  # fmt: skip

    async def _livez(self, visit: Visit, request: HttpRequest[Any]) -> HttpResponse:
        return HttpResponse(content={"ok": True}, headers={"cache-control": "no-store"})

    async def _readyz(self, visit: Visit, request: HttpRequest[Any]) -> HttpResponse:
        reason = self._ready()
        headers = {"cache-control": "no-store"}
        if reason:
            return HttpResponse(503, {"ok": False, "reason": reason}, headers=headers)
        return HttpResponse(content={"ok": True}, headers=headers)

    async def _metrics(self, visit: Visit, request: HttpRequest[Any]) -> HttpResponse:
        if self._metrics_for == "loopback" and not _is_loopback(visit.address):
            raise NoRoute("no plugin answers this path")
        text = metrics.render(self._counters, self._gauges())
        return HttpResponse(text=text, media_type=metrics.CONTENT_TYPE, headers={"cache-control": "no-store"})


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
