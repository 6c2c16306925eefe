"""Who may do everything is out of reach for who may not: else the right to write accounts would be the right to all.

Whoever may write accounts could otherwise set an administrator's password, or give themselves the role.
"""

from __future__ import annotations

from collections.abc import Iterable

from .accounts import Account, Accounts, Group
from .accounts.roles import grants
from .errors import AdministratorsOnly

__all__ = ["ADMIN", "Guard"]

#: The scope that includes every other.
ADMIN = "admin"


class Guard:
    """Decides for a caller with certain scopes, in one tenant. Each method raises AdministratorsOnly."""

    def __init__(self, accounts: Accounts, tenant: str, scopes: Iterable[str]) -> None:
        self._accounts = accounts
        self._tenant = tenant
        self._admin = any(grants(scope, ADMIN) for scope in scopes)

    def give(self, roles: Iterable[str]) -> None:
        """May the caller give these roles, or change who has them?"""
        if not self._admin and ADMIN in self._accounts.scopes_of(self._tenant, list(roles)):
            raise AdministratorsOnly(
                "expected a caller with the scope admin, since a role gives it, got one without",
                hint="let an administrator do it",
            )

    async def change(self, account: Account | None) -> None:
        """May the caller change this account? (None: there is none, so there is nothing to guard.)"""
        if not self._admin and account is not None:
            self.give(await self._accounts.roles_of(account))

    def change_group(self, group: Group | None) -> None:
        """May the caller change this group, or who is in it?"""
        if group is not None:
            self.give(group.roles)
