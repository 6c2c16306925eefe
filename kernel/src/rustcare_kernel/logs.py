"""What plugins and the kernel say: JSON lines on standard error, and the last of them in memory for `plugin logs`.

Fields are written as given: callers pass no secret and no patient data. A foreign exception is logged by its type only,
because its text may quote what it choked on.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from rustcare_sdk.errors import RustCareError

__all__ = ["Logs", "describe"]

_encoder = msgspec.json.Encoder(enc_hook=str)


def describe(error: BaseException) -> dict[str, str]:
    """The fields under which an error is logged."""
    if isinstance(error, RustCareError):
        fields = {"error": error.code, "reason": error.message}
        if error.hint:
            fields["hint"] = error.hint
        return fields
    return {"error": type(error).__name__}


class Logs:
    """All loggers of one kernel. `sink` takes each line as bytes; None is silence."""

    KEPT = 1000
    LEVELS: ClassVar[dict[str, int]] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "silent": 99}

    def __init__(self, level: str = "info", sink: Callable[[bytes], Any] | None = None) -> None:
        self._threshold = self.LEVELS[level]
        self._sink = sink if sink is not None else _to_stderr
        self._kept: dict[str, deque[bytes]] = {}

    def of(self, plugin: str) -> PluginLogger:
        """The logger of one plugin (or of `kernel`)."""
        return PluginLogger(self, plugin)

    def tail(self, plugin: str, count: int = 100) -> list[dict[str, Any]]:
        """The last entries of one plugin, oldest first."""
        kept = list(self._kept.get(plugin, ()))
        return [msgspec.json.decode(line) for line in kept[max(0, len(kept) - count) :]]

    def forget(self, plugin: str) -> None:
        """Drop a removed plugin's entries."""
        self._kept.pop(plugin, None)

    def write(self, plugin: str, level: str, event: str, fields: dict[str, Any]) -> None:
        """Keep an entry and, when its level is loud enough, write it. Never raises for what the fields hold."""
        head = {"time": datetime.now(UTC).isoformat(), "level": level, "plugin": plugin, "event": event}
        line = _encode(head, fields)
        kept = self._kept.get(plugin)
        if kept is None:
            kept = self._kept[plugin] = deque(maxlen=self.KEPT)
        kept.append(line)  # encoded, so that no object of a plugin outlives it here
        if self.LEVELS.get(level, 20) >= self._threshold:
            self._sink(line + b"\n")


def _encode(head: dict[str, Any], fields: dict[str, Any]) -> bytes:
    try:
        return _encoder.encode({**head, **fields, **head})  # a field cannot take the place of what the kernel says
    except Exception:  # keys that JSON has not, numbers beyond its range, an object whose text fails
        return _encoder.encode({**{name: type(value).__name__ for name, value in fields.items()}, **head})


class PluginLogger:
    """The `ctx.log` of one plugin."""

    __slots__ = ("_logs", "_plugin")

    def __init__(self, logs: Logs, plugin: str) -> None:
        self._logs = logs
        self._plugin = plugin

    def debug(self, event: str, **fields: Any) -> None:
        """For whoever develops the plugin."""
        self._logs.write(self._plugin, "debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Something happened that an operator may want to know."""
        self._logs.write(self._plugin, "info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something is odd but was dealt with."""
        self._logs.write(self._plugin, "warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something failed."""
        self._logs.write(self._plugin, "error", event, fields)


def _to_stderr(line: bytes) -> None:
    # sys.stderr is looked up each time: an embedder may have replaced it.
    sys.stderr.write(line.decode())
