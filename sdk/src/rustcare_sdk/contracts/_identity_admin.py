"""Accounts, sessions, tenants, keys and roles, as operators and administrators handle them. Part of `contracts.identity`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "AccountInfo",
    "AccountReply",
    "AccountRequest",
    "AccountsReply",
    "AccountsRequest",
    "BreakGlassRequest",
    "CreateAccountReply",
    "CreateAccountRequest",
    "CreateKeyReply",
    "CreateKeyRequest",
    "CreateServiceRequest",
    "DelegateRequest",
    "DisableRequest",
    "ElevationInfo",
    "ElevationReviewRequest",
    "ElevationsReply",
    "ElevationsRequest",
    "GroupInfo",
    "GroupRequest",
    "GroupsReply",
    "InviteReply",
    "InviteRequest",
    "KeyInfo",
    "KeysReply",
    "KeysRequest",
    "ResetReply",
    "RevokeReply",
    "RevokeRequest",
    "SessionInfo",
    "SessionsReply",
    "SessionsRequest",
    "SetupReply",
    "TenantInfo",
    "TenantReply",
    "TenantRequest",
    "TenantsReply",
    "TenantsRequest",
    "UpdateAccountRequest",
]


@dataclass(frozen=True)
class AccountInfo:
    """An account. `id` is random and never used again; `principal` is `user/ID` or `service/ID`.

    `state`: `invited` (no credential yet), `active`, `locked` (by failures, until `locked_until`), `disabled`. Times are
    Unix seconds, 0 for never. `factors`: kinds of authenticators it has (`password`, `totp`, `passkey`, `recovery`).
    `roles` and `scopes` include what comes from `groups` (ids). `own_roles` are those given to the account itself.
    `external_id`: what a provisioning client calls it. `attributes`: what is kept of it beyond that (name parts, further
    addresses, …), as JSON; nothing of it decides anything. `updated`: when it last changed.
    """

    id: str
    principal: str
    tenant: str
    kind: Literal["user", "service"]
    name: str
    email: str = ""
    display_name: str = ""
    state: Literal["invited", "active", "locked", "disabled"] = "active"
    email_verified: bool = False
    roles: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    factors: list[str] = field(default_factory=list)
    created: float = 0.0
    last_login: float = 0.0
    locked_until: float = 0.0
    version: int = 1
    own_roles: list[str] = field(default_factory=list)
    external_id: str = ""
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    updated: float = 0.0


@dataclass(frozen=True)
class AccountRequest:
    """An account of the message's tenant, by its id, name or e-mail address.

    `version`: of a deletion, refuse unless it is the current one; 0 for any.
    """

    account: str
    version: int = 0


@dataclass(frozen=True)
class AccountReply:
    """The account as it is now."""

    account: AccountInfo


@dataclass(frozen=True)
class AccountsRequest:
    """Accounts of the message's tenant, by name. `query`: part of a name or address; `after`: the `next` of a page before."""

    query: str = ""
    kind: Literal["", "user", "service"] = ""
    state: Literal["", "invited", "active", "locked", "disabled"] = ""
    limit: int = 100
    after: str = ""


@dataclass(frozen=True)
class AccountsReply:
    """One page. `next` is empty at the end."""

    accounts: list[AccountInfo] = field(default_factory=list)
    next: str = ""
    total: int = 0


@dataclass(frozen=True)
class CreateAccountRequest:
    """A new user. Without a `password` they are invited: they set it, or a passkey, through a link that works once.

    `mail`: send the link to the address; else the reply holds it. `disabled`: it can not be used until it is enabled.
    `external_id`, `attributes`: see `AccountInfo`.
    """

    name: str
    email: str = ""
    display_name: str = ""
    password: str = field(default="", repr=False)
    roles: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    mail: bool = False
    external_id: str = ""
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)
    disabled: bool = False


@dataclass(frozen=True)
class CreateAccountReply:
    """`link`: the path and secret of the invitation, to be given to the user; shown once."""

    account: AccountInfo
    link: str = field(default="", repr=False)


@dataclass(frozen=True)
class UpdateAccountRequest:
    """Change what is not None. `version`: refuse unless it is the current one; 0 for any.

    `password`: set by an administrator; it has to keep the same rules as one that its user sets, and ends the account's
    sessions. Empty takes it away.
    """

    account: str
    name: str | None = None
    email: str | None = None
    display_name: str | None = None
    roles: list[str] | None = None
    groups: list[str] | None = None
    version: int = 0
    external_id: str | None = None
    attributes: dict[str, Any] | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DisableRequest:
    """Disable (or enable) an account. Disabling ends its sessions, keys and tokens at once; `reason` is put on record.

    `version`: refuse unless it is the current one; 0 for any.
    """

    account: str
    disabled: bool = True
    reason: str = ""
    version: int = 0


@dataclass(frozen=True)
class ResetReply:
    """All second factors are gone; `link` lets the user set new ones, once."""

    account: AccountInfo
    link: str = field(default="", repr=False)


@dataclass(frozen=True)
class SessionInfo:
    """A session. `id` is not its credential. `device` is the name its user gave it, or what the browser said."""

    id: str
    account: str
    tenant: str
    aal: int
    amr: list[str] = field(default_factory=list)
    device: str = ""
    address: str = ""
    created: float = 0.0
    seen: float = 0.0
    idle_until: float = 0.0
    expires: float = 0.0
    current: bool = False


@dataclass(frozen=True)
class SessionsRequest:
    """The sessions of an account (empty: of the caller). `current`: the id of the session that asks, to be marked."""

    account: str = ""
    current: str = ""


@dataclass(frozen=True)
class SessionsReply:
    """Newest first."""

    sessions: list[SessionInfo] = field(default_factory=list)


@dataclass(frozen=True)
class RevokeRequest:
    """End one session, or with `session` empty all of an account, its tokens too. `keep`: but this session."""

    account: str = ""
    session: str = ""
    keep: str = ""
    reason: str = ""


@dataclass(frozen=True)
class RevokeReply:
    """How many sessions ended."""

    sessions: int = 0


@dataclass(frozen=True)
class TenantInfo:
    """A tenant. `hosts`: names under which it is reached. `settings`: see the identity plugin's README."""

    id: str
    name: str = ""
    enabled: bool = True
    hosts: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    created: float = 0.0
    version: int = 1


@dataclass(frozen=True)
class TenantRequest:
    """Make or change a tenant; what is None stays. Only for the `default` tenant's administrators and the operator."""

    id: str
    name: str | None = None
    enabled: bool | None = None
    hosts: list[str] | None = None
    settings: dict[str, Any] | None = None
    version: int = 0


@dataclass(frozen=True)
class TenantReply:
    """The tenant as it is now."""

    tenant: TenantInfo


@dataclass(frozen=True)
class TenantsRequest:
    """Tenants by id, at most `limit` (0: all), from the one behind `after`."""

    after: str = ""
    limit: int = 0


@dataclass(frozen=True)
class TenantsReply:
    """`revision` grows with every change of any tenant."""

    tenants: list[TenantInfo] = field(default_factory=list)
    revision: int = 0


@dataclass(frozen=True)
class CreateServiceRequest:
    """A service account: a machine with keys of its own."""

    name: str
    display_name: str = ""
    roles: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class KeyInfo:
    """An API key without its secret. `prefix` is the part of it that may be shown; `expires` 0: never.

    `kind` `certificate`: a client certificate that is bound to the account; `prefix` is that of its fingerprint.
    """

    id: str
    account: str
    tenant: str
    name: str
    prefix: str
    scopes: list[str] = field(default_factory=list)
    created: float = 0.0
    expires: float = 0.0
    used: float = 0.0
    revoked: bool = False
    kind: Literal["key", "certificate"] = "key"


@dataclass(frozen=True)
class CreateKeyRequest:
    """A key for an account. `scopes` (empty: all of the account's) only narrow; `expires_in` seconds, 0: never."""

    account: str
    name: str
    scopes: list[str] = field(default_factory=list)
    expires_in: int = 0


@dataclass(frozen=True)
class CreateKeyReply:
    """`secret` is the key itself, shown this once."""

    key: KeyInfo
    secret: str = field(repr=False)


@dataclass(frozen=True)
class KeysRequest:
    """The keys of an account (empty: of the whole tenant), or one by its id (`key`)."""

    account: str = ""
    key: str = ""


@dataclass(frozen=True)
class KeysReply:
    """By name."""

    keys: list[KeyInfo] = field(default_factory=list)


@dataclass(frozen=True)
class InviteRequest:
    """A new link for an account that was invited or needs new credentials."""

    account: str
    mail: bool = False


@dataclass(frozen=True)
class InviteReply:
    """`link`: path and secret, works once; empty when it was mailed."""

    link: str = field(default="", repr=False)
    expires: float = 0.0


@dataclass(frozen=True)
class GroupInfo:
    """A group: its members (ids of accounts) hold its roles. `external_id`: what a provisioning client calls it."""

    id: str
    tenant: str
    name: str
    roles: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    version: int = 1
    external_id: str = ""
    created: float = 0.0
    updated: float = 0.0


@dataclass(frozen=True)
class GroupRequest:
    """Make (empty `id`) or change a group; what is None stays. `delete` takes it away.

    `members` replaces them all; `add` and `remove` change some, so that two who do it at once lose nothing.

    Of a list: at most `limit` groups (0: all) whose names come after `after`.
    """

    id: str = ""
    name: str | None = None
    roles: list[str] | None = None
    members: list[str] | None = None
    delete: bool = False
    version: int = 0
    external_id: str | None = None
    add: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    limit: int = 0
    after: str = ""


@dataclass(frozen=True)
class GroupsReply:
    """By name. `next`, the `after` of the next page, is empty at the end."""

    groups: list[GroupInfo] = field(default_factory=list)
    next: str = ""


@dataclass(frozen=True)
class BreakGlassRequest:
    """Emergency access for the caller's own session: a role for a limited time, for a reason that is put on record.

    `session`: the id of that session, which must be of AAL2. `minutes` are bounded by the tenant's settings. `patient`: whom
    it is about, when that is known (`Patient/1`). `purpose`: what `Caller.purpose` says meanwhile (HL7 v3 PurposeOfUse).
    """

    reason: str
    role: str = "emergency"
    minutes: int = 60
    patient: str = ""
    session: str = ""
    purpose: Literal["BTG", "ETREAT"] = "BTG"


@dataclass(frozen=True)
class DelegateRequest:
    """Let another account act on behalf of the caller (or of `account`, by an administrator) with `scopes`, for a time."""

    delegate: str
    scopes: list[str]
    hours: int = 24
    account: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ElevationInfo:
    """A break-glass access or a delegation. `account` is who acts, `on_behalf` the account for which (of a delegation).

    `reviewed_by` (a principal) is empty until somebody else has looked at it; `note` is what they wrote.
    """

    id: str
    kind: Literal["break-glass", "delegation"]
    account: str
    tenant: str
    role: str = ""
    scopes: list[str] = field(default_factory=list)
    on_behalf: str = ""
    reason: str = ""
    begun: float = 0.0
    ends: float = 0.0
    ended: bool = False
    reviewed_by: str = ""
    verdict: str = ""
    purpose: str = ""
    patient: str = ""
    note: str = ""


@dataclass(frozen=True)
class ElevationsRequest:
    """Elevations of an account, or of the tenant (empty). `unreviewed`: only those that nobody has reviewed."""

    account: str = ""
    unreviewed: bool = False


@dataclass(frozen=True)
class ElevationsReply:
    """Newest first."""

    elevations: list[ElevationInfo] = field(default_factory=list)


@dataclass(frozen=True)
class ElevationReviewRequest:
    """What somebody other than its user found: `verdict` is `justified` or `misuse`, with a note. Or `end` it early."""

    id: str
    verdict: Literal["", "justified", "misuse"] = ""
    note: str = ""
    end: bool = False


@dataclass(frozen=True)
class SetupReply:
    """`link`: the path and secret with which the first administrator is made, once; empty when there is one already."""

    link: str = field(default="", repr=False)
    expires: float = 0.0
