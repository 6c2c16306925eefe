"""The operator's API: JSON-RPC 2.0 over a Unix socket in the kernel's data folder.

    _errors    what can go wrong before a method runs
    _protocol  framing (one JSON object on each line), error objects, the methods' parameters
    _watch     the stream of what happens: states, messages, uses of capabilities
    _methods   what each method does
    _bus       the same methods on the bus, for a plugin that offers them to others
    _server    the socket
    _client    `ControlClient`, synchronous, for programs such as the CLI

The socket is created with mode 0600 before it can be connected to, and whoever connects must be the same user or root:
holding the connection is holding the operator's rights, so there is nothing further to log in to.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._client import ControlClient
    from ._errors import ControlError, ControlUnavailable, DigestNotConsented
    from ._methods import METHODS, change_of, inspection_of
    from ._protocol import SOCKET_NAME
    from ._server import ControlServer
    from ._watch import Stream, Watch

__all__ = [
    "METHODS",
    "SOCKET_NAME",
    "ControlClient",
    "ControlError",
    "ControlServer",
    "ControlUnavailable",
    "DigestNotConsented",
    "Stream",
    "Watch",
    "change_of",
    "inspection_of",
]

_ROOMS = {
    "METHODS": "_methods",
    "SOCKET_NAME": "_protocol",
    "ControlClient": "_client",
    "ControlError": "_errors",
    "ControlServer": "_server",
    "ControlUnavailable": "_errors",
    "DigestNotConsented": "_errors",
    "Stream": "_watch",
    "Watch": "_watch",
    "change_of": "_methods",
    "inspection_of": "_methods",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for (PEP 562): the client needs no kernel, and must not wait for one."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    return found
