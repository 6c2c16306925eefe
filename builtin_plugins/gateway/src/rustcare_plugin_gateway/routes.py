"""The routes that are answered now: those of plugins, as the kernel lists them, and the gateway's own.

The list is asked for anew whenever the kernel says that it changed; in between nothing is asked. Its own routes come first,
so that no plugin can stand in for `/livez` or `/auth/check`, nor for anything below the latter, where proxies ask about paths.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from rustcare_sdk.contracts.http import ROUTES, HttpRequest, HttpResponse, RouteRow, RoutesReply, RoutesRequest

from .metrics import Counters, RouteStats
from .router import Router

if TYPE_CHECKING:
    from .visit import Visit

__all__ = ["Answer", "Entry", "RouteTable"]

#: How a route of the gateway's own answers.
Answer = Callable[["Visit", HttpRequest[Any]], Awaitable[HttpResponse]]


class Entry:
    """A route as the hot path needs it. `quiet`: neither recorded nor counted among requests that count for limits."""

    __slots__ = (
        "aal",
        "answer",
        "browser",
        "cookies",
        "forwarded",
        "fresh",
        "limit",
        "max_body",
        "media_types",
        "method",
        "optional",
        "path",
        "problems",
        "public",
        "quiet",
        "row",
        "sandboxed",
        "scope",
        "service",
        "stats",
        "strict",
        "tenant",
        "timeout",
    )

    def __init__(
        self,
        row: RouteRow,
        stats: RouteStats,
        timeout: float,
        answer: Answer | None = None,
        *,
        quiet: bool = False,
        forwarded: bool = False,
    ) -> None:
        self.row = row
        self.service = row.service
        self.method = row.method
        self.path = row.path
        self.scope = row.scope
        self.public = row.public
        self.aal = row.aal
        self.fresh = row.fresh
        self.tenant = row.tenant
        self.optional = row.tenant == "optional"
        self.limit = row.limit
        self.max_body = row.max_body
        self.timeout = row.timeout or timeout
        self.cookies = row.cookies
        self.browser = row.browser
        self.problems = row.problems
        self.media_types = frozenset(item.lower() for item in row.media_types)
        self.strict = bool(row.fresh) or row.tenant == "system"
        self.sandboxed = row.sandboxed
        self.stats = stats
        self.answer = answer
        self.quiet = quiet
        self.forwarded = forwarded  # it asks about a request that is described in its header fields


class RouteTable:
    """The routes, and the router made of them.

    Args:
        request: `ctx.request`.
        timeout: seconds of routes that say none.
    """

    def __init__(self, request: Callable[..., Awaitable[Any]], counters: Counters, timeout: float) -> None:
        self._request = request
        self._counters = counters
        self._timeout = timeout
        self._own: list[Entry] = []
        self._loading = asyncio.Lock()
        self.revision = -1
        self.rows: list[RouteRow] = []
        self.shadowed: list[RouteRow] = []  # routes of plugins that are the gateway's to answer
        self.router: Router[Entry] = Router(())

    def add(self, row: RouteRow, answer: Answer, *, quiet: bool = False, forwarded: bool = False) -> None:
        """A route of the gateway's own. It is there from the next `load` on."""
        stats = self._counters.of(row.method, row.path)
        self._own.append(Entry(row, stats, self._timeout, answer, quiet=quiet, forwarded=forwarded))

    async def load(self, revision: int = 0) -> None:
        """Ask for the list, unless what is here is of that revision or a later one."""
        async with self._loading:
            if revision and revision <= self.revision:
                return
            reply: RoutesReply = await self._request(ROUTES, RoutesRequest(), type=RoutesReply)
            self.put(reply.routes)
            self.revision = reply.revision

    def put(self, rows: Iterable[RouteRow]) -> None:
        """These are the routes of plugins from now on. Requests that are under way keep what they have."""
        mine = tuple(entry.path.partition("{")[0] for entry in self._own if entry.forwarded and "{" in entry.path)
        rows = list(rows)
        self.shadowed = [row for row in rows if mine and row.path.startswith(mine)]
        self.rows = [row for row in rows if row not in self.shadowed]
        plugins = [Entry(row, self._counters.of(row.method, row.path), self._timeout) for row in self.rows]
        self.router = Router([*self._own, *plugins])

    @property
    def described(self) -> list[RouteRow]:
        """The rows of all routes, by path and method."""
        return sorted([*(entry.row for entry in self._own), *self.rows], key=lambda row: (row.path, row.method))
