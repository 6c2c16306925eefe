"""Blocking work in one thread of its own, with a connection that can be cut from outside."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import os
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import urlsplit

__all__ = ["Poster", "Threaded", "reason"]

T = TypeVar("T")


def reason(error: BaseException) -> str:
    """What to say of a connection's failure: its kind only, for the text may hold what a server answered."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate was not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


class Threaded:
    """One thread, and at most one connection in it. `name`: of the thread."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work in the thread. Raises what it raises; OSError when this is closed."""
        if self._closed:
            raise ConnectionAbortedError("closed")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def connect(self, host: str, port: int, timeout: float) -> socket.socket:
        """Open a connection and hold it. Raises OSError."""
        found = socket.create_connection((host, port), timeout)
        try:
            if found.getsockname() == found.getpeername():
                # Nobody listens, and the system gave us the very port that we asked for: we would talk to ourselves.
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            self.hold(found)
        except BaseException:
            found.close()
            raise
        return found

    def hold(self, found: socket.socket | None) -> None:
        """This is the connection that `close` cuts. Raises OSError when it did already."""
        with self._lock:
            self._socket = found
            if self._closed and found is not None:
                found.close()
                raise ConnectionAbortedError("closed")

    async def close(self) -> None:
        """Cut the connection and wait for the thread's end."""
        with self._lock:
            self._closed = True
            held = self._socket
            if held is not None:
                with contextlib.suppress(OSError):  # it may have ended already
                    held.shutdown(socket.SHUT_RDWR)
        # What runs ends now; when something handed in after it is done, the thread has nothing left.
        await asyncio.get_running_loop().run_in_executor(self._pool, _nothing)
        self._pool.shutdown()


def _nothing() -> None:
    return None


class Poster(Threaded):
    """HTTP POSTs over one connection that is kept; a connection that the server closed meanwhile is opened again once.

    Args:
        name: of the thread.
        url: the prefix of all addresses, `http://…` or `https://…`.
        timeout: seconds for each step.
        tls: makes the context for `https`.
    """

    LIMIT = 1 << 20  # bytes of an answer

    def __init__(self, name: str, url: str, timeout: float, tls: Callable[[], ssl.SSLContext]) -> None:
        super().__init__(name)
        self._url = urlsplit(url)
        self._timeout = timeout
        self._tls = tls
        self._connection: http.client.HTTPConnection | None = None

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
        """In the thread: post, and the answer's status, content type and body. Raises OSError, HTTPException."""
        kept = self._connection is not None
        try:
            return self._post(path, body, headers)
        except (ConnectionError, http.client.BadStatusLine):
            self.drop()
            if not kept:
                raise
        return self._post(path, body, headers)

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
        try:
            connection = self._open()
            connection.request("POST", self._url.path.rstrip("/") + path, body, headers)
            answer = connection.getresponse()
            data = answer.read(self.LIMIT + 1)
            if len(data) > self.LIMIT or answer.will_close:
                self.drop()
            return answer.status, answer.headers.get_content_type(), data[: self.LIMIT]
        except BaseException:
            self.drop()
            raise

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is not None:
            return self._connection
        host, port = self._url.hostname or "", self._url.port
        made: http.client.HTTPConnection
        if self._url.scheme == "https":
            made = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=self._tls())
        else:
            made = http.client.HTTPConnection(host, port, timeout=self._timeout)
        try:
            made.connect()
            self.hold(made.sock)
        except BaseException:
            made.close()
            raise
        self._connection = made
        return made

    def drop(self) -> None:
        """Close the connection."""
        self.hold(None)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        """Cut the connection and wait for the thread's end."""
        await super().close()
        self.drop()
