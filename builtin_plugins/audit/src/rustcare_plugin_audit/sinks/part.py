"""`Sinks`: all sinks of a configuration, each a task of its own; and their service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.contracts import audit

from rustcare_plugin_audit.bundle import Trust

from . import fhir, lines, ocsf
from .cursors import Cursors
from .event import Event, Record
from .feed import Feed
from .settings import SinkSettings, read_sinks
from .source import Source
from .transport import FhirService, FileSink, HttpSink, SyslogSink, Transport

__all__ = ["Sending", "Sinks"]

_MAPPINGS: dict[str, Callable[[Event], list[Record]]] = {
    "fhir": fhir.records,
    "ocsf": ocsf.records,
    "text": lines.text_records,
    "entry": lines.entry_records,
}


class Sinks:
    """The sinks of `trust.config["sinks"]`. Raises SinkInvalid when one is not well formed.

    Args:
        trust: the log, and what else they need.
        origin: the log's name.
        pause: sleeps between attempts, replaced in tests.
    """

    def __init__(self, trust: Trust, origin: str, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._trust = trust
        self._origin = origin
        self._pause = pause
        self._settings = read_sinks(trust.config.get("sinks") or ())
        self._cursors = Cursors(trust.ctx.db)
        self.feeds: list[Feed] = []

    async def start(self) -> None:
        """Begin to send. The log is open, if this version is the one that writes."""
        for settings in self._settings:
            opener = self._trust.crypto if settings.personal == "opened" else None
            source = Source(self._trust.log, self._origin, opener)
            feed = Feed(
                settings,
                source,
                _MAPPINGS[settings.format],
                self._transport(settings),
                self._cursors,
                self._trust.ctx.log,
                self._pause,
            )
            self.feeds.append(feed)
            self._trust.ctx.spawn(self._run(feed), name=f"sink-{settings.name}")

    def _transport(self, settings: SinkSettings) -> Transport:
        if settings.to == "syslog":
            return SyslogSink(settings)
        if settings.to == "file":
            return FileSink(settings)
        if settings.to == "http":
            return HttpSink(settings)
        return FhirService(self._trust.ctx, settings.timeout)

    async def _run(self, feed: Feed) -> None:
        begun = False
        written = self._trust.recorder.written

        async def guard() -> bool:
            nonlocal begun, written
            written = self._trust.recorder.written  # before reading: what is written meanwhile sets this one
            async with self._trust.background():
                if not begun:
                    at = self._trust.log.size if feed.settings.begin == "now" else self._trust.log.first
                    await self._cursors.begin(feed.settings.name, at)
                    begun = True
                return await feed.step()

        async def more() -> None:
            await written.wait()

        await feed.run(more, guard)

    async def close(self) -> None:
        """Cut what is open. What was not confirmed is sent again by whoever comes next."""
        for feed in self.feeds:
            await feed.transport.close()

    async def status(self) -> list[audit.SinkStatus]:
        """Where each sink is."""
        size = self._trust.log.size if self._trust.live else 0
        found = []
        for feed in self.feeds:
            settings = feed.settings
            state = await self._cursors.get(settings.name)
            found.append(
                audit.SinkStatus(
                    name=settings.name,
                    format=settings.format,
                    to=settings.to,
                    personal=settings.personal,
                    cursor=state.cursor.place,
                    lag=max(0, size - state.cursor.place),
                    sent=state.sent,
                    missed=state.missed,
                    attempts=feed.attempt,
                    last_error=feed.last_error,
                )
            )
        return found

    async def needed(self) -> int:
        """The lowest index that a sink has still to read; the log's size when none has. Retention disposes below it only
        when it must: what a sink had not read is counted as `missed`."""
        places = [(await self._cursors.get(feed.settings.name)).cursor.place for feed in self.feeds]
        return min(places, default=self._trust.log.size)


class Sending(Plugin):
    """The service of the sinks, mixed into the plugin."""

    sinks: Sinks

    @serve(audit.SINKS)
    async def sinks_status(self, message: Message[audit.SinksRequest]) -> audit.SinksReply:
        """Where each sink is, and what was wrong last."""
        return audit.SinksReply(await self.sinks.status())
