"""The socket: who may connect, one connection after the other's requests, streams."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from rustcare_kernel.audit.operations import operator as operator_name
from rustcare_kernel.errors import DataFolderInUse

from ._bus import ControlService
from ._errors import ControlError
from ._methods import METHODS, Operator, WatchEvents, checked, told
from ._protocol import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    MAX_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    SOCKET_NAME,
    Request,
    error_object,
    peer_name,
    socket_address,
)
from ._watch import Stream, Watch

if TYPE_CHECKING:
    from rustcare_kernel.kernel import Kernel

__all__ = ["ControlServer"]


class ControlServer:
    """The operator's API of one kernel: `async with ControlServer(kernel): …`.

    The data folder must be held (`DataFolderLock`), so a socket that lies there is a dead kernel's and is replaced.

    Args:
        kernel: the kernel to control.
        stop: called on `system.stop`, after the answer is on its way.
        path: where the socket lies; in the kernel's data folder if not given.
        store: what `system.status` calls the kernel's store.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        stop: Callable[[], None] = lambda: None,
        path: Path | None = None,
        store: str = "sqlite",
    ) -> None:
        self.path = path if path is not None else Path(kernel.data_dir) / SOCKET_NAME
        self.watch = Watch(kernel.bus, kernel.accounting)
        self._operator = Operator(kernel, stop, store)
        self._on_bus = ControlService(self._operator)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._identity: tuple[int, int] = (0, 0)

    async def __aenter__(self) -> ControlServer:
        listening = self._bind()
        try:
            self._server = await asyncio.start_unix_server(self._connected, sock=listening, limit=MAX_REQUEST)
        except BaseException:
            listening.close()
            raise
        status = self.path.stat()
        self._identity = (status.st_dev, status.st_ino)
        self._on_bus.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        await self._on_bus.close()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        await self._server.wait_closed()
        with contextlib.suppress(OSError):
            status = self.path.lstat()
            if (status.st_dev, status.st_ino) == self._identity:  # not another kernel's
                self.path.unlink()

    def _bind(self) -> socket.socket:
        """A socket that only its owner may connect to: nobody can before `listen`, after the mode is set."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self.path.lstat().st_mode):
                raise ControlError("Expected a socket or nothing here, found a file", address=str(self.path))
            self._refuse_if_alive()
            self.path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with socket_address(self.path) as address:
                listening.bind(address)
            self.path.chmod(0o600)
        except BaseException:
            listening.close()
            raise
        return listening

    def _refuse_if_alive(self) -> None:
        """A socket that answers belongs to a kernel that runs, whoever holds the lock."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, socket_address(self.path) as address:
            probe.settimeout(1)
            try:
                probe.connect(address)
            except OSError:
                return
        raise DataFolderInUse(
            "Another kernel answers on this data folder's control socket",
            address=str(self.path),
            hint="stop it (rustcare system stop), or use another folder (--data DIR)",
        )

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            name = peer_name(writer.get_extra_info("socket"))
            if name is not None:
                operator_name.set(name)  # for all that this connection's task does
                await self._serve(reader, writer)
        except ConnectionError:
            pass  # the client went away
        except asyncio.CancelledError:
            task.uncancel()  # the server closes; asyncio's stream callback would report the cancellation as an error
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                problem = ControlError(f"Expected a request of at most {MAX_REQUEST:,} bytes")
                await _send(writer, {"id": None, "error": error_object(problem, INVALID_REQUEST)})
                return
            if not line.endswith(b"\n"):
                return
            if line.strip():
                stream = await self._answer(line, writer)
                if stream is not None:
                    await self._stream(stream, reader, writer)
                    return

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> Stream | None:
        """Answer one request; the open stream, if it was `events.watch`."""
        request_id: Any = None
        asked = ""
        try:
            try:
                request = msgspec.json.decode(line, type=Request)
            except msgspec.ValidationError as error:
                await _send(writer, {"id": None, "error": _refusal(INVALID_REQUEST, str(error))})
                return None
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                await _send(writer, {"id": None, "error": _refusal(PARSE_ERROR, str(error))})
                return None
            request_id, asked = request.id, request.method
            answer, stream = await self._run(request)
        except Exception as error:  # every request has an answer; of a foreign error it has the kind
            answer, stream = {"error": error_object(error)}, None
        try:
            if request_id is not msgspec.UNSET:
                await _send(writer, {"id": request_id, **answer})
        except BaseException:
            if stream is not None:
                self.watch.close(stream)
            raise
        finally:
            if asked == "system.stop" and "result" in answer:
                self._operator.stop()  # not before: what is on record of the request takes a moment longer than itself
        return stream

    async def _run(self, request: Request) -> tuple[dict[str, Any], Stream | None]:
        if request.jsonrpc != "2.0":
            return {"error": _refusal(INVALID_REQUEST, f'Expected "jsonrpc": "2.0", got {request.jsonrpc!r}')}, None
        try:
            params = checked(request.method, request.params)
        except ControlError as error:
            return {
                "error": error_object(error, INVALID_PARAMS if request.method in METHODS else METHOD_NOT_FOUND)
            }, None
        operations = self._operator.kernel.operations
        async with operations.operation(f"control.{request.method}", details=told(params), changes=False):
            result = await METHODS[request.method].run(self._operator, params)
        if not isinstance(params, WatchEvents):
            return {"result": result}, None
        # Opened before the answer is sent: what happens after the client has it is not missed.
        stream = self.watch.open(params.kinds, plugin=params.plugin, subject=params.subject, data=params.data)
        return {"result": result}, stream

    async def _stream(self, stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send events until the client closes its side."""

        async def send() -> None:
            async for event in stream:
                await _send(writer, {"method": "event", "params": event})

        sending = asyncio.get_running_loop().create_task(send())
        leaving = asyncio.get_running_loop().create_task(reader.read(1))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.watch.close(stream)
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)


def _refusal(number: int, message: str, hint: str = "") -> dict[str, Any]:
    return error_object(ControlError(message, hint=hint), number)


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(msgspec.json.encode({"jsonrpc": "2.0", **message}, enc_hook=_plain) + b"\n")
    await writer.drain()


def _plain(value: Any) -> Any:
    """What msgspec cannot encode by itself is shown as its text (an in-process object in a message)."""
    return str(value)
