"""Errors of electronic signatures."""

from __future__ import annotations

from rustcare_sdk.errors import RustCareError

__all__ = ["SignatureInvalid", "SignatureRefused", "SignatureUnavailable"]


class SignatureRefused(RustCareError):
    """What was presented does not make a signature; nothing was signed, and the attempt is on record."""

    code = "audit.signature-refused"


class SignatureUnavailable(RustCareError):
    """Nobody can verify the components of a signature now; nothing was signed."""

    code = "audit.signature-unavailable"


class SignatureInvalid(RustCareError):
    """This is no signature of this record as it is: it is of another one, the record was changed, or there is none."""

    code = "audit.signature-invalid"
