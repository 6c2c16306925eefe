"""A kernel with a keyring and the identity plugin in a process of its own, to be asked over its pipes, and to be killed.

`python -m tests.support.identity_node DATA [CONFIG]` (JSON) prints `ready`, then answers lines of JSON on standard input, many
at once: `{"id": 1, "service": "identity.jwks", "data": {}, "tenant": "default", "principal": "operator"}`. Each gets a line
`{"id": 1, "answer": …}` or `{"id": 1, "error": "identity.…"}` on standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from rustcare_kernel import Kernel
from rustcare_sdk import codec
from rustcare_sdk.errors import RustCareError

__all__ = ["IdentityNode", "NodeGone"]

ROOT = Path(__file__).parents[2]


class NodeGone(Exception):
    """The process ended before it answered."""


class IdentityNode:
    """The other end of the pipes: a process, and questions to it.

    `async with IdentityNode(data) as node:`; it is killed at the end if it was not before.
    """

    def __init__(self, data: Path, config: dict[str, Any] | None = None) -> None:
        self._data = data
        self._config = config or {}
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0

    async def __aenter__(self) -> IdentityNode:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.identity_node",
            str(self._data),
            json.dumps(self._config),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line.strip() == b"ready", line
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL; whoever waits for an answer learns that there is none."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            if not line.endswith(b"\n"):
                break  # it was killed while it wrote
            found = json.loads(line)
            self._waiting.pop(found["id"]).set_result(found)
        for future in self._waiting.values():
            future.set_exception(NodeGone())
        self._waiting.clear()

    async def ask(self, service: str, data: Any = None, *, principal: str = "operator", tenant: str = "default") -> Any:
        """The answer as JSON has it. Raises NodeGone, or RuntimeError with the code of the error."""
        assert self._process.stdin is not None
        if self._reader.done():
            raise NodeGone
        self._number += 1
        number = self._number
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        question = {"id": number, "service": service, "data": data or {}, "tenant": tenant, "principal": principal}
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        with suppress(ConnectionError):
            await self._process.stdin.drain()
        found = await future
        if "error" in found:
            raise RuntimeError(found["error"])
        return found["answer"]


async def serve(data: Path, config: dict[str, Any]) -> None:
    """Install what is not there, then answer until killed."""
    async with Kernel(data, config=config, log_level="error") as kernel:
        known = {plugin.id for plugin in kernel.plugins()}
        for name, plugin_id in (("crypto", "rustcare.crypto"), ("identity", "rustcare.identity")):
            if plugin_id not in known:
                await kernel.install(f"installed:{name}", consent=True)
        states = {plugin.id: (plugin.state, plugin.reason) for plugin in kernel.plugins()}
        print("ready" if all(state == "active" for state, _ in states.values()) else states, flush=True)
        reader = asyncio.StreamReader(limit=1 << 20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        tasks: set[asyncio.Task[None]] = set()
        while line := await reader.readline():
            task = asyncio.create_task(_answer(kernel, json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)


async def _answer(kernel: Kernel, asked: dict[str, Any]) -> None:
    try:
        answer = await kernel.request(
            asked["service"], asked["data"], tenant=asked["tenant"], principal=asked["principal"]
        )
        found = {"id": asked["id"], "answer": codec.decode(codec.encode(answer))}
    except RustCareError as error:
        found = {"id": asked["id"], "error": error.code}
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
