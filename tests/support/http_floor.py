"""What the gateway is measured against: `python -m tests.support.http_floor raw|starlette [WORKERS]`, on the same uvicorn.

One route that answers a small JSON object, without anything else. Prints `{"port": …}` and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import Any

BODY = b'{"id":"7","free":true}'


async def raw(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The least that an ASGI application can do."""
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"22")],
        }
    )
    await send({"type": "http.response.body", "body": BODY})


def starlette() -> Any:
    """The same as a Starlette route."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def bed(request: Request) -> JSONResponse:
        return JSONResponse({"id": request.path_params["id"], "free": True})

    return Starlette(routes=[Route("/beds/{id}", bed)])


def serve(kind: str, listening: socket.socket) -> None:
    """Serve in this process until it is ended."""
    import uvicorn
    import uvloop

    application = raw if kind == "raw" else starlette()
    config = uvicorn.Config(
        application, loop="uvloop", http="httptools", log_config=None, access_log=False, lifespan="off", backlog=2048
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(uvicorn.Server(config).serve(sockets=[listening]))


def main(kind: str, workers: int) -> None:
    """Serve with so many processes, all accepting from one socket."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    for _ in range(workers - 1):
        if os.fork() == 0:
            break
    serve(kind, listening)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
