"""What can go wrong with API keys and client certificates."""

from __future__ import annotations

from rustcare_sdk import RustCareError

__all__ = ["CertificateInvalid", "KeyForbidden", "KeyInvalid", "KeyUnknown"]


class KeyUnknown(RustCareError):
    """There is no such key in this tenant."""

    code = "identity.key-unknown"


class KeyInvalid(RustCareError):
    """A key is not asked for as it must be: no name, a time out of bounds, an account that has too many."""

    code = "identity.key-invalid"


class KeyForbidden(RustCareError):
    """Keys of other accounts are for administrators."""

    code = "identity.key-forbidden"


class CertificateInvalid(RustCareError):
    """A client certificate cannot be read, or is bound already."""

    code = "identity.certificate-invalid"
