"""A synchronous client of the control socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from ._errors import ControlError
from ._protocol import SOCKET_NAME, no_kernel, raise_error, socket_address

__all__ = ["ControlClient"]


class ControlClient:
    """Talks to the kernel of a data folder: `with ControlClient(data_dir) as control: control.call("plugin.list")`.

    Args:
        data_dir: the kernel's data folder (or the socket itself).
        timeout: how long to wait for an answer, in seconds; None waits for ever (a first compile takes its time).

    Raises:
        ControlUnavailable: no kernel answers there.
    """

    def __init__(self, data_dir: Path | str, *, timeout: float | None = None) -> None:
        path = Path(data_dir)
        self.path = path / SOCKET_NAME if path.name != SOCKET_NAME else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._file = self._socket.makefile("rb")
        self._id = 0
        try:
            with socket_address(self.path) as address:
                self._socket.connect(address)
        except OSError:
            self.close()
            raise no_kernel(self.path) from None
        except BaseException:
            self.close()
            raise

    def call(self, method: str, **params: Any) -> Any:
        """Call a method; its result, or its typed error. Parameters that are None are left out."""
        self._id += 1
        sent = {key: value for key, value in params.items() if value is not None}
        line = json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": sent})
        try:
            self._socket.sendall(line.encode() + b"\n")
            while True:
                answer = self._read()
                if answer is None:
                    raise no_kernel(self.path)
                if answer.get("id") == self._id or ("error" in answer and answer.get("id") is None):
                    break
        except (BrokenPipeError, ConnectionError):
            raise no_kernel(self.path) from None
        except TimeoutError:
            raise ControlError(f"The kernel did not answer {method} in time", address=str(self.path)) from None
        if "error" in answer:
            raise_error(answer["error"])
        return answer.get("result")

    def watch(self, **params: Any) -> Iterator[dict[str, Any]]:
        """Call `events.watch`; every event from now on, until the kernel ends or the client is closed."""
        self.call("events.watch", **params)
        return self._events()

    def _events(self) -> Iterator[dict[str, Any]]:
        while (message := self._read()) is not None:
            if message.get("method") == "event":
                yield message["params"]

    def wait_closed(self) -> None:
        """Return when the kernel has closed the connection: after `system.stop`, when it stops listening."""
        while self._read() is not None:
            pass

    def _read(self) -> dict[str, Any] | None:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            return None
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
