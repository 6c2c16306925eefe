"""Somebody must be left who can look after the whole: a change that takes the last administrator away is undone.

It is looked at after the change, within its transaction: of two that take one administrator each away at the same time, the
second sees what the first has left. The operator may do it, and only the tenant `default` is meant.
"""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Message
from rustcare_sdk.context import Queries

from rustcare_plugin_identity.errors import LastAdministrator
from rustcare_plugin_identity.login.gate import Gate
from rustcare_plugin_identity.tenants import DEFAULT

__all__ = ["ADMINISTRATOR", "Administrators"]

#: The role of those who look after the whole.
ADMINISTRATOR = "administrator"


class Administrators(Gate):
    """The base of the classes of services that can take the role of administrators away."""

    async def administered(self, message: Message[Any], tx: Queries | None = None) -> bool:
        """Whether an administrator must be left after what a message asks for; not where there is none before either."""
        if message.tenant != DEFAULT or self.operator(message):
            return False
        return bool(await self.accounts.holders(DEFAULT, ADMINISTRATOR, tx))

    async def keep_administered(self, tx: Queries, address: str) -> None:
        """Raises LastAdministrator when none is left."""
        if not await self.accounts.holders(DEFAULT, ADMINISTRATOR, tx):
            raise LastAdministrator(
                "expected another active administrator to be left, there is none",
                hint="make another one first, or do it on the server's command line",
                address=address,
            )
