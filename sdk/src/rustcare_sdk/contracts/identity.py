"""Who somebody is: accounts, how they prove it, sessions and tokens.

A principal is `user/ID` or `service/ID`. Everything belongs to the tenant of the message. Fields that hold a credential
are left out of `repr`.

| service or event | request | answer |
|---|---|---|
| `identity.authenticate` | `AuthenticateRequest` | `Authenticated` |
| `identity.jwks` | `JwksRequest` | `JwksReply` |
| `identity.revocations` | `RevocationsRequest` | `RevocationsReply` |
| `identity.tenants` | `TenantsRequest` | `TenantsReply` |
| `identity.token.issue` | `IssueRequest` | `TokenReply` |
| `identity.token.refresh` | `RefreshRequest` | `TokenReply` |
| `identity.token.revoke` | `RevokeTokenRequest` | `RevokeReply` |
| `identity.token.rotate` | `TokenRotateRequest` | `JwksReply` |
| `identity.token.device` | `DeviceTokenRequest` | `TokenReply` |
| `identity.device.begin` | `DeviceBeginRequest` | `DeviceBeginReply` |
| `identity.device.show` | `DeviceShowRequest` | `DeviceInfo` |
| `identity.device.approve` | `DeviceApproveRequest` | `DeviceInfo` |
| `identity.setup.link` | `SetupRequest` | `SetupReply` |
| `identity.account.accept-invite` | `AcceptInviteRequest` | `LoginReply` |
| `identity.account.email` | `ChangeEmailRequest` | `SentReply` |
| `identity.account.export` | `ExportRequest` | `ExportReply` |
| `identity.account.import` | `ImportRequest` | `ImportReply` |
| `identity.account.password` | `ChangePasswordRequest` | `AccountReply` |
| `identity.account.register` | `RegisterRequest` | `SentReply` |
| `identity.account.verify-email` | `VerifyEmailRequest` | `AccountReply` |
| `identity.link` | `LinkRequest` | `LinkReply` |
| `identity.login.factor` | `FactorLoginRequest` | `LoginReply` |
| `identity.login.passkey` | `PasskeyLoginRequest` | `LoginReply` |
| `identity.login.password` | `PasswordLoginRequest` | `LoginReply` |
| `identity.login.recover` | `RecoverRequest` | `SentReply` |
| `identity.login.reset` | `ResetPasswordRequest` | `LoginReply` |
| `identity.login.step-up` | `StepUpRequest` | `LoginReply` |
| `identity.passkey.options` | `PasskeyOptionsRequest` | `PasskeyOptionsReply` |
| `identity.setup.finish` | `SetupFinishRequest` | `LoginReply` |
| `identity.account.create` | `CreateAccountRequest` | `CreateAccountReply` |
| `identity.account.read` | `AccountRequest` | `AccountReply` |
| `identity.account.list` | `AccountsRequest` | `AccountsReply` |
| `identity.account.update` | `UpdateAccountRequest` | `AccountReply` |
| `identity.account.disable` | `DisableRequest` | `AccountReply` |
| `identity.account.unlock` | `AccountRequest` | `AccountReply` |
| `identity.account.delete` | `AccountRequest` | `AccountReply` |
| `identity.account.reset-mfa` | `AccountRequest` | `ResetReply` |
| `identity.account.invite` | `InviteRequest` | `InviteReply` |
| `identity.service.create` | `CreateServiceRequest` | `AccountReply` |
| `identity.session.list` | `SessionsRequest` | `SessionsReply` |
| `identity.session.revoke` | `RevokeRequest` | `RevokeReply` |
| `identity.session.rename` | `SessionRenameRequest` | `SessionReply` |
| `identity.tenant.put` | `TenantRequest` | `TenantReply` |
| `identity.key.create` | `CreateKeyRequest` | `CreateKeyReply` |
| `identity.key.list` | `KeysRequest` | `KeysReply` |
| `identity.key.revoke` | `KeysRequest` | `KeysReply` |
| `identity.key.bind` | `BindCertificateRequest` | `KeyReply` |
| `identity.group.put` | `GroupRequest` | `GroupsReply` |
| `identity.group.list` | `GroupRequest` | `GroupsReply` |
| `identity.elevation.break-glass` | `BreakGlassRequest` | `ElevationInfo` |
| `identity.elevation.delegate` | `DelegateRequest` | `ElevationInfo` |
| `identity.elevation.list` | `ElevationsRequest` | `ElevationsReply` |
| `identity.elevation.review` | `ElevationReviewRequest` | `ElevationInfo` |
| `identity.elevation.assume` | `ElevationAssumeRequest` | `ElevationInfo` |
| `identity.mfa.list` | `FactorsRequest` | `FactorsReply` |
| `identity.mfa.totp.begin` | `TotpBeginRequest` | `TotpBeginReply` |
| `identity.mfa.totp.confirm` | `TotpConfirmRequest` | `FactorReply` |
| `identity.mfa.passkey.begin` | `PasskeyBeginRequest` | `PasskeyBeginReply` |
| `identity.mfa.passkey.finish` | `PasskeyFinishRequest` | `FactorReply` |
| `identity.mfa.recovery.generate` | `RecoveryRequest` | `RecoveryReply` |
| `identity.mfa.rename` | `RenameFactorRequest` | `FactorReply` |
| `identity.mfa.remove` | `RemoveFactorRequest` | `FactorsReply` |
| `identity.revoked` | event `Revocation` | |
| `identity.jwks.changed` | event `JwksReply` | |
| `identity.tenant.changed` | event `TenantInfo` | |
| `identity.event` | event `SecurityEvent` | |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ._identity_admin import (
    AccountInfo,
    AccountReply,
    AccountRequest,
    AccountsReply,
    AccountsRequest,
    BreakGlassRequest,
    CreateAccountReply,
    CreateAccountRequest,
    CreateKeyReply,
    CreateKeyRequest,
    CreateServiceRequest,
    DelegateRequest,
    DisableRequest,
    ElevationInfo,
    ElevationReviewRequest,
    ElevationsReply,
    ElevationsRequest,
    GroupInfo,
    GroupRequest,
    GroupsReply,
    InviteReply,
    InviteRequest,
    KeyInfo,
    KeysReply,
    KeysRequest,
    ResetReply,
    RevokeReply,
    RevokeRequest,
    SessionInfo,
    SessionsReply,
    SessionsRequest,
    SetupReply,
    TenantInfo,
    TenantReply,
    TenantRequest,
    TenantsReply,
    TenantsRequest,
    UpdateAccountRequest,
)
from ._identity_factors import (
    FactorInfo,
    FactorReply,
    FactorsReply,
    FactorsRequest,
    PasskeyBeginReply,
    PasskeyBeginRequest,
    PasskeyFinishRequest,
    RecoveryReply,
    RecoveryRequest,
    RemoveFactorRequest,
    RenameFactorRequest,
    TotpBeginReply,
    TotpBeginRequest,
    TotpConfirmRequest,
)
from ._identity_login import (
    ACCOUNT_ACCEPT_INVITE,
    ACCOUNT_EMAIL,
    ACCOUNT_EXPORT,
    ACCOUNT_IMPORT,
    ACCOUNT_PASSWORD,
    ACCOUNT_REGISTER,
    ACCOUNT_VERIFY_EMAIL,
    LINK,
    LOGIN_FACTOR,
    LOGIN_PASSKEY,
    LOGIN_PASSWORD,
    LOGIN_RECOVER,
    LOGIN_RESET,
    LOGIN_STEP_UP,
    PASSKEY_OPTIONS,
    SETUP_FINISH,
    AcceptInviteRequest,
    ChangeEmailRequest,
    ChangePasswordRequest,
    Client,
    ExportReply,
    ExportRequest,
    FactorLoginRequest,
    ImportReply,
    ImportRequest,
    LinkReply,
    LinkRequest,
    LoginReply,
    PasskeyLoginRequest,
    PasskeyOptionsReply,
    PasskeyOptionsRequest,
    PasswordLoginRequest,
    RecoverRequest,
    RegisterRequest,
    ResetPasswordRequest,
    SentReply,
    SetupFinishRequest,
    SetupRequest,
    StepUpRequest,
    VerifyEmailRequest,
)
from ._identity_tokens import (
    BindCertificateRequest,
    DeviceApproveRequest,
    DeviceBeginReply,
    DeviceBeginRequest,
    DeviceInfo,
    DeviceShowRequest,
    DeviceTokenRequest,
    ElevationAssumeRequest,
    KeyReply,
    SessionRenameRequest,
    SessionReply,
    TokenRotateRequest,
)

__all__ = [
    "ACCOUNT_ACCEPT_INVITE",
    "ACCOUNT_CREATE",
    "ACCOUNT_DELETE",
    "ACCOUNT_DISABLE",
    "ACCOUNT_EMAIL",
    "ACCOUNT_EXPORT",
    "ACCOUNT_IMPORT",
    "ACCOUNT_INVITE",
    "ACCOUNT_LIST",
    "ACCOUNT_PASSWORD",
    "ACCOUNT_READ",
    "ACCOUNT_REGISTER",
    "ACCOUNT_RESET_MFA",
    "ACCOUNT_UNLOCK",
    "ACCOUNT_UPDATE",
    "ACCOUNT_VERIFY_EMAIL",
    "AUTHENTICATE",
    "BREAK_GLASS",
    "DELEGATE",
    "DEVICE_APPROVE",
    "DEVICE_BEGIN",
    "DEVICE_SHOW",
    "ELEVATION_ASSUME",
    "ELEVATION_LIST",
    "ELEVATION_REVIEW",
    "EVENT",
    "GROUP_LIST",
    "GROUP_PUT",
    "JWKS",
    "JWKS_CHANGED",
    "KEY_BIND",
    "KEY_CREATE",
    "KEY_LIST",
    "KEY_REVOKE",
    "LINK",
    "LOGIN_FACTOR",
    "LOGIN_PASSKEY",
    "LOGIN_PASSWORD",
    "LOGIN_RECOVER",
    "LOGIN_RESET",
    "LOGIN_STEP_UP",
    "MFA_LIST",
    "MFA_PASSKEY_BEGIN",
    "MFA_PASSKEY_FINISH",
    "MFA_RECOVERY_GENERATE",
    "MFA_REMOVE",
    "MFA_RENAME",
    "MFA_TOTP_BEGIN",
    "MFA_TOTP_CONFIRM",
    "PASSKEY_OPTIONS",
    "REVOCATIONS",
    "REVOKED",
    "SERVICE_CREATE",
    "SESSION_LIST",
    "SESSION_RENAME",
    "SESSION_REVOKE",
    "SETUP_FINISH",
    "SETUP_LINK",
    "TENANTS",
    "TENANT_CHANGED",
    "TENANT_PUT",
    "TOKEN_DEVICE",
    "TOKEN_ISSUE",
    "TOKEN_REFRESH",
    "TOKEN_REVOKE",
    "TOKEN_ROTATE",
    "AcceptInviteRequest",
    "AccountInfo",
    "AccountReply",
    "AccountRequest",
    "AccountsReply",
    "AccountsRequest",
    "AuthenticateRequest",
    "Authenticated",
    "BindCertificateRequest",
    "BreakGlassRequest",
    "ChangeEmailRequest",
    "ChangePasswordRequest",
    "Client",
    "CreateAccountReply",
    "CreateAccountRequest",
    "CreateKeyReply",
    "CreateKeyRequest",
    "CreateServiceRequest",
    "DelegateRequest",
    "DeviceApproveRequest",
    "DeviceBeginReply",
    "DeviceBeginRequest",
    "DeviceInfo",
    "DeviceShowRequest",
    "DeviceTokenRequest",
    "DisableRequest",
    "ElevationAssumeRequest",
    "ElevationInfo",
    "ElevationReviewRequest",
    "ElevationsReply",
    "ElevationsRequest",
    "ExportReply",
    "ExportRequest",
    "FactorInfo",
    "FactorLoginRequest",
    "FactorReply",
    "FactorsReply",
    "FactorsRequest",
    "GroupInfo",
    "GroupRequest",
    "GroupsReply",
    "ImportReply",
    "ImportRequest",
    "InviteReply",
    "InviteRequest",
    "IssueRequest",
    "JwksReply",
    "JwksRequest",
    "KeyInfo",
    "KeyReply",
    "KeysReply",
    "KeysRequest",
    "LinkReply",
    "LinkRequest",
    "LoginReply",
    "PasskeyBeginReply",
    "PasskeyBeginRequest",
    "PasskeyFinishRequest",
    "PasskeyLoginRequest",
    "PasskeyOptionsReply",
    "PasskeyOptionsRequest",
    "PasswordLoginRequest",
    "RecoverRequest",
    "RecoveryReply",
    "RecoveryRequest",
    "RefreshRequest",
    "RegisterRequest",
    "RemoveFactorRequest",
    "RenameFactorRequest",
    "ResetPasswordRequest",
    "ResetReply",
    "Revocation",
    "RevocationsReply",
    "RevocationsRequest",
    "RevokeReply",
    "RevokeRequest",
    "RevokeTokenRequest",
    "SecurityEvent",
    "SentReply",
    "SessionInfo",
    "SessionRenameRequest",
    "SessionReply",
    "SessionsReply",
    "SessionsRequest",
    "SetupFinishRequest",
    "SetupReply",
    "SetupRequest",
    "StepUpRequest",
    "TenantInfo",
    "TenantReply",
    "TenantRequest",
    "TenantsReply",
    "TenantsRequest",
    "TokenReply",
    "TokenRotateRequest",
    "TotpBeginReply",
    "TotpBeginRequest",
    "TotpConfirmRequest",
    "UpdateAccountRequest",
    "VerifyEmailRequest",
]

#: Service: whose credential this is (`AuthenticateRequest` → `Authenticated`). Asked by the gateway; not put on record.
AUTHENTICATE = "identity.authenticate"
#: Service: the public keys that tokens are signed with (`JwksRequest` → `JwksReply`).
JWKS = "identity.jwks"
#: Service: what was revoked since (`RevocationsRequest` → `RevocationsReply`).
REVOCATIONS = "identity.revocations"
#: Service: the tenants (`TenantsRequest` → `TenantsReply`).
TENANTS = "identity.tenants"
#: Service: a token for an account, or a narrower one for the caller (`IssueRequest` → `TokenReply`).
TOKEN_ISSUE = "identity.token.issue"
#: Service: the next pair of tokens of a family (`RefreshRequest` → `TokenReply`).
TOKEN_REFRESH = "identity.token.refresh"
#: Service: end a token and its family (`RevokeTokenRequest` → `RevokeReply`).
TOKEN_REVOKE = "identity.token.revoke"
#: Service: another key to sign tokens with (`TokenRotateRequest` → `JwksReply`).
TOKEN_ROTATE = "identity.token.rotate"
#: Service: the tokens of a device that was approved (`DeviceTokenRequest` → `TokenReply`).
TOKEN_DEVICE = "identity.token.device"
#: Service: a device asks to be signed in (`DeviceBeginRequest` → `DeviceBeginReply`).
DEVICE_BEGIN = "identity.device.begin"
#: Service: which device waits under a code (`DeviceShowRequest` → `DeviceInfo`).
DEVICE_SHOW = "identity.device.show"
#: Service: sign a device in, or refuse it (`DeviceApproveRequest` → `DeviceInfo`).
DEVICE_APPROVE = "identity.device.approve"
#: Service: the link that makes the first administrator (`SetupRequest` → `SetupReply`). For the operator alone.
SETUP_LINK = "identity.setup.link"
#: Service: a new user (`CreateAccountRequest` → `CreateAccountReply`).
ACCOUNT_CREATE = "identity.account.create"
#: Service: one account (`AccountRequest` → `AccountReply`).
ACCOUNT_READ = "identity.account.read"
#: Service: the accounts of a tenant (`AccountsRequest` → `AccountsReply`).
ACCOUNT_LIST = "identity.account.list"
#: Service: change an account (`UpdateAccountRequest` → `AccountReply`).
ACCOUNT_UPDATE = "identity.account.update"
#: Service: disable or enable an account (`DisableRequest` → `AccountReply`).
ACCOUNT_DISABLE = "identity.account.disable"
#: Service: forget the failures that locked an account (`AccountRequest` → `AccountReply`).
ACCOUNT_UNLOCK = "identity.account.unlock"
#: Service: take an account away for good (`AccountRequest` → `AccountReply`).
ACCOUNT_DELETE = "identity.account.delete"
#: Service: take all second factors and sessions away (`AccountRequest` → `ResetReply`).
ACCOUNT_RESET_MFA = "identity.account.reset-mfa"
#: Service: a new link to set credentials (`InviteRequest` → `InviteReply`).
ACCOUNT_INVITE = "identity.account.invite"
#: Service: a new service account (`CreateServiceRequest` → `AccountReply`).
SERVICE_CREATE = "identity.service.create"
#: Service: the sessions of an account (`SessionsRequest` → `SessionsReply`).
SESSION_LIST = "identity.session.list"
#: Service: end sessions (`RevokeRequest` → `RevokeReply`).
SESSION_REVOKE = "identity.session.revoke"
#: Service: another name for a session's device (`SessionRenameRequest` → `SessionReply`).
SESSION_RENAME = "identity.session.rename"
#: Service: make or change a tenant (`TenantRequest` → `TenantReply`).
TENANT_PUT = "identity.tenant.put"
#: Service: a new API key (`CreateKeyRequest` → `CreateKeyReply`).
KEY_CREATE = "identity.key.create"
#: Service: API keys (`KeysRequest` → `KeysReply`).
KEY_LIST = "identity.key.list"
#: Service: end an API key (`KeysRequest` → `KeysReply`).
KEY_REVOKE = "identity.key.revoke"
#: Service: a client certificate as a credential (`BindCertificateRequest` → `KeyReply`).
KEY_BIND = "identity.key.bind"
#: Service: make, change or delete a group (`GroupRequest` → `GroupsReply`).
GROUP_PUT = "identity.group.put"
#: Service: groups (`GroupRequest` → `GroupsReply`).
GROUP_LIST = "identity.group.list"
#: Service: emergency access (`BreakGlassRequest` → `ElevationInfo`).
BREAK_GLASS = "identity.elevation.break-glass"
#: Service: let somebody act on one's behalf (`DelegateRequest` → `ElevationInfo`).
DELEGATE = "identity.elevation.delegate"
#: Service: elevations (`ElevationsRequest` → `ElevationsReply`).
ELEVATION_LIST = "identity.elevation.list"
#: Service: review or end an elevation (`ElevationReviewRequest` → `ElevationInfo`).
ELEVATION_REVIEW = "identity.elevation.review"
#: Service: what second factors an account has (`FactorsRequest` → `FactorsReply`).
MFA_LIST = "identity.mfa.list"
#: Service: enrol an authenticator app (`TotpBeginRequest` → `TotpBeginReply`).
MFA_TOTP_BEGIN = "identity.mfa.totp.begin"
#: Service: take an authenticator app into use (`TotpConfirmRequest` → `FactorReply`).
MFA_TOTP_CONFIRM = "identity.mfa.totp.confirm"
#: Service: options for a new passkey (`PasskeyBeginRequest` → `PasskeyBeginReply`).
MFA_PASSKEY_BEGIN = "identity.mfa.passkey.begin"
#: Service: take a new passkey into use (`PasskeyFinishRequest` → `FactorReply`).
MFA_PASSKEY_FINISH = "identity.mfa.passkey.finish"
#: Service: new recovery codes (`RecoveryRequest` → `RecoveryReply`).
MFA_RECOVERY_GENERATE = "identity.mfa.recovery.generate"
#: Service: another name for a factor (`RenameFactorRequest` → `FactorReply`).
MFA_RENAME = "identity.mfa.rename"
#: Service: take a factor away (`RemoveFactorRequest` → `FactorsReply`).
MFA_REMOVE = "identity.mfa.remove"
#: Service: act under a delegation, or stop (`ElevationAssumeRequest` → `ElevationInfo`).
ELEVATION_ASSUME = "identity.elevation.assume"
#: Event: the keys that tokens are signed with changed (`JwksReply`).
JWKS_CHANGED = "identity.jwks.changed"
#: Event, confirmed: a credential is not valid any more (`Revocation`). It is published before whoever revoked is answered.
REVOKED = "identity.revoked"
#: Event: a tenant was made or changed (`TenantInfo`).
TENANT_CHANGED = "identity.tenant.changed"
#: Event: what concerns security, for the audit log and alerts (`SecurityEvent`).
EVENT = "identity.event"


@dataclass(frozen=True)
class AuthenticateRequest:
    """A credential as it came: a session's cookie, an API key, or the SHA-256 of a client certificate (hex).

    `tenant`: the one that the request is for, empty when it said none.
    """

    kind: Literal["session", "key", "certificate"]
    credential: str = field(repr=False)
    tenant: str = ""
    address: str = ""


@dataclass(frozen=True)
class Authenticated:
    """Whose it is; see `http.Caller` for what the fields mean. The answer may be kept until `keep` (Unix seconds)."""

    principal: str
    tenant: str
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    aal: int = 1
    session: str = ""
    authenticated: float = 0.0
    on_behalf: str = ""
    purpose: str = ""
    name: str = ""
    keep: float = 0.0


@dataclass(frozen=True)
class JwksRequest:
    """Nothing to say."""


@dataclass(frozen=True)
class JwksReply:
    """`keys`: JWKs with `kid` and `alg` (RFC 7517), those to come included. Tokens have this `issuer`."""

    issuer: str
    keys: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Revocation:
    """What is not valid any more. `until` (Unix seconds): after it nothing that this ended could be valid.

    | `kind` | `id` | ends |
    |---|---|---|
    | `account` | an account | its tokens whose `iat` is before `before`; whatever is remembered of it is asked anew |
    | `session` | a session, or an API key or certificate | the session, and tokens whose `sid` it is |
    | `token` | a `jti` | that token |
    | `key` | SHA-256 (hex) of `AuthenticateRequest.credential` | an API key, or a client certificate |
    | `credential` | the same, of a session | only what is remembered of it: it was exchanged, or its rights changed |
    """

    revision: int
    kind: Literal["account", "session", "token", "key", "credential"]
    id: str
    tenant: str
    before: float = 0.0
    until: float = 0.0


@dataclass(frozen=True)
class RevocationsRequest:
    """All revocations with a revision above `since` that still matter."""

    since: int = 0


@dataclass(frozen=True)
class RevocationsReply:
    """In the order of their revision."""

    revision: int
    revocations: list[Revocation] = field(default_factory=list)


@dataclass(frozen=True)
class IssueRequest:
    """An access token (a JWT, RFC 9068) for an account, for an audience, with at most the account's own scopes.

    With `account` empty: for the principal of the message. `lifetime` in seconds is bounded by the tenant's settings.
    `refresh`: with a refresh token, the first of a family. `session`: the tokens end with it, and say what it may, elevations
    in force included; with the id of an API key there is no refresh token. `device`: a name for who gets the refresh token.
    """

    audience: str = ""
    scopes: list[str] = field(default_factory=list)
    account: str = ""
    lifetime: int = 0
    refresh: bool = False
    session: str = ""
    device: str = ""


@dataclass(frozen=True)
class TokenReply:
    """`expires_in` seconds."""

    access_token: str = field(repr=False)
    expires_in: int
    scopes: list[str] = field(default_factory=list)
    refresh_token: str = field(default="", repr=False)
    token_type: str = "Bearer"


@dataclass(frozen=True)
class RefreshRequest:
    """A refresh token is used once. One that is used again, past the grace, ends its whole family."""

    refresh_token: str = field(repr=False)
    scopes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RevokeTokenRequest:
    """An access or a refresh token. One that is not known is no error (RFC 7009)."""

    token: str = field(repr=False)


@dataclass(frozen=True)
class SecurityEvent:
    """`action`: `login.succeeded`, `login.failed`, `account.locked`, `mfa.added`, `session.ended`, … `outcome`: `success` or
    `failure`; `account`: its id, empty when there is none; `code`: why it failed; `details`: nothing personal, no secret."""

    action: str
    outcome: Literal["success", "failure"] = "success"
    account: str = ""
    session: str = ""
    code: str = ""
    address: str = ""
    details: dict[str, str] = field(default_factory=dict)
