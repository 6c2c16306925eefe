"""The operator's API on the bus: `kernel.control`, for a plugin that offers it to others, such as over HTTP.

The methods and what is on record of them are the socket's; the operator's name is the message's principal. Streams are the
socket's alone. Whether somebody may call a method is for the plugin to decide: it holds `bus:request@kernel.control`.
An installation that was begun to be changed is changed to the end, also when nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from rustcare_sdk.contracts.plugin import CONTROL, ControlReply, ControlRequest
from rustcare_sdk.message import Message

from rustcare_kernel.audit.operations import operator as operator_name
from rustcare_kernel.bus import current_message
from rustcare_kernel.context import decode_as

from ._errors import ControlError
from ._methods import METHODS, Ask, Operator, Publish, WatchEvents, checked, told

__all__ = ["ControlService"]

_PREFIX = "upload-"
_PACKAGES = frozenset({"plugin.inspect", "plugin.install", "plugin.upgrade"})


class ControlService:
    """Serves `kernel.control` for one kernel: `with ControlService(operator): …`."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._bus = operator.kernel.bus
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self) -> None:
        """Serve it from now on."""
        for left in Path(self._operator.folder).glob(f"{_PREFIX}*"):  # of a process that was killed while it read one
            shutil.rmtree(left, ignore_errors=True)
        self._bus.serve(CONTROL, self._serve)

    async def close(self) -> None:
        """Serve it no more; what still runs is cancelled, as the commands of the socket are."""
        self._bus.unserve(CONTROL)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _serve(self, message: Message[Any]) -> ControlReply:
        asked = decode_as(message.data, ControlRequest, CONTROL)
        work = self._answer(asked, message.principal)
        if not asked.method.startswith("plugin."):
            return await work
        # What changes an installation is brought to its end, whoever waits for it: a caller whose deadline passed, or whose
        # process ended, would else leave a plugin stopped that was to be restarted.
        task = asyncio.get_running_loop().create_task(work, name=f"control: {asked.method[:100]}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it is on record; that nobody waited for it is no error

    async def _answer(self, asked: ControlRequest, principal: str) -> ControlReply:
        given = dict(asked.params)
        folder: tempfile.TemporaryDirectory[str] | None = None
        try:
            if asked.package:
                if asked.method not in _PACKAGES:
                    raise ControlError(f"Expected a method that takes a package, got {asked.method[:100]!r}")
                folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=self._operator.folder)
                given["source"] = await asyncio.to_thread(_write, Path(folder.name), asked.package)
            params = checked(asked.method, given)
            if isinstance(params, WatchEvents):
                raise ControlError(
                    "Expected a method that answers once, got events.watch", hint="streams are the socket's alone"
                )
            if isinstance(params, Ask | Publish):
                params.principal = principal  # nobody speaks for another through this door
            return ControlReply(await self._command(asked.method, params, principal))
        finally:
            if folder is not None:
                await asyncio.to_thread(folder.cleanup)

    async def _command(self, method: str, params: msgspec.Struct, principal: str) -> Any:
        operations = self._operator.kernel.operations
        # What a command does is the operator's doing, not a part of the message: a plugin that it starts must not inherit
        # that message's tenant and deadline.
        name = operator_name.set(principal or "unknown")
        above = current_message.set(None)
        try:
            async with operations.operation(f"control.{method}", details=told(params), changes=False):
                result = await METHODS[method].run(self._operator, params)
            if method == "system.stop":
                asyncio.get_running_loop().call_later(0.2, self._operator.stop)  # the answer goes out first
            return msgspec.to_builtins(result, enc_hook=str)
        finally:
            current_message.reset(above)
            operator_name.reset(name)


def _write(folder: Path, data: bytes) -> str:
    """A package's bytes as a file whose name says what it is: a wheel is a zip, all else is read as a tar."""
    path = folder / ("package.whl" if data.startswith(b"PK\x03\x04") else "package.tar")
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "wb") as file:
        file.write(data)
    return str(path)
