"""Accounts of people and machines, their groups and roles.

| module | one idea |
|---|---|
| `names` | when two names are the same, and which are not names at all |
| `accounts` | the accounts of a tenant |
| `groups` | groups, whose members hold their roles |
| `roles` | what a role lets its holder do |
| `infos` | accounts and groups as they are told |
| `administrators` | somebody must be left who can look after the whole |
| `services`, `group_services` | the services for administrators |
| `exchange` | export and import |
"""

from __future__ import annotations

from .accounts import Account, Accounts
from .groups import Group, Groups

__all__ = ["Account", "Accounts", "Group", "Groups"]
