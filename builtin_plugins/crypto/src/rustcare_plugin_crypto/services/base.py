"""What all services share: the open keyring, and whose message it is."""

from __future__ import annotations

from typing import Any, TypeVar

from rustcare_sdk import Message, Plugin

from rustcare_plugin_crypto.algorithms import Policy
from rustcare_plugin_crypto.keyring import Caller, Key, Keyring
from rustcare_plugin_crypto.refusals import InvalidRequest, KeyUnsuitable
from rustcare_plugin_crypto.subjects import Subjects

__all__ = ["MAX_ITEMS", "Services", "check_items"]

#: Items of one request: more would keep the event loop from others for too long.
MAX_ITEMS = 10_000

F = TypeVar("F")


class Services(Plugin):
    """The base of the services' classes."""

    policy: Policy
    keyring: Keyring
    subjects: Subjects

    async def usable(self, message: Message[Any], name: str, *families: str) -> Key:
        """A key that the caller may use, of one of the families. Raises KeyUnknown, KeyForbidden, KeyUnsuitable."""
        caller = Caller.of(message)
        key = self.keyring.at_hand(caller, name) or await self.keyring.key(caller, name)
        if key.algorithm.family not in families:
            raise KeyUnsuitable(
                f"expected a key for {' or '.join(families)}, got {key.record.algorithm}",
                address=f"{message.subject}:{name}",
            )
        return key


def check_items(count: int, service: str) -> None:
    """Raise InvalidRequest when there are too many items at once."""
    if count > MAX_ITEMS:
        raise InvalidRequest(f"expected at most {MAX_ITEMS} items, got {count}", hint="ask in pages", address=service)
