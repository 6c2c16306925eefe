"""What a worker process runs: `python -m rustcare_kernel.workers PARENT LINK DOORS LOOP`, started by the primary only.

PARENT is the primary, LINK and DOORS are inherited descriptors, LOOP is `asyncio` or `uvloop`, as in the primary. When the
primary ends, however it ends, the operating system kills this process; the end of the link does too.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the operating system kill this process when its parent ends (Linux); elsewhere the link's end does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before that
            os._exit(70)


async def serve(link_handle: int, doors_handle: int) -> None:
    """Be a worker until told to stop."""
    from ._node import Node

    loop = asyncio.get_running_loop()
    link = socket.socket(fileno=link_handle)
    link.setblocking(False)
    node = Node(socket.socket(fileno=doors_handle))
    # Ctrl-C in a terminal reaches the whole group: the primary says when to stop.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, node.stopped.set)
    await loop.create_unix_connection(lambda: node.link, sock=link)
    await node.run()


def main() -> None:
    """Read the arguments and run."""
    parent, link, doors, kind = sys.argv[1:5]
    die_with(int(parent))
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if kind == "uvloop":
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(int(link), int(doors)))


if __name__ == "__main__":
    main()
