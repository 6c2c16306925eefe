"""From what a handler answers to what goes out: body, header fields, or a stream until the client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from rustcare_sdk.contracts.http import HttpResponse

from .credentials import HOST_COOKIE, PLAIN_COOKIE
from .errors import BadAnswer
from .headers import PROTECTIVE, SANDBOX, Hardening
from .problems import MEDIA_TYPE, PAGE_POLICY, Problem, as_json, page_of
from .visit import Visit

__all__ = ["Answers"]

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Fields = list[tuple[bytes, bytes]]
#: Sends status, header fields and body at once; False when it cannot now.
Whole = Callable[[int, bytes, bytes], bool]

_encode = msgspec.json.Encoder().encode
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}").fullmatch
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch
# Fields that say how this message is framed are the server's to write.
_FRAMING = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "trailer", "te", "date"}
)
_JSON = b"application/json"
_SESSION = frozenset({HOST_COOKIE.lower(), PLAIN_COOKIE.lower()})
_MEDIA = re.compile(rb"[\t\x20-\x7e]+").fullmatch
_BODILESS = frozenset({204, 205, 304})


class Answers:
    """Writes answers."""

    def __init__(self, hardening: Hardening) -> None:
        self._hardening = hardening
        self.streams: set[asyncio.Task[Any]] = set()

    async def write(
        self, visit: Visit, response: HttpResponse, receive: Receive, send: Send, answer: Whole | None = None
    ) -> None:
        """Send what a handler answered. Raises BadAnswer, before anything went out, when that is not possible.

        Args:
            answer: sends a whole answer at once, if the server can (`Exchange.answer`); used where there is nothing special.
        """
        status = response.status
        if response.stream is not None:
            await self._stream(visit, response, receive, send)
            return
        if response.content is not None:
            try:
                body = _encode(response.content)
            except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
                raise BadAnswer("expected an answer that JSON can hold") from None
            media = response.media_type.encode("latin-1", "replace") if response.media_type else _JSON
        elif response.text:
            body = response.text.encode("utf-8", "replace")
            media = (response.media_type or "text/plain; charset=utf-8").encode("latin-1", "replace")
        else:
            body = response.body
            media = response.media_type.encode("latin-1", "replace")
            if body and not media:
                media = b"application/octet-stream"
        if status in _BODILESS:
            body = media = b""
        elif (
            answer is not None
            and not (visit.entry is not None and visit.entry.sandboxed)
            and not (response.headers or response.set_cookies or visit.origin)
            and type(status) is int
        ):
            lines = self._lines(visit, media) if 200 <= status <= 599 else None
            if lines is not None and answer(status, lines, body):
                visit.status = status
                return
        head = self._head(visit, response, media)
        if status != 204 and status != 304:
            head.append((b"content-length", b"%d" % len(body)))
        visit.status = status
        visit.sent = True
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def _lines(self, visit: Visit, media: bytes) -> bytes | None:
        """The header fields as they go out, of an answer that says none of its own; None for a media type that is not well
        formed. What `_head` makes, as one text."""
        if media and media is not _JSON and _MEDIA(media) is None:
            return None
        fixed = self._hardening.lines(media.startswith(b"text/html"), bool(visit.caller.principal), visit.secure)
        said = f"x-request-id: {visit.id}\r\ntraceresponse: {visit.trace}\r\n"
        tenant = visit.tenant
        if tenant is not None and tenant.cors is not None:
            said += "vary: origin\r\n"
        verdict, class_ = visit.verdict, visit.class_
        if verdict is not None and class_ is not None:
            said = f'{said}{class_.line}ratelimit: "{verdict.name}";r={verdict.left};t={verdict.reset}\r\n'
        if media:
            return b"%bcontent-type: %b\r\n%b" % (fixed, media, said.encode())
        return fixed + said.encode()

    def _head(self, visit: Visit, response: HttpResponse, media: bytes) -> Fields:
        status = response.status
        if type(status) is not int or not 200 <= status <= 599:
            raise BadAnswer("expected a status of 200 to 599")
        page = media.startswith(b"text/html")
        fixed = self._hardening.fields(page, bool(visit.caller.principal), visit.secure)
        own = response.headers
        sandboxed = visit.entry is not None and visit.entry.sandboxed
        if own:
            said = {name.lower() for name in own} - (PROTECTIVE if sandboxed else frozenset())
            head = [field for field in fixed if field[0].decode() not in said]
            for name, value in own.items():
                lower = name.lower()
                if lower in _FRAMING or (sandboxed and lower in PROTECTIVE):
                    continue
                if _NAME(name) is None or type(value) is not str or _VALUE(value) is None:
                    raise BadAnswer("expected header fields without control characters")
                try:
                    head.append((lower.encode("ascii"), value.encode("latin-1")))
                except UnicodeEncodeError:
                    raise BadAnswer("expected header fields in Latin-1") from None
        else:
            head = fixed.copy()
        if media:
            if _VALUE(media.decode("latin-1")) is None:
                raise BadAnswer("expected a media type without control characters")
            head.append((b"content-type", media))
        if sandboxed:
            head.append(SANDBOX)
        for cookie in response.set_cookies:
            if sandboxed and cookie.partition("=")[0].strip().lower() in _SESSION:
                raise BadAnswer("expected cookies other than the session's from a sandboxed plugin")
            if _VALUE(cookie) is None or not cookie.isascii():
                raise BadAnswer("expected cookies in ASCII without control characters")
            head.append((b"set-cookie", cookie.encode()))
        self._common(visit, head)
        return head

    def _common(self, visit: Visit, head: Fields) -> None:
        head.append((b"x-request-id", visit.id.encode()))
        head.append((b"traceresponse", visit.trace.encode()))
        verdict = visit.verdict
        if verdict is not None and visit.class_ is not None:
            head.append((b"ratelimit-policy", visit.class_.policy))
            head.append((b"ratelimit", verdict.field()))
        if visit.tenant is not None and visit.tenant.cors is not None:
            head += visit.tenant.cors.fields(visit.origin)  # a cache must know that another origin gets another answer

    async def problem(
        self, visit: Visit, problem: Problem, fields: Fields, send: Send, *, page: bool, see_other: str = ""
    ) -> None:
        """Send an error, as a page if a person reads it; with `see_other`, send a browser there instead."""
        head = [*self._hardening.fields(page, True, visit.secure), *fields]
        if see_other:
            visit.status = 303
            body = b""
            head.append((b"location", see_other.encode("latin-1")))
        elif page:
            visit.status = problem.status
            body = page_of(problem).encode()
            head = [(name, value) for name, value in head if name != b"content-security-policy"]
            head += [(b"content-type", b"text/html; charset=utf-8"), (b"content-security-policy", PAGE_POLICY.encode())]
        else:
            visit.status = problem.status
            body = as_json(problem)
            head.append((b"content-type", MEDIA_TYPE.encode()))
        head.append((b"content-length", b"%d" % len(body)))
        self._common(visit, head)
        await send({"type": "http.response.start", "status": visit.status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def bare(self, visit: Visit, status: int, fields: Fields, send: Send) -> None:
        """Send an answer without a body."""
        visit.status = status
        head = [*self._hardening.fields(False, False, visit.secure), *fields]
        head.append((b"x-request-id", visit.id.encode()))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": b""})

    # streams

    async def _stream(self, visit: Visit, response: HttpResponse, receive: Receive, send: Send) -> None:
        """Send parts as they come. The stream is closed at its end, when the client leaves, and when the server stops."""
        media = (response.media_type or "application/octet-stream").encode("latin-1", "replace")
        head = self._head(visit, response, media)
        visit.status = response.status
        visit.sent = True
        task = asyncio.current_task()
        assert task is not None
        stream: AsyncIterator[bytes] = response.stream
        if media.startswith(b"text/event-stream"):
            self.streams.add(task)  # it has no end of its own: the server's stop ends it
        watch = asyncio.get_running_loop().create_task(_left(receive, task))
        try:
            await send({"type": "http.response.start", "status": response.status, "headers": head})
            if visit.method != "HEAD":
                async for part in stream:
                    if part:
                        await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except asyncio.CancelledError:
            if not watch.done():
                if task not in self.streams:
                    raise
                await send({"type": "http.response.body", "body": b""})
            task.uncancel()
        finally:
            self.streams.discard(task)
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

    def end_streams(self) -> None:
        """End what would go on for ever."""
        for task in list(self.streams):
            task.cancel()


async def _left(receive: Receive, task: asyncio.Task[Any]) -> None:
    """Wait until the client is gone, then cancel."""
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
