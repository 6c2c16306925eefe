"""Documents of foreign issuers, over HTTPS alone: certificates checked, no redirects, bounded in size and in time.

An address is the operator's, or one that the issuer itself names. Names are resolved and sockets read in a thread, which the
caller cuts off when the time is over, so that a server that sends one byte a second holds nobody up.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec

__all__ = ["Document", "FetchFailed", "Fetcher", "lifetime"]

_AGENT = "RustCare-Engine"
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?(\d{1,10})\"?\s*(?=,|$)", re.I)
_NEVER = re.compile(r"(?:^|,)\s*(?:no-store|no-cache)\s*(?=,|=|$)", re.I)


class FetchFailed(Exception):
    """A document could not be had. The text says why, in words that may be logged."""


class Document(msgspec.Struct, frozen=True):
    """What came: `body` is None when it has not changed (304). `lasts`: seconds by its `Cache-Control`, None: not said."""

    body: bytes | None
    etag: str
    lasts: float | None


def lifetime(cache_control: str, age: str) -> float | None:
    """For how many seconds an answer is good (RFC 9111, sections 4.2.1 and 5.2.2), None when it does not say."""
    if _NEVER.search(cache_control):
        return 0.0
    found = _MAX_AGE.search(cache_control)
    if found is None:
        return None
    return max(0.0, float(found[1]) - (float(age) if re.fullmatch(r"\d{1,10}", age) else 0.0))


class _Attempt:
    """One request under way in the thread, and how it is cut off from outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut_off = False

    def hold(self, held: socket.socket | None) -> None:
        """This is the socket that `cut` ends. Raises FetchFailed when it did already."""
        with self._lock:
            self._socket = held
            if self._cut_off and held is not None:
                raise FetchFailed("no answer in time")

    def cut(self) -> None:
        """End it."""
        with self._lock:
            self._cut_off = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class Fetcher:
    """Gets documents.

    Args:
        authorities: the path of a PEM file with the authorities that are trusted; empty: the system's.
        timeout: seconds for a document, all in all.
        size: bytes of a document.
    """

    def __init__(self, authorities: str = "", *, timeout: float = 5.0, size: int = 262_144) -> None:
        self._authorities = authorities
        self._timeout = timeout
        self._size = size
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="issuer")
        self._running: set[_Attempt] = set()

    async def get(self, url: str, etag: str = "") -> Document:
        """A document, unless it still has this ETag. One at a time. Raises FetchFailed."""
        parts = urlsplit(url)
        try:
            port = parts.port or 443
        except ValueError:
            port = 0
        if parts.scheme != "https" or not parts.hostname or parts.username is not None or not port or parts.fragment:
            raise FetchFailed("expected an https address")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not re.fullmatch(r"[!-~]+", target):
            raise FetchFailed("expected an address in ASCII")
        attempt = _Attempt()
        self._running.add(attempt)
        work = asyncio.get_running_loop().run_in_executor(
            self._pool, self._get, attempt, parts.hostname, port, target, etag
        )
        work.add_done_callback(lambda done: self._done(attempt, done))
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(work)
        except TimeoutError:
            raise FetchFailed("no answer in time") from None
        finally:
            # The thread may be resolving a name, which nothing cuts short: nobody waits for that.
            attempt.cut()

    def _done(self, attempt: _Attempt, work: asyncio.Future[Document]) -> None:
        self._running.discard(attempt)
        if not work.cancelled():
            work.exception()  # it was raised to whoever asked, if they still waited

    def close(self) -> None:
        """End what is under way, and the thread with it."""
        for attempt in self._running:
            attempt.cut()
        self._pool.shutdown(wait=False, cancel_futures=True)

    # in the thread

    def _get(self, attempt: _Attempt, host: str, port: int, target: str, etag: str) -> Document:
        try:
            context = ssl.create_default_context(cafile=self._authorities or None)
            with socket.create_connection((host, port), self._timeout) as bare:
                attempt.hold(bare)
                with context.wrap_socket(bare, server_hostname=host, do_handshake_on_connect=False) as secure:
                    attempt.hold(secure)
                    secure.do_handshake()
                    return self._ask(secure, host, port, target, etag)
        except ssl.SSLCertVerificationError as error:
            raise FetchFailed(f"its certificate was not accepted: {error.verify_message}") from None
        except TimeoutError:
            raise FetchFailed("no answer in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise FetchFailed(text) from None
        finally:
            attempt.hold(None)

    def _ask(self, secure: socket.socket, host: str, port: int, target: str, etag: str) -> Document:
        connection = http.client.HTTPConnection(host, port)
        connection.sock = secure
        headers = {
            "Accept": "application/jwk-set+json, application/json",
            "User-Agent": _AGENT,
            "Connection": "close",
        }
        if etag:
            headers["If-None-Match"] = etag
        connection.request("GET", target, headers=headers)
        with contextlib.closing(connection.getresponse()) as answer:
            return self._read(answer, etag)

    def _read(self, answer: http.client.HTTPResponse, etag: str) -> Document:
        lasts = lifetime(answer.getheader("Cache-Control", ""), answer.getheader("Age", ""))
        mark = answer.getheader("ETag", "")
        mark = mark if re.fullmatch(r"[!-~]{1,256}", mark) else ""
        if answer.status == 304 and etag:
            return Document(None, mark or etag, lasts)
        if answer.status != 200:
            # A redirect could lead anywhere, out of the operator's hands.
            raise FetchFailed(f"expected the status 200, got {answer.status}")
        if answer.getheader("Content-Encoding", "identity").lower() != "identity":
            raise FetchFailed("expected a document without an encoding")
        body = answer.read(self._size + 1)
        if len(body) > self._size:
            raise FetchFailed(f"expected at most {self._size} bytes")
        return Document(body, mark, lasts)
