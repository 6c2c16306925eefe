"""What can go wrong with sessions and other credentials. All of a credential's failures look the same to who holds it."""

from __future__ import annotations

from rustcare_sdk import RustCareError

__all__ = ["AssuranceTooLow", "CredentialRefused", "ScopeInvalid", "SessionForbidden", "SessionUnknown"]


class CredentialRefused(RustCareError):
    """A session, key or certificate is not good (any more), or its account may not sign in."""

    code = "identity.credential-refused"


class SessionUnknown(RustCareError):
    """There is no such session, or it has ended."""

    code = "identity.session-unknown"


class SessionForbidden(RustCareError):
    """Sessions of other accounts are for administrators."""

    code = "identity.session-forbidden"


class AssuranceTooLow(RustCareError):
    """What was asked needs a session of a higher assurance level: a second factor."""

    code = "identity.assurance-too-low"


class ScopeInvalid(RustCareError):
    """A scope is not a dotted word, or there are too many."""

    code = "identity.scope-invalid"
