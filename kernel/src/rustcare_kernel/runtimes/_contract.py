"""What a runtime gives the kernel: it turns a package's verified bytes into something that handles messages.

`python`, `component` and `extism` implement this. The kernel hands every instance a context that has already been bound
to the plugin's identity and grants; a runtime adds no rights, it only links what was granted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from rustcare_sdk.context import Context
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler, Health

__all__ = [
    "CallLimitExceeded",
    "Code",
    "Host",
    "Instance",
    "InvalidCode",
    "LinkRefused",
    "PluginTrapped",
    "Runtime",
]


class PluginTrapped(RustCareError):
    """Plugin code crashed: a trap, an exhausted stack, an out-of-memory. The instance was dropped and replaced."""

    code: ClassVar[str] = "runtime.trapped"


class CallLimitExceeded(PluginTrapped):
    """A call used up its fuel or its time, or returned more than it may. Counts as a trap."""

    code: ClassVar[str] = "runtime.limit-exceeded"


class LinkRefused(RustCareError):
    """The code imports something that was not granted (or is not offered at all), so it is not linked."""

    code: ClassVar[str] = "runtime.link-refused"


class InvalidCode(RustCareError):
    """The code of a package is not what its runtime runs, or does not do what the guest interface asks."""

    code: ClassVar[str] = "runtime.invalid-code"


@dataclass(frozen=True)
class Code:
    """The verified bytes of one package for one runtime.

    `payload` is a zip of the Python tree (runtime `python`) or a `.wasm` binary; its SHA-256 is `digest`, checked on
    these very bytes by the catalog just before. `entry` is `module:Class` for Python, empty otherwise.
    """

    manifest: Manifest
    payload: bytes
    digest: str
    entry: str = ""


@dataclass
class Host:
    """What the kernel lends to one running plugin.

    `granted(kind)` tells whether any capability of that kind is held (what to link). `used(fuel, bytes_in, bytes_out,
    host_calls)` adds to the accounting of the current call. `trapped(reason)` counts against the trap budget.
    """

    ctx: Context
    granted: Callable[[str], bool]
    used: Callable[[int, int, int, int], None]
    trapped: Callable[[str], None]
    cache: Path | None = None
    cache_key: bytes = b""
    extra: dict[str, Any] = field(default_factory=dict)


class Instance(Protocol):
    """A loaded plugin (for sandboxes: its pool of instances)."""

    @property
    def handlers(self) -> tuple[Handler, ...]:
        """What the code itself declares; known once the instance is loaded."""
        ...

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def health(self) -> Health: ...
    async def invoke(self, handler: Handler, message: Message[Any]) -> Any:
        """Handle one message. `message.data` may be a `msgspec.Raw` (JSON from a sandbox); so may the answer."""
        ...

    async def export_state(self) -> Any: ...
    async def import_state(self, version: int, state: Any) -> None:
        """Migrate the state if its version is another, then import it."""
        ...

    async def close(self) -> None:
        """Let go of everything; nothing of the plugin stays in the process."""
        ...


class Runtime(Protocol):
    """One way to run code."""

    name: ClassVar[str]

    async def load(self, code: Code, host: Host) -> Instance: ...
    async def close(self) -> None: ...
