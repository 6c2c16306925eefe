"""Why something about a factor was refused. None of them says what was expected of a secret."""

from __future__ import annotations

from rustcare_sdk.errors import RustCareError

__all__ = [
    "CodeRefused",
    "EnrolmentUnknown",
    "FactorUnknown",
    "InvalidFactorName",
    "LastFactor",
    "OriginRefused",
    "PasskeyRefused",
    "TooManyFactors",
]


class FactorUnknown(RustCareError):
    """The account has no such factor."""

    code = "identity.factor-unknown"


class EnrolmentUnknown(RustCareError):
    """There is no such enrolment, it was finished, or it took too long."""

    code = "identity.enrolment-unknown"


class CodeRefused(RustCareError):
    """A code that was to finish an enrolment is not the one that the app should show now."""

    code = "identity.code-refused"


class PasskeyRefused(RustCareError):
    """What an authenticator answered does not prove what it should. Which check failed is in the message."""

    code = "identity.passkey-refused"


class OriginRefused(RustCareError):
    """Passkeys are not taken at this address."""

    code = "identity.origin-refused"


class TooManyFactors(RustCareError):
    """The account has as many factors of this kind as it may."""

    code = "identity.too-many-factors"


class LastFactor(RustCareError):
    """Without this factor nobody could sign in to the account, or it would fall below what its tenant demands."""

    code = "identity.last-factor"


class InvalidFactorName(RustCareError):
    """A factor's name is too long, or has characters that cannot be shown."""

    code = "identity.invalid-factor-name"
