"""A worker's gate: what must be on record is, at the primary, before it has its effect here.

The policy comes with the wanted state, so a use that nobody has to record costs no trip. When the primary cannot record,
or cannot be reached, nothing is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import msgspec
from rustcare_sdk.capability import Capability, covers, parse
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import Call

from rustcare_kernel.bus import Sender
from rustcare_kernel.calls import FOREVER

from . import _frames as frames
from ._link import Link

__all__ = ["WorkerGate"]


class WorkerGate:
    """The bus's and the contexts' gate in a worker."""

    CACHED = 20_000

    def __init__(self, link: Link) -> None:
        self.recorder = ""
        self._link = link
        self._must: dict[str, list[Capability]] = {}
        self._answers: dict[tuple[str, str], bool] = {}

    def enforce(self, recorder: str, must: Iterable[str]) -> None:
        """Take over the policy."""
        rules: dict[str, list[Capability]] = {}
        for text in must:
            rule = parse(text, "audit policy")
            rules.setdefault(f"{rule.kind}:{rule.action}", []).append(rule)
        self.recorder, self._must = recorder, rules
        self._answers.clear()

    def audits(self, sender: str, key: str, scope: str) -> bool:
        """Whether a use must be on record. `key` is `kind:action`."""
        rules = self._must.get(key)
        if rules is None:
            return False
        answer = self._answers.get((key, scope))
        if answer is None:
            kind, _, action = key.partition(":")
            answer = any(covers(rule, Capability(kind, action, scope)) for rule in rules)
            if len(self._answers) > self.CACHED:  # names come from outside: a cache must not grow without bound
                self._answers.clear()
            self._answers[key, scope] = answer
        return answer

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
        attempt = await link.answer(frames.Enter(id, plugin, digest, key, scope, call, payload), FOREVER)
        try:
            result = await work(msgspec.json.decode(attempt, type=str))
        except BaseException as error:
            code = error.code if isinstance(error, RustCareError) else type(error).__name__
            link.send(frames.Leave(id, "cancelled" if isinstance(error, asyncio.CancelledError) else code))
            raise
        link.send(frames.Leave(id, ""))
        return result

    async def inside(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """The recorder runs in the primary alone; for the bus's sake."""
        return await work()
