"""What must be on record, and in which words the log says how a use ended. The same in every process.

The recorder states the policy as capabilities; the gate of the primary and those of its workers ask it for each use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from rustcare_sdk.capability import Capability, covers, parse
from rustcare_sdk.errors import RustCareError

from rustcare_kernel.errors import ConfigInvalid

__all__ = ["GATED", "Policy", "ending"]

#: What can be held at a gate. The clock and random bytes are read in one step, with nothing to wait in.
GATED = frozenset(
    {"bus:publish", "bus:request", "db:read", "db:write", "kv:read", "kv:write", "net:listen"}
    | {"secret:use", "secret:reveal", "secret:create"}
)


def ending(error: BaseException | None) -> str:
    """How a use ended, as the log says it: nothing when it went well, `cancelled`, or the code of its error.

    Of an error that is none of ours only the type is told: its text may hold a patient's data.
    """
    if error is None:
        return ""
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return error.code if isinstance(error, RustCareError) else type(error).__name__


class Policy:
    """The uses that must be on record; none at first."""

    CACHED = 20_000

    def __init__(self) -> None:
        self._rules: dict[str, list[Capability]] = {}
        self._answers: dict[tuple[str, str], bool] = {}

    def replace(self, must: Iterable[str], address: str) -> None:
        """These must be on record from now on. `address` names who says so. Raises ConfigInvalid, InvalidCapability."""
        rules: dict[str, list[Capability]] = {}
        for text in must:
            capability = parse(text, "audit policy")
            key = f"{capability.kind}:{capability.action}"
            if key not in GATED:
                raise ConfigInvalid(
                    f"expected one of {', '.join(sorted(GATED))} in the audit policy, got {text}",
                    hint="other uses are counted, and the counts are entries",
                    address=address,
                )
            rules.setdefault(key, []).append(Capability(capability.kind, capability.action, capability.scope))
        self._rules = rules
        self._answers.clear()

    def texts(self) -> list[str]:
        """What must be on record now, as texts of capabilities."""
        return [str(rule) for rules in self._rules.values() for rule in rules]

    def covers(self, key: str, scope: str) -> bool:
        """Whether a use must be on record. `key` is `kind:action`."""
        rules = self._rules.get(key)
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
