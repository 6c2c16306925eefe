"""Large objects in chunks, over requests: each stream that is under way is kept here, of whoever began it.

A sealed stream is `0x01 ‖ version (4 bytes) ‖ the stream` (see `algorithms.stream`). A bounded number is under way; the
one that waited longest gives way, and who continues it learns so. Nothing of a stream outlives the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from rustcare_sdk.contracts.crypto import StreamReply, StreamRequest

from .algorithms.stream import StreamOpener, StreamSealer
from .errors import CryptoFailed
from .keyring import Caller, Key
from .operations import HEADER, old_version
from .refusals import StreamUnknown

__all__ = ["Streams"]

_FORMAT = b"\x01"
_BOUND = b"rustcare/stream/1\0"


class _Running:
    """A stream under way; its work begins when its header is there."""

    def __init__(self, caller: Caller, key: Key, request: StreamRequest) -> None:
        self.place = _place(caller, key)
        self.aad, self.context = request.aad, request.context
        self.version = 0


class _Sealing(_Running):
    work: StreamSealer | None = None


class _Opening(_Running):
    work: StreamOpener | None = None
    header = b""


_R = TypeVar("_R", _Sealing, _Opening)


class Streams:
    """The streams under way.

    Args:
        most: how many there can be.
        random: gives random bytes, for their names.
    """

    def __init__(self, most: int, random: Callable[[int], bytes]) -> None:
        self._most = most
        self._random = random
        self._running: OrderedDict[str, _Running] = OrderedDict()

    def seal(self, caller: Caller, key: Key, request: StreamRequest) -> StreamReply:
        """Go on encrypting. Raises StreamUnknown; KeyVersionState when the key's version went away meanwhile."""
        running = self._taken(caller, key, request, _Sealing)
        out: list[bytes] = []
        if running.work is None:
            running.version = key.record.primary
            header = _FORMAT + running.version.to_bytes(4, "big")
            secret = key.secret_for(running.version, running.context)
            running.work = StreamSealer(key.record.algorithm, secret, _BOUND + header + running.aad)
            out.append(header)
        else:
            key.record.for_old_work(running.version)
        out += [running.work.update(chunk) for chunk in request.chunks]
        if request.last:
            out.append(running.work.finish())
            return StreamReply("", [part for part in out if part])
        return StreamReply(self._kept(running, request), [part for part in out if part])

    def open(self, caller: Caller, key: Key, request: StreamRequest) -> StreamReply:
        """Go on decrypting. Raises StreamUnknown, CryptoFailed (the stream is then over)."""
        running = self._taken(caller, key, request, _Opening)
        if bool(running.context) != key.record.derived:
            raise CryptoFailed
        data = b"".join(request.chunks)
        if running.work is None:
            running.header += data
            if len(running.header) >= HEADER:
                header, data = running.header[:HEADER], running.header[HEADER:]
                if header[:1] != _FORMAT:
                    raise CryptoFailed
                running.version = old_version(key, int.from_bytes(header[1:], "big"))
                secret = key.secret_for(running.version, running.context)
                running.work = StreamOpener(key.record.algorithm, secret, _BOUND + header + running.aad)
        else:
            old_version(key, running.version)
        out = [] if running.work is None else [running.work.update(data)]
        if request.last:
            if running.work is None:
                raise CryptoFailed
            out.append(running.work.finish())
            return StreamReply("", [part for part in out if part])
        return StreamReply(self._kept(running, request), [part for part in out if part])

    def close(self) -> None:
        """Forget them."""
        self._running.clear()

    def _taken(self, caller: Caller, key: Key, request: StreamRequest, kind: type[_R]) -> _R:
        """The stream to go on with, taken out while it is worked on: one that raises is over."""
        if not request.stream:
            return kind(caller, key, request)
        found = self._running.get(request.stream)
        if not isinstance(found, kind) or found.place != _place(caller, key):
            raise StreamUnknown("there is no such stream under way", hint="begin anew", address="stream")
        del self._running[request.stream]
        return found

    def _kept(self, running: _Running, request: StreamRequest) -> str:
        name = request.stream or self._random(16).hex()
        self._running[name] = running
        if len(self._running) > self._most:
            self._running.popitem(last=False)
        return name


def _place(caller: Caller, key: Key) -> tuple[str, str, str, str]:
    """Whose stream it is, and under which key."""
    return caller.tenant, caller.source, key.record.tenant, key.record.name
