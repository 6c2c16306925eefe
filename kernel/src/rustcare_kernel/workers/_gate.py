"""A worker's gate: what must be on record is, at the primary, before it has its effect here.

The policy comes with the wanted state, so a use that nobody has to record costs no trip. When the primary cannot record,
or cannot be reached, nothing is done.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec
from rustcare_sdk.message import Call

from rustcare_kernel.audit.policy import Policy, ending
from rustcare_kernel.bus import Sender
from rustcare_kernel.calls import FOREVER

from . import _frames as frames
from ._link import Link

__all__ = ["WorkerGate"]


class WorkerGate:
    """The bus's and the contexts' gate in a worker."""

    def __init__(self, link: Link) -> None:
        self.recorder = ""
        self._link = link
        self._policy = Policy()

    def enforce(self, recorder: str, must: Iterable[str]) -> None:
        """Take over the policy."""
        self._policy.replace(must, recorder)
        self.recorder = recorder

    def audits(self, sender: str, key: str, scope: str) -> bool:
        """Whether a use must be on record. `key` is `kind:action`."""
        return self._policy.covers(key, scope)

    async def through(
        self,
        sender: Sender,
        call: Call,
        key: str,
        scope: str,
        data: Any,
        work: Callable[[str], Coroutine[Any, Any, Any]],
    ) -> Any:
        """Have a use recorded by the primary, then do it; how it went is told there.

        Raises AuditUnavailable (nothing was done), or what `work` raises.
        """
        rights = sender.rights
        plugin, digest = (rights.plugin, rights.digest) if rights is not None else ("", "")
        link = self._link
        id = link.ticket()
        payload = frames.payload_of(data, f"data for {scope}")
        try:
            # Also whoever gives up while it waits has left: the entry may be there, with nobody to say how it ended.
            attempt = await link.answer(frames.Enter(id, plugin, digest, key, scope, call, payload), FOREVER)
            result = await work(msgspec.json.decode(attempt, type=str))
        except BaseException as error:
            link.send(frames.Leave(id, ending(error)))
            raise
        link.send(frames.Leave(id, ""))
        return result

    async def inside(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The recorder runs in the primary alone; for the bus's sake."""
        return await work()
