"""What the gateway itself refuses, each with its code and the HTTP status that it is answered with.

A request that is refused never reached a plugin. The texts go to whoever asked, so they name no account, no tenant but the
one that was asked for, and nothing of a credential.
"""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

__all__ = [
    "AmbiguousCredentials",
    "AssuranceTooLow",
    "AuthorizationUnavailable",
    "BadAnswer",
    "BadRequest",
    "CrossOrigin",
    "Forbidden",
    "IdentityUnavailable",
    "InvalidSettings",
    "MethodNotAllowed",
    "NoRoute",
    "NotAcceptedHere",
    "Overloaded",
    "RateLimited",
    "Refused",
    "RequestTimeout",
    "ScopeMissing",
    "TenantConflict",
    "TenantDisabled",
    "TenantUnknown",
    "TooLarge",
    "Unauthenticated",
    "WrongTenant",
]


class InvalidSettings(RustCareError):
    """A value of the configuration, or of a tenant's settings, is not what its key takes."""

    code = "gateway.settings"


class Refused(RustCareError):
    """The root of refusals; never raised itself. `status` is the HTTP status, `fields` are header fields of the answer."""

    code = "gateway.refused"
    status: ClassVar[int] = 400

    def __init__(
        self, message: str, *, hint: str = "", address: str = "", fields: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message, hint=hint, address=address)
        self.fields = fields


class BadRequest(Refused):
    """The request is not well formed HTTP, or could mean two things (RFC 9112, section 11.2). The connection is closed."""

    code = "gateway.bad-request"


class TooLarge(Refused):
    """The request is larger than the route or the gateway takes: its target (414), its header (431), its body (413)."""

    code = "gateway.too-large"
    status = 413

    def __init__(self, message: str, *, status: int = 413, hint: str = "", address: str = "") -> None:
        super().__init__(message, hint=hint, address=address)
        self.status = status  # type: ignore[misc]  # what was too large decides


class RequestTimeout(Refused):
    """The request did not arrive in the time that it has."""

    code = "gateway.timeout"
    status = 408


class NotAcceptedHere(Refused):
    """The name in `Host` is none under which this gateway is reached (RFC 9110, section 7.4)."""

    code = "gateway.misdirected"
    status = 421


class NoRoute(Refused):
    """No plugin answers this path."""

    code = "gateway.no-route"
    status = 404


class MethodNotAllowed(Refused):
    """The path is answered, but not with this method; `Allow` says with which."""

    code = "gateway.method"
    status = 405


class TenantUnknown(Refused):
    """There is no such tenant."""

    code = "gateway.tenant-unknown"
    status = 404


class TenantDisabled(Refused):
    """The tenant is disabled."""

    code = "gateway.tenant-disabled"
    status = 403


class TenantConflict(Refused):
    """The request names two tenants, by host, path or header."""

    code = "gateway.tenant-conflict"


class WrongTenant(Refused):
    """The caller belongs to another tenant than the one that the request is for."""

    code = "gateway.wrong-tenant"
    status = 403


class AmbiguousCredentials(Refused):
    """The request carries credentials of more than one kind, or one of them twice."""

    code = "gateway.ambiguous-credentials"


class Unauthenticated(Refused):
    """The caller is not known: no credential, or one that is not valid (any more).

    Args:
        error: the word of RFC 6750 for it (`invalid_token`, `invalid_request`), empty when there was no credential.
        again: the same credential was refused within the last minute: whoever sends it is not guessing.
    """

    code = "gateway.unauthenticated"
    status = 401

    def __init__(
        self, message: str, *, error: str = "", hint: str = "", address: str = "", again: bool = False
    ) -> None:
        super().__init__(message, hint=hint, address=address)
        self.error = error
        self.again = again


class IdentityUnavailable(Refused):
    """Who the caller is cannot be found out now: the identity plugin is not there, or does not answer."""

    code = "gateway.identity-unavailable"
    status = 503


class AssuranceTooLow(Refused):
    """The caller must prove who they are again, or better (RFC 9470)."""

    code = "gateway.step-up"
    status = 401


class ScopeMissing(Refused):
    """The caller was not given the scope that the route asks for."""

    code = "gateway.scope"
    status = 403


class Forbidden(Refused):
    """Whoever serves `authz.check` says no."""

    code = "gateway.forbidden"
    status = 403


class AuthorizationUnavailable(Refused):
    """Whoever serves `authz.check` did not answer, or must be there and is not; what cannot be decided is refused."""

    code = "gateway.authorization-unavailable"
    status = 503


class CrossOrigin(Refused):
    """A page of another origin sent this with the user's session (cross-site request forgery)."""

    code = "gateway.cross-origin"
    status = 403


class RateLimited(Refused):
    """More requests than the limit allows; `Retry-After` says when to come back."""

    code = "gateway.rate-limited"
    status = 429


class Overloaded(Refused):
    """More connections or requests at once than the gateway takes."""

    code = "gateway.overloaded"
    status = 503


class BadAnswer(Refused):
    """What the plugin answered cannot be sent: no JSON, a header with a line break, a status that does not exist."""

    code = "gateway.bad-answer"
    status = 502
