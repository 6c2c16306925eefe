"""What the identity plugin refuses. No text holds a name, an address, a password or a token.

Statuses over HTTP are the routes' business: `PROBLEMS` is the usual one for each code.
"""

from __future__ import annotations

from collections.abc import Mapping

from rustcare_sdk.errors import RustCareError

__all__ = [
    "PROBLEMS",
    "AccountExists",
    "AccountUnknown",
    "AdministratorsOnly",
    "GroupExists",
    "GroupUnknown",
    "HostTaken",
    "ImportRefused",
    "InvalidAccount",
    "InvalidGroup",
    "InvalidSettings",
    "InvalidTenant",
    "LastAdministrator",
    "LinkUnknown",
    "LoginFailed",
    "MailUnavailable",
    "NotSignedIn",
    "OperatorOnly",
    "Overloaded",
    "PasswordRefused",
    "RegistrationClosed",
    "RoleUnknown",
    "SystemTenantOnly",
    "TenantUnknown",
    "TicketUnknown",
    "VersionConflict",
]


class AccountUnknown(RustCareError):
    """The tenant has no such account."""

    code = "identity.account-unknown"


class AccountExists(RustCareError):
    """Another account of the tenant has this name or e-mail address, or one that looks the same."""

    code = "identity.account-exists"


class InvalidAccount(RustCareError):
    """A name, an e-mail address or another part of an account is not well formed."""

    code = "identity.invalid-account"


class VersionConflict(RustCareError):
    """What was to be changed has changed since it was read."""

    code = "identity.version-conflict"


class LastAdministrator(RustCareError):
    """Without this account nobody could look after the system any more."""

    code = "identity.last-administrator"


class AdministratorsOnly(RustCareError):
    """This concerns an account, group or role that looks after the system: only a caller who may do so too changes it."""

    code = "identity.administrators-only"


class RoleUnknown(RustCareError):
    """The tenant has no such role."""

    code = "identity.role-unknown"


class GroupUnknown(RustCareError):
    """The tenant has no such group."""

    code = "identity.group-unknown"


class GroupExists(RustCareError):
    """Another group of the tenant has this name."""

    code = "identity.group-exists"


class InvalidGroup(RustCareError):
    """A part of a group is not well formed."""

    code = "identity.invalid-group"


class TenantUnknown(RustCareError):
    """There is no such tenant."""

    code = "identity.tenant-unknown"


class InvalidTenant(RustCareError):
    """A part of a tenant is not well formed."""

    code = "identity.invalid-tenant"


class HostTaken(RustCareError):
    """Another tenant is reached under this host name."""

    code = "identity.host-taken"


class InvalidSettings(RustCareError):
    """A tenant's settings are not what the README says of them."""

    code = "identity.invalid-settings"


class SystemTenantOnly(RustCareError):
    """This is for callers of the tenant `default`, who look after the whole."""

    code = "identity.system-tenant-only"


class OperatorOnly(RustCareError):
    """This is for the person at the system's own controls."""

    code = "identity.operator-only"


class NotSignedIn(RustCareError):
    """This is done for oneself, and the call is on nobody's behalf."""

    code = "identity.not-signed-in"


class LoginFailed(RustCareError):
    """Name and credential do not belong together. Which of them was wrong, or whether there is such an account, is not told."""

    code = "identity.login-failed"

    def __init__(
        self,
        message: str = "expected a name and a credential that belong together, got others",
        *,
        hint: str = "the reason is withheld on purpose",
        address: str = "",
    ) -> None:
        super().__init__(message, hint=hint, address=address)


class TicketUnknown(RustCareError):
    """A login that was begun is not known (any more): it took too long, was finished, or had too many wrong answers."""

    code = "identity.ticket-unknown"


class LinkUnknown(RustCareError):
    """A link is not known (any more): it was used, replaced by a newer one, or it took too long."""

    code = "identity.link-unknown"


class Overloaded(RustCareError):
    """Too many passwords wait to be compared with hashes of other systems; nothing was tried."""

    code = "identity.overloaded"


class PasswordRefused(RustCareError):
    """A new password does not keep the rules; `hint` says which, never the password."""

    code = "identity.password-refused"


class RegistrationClosed(RustCareError):
    """The tenant does not let people register themselves."""

    code = "identity.registration-closed"


class MailUnavailable(RustCareError):
    """No mail can be sent: no SMTP server is configured."""

    code = "identity.mail-unavailable"


class ImportRefused(RustCareError):
    """A line of an import cannot be taken; nothing of the import was."""

    code = "identity.import-refused"


#: The HTTP status of each code, for routes.
PROBLEMS: Mapping[str, int] = {
    AccountUnknown.code: 404,
    AccountExists.code: 409,
    InvalidAccount.code: 422,
    VersionConflict.code: 412,
    LastAdministrator.code: 409,
    AdministratorsOnly.code: 403,
    RoleUnknown.code: 422,
    GroupUnknown.code: 404,
    GroupExists.code: 409,
    InvalidGroup.code: 422,
    TenantUnknown.code: 404,
    InvalidTenant.code: 422,
    HostTaken.code: 409,
    InvalidSettings.code: 422,
    SystemTenantOnly.code: 403,
    OperatorOnly.code: 403,
    NotSignedIn.code: 401,
    LoginFailed.code: 401,
    TicketUnknown.code: 410,
    LinkUnknown.code: 410,
    Overloaded.code: 503,
    PasswordRefused.code: 422,
    RegistrationClosed.code: 403,
    MailUnavailable.code: 503,
    ImportRefused.code: 422,
}
