"""`GET /admin/v1/events`: the stream of what happens."""

from __future__ import annotations

from rustcare_sdk import route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import InvalidPayload
from rustcare_sdk.message import Message

from .base import EVENTS, Base
from .errors import PROBLEMS
from .events import KINDS, WAIT, EventsReply, EventsRequest, stream_of

__all__ = ["EventRoute"]


class EventRoute(Base):
    """The stream. What it tells is kept by the primary process; whoever reads may be anywhere."""

    heartbeat: float
    longest: float
    stopped = False

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
        kinds = [kind for kind in request.argument("kinds").split(",") if kind]
        if unknown := sorted(set(kinds) - set(KINDS)):
            raise InvalidPayload(
                f"expected kinds of {', '.join(KINDS)}, got {', '.join(unknown)[:100]}", address="query.kinds"
            )
        last = request.headers.get("last-event-id") or request.argument("last")
        stream = stream_of(
            self._look,
            EventsRequest(last, kinds, request.argument("plugin")),
            heartbeat=self.heartbeat,
            longest=self.longest,
            over=lambda: self.stopped,
        )
        return HttpResponse(
            200,
            stream=stream,
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _look(self, asked: EventsRequest) -> EventsReply:
        reply: EventsReply = await self.ctx.request(EVENTS, asked, timeout=WAIT + 10.0, type=EventsReply)
        return reply
