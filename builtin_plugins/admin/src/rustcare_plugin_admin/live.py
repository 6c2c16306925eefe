"""`GET /admin/v1/events`: where the events come from, and the stream of them."""

from __future__ import annotations

import asyncio

from rustcare_sdk import route, subscribe
from rustcare_sdk.contracts.http import CHANGED, HttpRequest, HttpResponse, RoutesChanged
from rustcare_sdk.contracts.plugin import ACCOUNTING, STATE, AccountingReply, AccountingRequest, PluginState
from rustcare_sdk.errors import InvalidPayload, RustCareError
from rustcare_sdk.message import Message

from .base import Base
from .errors import PROBLEMS
from .events import KINDS, Counts, Events, differences

__all__ = ["EventRoute"]


class EventRoute(Base):
    """The stream, and what feeds it."""

    events: Events
    heartbeat: float
    longest: float
    period: float

    @subscribe(STATE, queue=1000, overflow="drop-oldest")
    async def state_changed(self, message: Message[PluginState]) -> None:
        """A plugin went from one state to another."""
        state = message.data
        self.events.put(
            {
                "kind": "state",
                "time": message.time,
                "plugin": state.plugin,
                "version": state.version,
                "from": state.from_state,
                "to": state.to_state,
                "reason": state.reason,
            }
        )

    @subscribe(CHANGED, queue=1000, overflow="drop-oldest")
    async def routes_changed(self, message: Message[RoutesChanged]) -> None:
        """Routes came or went."""
        told = message.data
        self.events.put({"kind": "routes", "time": message.time, "plugin": told.plugin, "revision": told.revision})

    async def read_accounting(self) -> None:
        """Tell what was used meanwhile, while somebody listens."""
        before: Counts | None = None
        while True:
            await asyncio.sleep(self.period)
            if not self.events.listeners:
                before = None
                continue
            try:
                now = await self._counts()
            except RustCareError as error:
                self.ctx.log.warning("the accounting could not be read", code=error.code)
                continue
            if before is not None and (rows := differences(before, now)):
                self.events.put({"kind": "accounting", "time": self.time(), "rows": rows})
            before = now

    async def _counts(self) -> Counts:
        found = await self.ctx.request(ACCOUNTING, AccountingRequest(), type=AccountingReply)
        counts: Counts = {}
        for row in found.rows:
            if row.plugin == self.ctx.plugin.id:
                continue  # else reading would be what is told next
            calls, errors, wall = counts.get((row.plugin, row.capability), (0, 0, 0.0))
            counts[row.plugin, row.capability] = (calls + row.calls, errors + row.errors, wall + row.wall_s)
        return counts

    @route(
        "GET",
        "/admin/v1/events",
        scope="admin.read",
        aal=2,
        tenant="system",
        limit="read",
        query=("kinds", "plugin", "last"),
        problems=PROBLEMS,
        summary="What happens, as server-sent events",
    )
    async def watch(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """States of plugins, routes and uses of capabilities as they change. `kinds` (with commas) and `plugin` narrow them.

        `Last-Event-ID`, or `last`, goes on behind an event. A stream ends after a while, so that a caller who lost the right
        loses the stream too; clients of server-sent events connect again by themselves.
        """
        request = message.data
        kinds = [kind for kind in request.argument("kinds").split(",") if kind] or list(KINDS)
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise InvalidPayload(
                f"expected kinds of {', '.join(KINDS)}, got {', '.join(unknown)[:100]}", address="query.kinds"
            )
        last = request.headers.get("last-event-id") or request.argument("last")
        stream = self.events.stream(
            last, kinds=kinds, plugin=request.argument("plugin"), heartbeat=self.heartbeat, longest=self.longest
        )
        return HttpResponse(
            200,
            stream=stream,
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
