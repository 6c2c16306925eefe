"""The plugin: a listener, a background task that stores, one that publishes, and services to look into it."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from rustcare_sdk import Health, Message, Plugin, serve
from rustcare_sdk.context import Listener
from rustcare_sdk.contracts import hl7

from .dispatcher import Dispatcher
from .errors import InvalidRequest, TenantRefused
from .intake import Intake, timestamp
from .lease import Lease
from .mllp import Frame
from .server import Server
from .settings import read_settings
from .store import MessageStore, Selection, full_key

__all__ = ["Hl7"]

REPLAYABLE = ("failed", "unhandled", "done")


class _Rate:
    """How many a second over the last minute."""

    def __init__(self) -> None:
        self._seconds: deque[tuple[int, int]] = deque(maxlen=61)
        self._began = time.monotonic()

    def add(self, count: int) -> None:
        second = int(time.monotonic())
        if self._seconds and self._seconds[-1][0] == second:
            count += self._seconds.pop()[1]
        self._seconds.append((second, count))

    def per_second(self) -> float:
        now = time.monotonic()
        span = min(60.0, max(1.0, now - self._began))
        return round(sum(count for second, count in self._seconds if second > now - 60) / span, 2)


class Hl7(Plugin):
    """Receives HL7 v2 messages and publishes them as `hl7.<type>.<event>`."""

    state_version = 1
    dispatcher: Dispatcher | None = None
    listener: Listener | None = None

    async def start(self) -> None:
        """Open the store, start storing and publishing, then listen."""
        ctx = self.ctx
        settings = read_settings(ctx.config)
        tls = settings.tls.context() if settings.tls is not None else None
        self.store = MessageStore(ctx.db)
        token = ctx.random(4).hex()
        salt = await self.store.setting("partition.salt", ctx.random(16).hex())
        lease = Lease(ctx.db, ctx.now, "dispatch", token)
        self.rate = _Rate()
        self.dispatcher = Dispatcher(
            ctx, self.store, lease, settings.dispatch, bytes.fromhex(salt), settings.max_message_bytes
        )
        self.intake = Intake(
            self.store,
            settings.policy(),
            ctx.log,
            ctx.now,
            stored=self._stored,
            store_reused=settings.reused_control_id == "store",
            keep_rejected=settings.keep_rejected,
        )
        self.server = Server(self.intake, settings, ctx.log, ctx.now, token)
        ctx.spawn(self.intake.run(), name="intake")
        ctx.spawn(self.dispatcher.run(), name="dispatcher")
        ctx.spawn(self.dispatcher.write(), name="outcomes")
        self.dispatcher.stored(0)
        self.expected = settings.listen
        if settings.listen:
            self.listener = await ctx.listen(settings.host, settings.port, self.server.connected, ssl=tls)
            ctx.log.info("listening", port=self.listener.address[1], tls=tls is not None)

    def _stored(self, count: int) -> None:
        self.rate.add(count)
        assert self.dispatcher is not None
        self.dispatcher.stored(count)

    async def stop(self) -> None:
        """Stop accepting, answer what was taken, finish what is being published, let the next version publish."""
        if self.dispatcher is None:
            return  # start did not get far
        if self.listener is not None:
            closing = self.listener
            self.listener = None
            await self.server.stop()
            await closing.close()
        self.intake.close()
        await self.dispatcher.stop()

    async def health(self) -> Health:
        """Listening, if it should; storing and publishing."""
        dispatcher = self.dispatcher
        if dispatcher is None:
            return Health(False, "not started")
        details = {
            "connections": self.server.connections,
            "backlog": dispatcher.backlog,
            "publishes": dispatcher.lease.held
            or not dispatcher.backlog,  # with nothing to publish nobody needs the lease
            "last_error": self.intake.last_error or dispatcher.last_error,
        }
        if self.expected and self.listener is None:
            return Health(False, "the listener is not open", details)
        if not dispatcher.running and not dispatcher.starting:
            return Health(False, "the dispatcher does not run", details)
        return Health(details=details)

    async def export_state(self) -> Any:
        """Stop publishing, so that the next version can: two would publish twice. All other state is in the store."""
        if self.dispatcher is not None:
            await self.dispatcher.hand_over()
        return {"handed_over": True}

    async def import_state(self, state: Any) -> None:
        """Publish now: the version before has given up the lease."""
        if self.dispatcher is not None:
            await self.dispatcher.take_over()

    # services

    @serve(hl7.STATUS)
    async def status(self, message: Message[hl7.StatusRequest]) -> hl7.Status:
        """Counters since the store was made, and what is going on now."""
        assert self.dispatcher is not None
        counts = await self.store.counts()
        stuck = {name: counts[f"status.{name}"] for name in ("received", "failed", "unhandled")}
        received = counts.get("received", 0)
        return hl7.Status(
            received=received,
            published=max(0, received - sum(stuck.values())),
            pending=stuck["received"],
            rejected=counts.get("rejected", 0),
            duplicates=counts.get("duplicates", 0),
            connections=self.server.connections,
            unhandled=stuck["unhandled"],
            failed=stuck["failed"],
            conflicts=counts.get("conflicts", 0),
            rate_per_s=self.rate.per_second(),
            last_error=self.intake.last_error or self.dispatcher.last_error,
        )

    @serve(hl7.REPLAY)
    async def replay(self, message: Message[hl7.ReplayRequest]) -> hl7.ReplayReply:
        """Publish stored messages again."""
        assert self.dispatcher is not None
        asked = message.data
        unknown = set(asked.status) - set(REPLAYABLE)
        if unknown:
            raise InvalidRequest(
                f"expected {', '.join(REPLAYABLE)} as status, got {len(unknown)} other", address="hl7.replay:status"
            )
        if not (asked.keys or asked.status or asked.type or asked.event or asked.since or asked.until):
            raise InvalidRequest(
                "expected at least one condition, got none",
                hint='such as {"status": ["failed"]}; everything is {"status": ["done", "failed", "unhandled"]}',
                address="hl7.replay",
            )
        status = tuple(asked.status) or (REPLAYABLE if asked.keys else ("failed", "unhandled"))
        selection = Selection(
            status=status, type=asked.type, event=asked.event, since=_time(asked.since), until=_time(asked.until)
        )
        if asked.keys:
            replayed = await self.store.replay_keys(asked.keys, selection, asked.renew)
        else:
            replayed = await self.store.replay(selection, asked.renew)
        self.dispatcher.rescan()
        return hl7.ReplayReply(replayed)

    @serve(hl7.MESSAGES)
    async def messages(self, message: Message[hl7.MessagesRequest]) -> hl7.MessagesReply:
        """Metadata of stored messages, page by page; never their content."""
        asked = message.data
        if not 1 <= asked.limit <= 10_000:
            raise InvalidRequest(f"expected a limit from 1 to 10000, got {asked.limit}", address="hl7.messages:limit")
        if asked.after and not asked.after.isdecimal():
            raise InvalidRequest("expected the `next` of a page before", address="hl7.messages:after")
        status = (asked.status,) if asked.status else ()
        selection = Selection(
            status=status, type=asked.type, event=asked.event, since=_time(asked.since), until=_time(asked.until)
        )
        rows = await self.store.page(selection, int(asked.after or 0), asked.limit + 1)
        page = rows[: asked.limit]
        return hl7.MessagesReply(
            [
                hl7.MessageRow(
                    key=full_key(row),
                    type=row["type"],
                    event=row["event"],
                    control_id=row["control_id"],
                    sending_facility=row["sending_facility"],
                    version=row["version"],
                    received=row["received"],
                    status=row["status"],
                    attempts=row["attempts"],
                    error=row["error"],
                    size=row["size"],
                )
                for row in page
            ],
            str(page[-1]["id"]) if len(rows) > asked.limit else "",
        )

    @serve(hl7.RECEIVE)
    async def receive(self, message: Message[hl7.ReceiveRequest]) -> hl7.ReceiveReply:
        """Take a message in without TCP; the same path, the same answer."""
        if message.tenant != "default":
            raise TenantRefused(
                "messages are published for the tenant default, this one was handed in for another",
                hint="install a receiver for that tenant",
                address="hl7.receive",
            )
        content = message.data.text.encode("utf-8", "surrogatepass")
        oversize = len(content) > self.server.limit
        outcome = await self.intake.submit(Frame(content, len(content), oversize))
        if outcome is None:
            raise InvalidRequest("the receiver stopped before the message was stored", hint="hand it in again")
        rejection = outcome.rejection
        answers = self.server.answer(outcome)
        code, text = answers[0] if answers else ("", b"")
        return hl7.ReceiveReply(
            code=code,
            control_id=outcome.header.control_id,
            key=outcome.key,
            duplicate=outcome.duplicate,
            error=str(rejection.code) if rejection is not None else "",
            reason=rejection.reason if rejection is not None else "",
            text=text.decode(outcome.header.codec),
        )


def _time(text: str) -> str:
    """A time of a request in the form in which times are stored."""
    if not text:
        return ""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            "expected a time as in RFC 3339", hint="2026-01-31T12:00:00Z", address="since, until"
        ) from None
    return timestamp(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
