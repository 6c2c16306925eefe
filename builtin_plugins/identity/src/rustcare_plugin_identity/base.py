"""What all services share: the plugin's parts, the time, and how something that concerns security is told.

`Identity.start` (in `plugin`) builds the parts, in the order in which they need each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rustcare_sdk import Message, Plugin
from rustcare_sdk.contracts.identity import EVENT, REVOKED, Revocation, SecurityEvent
from rustcare_sdk.errors import ServiceError

from .accounts import Account, Accounts, Groups
from .errors import NotSignedIn, OperatorOnly, SystemTenantOnly
from .settings import Settings
from .tenants import DEFAULT, Tenants

if TYPE_CHECKING:
    # One line for each part, by its owner, so that edits meet without a clash.
    from .elevations.elevations import Elevation, Elevations
    from .sessions.model import Session
    from .sessions.sessions import Sessions

__all__ = ["Services"]


class Services(Plugin):
    """The base of the services' classes."""

    # accounts and tenants
    accounts: Accounts
    groups: Groups
    tenants: Tenants

    # sessions and elevations (tokens, keys and devices are in `credentials`)
    sessions: Sessions
    elevations: Elevations

    # second factors
    factors: Any

    def time(self) -> float:
        """Now, in Unix seconds."""
        return self.ctx.now().timestamp()

    def settings(self, tenant: str) -> Settings:
        """What holds for a tenant."""
        return self.tenants.settings(tenant)

    async def event(
        self,
        action: str,
        *,
        outcome: Literal["success", "failure"] = "success",
        account: str = "",
        session: str = "",
        code: str = "",
        address: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Tell what concerns security, for the message that is being handled; on record when this returns.

        Raises:
            AuditUnavailable: it cannot be put on record. What was to be told must then not happen.
            ServiceError (`identity.event-unhandled`): a subscriber could not handle it; likewise.
        """
        told = SecurityEvent(action, outcome, account, session, code, address, dict(details or {}))
        delivery = await self.ctx.publish(EVENT, told, confirm=True)
        if delivery.failures:
            raise ServiceError(
                "identity.event-unhandled",
                f"expected {action} to be handled by all who watch, got {', '.join(delivery.failures)}",
                hint="see the log of the subscriber that failed",
            )

    async def tell(self, revocations: Sequence[Revocation]) -> None:
        """Tell everybody of revocations that are committed; all have heard of them when this returns."""
        for one in revocations:
            delivery = await self.ctx.publish(REVOKED, one, confirm=True)
            if delivery.failures:
                # It is durable: who could not handle it now asks for all revocations before it lets anybody in again.
                self.ctx.log.error("a revocation was not handled", revision=one.revision, codes=list(delivery.failures))

    async def make_room(self, session: Session) -> None:
        """A session has begun: end the account's oldest ones where its tenant allows no more, and tell."""
        for one in await self.sessions.make_room(session):
            details = {"kind": "too-many", "alert": "too many sessions"}
            await self.event("session.ended", account=one.account, session=one.id, details=details)

    async def end_elevation(self, elevation: Elevation, by: str) -> None:
        """End one everywhere, with the tokens that were made under it, and tell. One that has ended already stays so."""
        async with self.ctx.db.transaction() as tx:
            ended = await self.elevations.end(tx, elevation.id)
            told = await self.sessions.lower(tx, elevation.id)
        await self.tell(told)
        if ended:
            await self.elevation_ended(elevation, by)

    async def elevation_ended(self, elevation: Elevation, by: str) -> None:
        """Tell that one has ended before its time."""
        details = {"elevation": elevation.id, "kind": elevation.kind, "by": by}
        await self.event("elevation.ended", account=elevation.account, session=elevation.session, details=details)

    # who asks

    def operator(self, message: Message[Any]) -> bool:
        """Whether a person at the system's own controls asks: the embedding program, or an account of the machine (`unix:…`)
        on the control socket. The ids of plugins have a dot in them, the kernel has none."""
        own = message.principal in ("", "operator") or message.principal.startswith("unix:")
        return own and "." not in message.source

    def need_operator(self, message: Message[Any]) -> None:
        """Raises OperatorOnly."""
        if not self.operator(message):
            raise OperatorOnly(
                "expected the operator, got a plugin or another principal", hint="use the command line on the server"
            )

    def need_system(self, message: Message[Any]) -> None:
        """Raises SystemTenantOnly unless the message is of the tenant that looks after the whole."""
        if message.tenant != DEFAULT:
            raise SystemTenantOnly("expected a caller of the tenant default, got one of another tenant")

    async def own_account(self, message: Message[Any]) -> Account:
        """The account of the message's principal. Raises NotSignedIn."""
        found = await self.accounts.by_principal(message.tenant, message.principal)
        if found is None or found.state == "disabled":
            raise NotSignedIn(
                "expected a call on behalf of an account of this tenant, got another", address="principal"
            )
        return found
