"""One connection: uvicorn's `HttpToolsProtocol`, which refuses what could be read in two ways and whatever takes too long.

llhttp, in its strict mode, refuses most of what request smuggling is made of. What it lets through is refused here: more
than one `Host` or none, any transfer coding but `chunked` alone (and that in HTTP/1.0), HTTP/0.9 and 2.0, RTSP, fragments,
fields after the body, `Upgrade`. After a refusal nothing of the connection is read as a request any more.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from rustcare_plugin_gateway.errors import BadRequest, MethodNotAllowed, Overloaded, Refused, RequestTimeout, TooLarge

from .exchange import NEVER, Exchange, refusal
from .output import Output
from .target import parse_host, parse_target

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Connection"]

# Where a connection is: between requests, in a header, in a body, waiting for the answer, or closing after a refusal.
IDLE, HEAD, BODY, ANSWER, LINGER = range(5)
LINGER_TIME = 2.0  # seconds for a client to read a refusal before the connection is reset
HIGH_WATER = 65536
PIPELINED = 128  # requests that may wait for their turn on one connection; one read can bring thousands of small ones
METHODS = {
    method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
}
_WATCHED = frozenset({b"host", b"transfer-encoding", b"content-length", b"expect", b"upgrade"})


class _Body:
    """What a parser tells that reads a body alone."""

    def __init__(self, connection: Connection) -> None:
        self.on_header = connection.on_header  # a trailer
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete


class Connection(HttpToolsProtocol):
    """The protocol of one connection. `deadline` (of the loop's clock) is looked at by the server's sweep."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.config, server.state, {}, server.loop)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        self.owner = server
        self.bounds = server.bounds
        self.deadline = server.now + server.bounds.head_time
        self.phase = IDLE
        self.exchange: Exchange | None = None
        self.arriving: Exchange | None = None
        self.waiting: list[Exchange] = []
        self.size = self.unseen = 0
        self.fresh = False
        self.host = self.named = ""
        self.spelled = b""
        self.chunked = False
        self.length = 0
        self.set_aside = False
        self.upgraded = False
        self.refused: Refused | None = None
        self.facts: dict[str, Any] = {}

    # transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.owner.connections.add(self)
        self.transport = self.output = Output(transport, self.owner.outputs)
        self.flow = FlowControl(transport)
        self.server = get_local_addr(transport)
        self.client = get_remote_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        if self.scheme == "https":
            certificate = transport.get_extra_info("ssl_object").getpeercert(True)
            if certificate:
                self.facts = {"certificate": hashlib.sha256(certificate).hexdigest()}
        if len(self.owner.connections) > self.bounds.connections:
            self.refuse(Overloaded("too many connections at once", fields=(("retry-after", "5"),)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.left(self)
        for exchange in (self.exchange, *self.waiting):
            if exchange is not None:
                exchange.lost()
        self.waiting.clear()
        self.flow.resume_writing()
        self.parser = None  # type: ignore[assignment]  # it holds this object, and this object it
        if exc is None:
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]  # as asyncio's protocols may, which uvicorn's does not
        """The client sends nothing more. Whether the connection stays open: for answers that have not begun, to whole requests.

        An answer that has begun and has no end of its own, such as a stream of events, would never learn that its reader has
        left: it ends now. TLS knows no half of a connection.
        """
        last = self.waiting[-1] if self.waiting else self.exchange
        if last is None or last.complete or last.more or last.started or self.scheme == "https":
            return False
        last.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        if self.phase == LINGER or self.upgraded:
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            # The request is answered as if nothing was asked. Its body is read; what follows it is not.
            if self.set_aside:
                self._read_body(data[error.args[0] :])
            else:
                self.upgraded = True
        except httptools.HttpParserError as error:
            if self.refused is None and self._closing():
                self.upgraded = True  # data after `Connection: close`
                return
            self.refuse(self.refused or BadRequest(f"expected HTTP/1.1, got {_reason(error)}"))
        else:
            # One field, or one chunk's size, that never ends is held by the parser, which tells nobody how much it has.
            if self.fresh:
                self.fresh = False
            elif HEAD <= self.phase <= BODY:
                self.unseen += len(data)
                if self.unseen > self.bounds.head + self.bounds.target:
                    self.refuse(TooLarge(f"expected a header of at most {self.bounds.head} bytes", status=431))

    def _read_body(self, rest: bytes) -> None:
        """Go on with the body of a request that asks for an upgrade: the parser takes all that follows for another protocol.

        Some clients ask for HTTP/2 with each request, and send it with its body (RFC 7540, section 3.2).
        """
        self.set_aside = False
        self.parser = httptools.HttpRequestParser(_Body(self))
        self.parser.set_dangerous_leniencies(lenient_data_after_close=False)
        framing = b"transfer-encoding: chunked" if self.chunked else b"content-length: %d" % self.length
        self.parser.feed_data(b"POST / HTTP/1.1\r\nconnection: close\r\n" + framing + b"\r\n\r\n")
        if rest:
            self.data_received(rest)

    def _closing(self) -> bool:
        return self.exchange is not None and not self.exchange.keep_alive and self.phase in (IDLE, ANSWER)

    # parser

    def on_message_begin(self) -> None:
        self.phase = HEAD
        self.deadline = self.owner.now + self.bounds.head_time
        self.url = b""
        self.headers = []
        self.host = ""
        self.chunked = False
        self.length = 0
        self.size = self.unseen = 0
        self.fresh = True
        self.expect_100_continue = False

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.bounds.target:
            raise self._no(TooLarge(f"expected a target of at most {self.bounds.target} bytes", status=414))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.size += len(name) + len(value) + 4
        if self.size > self.bounds.head:
            raise self._no(TooLarge(f"expected a header of at most {self.bounds.head} bytes", status=431))
        if self.phase != HEAD:
            return  # a trailer: dropped, since nothing in front of this server can have checked it
        name = name.lower()
        if name in _WATCHED:
            self._watch(name, value)
        self.headers.append((name, value))
        if len(self.headers) > self.bounds.fields:
            raise self._no(TooLarge(f"expected at most {self.bounds.fields} header fields", status=431))

    def _watch(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            if self.host:
                raise self._no(BadRequest("expected one Host, got two", address="Host"))
            if value != self.spelled:  # most clients say the same with each request
                try:
                    self.named = parse_host(value.decode("latin-1"))
                except BadRequest as error:
                    raise self._no(error) from None
                self.spelled = value
            self.host = self.named
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise self._no(BadRequest("expected no transfer coding but chunked", address="Transfer-Encoding"))
            self.chunked = True
        elif name == b"content-length":
            self.length = int(value) if value.isdigit() else 0  # llhttp has refused what is no number
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"

    def _no(self, error: Refused) -> Refused:
        """Remember why; the parser hides what its callbacks raise."""
        self.refused = error
        return error

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        method = METHODS.get(self.parser.get_method())
        if method is None:
            if self.parser.get_method() == b"CONNECT":  # whatever its target is: what follows it would be a tunnel's
                text = "expected a request to this server, got one to connect elsewhere"
                raise self._no(
                    MethodNotAllowed(text, fields=(("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),))
                )
            raise self._no(BadRequest("expected a method of HTTP", address="method"))
        if version != "1.1" and (version != "1.0" or self.chunked):
            raise self._no(BadRequest("expected HTTP/1.1, or HTTP/1.0 without transfer coding", address="version"))
        if not self.host and version == "1.1":
            raise self._no(BadRequest("expected Host", address="Host"))
        try:
            path, raw, query = parse_target(method, self.url, self.host)
        except Refused as error:
            raise self._no(error) from None
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "method": method,
            "scheme": self.scheme,
            "path": path,
            "raw_path": raw,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "server": self.server,
            "client": self.client,
            "state": self.facts,
            "rustcare.host": self.host,
            "rustcare.length": -1 if self.chunked else self.length,
        }
        upgrade = self.parser.should_upgrade()
        self.set_aside = upgrade and (self.chunked or self.length > 0)
        keep = version == "1.1" and self.parser.should_keep_alive() and not upgrade
        exchange = Exchange(self, scope, method, keep and not self.owner.draining, version)
        scope["rustcare.answer"] = exchange.answer
        exchange.expects = (
            self.expect_100_continue and version == "1.1"
        )  # HTTP/1.0 knows no 100 (RFC 9110, section 10.1.1)
        self.phase = BODY
        if self.chunked or self.length:
            self.deadline = self.owner.now + self.bounds.body_time
        if self.exchange is None or self.exchange.complete:
            self._begin(exchange)
        elif len(self.waiting) >= PIPELINED:
            raise self._no(Overloaded("too many requests at once on a connection", fields=(("retry-after", "1"),)))
        else:
            self.flow.pause_reading()  # pipelined: answers go out in order
            self.waiting.append(exchange)
        self.arriving = exchange

    def _begin(self, exchange: Exchange) -> None:
        owner = self.owner
        self.exchange = exchange
        app = self.app if len(owner.tasks) < self.bounds.requests else _too_many
        # A context of its own: the socket has that of whoever started the gateway, and a message handled then, with its
        # tenant and its deadline, is not what this request is about.
        task = owner.loop.create_task(exchange.run(app), context=contextvars.Context())
        exchange.task = task
        owner.tasks.add(task)
        task.add_done_callback(owner.tasks.discard)

    def on_body(self, body: bytes) -> None:
        exchange = self.arriving
        assert exchange is not None, "a body follows its header"
        self.fresh = True
        self.unseen = 0
        self.deadline += len(body) / self.bounds.body_rate
        if exchange.complete:
            return
        exchange.take(body)
        if exchange.held > HIGH_WATER:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        if self.set_aside:
            return  # so says the parser, because it would not read the body
        self.phase = ANSWER
        self.deadline = NEVER
        exchange = self.arriving
        assert exchange is not None, "a body follows its header"
        exchange.take_end()
        if exchange.complete:
            self.phase = IDLE
            self.deadline = self.owner.now + self.bounds.idle_time

    # the end of a request, of time, of the server

    def answered(self, exchange: Exchange) -> None:
        """An answer is out: go on with the next request, or wait for one, or close."""
        if not exchange.keep_alive:
            self._linger() if exchange.more or self.refused is not None else self.transport.close()
        elif self.waiting:
            self._begin(self.waiting.pop(0))
            if not self.waiting and self.refused is None:
                self.flow.resume_reading()
        elif self.refused is not None:
            self._turn_away(self.refused)
        else:
            self.flow.resume_reading()
            if self.phase == ANSWER:
                self.phase = IDLE
                self.deadline = self.owner.now + self.bounds.idle_time

    def refuse(self, error: Refused) -> None:
        """Answer what cannot be understood, and read nothing more. Requests that came before it are answered first."""
        self.refused = error
        self.phase = LINGER
        self.deadline = NEVER
        arriving, current = self.arriving, self.exchange
        if arriving is not None and arriving.more and not arriving.complete:
            arriving.keep_alive = False  # its own body is what was refused: it is answered so when it has its turn
            arriving.fail(error)
        elif current is None or current.complete:
            self._turn_away(error)

    def _turn_away(self, error: Refused) -> None:
        self.transport.write(refusal(error, self.owner.date))
        self._linger()

    def _linger(self) -> None:
        """Close so that the client can read the answer: a reset would take it away from it."""
        self.phase = LINGER
        self.deadline = self.owner.now + LINGER_TIME
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def expire(self) -> None:
        """The deadline has passed."""
        if self.phase == HEAD:
            self.refuse(RequestTimeout(f"expected a request's header within {self.bounds.head_time:g} s"))
        elif self.phase == BODY:
            self.deadline = self.owner.now + LINGER_TIME
            if self.refused is None and self.arriving is not None and not self.arriving.complete:
                self.refused = RequestTimeout(f"expected the body within {self.bounds.body_time:g} s")
                self.arriving.keep_alive = False
                self.arriving.fail(self.refused)
            else:
                self.transport.abort()
        else:
            self.transport.abort() if self.flow.write_paused else self.transport.close()

    def shutdown(self) -> None:
        """The server is about to end: no request after the one that is under way."""
        if self.exchange is not None and not self.exchange.complete:
            self.exchange.keep_alive = False
        elif self.phase == IDLE:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read."""
        self.flow.pause_writing()
        if self.phase in (ANSWER, IDLE):
            self.deadline = self.owner.now + self.bounds.write_time

    def resume_writing(self) -> None:
        """The client reads again."""
        self.flow.resume_writing()
        if self.phase == ANSWER:
            self.deadline = NEVER


ASGI = {"version": "3.0", "spec_version": "2.4"}


def _reason(error: Exception) -> str:
    """What llhttp says. Its texts are its own and quote nothing of the request."""
    text = str(error) if not isinstance(error, httptools.HttpParserCallbackError) else ""
    return text[:1].lower() + text[1:120] or "something else"


async def _too_many(scope: Any, receive: Any, send: Any) -> None:
    raise Overloaded("too many requests at once", fields=(("retry-after", "1"),))
