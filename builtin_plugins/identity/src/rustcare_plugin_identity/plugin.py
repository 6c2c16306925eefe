"""The plugin: builds its parts at the start; its services and routes are in the classes that it is made of."""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Health

from .accounts import Accounts, Groups
from .accounts.exchange import ExchangeServices
from .accounts.group_services import GroupServices
from .accounts.services import AccountServices
from .api import ApiRoutes
from .base import Services
from .credentials import Credentials
from .device.routes import DeviceRoutes
from .device.services import DeviceServices
from .elevations.services import ElevationServices
from .factors.services import FactorServices
from .keys.services import KeyServices
from .login.flows import LoginServices
from .login.recovery import RecoveryServices
from .pages import Pages
from .scim.routes import ScimRoutes
from .sessions.services import SessionServices
from .tenant_services import TenantServices
from .tenants import Tenants

__all__ = ["Identity"]


# One line for each class, so that edits meet without a clash.
class Identity(
    Pages,
    AccountServices,
    ExchangeServices,
    GroupServices,
    LoginServices,
    RecoveryServices,
    TenantServices,
    FactorServices,
    ApiRoutes,
    ScimRoutes,
    SessionServices,
    DeviceServices,
    DeviceRoutes,
    KeyServices,
    ElevationServices,
    Credentials,
    Services,
):
    """People and machines: accounts, sessions, tokens, MFA, keys, tenants."""

    state_version = 1

    async def start(self) -> None:
        """Build the parts, in the order in which they need each other."""
        config = self.ctx.config
        db, now, random = self.ctx.db, self.time, self.ctx.random
        # tenants and accounts
        self.tenants = Tenants(db, now, config.get("settings", {}))
        await self.tenants.open()
        self.accounts = Accounts(db, now, random, self.tenants.roles)
        self.groups = Groups(db, now, random, self.accounts.check_roles)
        # sessions, tokens, keys, elevations
        await self.start_credentials()
        # second factors, pages
        await self.start_factors()
        self.start_activity()
        self.start_pages()
        # signing in, mail
        await self.start_gate()
        # provisioning and the API
        self.open_scim()

    async def stop(self) -> None:
        """End what runs in threads."""
        self.stop_gate()

    async def export_state(self) -> Any:
        """All state is in the database; the next version is to read it once more."""
        return {"tenants": self.tenants.revision}

    async def import_state(self, state: Any) -> None:
        """Read again what is kept in memory: the version before has gone on changing it after this one's start."""
        await self.tenants.open()
        await self.signing.open()

    async def health(self) -> Health:
        """Whether the database answers."""
        await self.ctx.db.fetch_one("SELECT value FROM counters WHERE name = 'tenants'")
        return Health(details={"tenants": len(self.tenants.list())})
