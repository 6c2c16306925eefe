"""What can go wrong with tokens. None of these texts holds a token, or says more than its holder may know."""

from __future__ import annotations

from rustcare_sdk import RustCareError

__all__ = ["AudienceInvalid", "LifetimeInvalid", "RefreshRefused", "RefreshReused", "ScopeNotHeld", "TokenForbidden"]


class TokenForbidden(RustCareError):
    """The caller may not have a token for this account or session, or asks for it with another token."""

    code = "identity.token-forbidden"


class ScopeNotHeld(RustCareError):
    """None of the scopes that were asked for is held (`invalid_scope` of RFC 6749)."""

    code = "identity.scope-not-held"


class AudienceInvalid(RustCareError):
    """An audience is not well formed."""

    code = "identity.audience-invalid"


class LifetimeInvalid(RustCareError):
    """A lifetime is not one that can be given."""

    code = "identity.lifetime-invalid"


class RefreshRefused(RustCareError):
    """A refresh token is not good: unknown, ended, expired, or its account may not sign in (`invalid_grant`)."""

    code = "identity.refresh-refused"


class RefreshReused(RustCareError):
    """A refresh token came again after its successor was used or the grace was over: its family was ended (RFC 9700, 4.14)."""

    code = "identity.refresh-reused"
