"""The commands about who may come in: `rustcare user`, `rustcare tenant`, `rustcare key`, by name.

Each is a request to a service of the plugin `identity`, in the operator's name. What is shown once (a link, a key) goes to
standard output and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["key_commands", "tenant_commands", "user_commands"]


def user_commands() -> Mapping[str, Callable[..., Any]]:
    """`rustcare user …`."""
    from . import bulk, sessions, users

    return {
        "create": users.create,
        "list": users.list_users,
        "show": users.show,
        "set": users.change,
        "disable": users.disable,
        "enable": users.enable,
        "unlock": users.unlock,
        "reset-mfa": users.reset_mfa,
        "invite": users.invite,
        "delete": users.delete,
        "sessions": sessions.sessions,
        "revoke": sessions.revoke,
        "import": bulk.import_users,
        "export": bulk.export_users,
    }


def tenant_commands() -> Mapping[str, Callable[..., Any]]:
    """`rustcare tenant …`."""
    from . import tenants

    return {
        "create": tenants.create,
        "list": tenants.list_tenants,
        "show": tenants.show,
        "set": tenants.change,
        "disable": tenants.disable,
        "enable": tenants.enable,
    }


def key_commands() -> Mapping[str, Callable[..., Any]]:
    """`rustcare key …`."""
    from . import keys

    return {"create": keys.create, "list": keys.list_keys, "revoke": keys.revoke}
