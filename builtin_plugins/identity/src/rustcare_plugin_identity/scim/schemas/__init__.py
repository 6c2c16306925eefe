"""The schemas that this server knows: users with the enterprise extension, groups, and those of discovery."""

from .attributes import Attribute, Found, Kind, Schema
from .others import COMMON, GROUP, RESOURCE_TYPE, SCHEMA, SERVICE_PROVIDER_CONFIG
from .user import ENTERPRISE, USER

__all__ = ["ENTERPRISE", "GROUPS", "KINDS", "SCHEMAS", "USERS", "Attribute", "Found", "Kind", "Schema"]

USERS = Kind("User", "/Users", "Accounts of people", USER, (ENTERPRISE,), COMMON)
GROUPS = Kind("Group", "/Groups", "Groups of users", GROUP, (), COMMON)
#: The types of resources, in the order in which a search over all of them answers.
KINDS = (USERS, GROUPS)
SCHEMAS = (USER, ENTERPRISE, GROUP, SERVICE_PROVIDER_CONFIG, RESOURCE_TYPE, SCHEMA)
