"""What the primary takes from a worker: in whose name it may speak, for whom, and what it may hear.

A worker holds its plugins to their rights itself, as the primary does with its own. But it is another process, whose plugins
came from somewhere: what it says of itself is held against what it was told to run. It speaks in the name of those plugins
alone; for a tenant only when one of them may say for whom its calls are (`bus:originate`), or it was given an event of that
tenant and principal to handle; and it hears what the plugin that listens may hear, by any of its versions, at that moment.
"""

from __future__ import annotations

from collections.abc import Hashable

from rustcare_sdk.capability import Capability
from rustcare_sdk.errors import CapabilityDenied
from rustcare_sdk.message import Call

from rustcare_kernel.bus import Sender
from rustcare_kernel.grants import CACHED, Grants, Rights

from . import _frames as frames

__all__ = ["Standing"]

_OWN = Call()


class Standing:
    """What one worker may say and hear."""

    def __init__(self, worker: int, grants: Grants) -> None:
        self._worker = worker
        self._grants = grants
        self._plugins: set[str] = set()
        self._rights: dict[tuple[str, str], Rights] = {}
        self._given: set[tuple[str, str, str]] = set()
        self._given_before: set[tuple[str, str, str]] = set()
        self._held: dict[Hashable, None] = {}  # answers that hold until a right is given or taken
        self._epoch = -1

    def told(self, desired: frames.Desired) -> None:
        """It was told to run this. What it ran before it may still have to finish."""
        self._plugins.update(held.plugin for held in desired.rights)

    def gave(self, call: Call) -> None:
        """It was given an event to handle: what it does for that is for the same tenant and principal."""
        who = _who(call)
        if who not in self._given:
            # Principals come from outside: a set must not grow without bound. But what was given last is still being handled.
            if len(self._given) > CACHED:
                self._given, self._given_before = set(), self._given
            self._given.add(who)

    def runs(self, plugin: str) -> bool:
        """Whether it is one of those that it was told to run."""
        return plugin in self._plugins

    def check_name(self, plugin: str) -> None:
        """Raise CapabilityDenied when it is not one of those that it was told to run."""
        if plugin not in self._plugins:
            raise CapabilityDenied(
                f"worker {self._worker} speaks for {plugin[:100]}, which it was not told to run",
                hint="a plugin of which each process runs one has scale = each in its manifest",
            )

    def sender(self, plugin: str, digest: str, call: Call) -> Sender:
        """Who speaks when it says so. Raises CapabilityDenied when it may not speak in that name, or for that tenant."""
        rights = self._rights.get((plugin, digest))
        if rights is None:
            self.check_name(plugin)
            rights = Rights(self._grants, plugin, digest)
            if digest in self._grants.digests(plugin):  # any other has no rights, and is not worth to be kept
                self._rights[plugin, digest] = rights
        if call != _OWN and _who(call) not in self._given and _who(call) not in self._given_before:
            self._check_origin(call.tenant)
        return Sender(plugin, rights, call)

    def _check_origin(self, tenant: str) -> None:
        if not any(self._holds(plugin, "originate", tenant, tenant) for plugin in self._plugins):
            raise CapabilityDenied(
                f"worker {self._worker} speaks for tenant {tenant[:100]!r}, and no plugin there may say for whom its calls are",
                hint="that takes bus:originate@TENANT",
            )

    def check_hearing(self, plugin: str, pattern: str, tenant: str) -> None:
        """Raise CapabilityDenied, and count it, when no version of a plugin may hear what fits a pattern for a tenant."""
        if not self._holds(plugin, "subscribe", pattern, tenant):
            digests = self._grants.digests(plugin) or [""]
            rights = Rights(self._grants, plugin, digests[0])
            rights.permit(rights.subscribe, "subscribe", pattern, tenant)

    def _holds(self, plugin: str, action: str, scope: str, tenant: str) -> bool:
        if self._epoch != self._grants.epoch:
            self._held.clear()
            self._epoch = self._grants.epoch
        key = (plugin, action, scope, tenant)
        if key in self._held:
            return True
        for digest in self._grants.digests(plugin):
            try:
                _, steady = self._grants.find(plugin, digest, tenant, Capability("bus", action, scope))
            except CapabilityDenied:
                continue
            if steady:
                if len(self._held) > CACHED:
                    self._held.clear()
                self._held[key] = None
            return True
        return False


def _who(call: Call) -> tuple[str, str, str]:
    return call.tenant, call.principal, call.on_behalf
