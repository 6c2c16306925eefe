"""Who asks. The kernel stamps a message's tenant, principal and source; nothing here is taken from its data."""

from __future__ import annotations

from typing import Any

from msgspec import Struct
from rustcare_sdk import Message

__all__ = ["DEFAULT_TENANT", "Caller"]

DEFAULT_TENANT = "default"
#: The principal of a person at the system's own controls.
OPERATOR = "operator"


class Caller(Struct, frozen=True):
    """`source`: the plugin that asks, empty for the operator; `system`: on nobody's behalf, for no tenant in particular.

    `attempt`: the id under which what is asked is on record, empty when it is not.
    """

    tenant: str
    source: str
    system: bool
    attempt: str = ""

    @property
    def operator(self) -> bool:
        """Whether a person at the system's own controls asks."""
        return not self.source

    @classmethod
    def of(cls, message: Message[Any]) -> Caller:
        """The caller of a message. The ids of plugins have a dot in them, the kernel's own name has none."""
        source = message.source if "." in message.source else ""
        nobody = not message.principal or (not source and message.principal == OPERATOR)
        return cls(message.tenant, source, message.tenant == DEFAULT_TENANT and nobody, message.uid)
