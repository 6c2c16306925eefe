"""One request and its answer, as ASGI sees them: what uvicorn's `RequestResponseCycle` does, with less to do.

Head and body of an answer that is there at once go out in one write. The application below is the gateway's own, which
gives field names in lower case and values that it has checked, so they are not checked again here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from rustcare_plugin_gateway.errors import Refused

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["NEVER", "Exchange", "refusal"]

NEVER = float("inf")
_BODILESS = frozenset({204, 304})


class Exchange:
    """A request and its answer. `more`: the request's body has not ended; `held`: bytes of it that nobody took yet."""

    __slots__ = (
        "_body",
        "_chunked",
        "_failure",
        "_head",
        "_left",
        "_waiter",
        "complete",
        "connection",
        "disconnected",
        "expects",
        "held",
        "keep_alive",
        "method",
        "more",
        "scope",
        "started",
        "task",
        "version",
    )

    task: asyncio.Task[None]

    def __init__(
        self, connection: Connection, scope: dict[str, Any], method: str, keep_alive: bool, version: str
    ) -> None:
        self.connection = connection
        self.scope = scope
        self.method = method
        self.version = version
        self.keep_alive = keep_alive
        self.expects = False
        self.disconnected = False
        self.more = True
        self.held = 0
        self.started = False
        self.complete = False
        self._body: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Refused | None = None
        self._head: bytes | None = None
        self._chunked = False
        self._left = 0

    # the connection's side

    def take(self, body: bytes) -> None:
        """A part of the body has arrived."""
        self._body.append(body)
        self.held += len(body)
        self._wake()

    def take_end(self) -> None:
        """The body has ended."""
        self.more = False
        self._wake()

    def fail(self, error: Refused) -> None:
        """The rest of the request does not come, or makes no sense: whoever waits for it gets the reason."""
        self._failure = error
        self._wake()

    def lost(self) -> None:
        """The client is gone."""
        if not self.complete:
            self.disconnected = True
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # the application's side

    async def run(self, app: Any) -> None:
        """Run the application; what it raises is answered with an error that tells nothing, or ends the connection."""
        try:
            await app(self.scope, self.receive, self.send)
            if not self.complete and not self.disconnected:
                self.connection.transport.abort()  # half an answer must not look like a whole one
        except Exception as error:
            if self.started or self.disconnected:
                self.connection.transport.abort()
                return
            self.keep_alive = False
            known = error if isinstance(error, Refused) else _Failed("something went wrong here")
            self.started = self.complete = True
            self.connection.transport.write(refusal(known, self.connection.owner.date))
            self.connection.answered(self)
        except asyncio.CancelledError:
            if not self.complete:
                self.connection.transport.abort()
            raise
        finally:
            self.scope = {}  # it holds this object: neither has to wait for the garbage collector

    async def receive(self) -> dict[str, Any]:
        """ASGI: the next part of the request's body, or that the client is gone. Raises Refused when it will not come."""
        connection = self.connection
        if self.expects and not self.started and not connection.transport.is_closing():
            self.expects = False
            connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._body or not self.more or self._failure or self.disconnected or self.complete):
            await self._wait()
        if self._failure is not None and not self.started:
            raise self._failure
        if self.more is False and not self._body and self.scope.get("rustcare.read"):
            while not (self.disconnected or self.complete):  # it has all of the body; all that can come is the end
                await self._wait()
        if self.disconnected or self.complete:
            return {"type": "http.disconnect"}
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.held = 0
        if not self.more:
            self.scope["rustcare.read"] = True
        elif not connection.waiting:
            connection.flow.resume_reading()
        return {"type": "http.request", "body": body, "more_body": self.more}

    async def _wait(self) -> None:
        self._waiter = self.connection.owner.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI: the answer's head (`http.response.start`), then parts of its body (`http.response.body`)."""
        connection = self.connection
        if connection.flow.write_paused:
            await connection.flow.drain()
        if self.disconnected:
            return
        if not self.started:
            self._start(message)
            return
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        head = self._head
        if head is not None:
            self._head = None
        if self.method == "HEAD":
            body = b""
        elif self._chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                body += b"0\r\n\r\n"
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more and self.version == "1.1" and self._left != NEVER):
                connection.transport.abort()
                raise RuntimeError("the body is not as long as its content-length says")
        connection.transport.write(body if head is None else head + body)
        if not more:
            self.complete = True
            connection.answered(self)

    def answer(self, status: int, fields: bytes, body: bytes) -> bool:
        """Send an answer that is whole, without waiting: what `send` would do with a head and a body, in one step.

        Args:
            fields: all header fields but those that frame the message, each ended by a line break.

        False when nothing was sent, because the client does not read (`send` waits for it) or has left.
        """
        connection = self.connection
        if self.started or self.disconnected or connection.flow.write_paused:
            return False
        self.started = self.complete = True
        if self.more or connection.owner.draining:
            self.keep_alive = False
        end = b"\r\n"
        if not self.keep_alive:
            end = b"connection: close\r\n\r\n"
        head = (STATUS_LINE[status], connection.owner.date, fields, b"content-length: %d\r\n" % len(body), end)
        connection.output.write_late(b"".join(head if self.method == "HEAD" else (*head, body)))
        connection.answered(self)
        return True

    def _start(self, message: dict[str, Any]) -> None:
        self.started = True
        connection = self.connection
        status: int = message["status"]
        parts = [STATUS_LINE[status], connection.owner.date]
        self._left = -1
        for name, value in message["headers"]:
            parts += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                self._left = int(value)
        if self._left < 0:
            if status in _BODILESS:
                self._left = 0
            elif self.version == "1.1":
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
            else:
                self._left = 1 << 62  # HTTP/1.0: until the connection closes
        if self.more or connection.owner.draining:
            self.keep_alive = False  # what is left of the request's body is not waited for
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        self._head = b"".join(parts)


class _Failed(Refused):
    code = "gateway.failed"
    status = 500


def refusal(error: Refused, date: bytes) -> bytes:
    """The whole answer to a request that never became one: a problem (RFC 9457), and the end of the connection."""
    status = int(error.status)
    problem = {
        "type": f"urn:rustcare:problem:{error.code}",
        "title": STATUS_LINE[status][13:-2].decode(),
        "status": status,
        "detail": error.message,
        "code": error.code,
    }
    body = msgspec.json.encode(problem)
    fields = "".join(f"{name}: {value}\r\n" for name, value in error.fields).encode("latin-1")
    return (
        STATUS_LINE[status]
        + date
        + b"content-type: application/problem+json\r\ncontent-length: %d\r\n" % len(body)
        + b"cache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n"
        + fields
        + b"\r\n"
        + body
    )
