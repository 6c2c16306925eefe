"""The wire: JSON-RPC 2.0, one JSON object on each line, UTF-8.

A line ends a message: JSON text holds no raw line break, so nothing needs to be counted, and `nc -U` is a client.
Batches are not offered (a client sends the next line instead). A request may take 16 MiB; answers have no limit.

An error's `data` is `{"code", "hint", "address"}`, its `message` and `data.code` those of the `RustCareError`.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from rustcare_sdk.errors import RustCareError, ServiceError, error_from_failure

from ._errors import ControlUnavailable

__all__ = [
    "MAX_REQUEST",
    "SOCKET_NAME",
    "Request",
    "error_object",
    "no_kernel",
    "peer_name",
    "raise_error",
    "socket_address",
]

SOCKET_NAME = "control.sock"
MAX_REQUEST = 16 * 1024 * 1024
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL = -32603
APPLICATION = -32000
_MAX_ADDRESS = 100  # of the 108 bytes that a Unix socket's address has, some systems have 104


class Request(msgspec.Struct):
    """One request; without `id` it is a notification and gets no answer."""

    method: str
    jsonrpc: str = ""
    params: dict[str, Any] = {}
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET


def error_object(error: BaseException, number: int = APPLICATION) -> dict[str, Any]:
    """The JSON-RPC error of an exception. Of a foreign one only its type is told: its text may hold patient data."""
    if isinstance(error, RustCareError):
        data = {"code": error.code, "hint": error.hint, "address": error.address}
        return {"code": number, "message": error.message, "data": data}
    data = {"code": "control.internal", "hint": "the kernel's log says more", "address": ""}
    return {"code": INTERNAL, "message": f"The kernel failed with {type(error).__name__}", "data": data}


def raise_error(error: dict[str, Any]) -> None:
    """Raise the typed error that an error object stands for."""
    data = error.get("data")
    fields = data if isinstance(data, dict) else {}
    failure = {**fields, "message": error.get("message", "")}
    failure.setdefault("code", ServiceError.code)
    raise error_from_failure(failure)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """A name for the socket that fits into a socket address, however long the path is."""
    name = str(path)
    if len(os.fsencode(name)) <= _MAX_ADDRESS:
        yield name
        return
    if not os.path.isdir("/proc/self/fd"):
        raise ControlUnavailable(
            f"Expected a socket path of at most {_MAX_ADDRESS} bytes, got {len(os.fsencode(name))}",
            address=name,
            hint="use a data folder with a shorter path",
        )
    try:
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        raise no_kernel(path) from None
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)


def no_kernel(path: Path) -> ControlUnavailable:
    """The error when nobody listens."""
    return ControlUnavailable(
        "Expected a running kernel, none answers",
        address=str(path),
        hint="start one with: rustcare up --data DIR, or name the data folder of the one that runs",
    )


def peer_name(connection: socket.socket) -> str | None:
    """The account at the other end, as `unix:NAME`, when it is this user or root; None for anybody else.

    Where the system cannot tell, the socket's mode has to do, and it is this user.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    uid = os.geteuid()
    if option is not None:
        size = struct.calcsize("=iII")
        _pid, uid, _gid = struct.unpack("=iII", connection.getsockopt(socket.SOL_SOCKET, option, size))
        if uid not in (0, os.geteuid()):
            return None
    try:
        return f"unix:{pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"unix:{uid}"
