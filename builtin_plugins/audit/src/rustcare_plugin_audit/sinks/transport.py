"""Transports: how records get to where they shall be, and how that is confirmed.

`deliver` answers how many records, from the first, have certainly arrived; when not even the first has, it raises
SinkFailed. Blocking work is done in one thread of the sink's own, so that a slow receiver holds up nobody else; `close`
cuts its connection, so that the thread ends.

Syslog over TCP or TLS has no acknowledgement. What it has is an end: we send a batch, close our direction (with TLS a
close_notify, RFC 5425 section 4.4) and wait for the receiver's own end. A receiver that closes before it has read
everything resets the connection; one that ends in order has read it all. So a delivery is one connection, confirmed by
its end.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rustcare_sdk import Context
from rustcare_sdk.contracts import fhir
from rustcare_sdk.errors import RustCareError

from .errors import SinkFailed, SinkRefused
from .event import Record, json_line
from .settings import SinkSettings, Tls
from .syslog import frame, message
from .threaded import Poster, Threaded, reason

__all__ = ["FhirService", "FileSink", "HttpSink", "SyslogSink", "Transport"]

T = TypeVar("T")


class Transport(Protocol):
    """Where a sink's records go."""

    async def deliver(self, records: Sequence[Record]) -> int: ...
    async def close(self) -> None: ...


async def _kept(threaded: Threaded, work: Callable[[], T]) -> T:
    """Work in a sink's thread; what goes wrong with the connection is a SinkFailed."""
    try:
        return await threaded.run(work)
    except (OSError, http.client.HTTPException) as error:
        raise SinkFailed(f"expected the receiver to take the events, got: {reason(error)}") from None


class SyslogSink(Threaded):
    """RFC 5424 messages over TLS (RFC 5425) or TCP (RFC 6587, octet counting); a batch is delivered whole or not at all."""

    def __init__(self, settings: SinkSettings) -> None:
        super().__init__(f"audit-sink-{settings.name}")
        self._settings = settings
        self._host = settings.hostname or socket.gethostname()

    async def deliver(self, records: Sequence[Record]) -> int:
        """Send all in one connection and wait for its orderly end."""
        settings = self._settings
        data = b"".join(frame(message(record, self._host, enterprise=settings.enterprise)) for record in records)
        await _kept(self, lambda: self._send(data))
        return len(records)

    def _send(self, data: bytes) -> None:
        settings = self._settings
        plain = self.connect(settings.host, settings.port, settings.timeout)
        try:
            if settings.plain:
                plain.sendall(data)
                plain.shutdown(socket.SHUT_WR)
                while plain.recv(4096):
                    pass
                return
            name = settings.tls.name or settings.host
            with settings.tls.context().wrap_socket(plain, server_hostname=name) as secure:
                self.hold(secure)
                secure.sendall(data)
                self._end(secure)
        finally:
            self.hold(None)
            plain.close()

    @staticmethod
    def _end(secure: ssl.SSLSocket) -> None:
        """Send close_notify and wait for the receiver's, or for the end of its connection."""
        try:
            plain = secure.unwrap()
        except (ssl.SSLEOFError, ssl.SSLSyscallError) as error:
            # The receiver ended without its own close_notify. An end in order means that it has read everything: with
            # something unread the system would have sent a reset instead.
            if isinstance(error.__cause__ or error.__context__, ConnectionResetError):
                raise ConnectionResetError("the receiver closed before it had read everything") from None
            return
        try:
            while plain.recv(4096):
                pass
        finally:
            plain.close()


class FileSink(Threaded):
    """A line for each record, on disk (fsync) when a delivery returns.

    A line that a crash left unfinished is taken away before the next is written. With `rotate`, a file that has so many
    bytes is renamed to `PATH.000001`, `PATH.000002`, … and the oldest beyond `keep` are deleted.
    """

    def __init__(self, settings: SinkSettings) -> None:
        super().__init__(f"audit-sink-{settings.name}")
        self._settings = settings
        self._path = Path(settings.path)

    async def deliver(self, records: Sequence[Record]) -> int:
        """Append the lines durably."""
        data = b"".join(record.text.encode() + b"\n" for record in records)
        await _kept(self, lambda: self._write(data))
        return len(records)

    def _write(self, data: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        new = not self._path.exists()
        descriptor = os.open(self._path, flags, 0o600)
        try:
            size = self._mend(descriptor)
            if self._settings.rotate and size and size + len(data) > self._settings.rotate:
                os.close(descriptor)
                descriptor = -1
                self._rotate()
                descriptor = os.open(self._path, flags, 0o600)
                new = True
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        if new:
            self._sync_folder()

    @staticmethod
    def _mend(descriptor: int) -> int:
        """Take an unfinished last line away; the size then."""
        size = os.fstat(descriptor).st_size
        end = size
        while end:
            start = max(0, end - 65_536)
            found = os.pread(descriptor, end - start, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            os.ftruncate(descriptor, end)
        return end

    def _rotate(self) -> None:
        old = sorted(path for path in self._path.parent.glob(f"{self._path.name}.*") if path.suffix[1:].isdecimal())
        number = int(old[-1].suffix[1:]) + 1 if old else 1
        self._path.rename(self._path.with_name(f"{self._path.name}.{number:06d}"))
        if self._settings.keep:
            for path in old[: max(0, len(old) + 1 - self._settings.keep)]:
                path.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class HttpSink(Poster):
    """AuditEvents to a FHIR server, one POST each over one connection that is kept.

    What the server refuses (a 4xx other than 401, 403, 404, 408, 425, 429) raises SinkRefused and is asked again all the
    same: what is missing can be mended there, and nothing is left out in silence.
    """

    def __init__(self, settings: SinkSettings) -> None:
        tls = Tls(settings.ca, settings.certificate, settings.key)
        super().__init__(f"audit-sink-{settings.name}", settings.url, settings.timeout, tls.context)
        self._token = Path(settings.token) if settings.token else None

    async def deliver(self, records: Sequence[Record]) -> int:
        """Post one after the other; the count of those that the server has stored."""
        return await _kept(self, lambda: self._post_all(records))

    def _post_all(self, records: Sequence[Record]) -> int:
        headers = {
            "Content-Type": "application/fhir+json; charset=utf-8",
            "Accept": "application/fhir+json",
            "Prefer": "return=minimal",
        }
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.read_text().strip()}"
        for done, record in enumerate(records):
            try:
                self._store(record, headers)
            except (OSError, http.client.HTTPException, SinkFailed):
                if not done:
                    raise
                return done
        return len(records)

    def _store(self, record: Record, headers: dict[str, str]) -> None:
        body = json_line({name: value for name, value in record.value.items() if name != "id"})
        status, _, _ = self.post("/AuditEvent", body.encode(), headers)
        if status in (200, 201, 204):
            return
        for_good = 400 <= status < 500 and status not in (401, 403, 404, 408, 425, 429)
        raise (SinkRefused if for_good else SinkFailed)(
            f"expected the FHIR server to store the AuditEvent (201), got {status}",
            hint="it is asked again; the server's own log says what it wants",
            address=f"index {record.event.index}",
        )


class FhirService:
    """AuditEvents to the service `fhir.create` on the bus, one after the other."""

    def __init__(self, ctx: Context, timeout: float) -> None:
        self._ctx = ctx
        self._timeout = timeout

    async def deliver(self, records: Sequence[Record]) -> int:
        """Store them; the count of those that were."""
        done = 0
        for record in records:
            value: dict[str, Any] = {name: item for name, item in record.value.items() if name != "id"}
            try:
                await self._ctx.request(fhir.CREATE, fhir.CreateRequest(value), timeout=self._timeout)
            except RustCareError as error:
                if done:
                    return done
                raise SinkFailed(f"expected fhir.create to store the AuditEvent, got {error.code}") from None
            done += 1
        return done

    async def close(self) -> None:
        """Nothing is open."""
