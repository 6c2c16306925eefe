"""What somebody may do at this moment: the roles of their account, and the elevation that is in force in their session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from rustcare_plugin_identity.accounts import Account, Accounts
from rustcare_plugin_identity.elevations.elevations import Elevation

from .model import Session
from .scopes import narrowed

__all__ = ["Held", "Rights"]


class _InForce(Protocol):
    async def in_force(self, id: str) -> Elevation | None: ...


class Held(Struct, frozen=True):
    """What is held, until `until` (Unix seconds, 0: until something changes). `on_behalf` is a principal."""

    scopes: tuple[str, ...]
    roles: tuple[str, ...]
    on_behalf: str = ""
    purpose: str = ""
    until: float = 0.0

    def only(self, scopes: Sequence[str]) -> Held:
        """No more than these scopes, and then no roles: whoever looks at roles would find more than was meant."""
        return Held(tuple(narrowed(self.scopes, scopes)), (), self.on_behalf, self.purpose, self.until)


class Rights:
    """Looks up what accounts and sessions hold."""

    def __init__(self, accounts: Accounts, elevations: _InForce) -> None:
        self._accounts = accounts
        self._elevations = elevations

    async def of(self, account: Account, session: Session | None = None) -> Held:
        """What an account holds in a session.

        Under a break-glass access, its role besides its own. Under a delegation, only what was delegated and its giver still
        holds: what is done there is done for the other, and nothing else.
        """
        roles = await self._accounts.roles_of(account)
        scopes = self._accounts.scopes_of(account.tenant, roles)
        elevation = await self._elevations.in_force(session.elevation) if session and session.elevation else None
        if elevation is None or elevation.account != account.id or elevation.tenant != account.tenant:
            return Held(tuple(scopes), tuple(roles))
        if elevation.kind == "break-glass":
            roles = sorted({*roles, elevation.role})
            scopes = self._accounts.scopes_of(account.tenant, roles)
            return Held(tuple(scopes), tuple(roles), "", elevation.purpose, elevation.ends)
        giver = await self._accounts.get(account.tenant, elevation.on_behalf)
        if giver is None or giver.state != "active":
            return Held((), (), "", elevation.purpose, elevation.ends)
        theirs = self._accounts.scopes_of(account.tenant, await self._accounts.roles_of(giver))
        return Held(tuple(narrowed(theirs, elevation.scopes)), (), giver.principal, elevation.purpose, elevation.ends)
