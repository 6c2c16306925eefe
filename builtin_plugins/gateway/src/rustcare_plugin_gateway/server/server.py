"""What uvicorn's `Server` does around its protocol, for a loop and a socket that are the kernel's: ticks, bounds, the end.

One sweep twice a second looks at every connection's deadline. That is the slow-loris guard, the keep-alive limit and the
guard against clients that do not read, without a timer for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from .connection import Connection
from .output import Outputs

__all__ = ["Bounds", "Server"]

SWEEP = 0.5
MOMENT = 1.0  # seconds at the end for what needs but a moment


@dataclass(frozen=True)
class Bounds:
    """Sizes in bytes, times in seconds.

    `head`: of all header fields together; `fields`: how many; `target`: of method and path. `head_time`: until a request's
    header is there; `body_time`: for its body, and one second more for each `body_rate` bytes of it; `write_time`: for a
    client to read; `idle_time`: between requests. `connections`, `requests`: at once.
    """

    head: int = 32768
    fields: int = 100
    target: int = 8192
    head_time: float = 10.0
    body_time: float = 30.0
    body_rate: int = 4096
    write_time: float = 60.0
    idle_time: float = 75.0
    connections: int = 10000
    requests: int = 2000


class Server:
    """The server's state that its connections share. `factory` makes the protocol of one connection.

    Args:
        app: the ASGI callable.
        bounds: what clients may take.
    """

    def __init__(self, app: Any, bounds: Bounds) -> None:
        self.bounds = bounds
        self.loop = asyncio.get_running_loop()
        self.state = ServerState()
        # No logging, no lifespan, no WebSocket: the kernel logs, and the plugin's start and stop are the lifespan. No proxy
        # headers: uvicorn would believe them from this machine whatever the gateway's configuration says.
        self.config = Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            interface="asgi3",
            server_header=False,
            proxy_headers=False,
        )
        self.config.load()
        self.connections: set[Connection] = set()
        self.outputs = Outputs(self.loop)
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self.emptied: asyncio.Event | None = None
        self.now = self.loop.time()
        self.date = b""
        self._tick()

    def factory(self) -> Connection:
        """The protocol of one connection."""
        return Connection(self)

    def _tick(self) -> None:
        self.now = self.loop.time()
        self.date = b"date: " + formatdate(time.time(), usegmt=True).encode() + b"\r\n"

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP)
            self._tick()
            now = self.now
            for connection in list(self.connections):
                if connection.deadline < now:
                    connection.expire()

    async def drain(self, grace: float) -> int:
        """Finish what is under way, close what is idle; after `grace` seconds cut the rest. How many were cut."""
        self.draining = True
        for connection in list(self.connections):
            connection.shutdown()
        ends = self.loop.time() + grace
        while True:
            while self.tasks and (left := ends - self.loop.time()) > 0:
                await asyncio.wait(set(self.tasks), timeout=left)
            if not self.connections:
                break
            # Transports write out what they hold. A request whose header is still coming has a moment to begin, and then
            # the same time as the others.
            self.emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.emptied.wait(), MOMENT)
            if not self.tasks or self.loop.time() >= ends:
                break
        cut = list(self.tasks)
        for task in cut:
            task.cancel()
        if cut:
            await asyncio.wait(cut, timeout=MOMENT)
        for connection in list(self.connections):
            connection.transport.abort()
        return len(cut)

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        if self.emptied is not None and not self.connections:
            self.emptied.set()
