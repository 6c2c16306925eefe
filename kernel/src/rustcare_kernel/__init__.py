"""The microkernel: the lifecycle of plugins, capabilities, and a message bus. Everything else is a plugin.

The rooms, lowest floor first; when a room is imported, it imports only from those above its line:

    errors          what can go wrong, each with a stable code
    accounting      calls, time, fuel, bytes and uses of rights, per plugin and tenant
    subjects        which subscriptions a subject reaches: a trie of patterns
    grants          the tree of grants: give, attenuate, revoke, check
    routes          which plugin answers which HTTP route
    calls           who speaks, which message is being handled, the deadline
    provider        the provider of a service, and the gate where requests wait while it is replaced
    subscription    one subscriber's bounded queue and the task that empties it in order
    bus             publish and request
    logs            what plugins and the kernel say
    secret_files    secrets by name, from the data folder or the environment
    stores/         a private database and key-value space for each plugin: sqlite, postgres
    context         what a plugin holds as `self.ctx`: every call passes its capability check there
    package/        what is installed: an OCI artifact, always with the same digest for the same content
    runtimes/       python (trusted), component and extism (sandboxed)
    states          the states of a plugin's life and the steps between them
    dependencies    who must start before whom
    catalog         what is installed and wanted: survives restarts and kill -9
    audit/          what must be on record before it happens, and the way through
    running         one loaded version and its wires to the bus
    configuration   a plugin's configuration against its schema
    data_lock       one kernel for each data folder
    loader          from a catalog entry to a loaded version
    lifecycle       start, retry, upgrade with hand-over, roll back, quarantine, stop
    fleet           all plugins together: the order of starts, who waits for whom
    installer       from a source to a package that was consented to
    administration  what changes the installation, each change on record
    workers/        processes beside this one that serve what each process can
    kernel          the facade an embedder uses
    control/        the operator's API on a Unix socket: what the CLI talks to
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .installer import CapabilityAsked, Inspection
    from .kernel import Kernel, PluginStatus
    from .states import State

__all__ = ["CapabilityAsked", "Inspection", "Kernel", "PluginStatus", "State"]

_ROOMS = {
    "CapabilityAsked": "installer",
    "Inspection": "installer",
    "Kernel": "kernel",
    "PluginStatus": "kernel",
    "State": "states",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for (PEP 562).

    Whoever wants one room, as a command that talks to a kernel elsewhere wants `control`, need not load a whole kernel.
    """
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    return found
