"""Who looks after the system is out of reach for who does not: else the right to write accounts would be the right to all.

Whoever may write accounts could otherwise set an administrator's password, or give themselves the role. That goes for every
scope of administration: who may install plugins may do everything with a plugin of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from .accounts import Account, Accounts, Group
from .accounts.roles import grants
from .errors import AdministratorsOnly

__all__ = ["ADMIN", "Guard"]

#: The scope that includes every other; those below it are administration too.
ADMIN = "admin"


class Guard:
    """Decides for a caller with certain scopes, in one tenant. Each method raises AdministratorsOnly."""

    def __init__(self, accounts: Accounts, tenant: str, scopes: Iterable[str]) -> None:
        self._accounts = accounts
        self._tenant = tenant
        self._held = tuple(scopes)

    def give(self, roles: Iterable[str]) -> None:
        """May the caller give these roles, or change who has them?"""
        for scope in self._accounts.scopes_of(self._tenant, list(roles)):
            if scope.partition(".")[0] == ADMIN and not self._holds(scope):
                raise AdministratorsOnly(
                    f"expected a caller with the scope {scope}, since a role gives it, got one without",
                    hint="let an administrator do it",
                )

    async def change(self, account: Account | None) -> None:
        """May the caller change this account? (None: there is none, so there is nothing to guard.)"""
        if account is not None and not self._holds(ADMIN):
            self.give(await self._accounts.roles_of(account))

    def change_group(self, group: Group | None) -> None:
        """May the caller change this group, or who is in it?"""
        if group is not None:
            self.give(group.roles)

    def _holds(self, scope: str) -> bool:
        return any(grants(held, scope) for held in self._held)
