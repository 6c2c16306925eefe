"""The way to a kernel: over the control socket of a data folder, or over HTTP to a server's front door.

Which of the two is what the command line said (`--url`), so that a command asks for a connection and need not know.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

__all__ = ["SERVER", "Control", "Server", "absolute", "call", "connect", "source_for"]


@dataclass(frozen=True)
class Server:
    """A remote server as the command line named it: its URL, and the file that holds the token (None: as signed in)."""

    url: str
    token_file: Path | None = None


#: The server that this command is about; None for the kernel of a data folder.
SERVER: ContextVar[Server | None] = ContextVar("rustcare_server", default=None)


class Control(Protocol):
    """A connection to a kernel, as `rustcare_kernel.control.ControlClient` is one."""

    def call(self, method: str, **params: Any) -> Any:
        """Call a method; its result, or its typed error. Parameters that are None are left out."""
        ...

    def watch(self, **params: Any) -> Iterator[dict[str, Any]]:
        """Every event from now on."""
        ...

    def wait_closed(self) -> None:
        """Return when the kernel is gone."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def connect(data: Path) -> Control:
    """A connection to the server that was named, else to the kernel of a data folder.

    Raises ControlUnavailable or ServerUnreachable when none answers, NotSignedIn when there is no token for the server.
    """
    server = SERVER.get()
    if server is not None:
        from .remote.client import RemoteClient

        return RemoteClient.at(server)
    from rustcare_kernel.control import ControlClient

    return ControlClient(data)


def call(data: Path, method: str, **params: Any) -> Any:
    """Call one method."""
    with connect(data) as control:
        return control.call(method, **params)


def absolute(source: str) -> str:
    """A package's source as the kernel, which has a working folder of its own, can find it."""
    return source if source.startswith("installed:") else os.path.abspath(source)


def source_for(control: Control, source: str, runtime: str | None = None) -> str:
    """A package's source as the other side can find it: a path becomes absolute, or is uploaded to a remote server."""
    if SERVER.get() is None:
        return absolute(source)
    from .remote.client import RemoteClient

    assert isinstance(control, RemoteClient)
    return source if source.startswith("installed:") else control.upload(source, runtime)
