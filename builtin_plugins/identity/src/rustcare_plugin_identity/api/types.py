"""Bodies and answers of the API that are not those of a service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from rustcare_sdk.contracts.identity import AccountInfo

__all__ = [
    "AccountChanges",
    "BreakGlass",
    "Delegation",
    "GroupChanges",
    "Invitation",
    "Me",
    "NewAccount",
    "NewGroup",
    "NewKey",
    "NewServiceAccount",
    "OwnChanges",
    "Reason",
    "Review",
    "RoleInfo",
    "Roles",
    "TenantChanges",
]


@dataclass(frozen=True)
class Me:
    """Who the caller is, and what they may do at the moment. `authenticated`: when they last proved it, Unix seconds."""

    account: AccountInfo
    scopes: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    aal: int = 1
    session: str = ""
    authenticated: float = 0.0
    on_behalf: str = ""
    purpose: str = ""


@dataclass(frozen=True)
class OwnChanges:
    """What people change of themselves here; what is null stays."""

    display_name: str | None = None


@dataclass(frozen=True)
class NewAccount:
    """A new user. Without a password they are invited: the answer holds the link, or it is mailed."""

    name: str
    email: str = ""
    display_name: str = ""
    password: str = field(default="", repr=False)
    roles: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    mail: bool = False
    external_id: str = ""
    disabled: bool = False


@dataclass(frozen=True)
class AccountChanges:
    """What changes; what is null stays. With a version other than 0: only if it is the current one."""

    name: str | None = None
    email: str | None = None
    display_name: str | None = None
    roles: list[str] | None = None
    groups: list[str] | None = None
    external_id: str | None = None
    password: str | None = field(default=None, repr=False)
    version: int = 0


@dataclass(frozen=True)
class Reason:
    """Why; it is put on record."""

    reason: str = ""


@dataclass(frozen=True)
class Invitation:
    """Whether the link is mailed; else the answer holds it."""

    mail: bool = False


@dataclass(frozen=True)
class NewGroup:
    """A new group. Members are ids of accounts."""

    name: str
    roles: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    external_id: str = ""


@dataclass(frozen=True)
class GroupChanges:
    """What changes; what is null stays. `members` replaces them all, `add` and `remove` change some."""

    name: str | None = None
    roles: list[str] | None = None
    members: list[str] | None = None
    add: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    external_id: str | None = None
    version: int = 0


@dataclass(frozen=True)
class RoleInfo:
    """A role and what it lets its holders do."""

    name: str
    scopes: list[str] = field(default_factory=list)
    built_in: bool = True


@dataclass(frozen=True)
class Roles:
    """By name."""

    roles: list[RoleInfo] = field(default_factory=list)


@dataclass(frozen=True)
class NewServiceAccount:
    """A new account of a machine."""

    name: str
    display_name: str = ""
    roles: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class NewKey:
    """A new API key. Scopes (none: all of the account's) only narrow; `expires_in` seconds, 0: never."""

    name: str
    scopes: list[str] = field(default_factory=list)
    expires_in: int = 0


@dataclass(frozen=True)
class BreakGlass:
    """Emergency access for the session that asks, for a reason that is put on record and reviewed."""

    reason: str
    role: str = "emergency"
    minutes: int = 60
    patient: str = ""
    purpose: Literal["BTG", "ETREAT"] = "BTG"


@dataclass(frozen=True)
class Delegation:
    """Let another account act on one's behalf, with these scopes, for a time."""

    delegate: str
    scopes: list[str]
    hours: int = 24
    reason: str = ""


@dataclass(frozen=True)
class Review:
    """What somebody other than its user found of an emergency access or a delegation."""

    verdict: Literal["justified", "misuse"]
    note: str = ""


@dataclass(frozen=True)
class TenantChanges:
    """What changes; what is null stays. With a version other than 0: only if it is the current one."""

    name: str | None = None
    enabled: bool | None = None
    hosts: list[str] | None = None
    settings: dict[str, Any] | None = None
    version: int = 0
