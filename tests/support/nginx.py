"""A real nginx on a free port, with a configuration of the test's own, in the foreground and without root."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from tests.support.packages import Missing, give_up, installed

__all__ = ["nginx"]

_PLACE = Path("/usr/sbin/nginx")  # not on the path of users

_MAIN = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    {server}
  }}
}}
"""


def _find() -> str | None:
    return shutil.which("nginx") or (str(_PLACE) if _PLACE.exists() else None)


@cache
def _found() -> tuple[str, str]:
    """The program, or else why it is not here."""
    try:
        return installed("nginx-light", _find), ""
    except Missing as error:
        return "", str(error)


def _program() -> str:
    program, why = _found()
    return program or give_up(f"no nginx: {why}")


@asynccontextmanager
async def nginx(folder: Path, server: str) -> AsyncIterator[str]:
    """Run nginx with the directives of one `server`; its origin."""
    program = _program()
    path, port = _configure(folder, server)
    running = await asyncio.create_subprocess_exec(
        program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(path), stderr=asyncio.subprocess.PIPE
    )
    try:
        await _reachable(running, port)
        yield f"http://localhost:{port}"
    finally:
        if running.returncode is None:
            running.terminate()
        await running.communicate()


def _configure(folder: Path, server: str) -> tuple[Path, int]:
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    path = folder / "nginx.conf"
    path.write_text(_MAIN.format(folder=folder, port=port, server=server))
    return path, port


async def _reachable(running: asyncio.subprocess.Process, port: int) -> None:
    """Until the port answers; an nginx that ends before says why."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ConnectionError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            if running.returncode is not None:
                assert running.stderr is not None
                raise AssertionError((await running.stderr.read()).decode())
            await asyncio.sleep(0.02)
