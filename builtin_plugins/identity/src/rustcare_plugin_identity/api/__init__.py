"""The JSON API under `/identity/v1`, for administrators and for one's own account.

Thin: each handler asks a service of the plugin on the bus, so that what it does is on record like everything else. Reading
needs the scope `identity.read`, changing others `identity.write` and a session of AAL2; for one's own account it is enough
to be known. `openapi.json` describes it from the types here.

| module | one idea |
|---|---|
| `base` | what all handlers share: limits of what they take, and the statuses of errors |
| `me` | one's own account, sessions and keys |
| `people` | accounts, and the sessions of others |
| `groups` | groups and roles |
| `machines` | service accounts and keys |
| `rights` | emergency access, delegations, and their review |
| `tenants` | the tenants, for who looks after the whole |
"""

from __future__ import annotations

from .groups import GroupRoutes
from .machines import MachineRoutes
from .me import OwnRoutes
from .people import PeopleRoutes
from .rights import RightsRoutes
from .tenants import TenantRoutes

__all__ = ["ApiRoutes"]


class ApiRoutes(OwnRoutes, PeopleRoutes, GroupRoutes, MachineRoutes, RightsRoutes, TenantRoutes):
    """All routes of the API."""
