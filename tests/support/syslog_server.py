"""A syslog receiver for tests: real TCP or TLS, octet counting; and a parser of RFC 5424 that shares nothing with ours."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

__all__ = ["Parsed", "SyslogServer", "parse", "unframed"]


@dataclass
class Parsed:
    """A message in its parts. `data`: by the id of the element, its parameters."""

    facility: int
    severity: int
    time: str
    host: str
    app: str
    process: str
    kind: str
    data: dict[str, dict[str, str]] = field(default_factory=dict)
    bom: bool = False
    text: str = ""


_HEADER = re.compile(
    rb"<(0|[1-9]\d{0,2})>1 (-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) "
    rb"([\x21-\x7e]{1,255}) ([\x21-\x7e]{1,48}) ([\x21-\x7e]{1,128}) ([\x21-\x7e]{1,32}) "
)


def parse(message: bytes) -> Parsed:
    """Read a message by the grammar of RFC 5424 section 6, byte by byte in the structured data. Raises ValueError."""
    match = _HEADER.match(message)
    if match is None or int(match[1]) > 191:
        raise ValueError("the header is none")
    found = Parsed(int(match[1]) // 8, int(match[1]) % 8, *(match[number].decode() for number in range(2, 7)))
    rest = message[match.end() :]
    if rest[:1] == b"-":
        rest = rest[1:]
    else:
        while rest[:1] == b"[":
            rest = _element(rest, found.data)
    if not rest:
        return found
    if rest[:1] != b" ":
        raise ValueError("expected a space before MSG")
    body = rest[1:]
    found.bom = body.startswith(b"\xef\xbb\xbf")
    found.text = body[3 if found.bom else 0 :].decode("utf-8" if found.bom else "ascii")
    return found


def _element(rest: bytes, data: dict[str, dict[str, str]]) -> bytes:
    match = re.match(rb"\[([\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32})", rest)
    if match is None or match[1].decode() in data:
        raise ValueError("the element has no name of its own")
    parameters = data[match[1].decode()] = {}
    at = match.end()
    while rest[at : at + 1] == b" ":
        name = re.compile(rb'([\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32})="').match(rest, at + 1)
        if name is None:
            raise ValueError("the parameter has no name")
        at = name.end()
        value = bytearray()
        while rest[at : at + 1] != b'"':
            one = rest[at : at + 1]
            if not one or one == b"]":
                raise ValueError("the parameter does not end")
            if one == b"\\" and rest[at + 1 : at + 2] in (b'"', b"\\", b"]"):
                at += 1
                one = rest[at : at + 1]
            value += one
            at += 1
        at += 1
        parameters[name[1].decode()] = value.decode("utf-8")
    if rest[at : at + 1] != b"]":
        raise ValueError("the element does not end")
    return rest[at + 1 :]


def unframed(data: bytes) -> Iterable[bytes]:
    """The messages of a stream with octet counting. Raises ValueError."""
    while data:
        count, space, rest = data.partition(b" ")
        if not space or not re.fullmatch(rb"[1-9]\d*", count) or len(rest) < int(count):
            raise ValueError("the frame is not whole")
        yield rest[: int(count)]
        data = rest[int(count) :]


class SyslogServer:
    """Receives until `with` ends. It can go away and come back on the same port.

    Args:
        context: for TLS, with the server's certificate; None for plain TCP.

    Attributes:
        messages: all that was received in connections that ended in order.
        connections: how many there were, deserted ones too.
        rude: while true, connections are reset before anything is read.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self.messages: list[bytes] = []
        self.connections = 0
        self.rude = False
        self.port = 0
        self.changed = threading.Condition()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Listen."""
        self._socket = socket.create_server(("127.0.0.1", self.port))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, args=(self._socket,), daemon=True)
        self._thread.start()

    def down(self) -> None:
        """Stop listening."""
        if self._socket is not None and self._thread is not None:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._thread.join()
            self._socket = None

    def wait(self, count: int, timeout: float = 20.0) -> None:
        """Return when so many messages were received. Raises TimeoutError."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.messages) >= count, timeout):
                raise TimeoutError(f"expected {count} messages, got {len(self.messages)}")

    def wait_connections(self, count: int, timeout: float = 20.0) -> None:
        """Return when there were so many connections. Raises TimeoutError."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.connections >= count, timeout):
                raise TimeoutError(f"expected {count} connections, got {self.connections}")

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            with self.changed:
                self.connections += 1
                self.changed.notify_all()
            try:
                self._serve(accepted)
            except (OSError, ValueError):
                pass  # a client that hangs up, or one whose certificate is not accepted
            finally:
                accepted.close()

    def _serve(self, accepted: socket.socket) -> None:
        accepted.settimeout(20)
        if self.rude:
            accepted.recv(16, socket.MSG_PEEK)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        stream = self._context.wrap_socket(accepted, server_side=True) if self._context else accepted
        try:
            data = b"".join(iter(lambda: stream.recv(65_536), b""))
            with self.changed:  # kept before our own end is sent, which tells the sender that it is
                self.messages += unframed(data)
                self.changed.notify_all()
            if isinstance(stream, ssl.SSLSocket):
                stream.unwrap().close()
        finally:
            stream.close()
